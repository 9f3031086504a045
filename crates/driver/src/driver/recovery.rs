//! What happens before the first request: intents of an earlier process are finished or taken back.

use std::collections::BTreeSet;

use super::{Refusal, assembly::State, record::Progress};

impl State {
    /// Brings store and content together.
    ///
    /// A volume that was being created was never answered for, so it is taken back; one that was being deleted goes.
    /// A grown size is in the store before the content follows, so the content is made to follow. Content that no
    /// record knows is removed last, when the set of those that stay is certain.
    pub(super) fn recover(&self) -> Result<(), Refusal> {
        let mut volumes = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.volumes_after(after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.to_string());
            for volume in page {
                if volume.progress == Progress::Ready {
                    if let Err(error) = self.content.grow(&volume.id, volume.capacity) {
                        tracing::warn!(volume = %volume.id, %error, "the content could not be brought to its size");
                    }
                    volumes.insert(volume.id);
                } else {
                    tracing::info!(volume = %volume.id, progress = ?volume.progress, "clearing up");
                    self.remove_volume(&volume)?;
                }
            }
        }
        self.recover_group_snapshots()?;
        let snapshots = self.recover_snapshots()?;
        self.content
            .sweep(&volumes, &snapshots)
            .map_err(|error| Refusal::internal("removing content that belongs to nothing", error))
    }

    fn recover_group_snapshots(&self) -> Result<(), Refusal> {
        let mut after: Option<String> = None;
        loop {
            let page = self.store.group_snapshots_after(after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id.to_string());
            for group in page.iter().filter(|group| !group.is_ready()) {
                tracing::info!(group = %group.id, progress = ?group.progress, "clearing up");
                self.remove_group_snapshot(group)?;
            }
        }
    }

    fn recover_snapshots(&self) -> Result<BTreeSet<super::SnapshotId>, Refusal> {
        let mut snapshots = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.snapshots_after(after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(snapshots) };
            after = Some(last.id.to_string());
            for snapshot in page {
                if snapshot.progress == Progress::Ready {
                    snapshots.insert(snapshot.id);
                } else {
                    tracing::info!(snapshot = %snapshot.id, progress = ?snapshot.progress, "clearing up");
                    self.remove_snapshot(&snapshot)?;
                }
            }
        }
    }
}

const PAGE: usize = 256;
