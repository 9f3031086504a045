//! The pod API: the few requests that the protocol makes, and what they may answer.

use async_trait::async_trait;
use thiserror::Error;

use super::{
    VolumeId,
    pod::{NodeId, Pod, PodName, PodStatus, ResourceVersion, Uid},
};

/// Where pods are recorded. Every write is atomic and gives the object a new version.
#[async_trait]
pub trait PodApi: Send + Sync + 'static {
    /// The pod of this name.
    async fn get(&self, name: &PodName) -> Result<Pod, ApiError>;

    /// The pods of a selection, as they were at one moment that is not before the request.
    async fn list(&self, selector: &Selector) -> Result<Vec<Pod>, ApiError>;

    /// Creates the pod unless the name is taken; uid and version are given here.
    async fn create(&self, pod: Pod) -> Result<Pod, ApiError>;

    /// Replaces annotations and finalizers. The record vanishes, and `None` comes back, when a deletion was accepted
    /// before and no finalizer is left.
    async fn update(&self, pod: Pod, mode: WriteMode) -> Result<Option<Pod>, ApiError>;

    /// Accepts the deletion. The daemon is killed; the record stays while it has finalizers.
    async fn delete(&self, name: &PodName, preconditions: Preconditions) -> Result<Option<Pod>, ApiError>;

    /// Replaces the status, as only the kubelet does.
    async fn update_status(&self, name: &PodName, uid: &Uid, status: PodStatus) -> Result<(), ApiError>;
}

/// Which pods to list.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Selector {
    /// Those of this node.
    pub node: NodeId,
    /// Those of this volume, or of all.
    pub volume: Option<VolumeId>,
}

impl Selector {
    /// Whether the pod is selected.
    pub fn selects(&self, pod: &Pod) -> bool {
        pod.spec.key.node == self.node && self.volume.as_ref().is_none_or(|volume| pod.spec.key.volume == *volume)
    }
}

/// What an update compares before it writes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum WriteMode {
    /// Uid and version: a change since the read makes the write fail.
    #[default]
    CompareAndSwap,
    /// Nothing: the last writer wins.
    Unconditional,
    /// Nothing, and only the annotations are replaced, all of them.
    PatchAnnotations,
    /// Nothing, and only the annotations of the given pod are set; others stay.
    MergeAnnotations,
    /// Nothing, and only the annotations of the given pod are removed; others stay.
    RemoveAnnotations,
}

/// What a deletion compares before it is accepted.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Preconditions {
    /// The identity that the object must have.
    pub uid: Option<Uid>,
    /// The version that the object must have.
    pub version: Option<ResourceVersion>,
}

/// Why a request to the pod API has no result.
#[derive(Clone, Debug, Eq, Error, Hash, PartialEq)]
#[non_exhaustive]
pub enum ApiError {
    /// The object is not what the request expected; nothing was written.
    #[error("the pod was changed meanwhile")]
    Conflict,
    /// No such object.
    #[error("the pod does not exist")]
    NotFound,
    /// The name is taken.
    #[error("a pod of this name exists")]
    AlreadyExists,
    /// No reply came: the request may have taken effect.
    #[error("no reply from the pod API: {0}")]
    Unknown(String),
    /// The request was not carried out.
    #[error("the pod API failed: {0}")]
    Failed(String),
}
