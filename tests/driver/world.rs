//! A driver with clients wired straight onto its services, and mount pods that only remember.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use csi_certify::{
    csi::v1::{
        self, controller_client::ControllerClient, controller_server::ControllerServer,
        group_controller_client::GroupControllerClient, group_controller_server::GroupControllerServer,
        identity_client::IdentityClient, identity_server::IdentityServer, node_client::NodeClient,
        node_server::NodeServer, snapshot_metadata_client::SnapshotMetadataClient,
        snapshot_metadata_server::SnapshotMetadataServer, volume_capability,
    },
    driver::{
        Configuration, ControllerService, Driver, GroupControllerService, IdentityService, NodeService, Parts,
        SnapshotMetadataService,
        clock::SystemClock,
        content::{Content, ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::{Database, Memory, Store},
    },
    mountpod::{
        Deadline, MountPods, Publication, PublishError, Published, Role, TargetPath, UnpublishError, Usage, VolumeId,
    },
};
use tempfile::TempDir;
use tokio::sync::Notify;
use tonic::{Code, Response, Status};

pub(crate) use v1::volume_capability::access_mode::Mode;

pub(crate) const MIB: i64 = 1 << 20;

/// A driver and its clients.
pub(crate) struct World {
    pub(crate) identity: IdentityClient<IdentityServer<IdentityService>>,
    pub(crate) controller: ControllerClient<ControllerServer<ControllerService>>,
    pub(crate) node: NodeClient<NodeServer<NodeService>>,
    pub(crate) groups: GroupControllerClient<GroupControllerServer<GroupControllerService>>,
    pub(crate) metadata: SnapshotMetadataClient<SnapshotMetadataServer<SnapshotMetadataService>>,
    pub(crate) ground: Ground,
    pub(crate) driver: Driver,
}

/// What outlives a driver: records, content and mount pods.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) content: Arc<dyn Content>,
    pub(crate) pods: Arc<RememberedPods>,
    pub(crate) directory: Arc<TempDir>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(Memory::default()))
    }

    /// Over the database that a driver has in production, though on no disk.
    pub(crate) fn over_a_database() -> Self {
        Self::over(Arc::new(Database::in_memory().unwrap()))
    }

    fn over(store: Arc<dyn Store>) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self {
            store,
            content: Arc::new(ContentDirectory::open(directory.path(), Durability::Relaxed).unwrap()),
            pods: Arc::default(),
            directory,
        }
    }

    /// The file or directory of a volume.
    pub(crate) fn volume(&self, id: &str, part: &str) -> std::path::PathBuf {
        self.directory.path().join("volumes").join(id).join(part)
    }

    /// How many volumes and snapshots have content, and how much is half done.
    pub(crate) fn contents(&self) -> (usize, usize, usize) {
        let count = |part: &str| std::fs::read_dir(self.directory.path().join(part)).unwrap().count();
        (count("volumes"), count("snapshots"), count("unfinished") + count("trash"))
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Configuration::default())
    }

    pub(crate) fn with(configuration: Configuration) -> Self {
        let world = Self::on(Ground::new(), configuration);
        world.driver.recover().unwrap();
        world
    }

    /// A driver that has not recovered yet.
    pub(crate) fn on(ground: Ground, configuration: Configuration) -> Self {
        let driver = Driver::new(Parts {
            configuration,
            store: ground.store.clone(),
            content: ground.content.clone(),
            mount_pods: ground.pods.clone(),
            clock: Arc::new(SystemClock),
            identifiers: Arc::new(OrderedIdentifiers::default()),
        })
        .unwrap();
        Self {
            identity: IdentityClient::new(driver.identity()),
            controller: ControllerClient::new(driver.controller()),
            node: NodeClient::new(driver.node()),
            groups: GroupControllerClient::new(driver.group_controller()),
            metadata: SnapshotMetadataClient::new(driver.snapshot_metadata()),
            ground,
            driver,
        }
    }

    /// The same state under a new driver, as after a restart.
    pub(crate) fn restarted(&self) -> Self {
        let world = Self::on(self.ground.clone(), Configuration::default());
        world.driver.recover().unwrap();
        world
    }

    pub(crate) async fn create(&mut self, name: &str) -> v1::Volume {
        self.create_as(create_volume(name)).await.unwrap()
    }

    pub(crate) async fn create_as(&mut self, request: v1::CreateVolumeRequest) -> Result<v1::Volume, Status> {
        self.controller.create_volume(request).await.map(|answer| answer.into_inner().volume.unwrap())
    }

    pub(crate) async fn snapshot(&mut self, name: &str, volume: &str) -> Result<v1::Snapshot, Status> {
        let request =
            v1::CreateSnapshotRequest { source_volume_id: volume.into(), name: name.into(), ..Default::default() };
        self.controller.create_snapshot(request).await.map(|answer| answer.into_inner().snapshot.unwrap())
    }

    pub(crate) async fn group(&mut self, name: &str, volumes: &[&str]) -> Result<v1::VolumeGroupSnapshot, Status> {
        let source_volume_ids = volumes.iter().map(|&volume| volume.to_owned()).collect();
        let request =
            v1::CreateVolumeGroupSnapshotRequest { name: name.into(), source_volume_ids, ..Default::default() };
        let answer = self.groups.create_volume_group_snapshot(request).await?;
        Ok(answer.into_inner().group_snapshot.unwrap())
    }

    pub(crate) async fn delete(&mut self, volume: &str) -> Result<(), Status> {
        let request = v1::DeleteVolumeRequest { volume_id: volume.into(), ..Default::default() };
        self.controller.delete_volume(request).await.map(drop)
    }

    pub(crate) async fn available(&mut self) -> i64 {
        self.controller.get_capacity(v1::GetCapacityRequest::default()).await.unwrap().into_inner().available_capacity
    }
}

