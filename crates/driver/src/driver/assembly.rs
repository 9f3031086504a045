//! The driver put together from its parts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tonic::service::Routes;

use super::{
    BadConfiguration, Configuration, Refusal,
    capability::{Capabilities, Plugin},
    clock::Clock,
    content::Content,
    controller::ControllerService,
    group_controller::GroupControllerService,
    identifier::Identifiers,
    identity::IdentityService,
    lock::Locks,
    node::{NodeService, NodeVolumes},
    record::{Snapshot, Volume},
    snapshot_metadata::SnapshotMetadataService,
    store::{Store, StoreError},
    unoffered::Unoffered,
};
use crate::{
    csi::v1::{
        controller_server::ControllerServer, group_controller_server::GroupControllerServer,
        identity_server::IdentityServer, node_server::NodeServer, snapshot_metadata_server::SnapshotMetadataServer,
    },
    mountpod::{AccessType, MountPods, VolumeContent, VolumeId},
};

/// What a driver is made of.
#[derive(Clone)]
pub struct Parts {
    /// Its settings.
    pub configuration: Configuration,
    /// Its records.
    pub store: Arc<dyn Store>,
    /// What is in its volumes.
    pub content: Arc<dyn Content>,
    /// The mount pods of its node.
    pub mount_pods: Arc<dyn MountPods>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Where its ids come from.
    pub identifiers: Arc<dyn Identifiers>,
}

/// The reference driver. Clones are the same driver.
#[derive(Clone)]
pub struct Driver(Arc<State>);

/// What the services share.
pub(super) struct State {
    pub(super) configuration: Configuration,
    pub(super) capabilities: Capabilities,
    pub(super) store: Arc<dyn Store>,
    pub(super) content: Arc<dyn Content>,
    pub(super) mount_pods: Arc<dyn MountPods>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) identifiers: Arc<dyn Identifiers>,
    pub(super) locks: Locks,
    reservations: Mutex<()>,
    readiness: Mutex<Readiness>,
}

/// How far the start has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Readiness {
    /// Recovery is under way.
    Starting,
    /// Requests are served.
    Ready,
    /// Recovery failed, for this reason.
    Failed(String),
}

impl Driver {
    /// Puts the parts together. Requests are served after [`Self::recover`].
    pub fn new(parts: Parts) -> Result<Self, BadConfiguration> {
        parts.configuration.check()?;
        let Parts { configuration, store, content, mount_pods, clock, identifiers } = parts;
        Ok(Self(Arc::new(State {
            capabilities: configuration.capabilities(),
            configuration,
            store,
            content,
            mount_pods,
            clock,
            identifiers,
            locks: Locks::default(),
            reservations: Mutex::new(()),
            readiness: Mutex::new(Readiness::Starting),
        })))
    }

    /// Finishes or takes back what an earlier process left half done, and opens the services. Blocks.
    pub fn recover(&self) -> Result<(), Refusal> {
        let recovered = self.0.recover();
        self.0.set_readiness(match &recovered {
            Ok(()) => Readiness::Ready,
            Err(refusal) => Readiness::Failed(refusal.to_string()),
        });
        recovered
    }

    /// The Identity service.
    pub fn identity(&self) -> IdentityServer<IdentityService> {
        IdentityServer::new(IdentityService::new(self.0.clone()))
    }

    /// The Controller service.
    pub fn controller(&self) -> ControllerServer<ControllerService> {
        ControllerServer::new(ControllerService::new(self.0.clone()))
    }

    /// The Node service.
    pub fn node(&self) -> NodeServer<NodeService> {
        NodeServer::new(NodeService::new(self.0.clone(), self.0.clone()))
    }

    /// The GroupController service.
    pub fn group_controller(&self) -> GroupControllerServer<GroupControllerService> {
        GroupControllerServer::new(GroupControllerService::new(self.0.clone()))
    }

    /// The SnapshotMetadata service.
    pub fn snapshot_metadata(&self) -> SnapshotMetadataServer<SnapshotMetadataService> {
        SnapshotMetadataServer::new(SnapshotMetadataService::new(self.0.clone()))
    }

