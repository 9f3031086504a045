//! Content that is nowhere: which volumes and snapshots have some.

use std::{
    collections::BTreeSet,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use csi_certify_driver::driver::{
    SnapshotId,
    content::{Content, Cut, Plan, Ranges},
    record::AccessTypes,
};
use csi_certify_mountpod::mountpod::{AccessType, VolumeContent, VolumeId};

/// Which volumes and snapshots have content.
#[derive(Default)]
pub struct Existence(Mutex<(BTreeSet<VolumeId>, BTreeSet<SnapshotId>)>);

impl Existence {
    fn state(&self) -> MutexGuard<'_, (BTreeSet<VolumeId>, BTreeSet<SnapshotId>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.0.is_empty() && state.1.is_empty()
    }
}

impl Content for Existence {
    fn create(&self, volume: &VolumeId, _: &Plan) -> io::Result<()> {
        self.state().0.insert(volume.clone());
        Ok(())
    }

    fn cut(&self, cuts: &[Cut]) -> io::Result<()> {
        self.state().1.extend(cuts.iter().map(|cut| cut.snapshot.clone()));
        Ok(())
    }

    fn allocated(&self, _: &SnapshotId, _: u64) -> io::Result<Ranges> {
        Ok(Box::new(std::iter::empty()))
    }

    fn changed(&self, _: &SnapshotId, _: &SnapshotId, _: u64) -> io::Result<Ranges> {
        Ok(Box::new(std::iter::empty()))
    }

    fn grow(&self, volume: &VolumeId, _: u64) -> io::Result<()> {
        match self.state().0.contains(volume) {
            true => Ok(()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove_volume(&self, volume: &VolumeId) -> io::Result<()> {
        self.state().0.remove(volume);
        Ok(())
    }

    fn remove_snapshot(&self, snapshot: &SnapshotId) -> io::Result<()> {
        self.state().1.remove(snapshot);
        Ok(())
    }

    fn sweep(&self, volumes: &BTreeSet<VolumeId>, snapshots: &BTreeSet<SnapshotId>) -> io::Result<()> {
        let mut state = self.state();
        state.0.retain(|volume| volumes.contains(volume));
        state.1.retain(|snapshot| snapshots.contains(snapshot));
        Ok(())
    }

    fn location(&self, volume: &VolumeId, access_type: AccessType) -> VolumeContent {
        match access_type {
            AccessType::Mount => VolumeContent::Directory(format!("/content/{volume}/fs").into()),
            AccessType::Block => VolumeContent::BlockFile(format!("/content/{volume}/block").into()),
        }
    }

    fn condition(&self, volume: &VolumeId, _: AccessTypes) -> Result<String, String> {
        match self.state().0.contains(volume) {
            true => Ok("there".to_owned()),
            false => Err("its content is gone".to_owned()),
        }
    }

    fn free_inodes(&self) -> Option<u64> {
        Some(1 << 20)
    }

    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}
