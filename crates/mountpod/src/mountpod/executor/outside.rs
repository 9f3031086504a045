//! The outside worlds that the executor touches, beside the pod API: the node, the clock, and who still runs.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use super::super::{
    TargetPath, Usage, VolumeContent,
    instant::Timestamp,
    pod::{Pod, Uid},
    protocol::{Answer, MountOperation, WorkloadState},
};

/// The mounts and daemons of this node.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    /// Performs one operation of the protocol. It is never cut off: it ends before the target's guard is given back.
    async fn perform(&self, operation: MountOperation) -> Answer;

    /// Measures the content of a volume.
    async fn measure(&self, content: &VolumeContent) -> Result<Usage, String>;

    /// Tells what serves the pod's content that its size has changed.
    async fn resize(&self, pod: &Pod) -> Result<(), String>;

    /// Whether everything that mounting needs is there; the text names what is missing.
    async fn ready(&self) -> Result<(), String>;

    /// Whether the pod's daemon serves, without starting it.
    async fn serves(&self, pod: &Pod) -> bool;

    /// The pods of which something is left on the node: a daemon, a mount, a device, a directory.
    async fn remains(&self) -> Result<Vec<Uid>, String>;

    /// Removes what is left of a pod whose record is gone.
    async fn discard(&self, pod: &Uid) -> Result<(), String>;
}

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// This moment.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Which workloads still need their targets.
#[async_trait]
pub trait Workloads: Send + Sync + 'static {
    /// What is known now of the workload behind each target; an error says that nothing is known at all.
    async fn states(&self, targets: &[TargetPath]) -> Result<Vec<WorkloadState>, String>;
}

/// Knows no workload: references go by an explicit unpublish, or when their target stays without a mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWorkloads;

#[async_trait]
impl Workloads for NoWorkloads {
    async fn states(&self, targets: &[TargetPath]) -> Result<Vec<WorkloadState>, String> {
        Ok(vec![WorkloadState::Unknown; targets.len()])
    }
}