    /// All services, for a server. Those that are not offered are there to say so in words.
    pub fn routes(&self) -> Routes {
        let routes = Routes::new(self.identity()).add_service(self.controller()).add_service(self.node());
        let routes = if self.0.capabilities.plugin(Plugin::GroupControllerService) {
            routes.add_service(self.group_controller())
        } else {
            routes.add_service(GroupControllerServer::new(Unoffered))
        };
        if self.0.capabilities.plugin(Plugin::SnapshotMetadataService) {
            routes.add_service(self.snapshot_metadata())
        } else {
            routes.add_service(SnapshotMetadataServer::new(Unoffered))
        }
    }
}

impl State {
    /// Refuses while the driver is starting.
    pub(super) fn ready(&self) -> Result<(), Refusal> {
        match self.readiness() {
            Readiness::Ready => Ok(()),
            Readiness::Starting => Err(Refusal::Starting),
            Readiness::Failed(why) => Err(Refusal::FailedPrecondition(format!("the driver could not recover: {why}"))),
        }
    }

    pub(super) fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_readiness(&self, readiness: Readiness) {
        *self.readiness.lock().unwrap_or_else(PoisonError::into_inner) = readiness;
    }

    /// Makes "is there room" and "take it" one step.
    pub(super) fn reserving(&self) -> MutexGuard<'_, ()> {
        self.reservations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs work that blocks. It goes on when the caller gives up, and holds its locks until it ends.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let state = self.clone();
        tokio::task::spawn_blocking(move || work(&state))
            .await
            .unwrap_or_else(|error| Err(Refusal::internal("the request", error)))
    }

    /// A volume that everybody may see.
    pub(super) fn ready_volume(&self, id: &VolumeId) -> Result<Volume, Refusal> {
        self.store.volume(id)?.filter(Volume::is_ready).ok_or_else(|| Refusal::no_volume(id))
    }

    /// Whether the volume is in use: the text says where. Attachments are known to the store, publications to the
    /// mount pods of this node.
    pub(super) async fn user_of(&self, id: &VolumeId) -> Result<Option<String>, Refusal> {
        if let Some(attachment) = self.store.attachments_of(id)?.first() {
            return Ok(Some(format!("attached to node {}", attachment.node)));
        }
        let published = self.mount_pods.published(id).await?;
        Ok(published.first().map(|reference| format!("published at {}", reference.target)))
    }

    /// How long a request may take when it brings no deadline.
    pub(super) fn patience(&self) -> Duration {
        self.configuration.deadline
    }
}

impl NodeVolumes for State {
    fn volume(&self, id: &VolumeId) -> Result<Option<Volume>, Refusal> {
        Ok(self.store.volume(id)?.filter(Volume::is_ready))
    }

    fn location(&self, id: &VolumeId, access_type: AccessType) -> VolumeContent {
        self.content.location(id, access_type)
    }

    fn condition(&self, volume: &Volume) -> Result<String, String> {
        self.content.condition(&volume.id, volume.access)
    }

    fn free_inodes(&self) -> Option<u64> {
        self.content.free_inodes()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::internal("the store", error)
    }
}

impl State {
    /// The refusal for content that could not be made.
    pub(super) fn no_content(doing: &'static str, error: &std::io::Error) -> Refusal {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Refusal::ResourceExhausted("the disk below the driver is full: free some space and retry".into())
            }
            std::io::ErrorKind::TimedOut => {
                Refusal::DeadlineExceeded("waiting for a pause between writes to the volume")
            }
            _ => Refusal::internal(doing, error),
        }
    }

    /// Takes back or finishes a volume that is not ready.
    pub(super) fn remove_volume(&self, volume: &Volume) -> Result<(), Refusal> {
        self.content
            .remove_volume(&volume.id)
            .map_err(|error| Refusal::internal("removing the content of a volume", error))?;
        Ok(self.store.commit(&[super::store::Change::RemoveVolume(volume.id.clone())])?)
    }

    /// Takes back or finishes a snapshot that is not ready.
    pub(super) fn remove_snapshot(&self, snapshot: &Snapshot) -> Result<(), Refusal> {
        self.content
            .remove_snapshot(&snapshot.id)
            .map_err(|error| Refusal::internal("removing the content of a snapshot", error))?;
        Ok(self.store.commit(&[super::store::Change::RemoveSnapshot(snapshot.id.clone())])?)
    }
}
