//! The process runtime as the node service sees it.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use thiserror::Error;

use super::{
    super::{
        Deadline, MountPods, Publication, PublishError, Published, Role, TargetPath, UnpublishError, Usage, VolumeId,
        api::PodApi,
        executor::{Engine, NoWorkloads, Running, SystemClock, Workloads},
        pod::NodeId,
        protocol::Policy,
    },
    node::HostNode,
    places::Places,
    records::FileRecords,
    supervisor::Supervisor,
};

/// What a process runtime is made of.
pub struct ProcessOptions {
    /// Where records, logs and mounts are kept; one directory for each node.
    pub state_dir: PathBuf,
    /// The node.
    pub node: NodeId,
    /// The choices of the protocol, with the delay of deletion and the bounds of the waits.
    pub policy: Policy,
    /// The executable whose `mount-daemon` subcommand is [`super::mount_daemon_main`]; this one, when absent.
    pub executable: Option<PathBuf>,
    /// How often housekeeping looks.
    pub housekeeping: Duration,
    /// Who still runs.
    pub workloads: Arc<dyn Workloads>,
}

impl ProcessOptions {
    /// The node of this id over this state directory, with the hardened protocol.
    pub fn new(state_dir: impl Into<PathBuf>, node: impl Into<String>) -> Self {
        Self {
            state_dir: state_dir.into(),
            node: NodeId::from(node.into()),
            policy: Policy::default(),
            executable: None,
            housekeeping: Duration::from_secs(5),
            workloads: Arc::new(NoWorkloads),
        }
    }
}

/// Why the runtime could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state directory cannot be used.
    #[error("state directory {0} cannot be used: {1}")]
    StateDir(PathBuf, #[source] io::Error),
    /// The executable of the mount daemons is unknown.
    #[error("cannot find the executable of the mount daemons: {0}")]
    Executable(#[source] io::Error),
}

/// The mount pods of this host.
pub struct ProcessMountPods {
    running: Running,
}

impl ProcessMountPods {
    /// Takes up what the state directory records and starts the housekeeping. Several instances may do so at once.
    pub fn start(options: ProcessOptions) -> Result<Self, StartError> {
        let places = Places::open(&options.state_dir)
            .and_then(|places| places.claim(&options.node).map(|()| places))
            .map_err(|error| StartError::StateDir(options.state_dir.clone(), error))?;
        let executable = match options.executable {
            Some(executable) => executable,
            None => std::env::current_exe().map_err(StartError::Executable)?,
        };
        let api: Arc<dyn PodApi> = Arc::new(FileRecords::at(places.clone()));
        let supervisor = Supervisor::new(places.clone(), executable);
        let node = Arc::new(HostNode::new(places, supervisor, api.clone()));
        let engine = Engine::new(options.node, api, node, Arc::new(SystemClock), options.workloads, options.policy);
        Ok(Self { running: Running::start(engine, options.housekeeping) })
    }

    /// The engine, for a caller that wants its rounds of housekeeping one by one.
    pub fn engine(&self) -> &Arc<Engine> {
        self.running.engine()
    }

    /// Stops the housekeeping. What is published stays published, and its daemons go on.
    pub async fn shutdown(&self) {
        self.running.shutdown().await;
    }
}

#[async_trait]
impl MountPods for ProcessMountPods {
    async fn publish(&self, publication: Publication, deadline: Deadline) -> Result<(), PublishError> {
        self.running.publish(publication, deadline).await
    }

    async fn unpublish(
        &self,
        volume: &VolumeId,
        target: &TargetPath,
        role: Role,
        deadline: Deadline,
    ) -> Result<(), UnpublishError> {
        self.running.unpublish(volume, target, role, deadline).await
    }

    async fn published(&self, volume: &VolumeId) -> Result<Vec<Published>, UnpublishError> {
        self.running.published(volume).await
    }

    async fn usage(&self, volume: &VolumeId, target: &TargetPath) -> Result<Option<Usage>, UnpublishError> {
        self.running.usage(volume, target).await
    }

    async fn resized(&self, volume: &VolumeId) -> Result<(), UnpublishError> {
        self.running.resized(volume).await
    }

    async fn ready(&self) -> Result<(), String> {
        self.running.ready().await
    }

    async fn condition(&self, volume: &VolumeId) -> Result<String, String> {
        self.running.condition(volume).await
    }
}