/// A volume of 1 MiB for mount and block access.
pub(crate) fn create_volume(name: &str) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(v1::CapacityRange { required_bytes: MIB, limit_bytes: 0 }),
        volume_capabilities: vec![mount(Mode::SingleNodeWriter), block(Mode::SingleNodeWriter)],
        ..Default::default()
    }
}

pub(crate) fn mount(mode: Mode) -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_mode: Some(volume_capability::AccessMode { mode: mode.into() }),
        access_type: Some(volume_capability::AccessType::Mount(volume_capability::MountVolume::default())),
    }
}

pub(crate) fn block(mode: Mode) -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_mode: Some(volume_capability::AccessMode { mode: mode.into() }),
        access_type: Some(volume_capability::AccessType::Block(volume_capability::BlockVolume {})),
    }
}

pub(crate) fn strings(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The status code of an answer, with the promises that hold for every refusal.
pub(crate) fn code<T>(answer: &Result<Response<T>, Status>) -> Code {
    match answer {
        Ok(_) => Code::Ok,
        Err(status) => refused(status),
    }
}

pub(crate) fn refused(status: &Status) -> Code {
    assert!(!status.message().is_empty(), "{status:?}");
    assert!(status.message().len() <= 1024, "{status:?}");
    assert!(status.details().is_empty(), "{status:?}");
    status.code()
}

/// Mount pods that remember what was asked of them and mount nothing.
#[derive(Default)]
pub(crate) struct RememberedPods {
    references: Mutex<BTreeMap<TargetPath, (VolumeId, Published)>>,
    pub(crate) resized: Mutex<Vec<VolumeId>>,
    pub(crate) ailment: Mutex<Option<String>>,
    /// Holds up the next look at usage.
    pub(crate) gate: Mutex<Option<Arc<Gate>>>,
}

/// A point at which one request waits until a test lets it go on.
#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) reached: Notify,
    pub(crate) open: Notify,
}

#[tonic::async_trait]
impl MountPods for RememberedPods {
    async fn publish(&self, publication: Publication, _: Deadline) -> Result<(), PublishError> {
        let Publication { volume, target, role, fingerprint, .. } = publication;
        let mut references = self.references.lock().unwrap();
        match references.get(&target) {
            Some((holder, _)) if *holder != volume => {
                return Err(PublishError::Occupied { target, holder: holder.clone() });
            }
            Some((_, published)) if published.fingerprint != fingerprint => {
                let difference = "fingerprint".into();
                return Err(PublishError::Incompatible { volume, target, difference });
            }
            Some(_) => return Ok(()),
            None => {}
        }
        use csi_certify::mountpod::AccessMode;
        let mode = fingerprint.access_mode;
        let several = mode.is_multi_node() || mode == AccessMode::SingleNodeMultiWriter;
        let other = references.values().find(|(holder, it)| *holder == volume && it.role == Role::Target);
        if let (false, Role::Target, Some((_, other))) = (several, role, other) {
            return Err(PublishError::SingleTarget { volume, at: other.target.clone() });
        }
        references.insert(target.clone(), (volume, Published { target, role, fingerprint }));
        Ok(())
    }

    async fn unpublish(
        &self,
        volume: &VolumeId,
        target: &TargetPath,
        _: Role,
        _: Deadline,
    ) -> Result<(), UnpublishError> {
        self.references.lock().unwrap().retain(|at, (holder, _)| at != target || holder != volume);
        Ok(())
    }

    async fn published(&self, volume: &VolumeId) -> Result<Vec<Published>, UnpublishError> {
        let references = self.references.lock().unwrap();
        Ok(references.values().filter(|(holder, _)| holder == volume).map(|(_, it)| it.clone()).collect())
    }

    async fn usage(&self, volume: &VolumeId, target: &TargetPath) -> Result<Option<Usage>, UnpublishError> {
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.reached.notify_one();
            gate.open.notified().await;
        }
        let references = self.references.lock().unwrap();
        let is_there = references.get(target).is_some_and(|(holder, _)| holder == volume);
        Ok(is_there.then_some(Usage { used_bytes: 4096, used_inodes: 1 }))
    }

    async fn resized(&self, volume: &VolumeId) -> Result<(), UnpublishError> {
        self.resized.lock().unwrap().push(volume.clone());
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        self.ailment.lock().unwrap().clone().map_or(Ok(()), Err)
    }

    async fn condition(&self, _: &VolumeId) -> Result<String, String> {
        self.ailment.lock().unwrap().clone().map_or(Ok("serving".into()), Err)
    }
}
