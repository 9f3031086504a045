//! What the published protocols are asked, how they end, and the smallest change that removes each hazard.

use super::super::{
    TargetPath, VolumeContent,
    api::Selector,
    pod::{Pod, PodKey, PodName},
};

/// A publish or an unpublish.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PublishedRequest {
    /// Node, volume and settings.
    pub key: PodKey,
    /// What is served.
    pub content: VolumeContent,
    /// Where it is to appear, or to go from.
    pub target: TargetPath,
    /// Whether the daemon's mount is asked for read-only; the mount on the target never is.
    pub read_only: bool,
    /// Stands for the random letters at the end of a new pod's name; the protocol of 2022 has none.
    pub letters: u32,
    /// The change to try.
    pub mend: Option<Mend>,
}

/// One round of the reconciler over one pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reconciliation {
    /// Node, volume and settings of the pod.
    pub key: PodKey,
    /// The pod.
    pub pod: PodName,
    /// Every target whose workload a list of workloads would show; the reconciler takes the others for gone. None: no
    /// reference is collected in this round.
    pub candidates: Vec<TargetPath>,
    /// Stands for the random letters at the end of a successor's name; the protocol of 2022 has none.
    pub letters: u32,
    /// The change to try.
    pub mend: Option<Mend>,
}

/// How a machine of a published protocol ends.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PublishedOutcome {
    /// The volume is said to be at the target.
    Published,
    /// The volume is said to be away from the target.
    Unpublished,
    /// An error is answered.
    Failed(&'static str),
    /// A round of the reconciler is over.
    Done,
}

/// The smallest change that removes a hazard.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mend {
    /// A deletion names uid and version of the object whose references were seen to be none.
    ConditionalDelete,
    /// A reference is added by compare-and-swap.
    VersionedAdd,
    /// A conflict while references are merged into a successor is tried again instead of logged.
    RetryMerge,
    /// The record of a terminating pod is read, and its finalizer removed, under the lock that an unpublish takes.
    RecordUnderLock,
    /// An unpublish drops the reference from terminating pods too, and a successor is made from a record that was read
    /// under the lock.
    DropEverywhere,
    /// The record is read before the list of workloads, and written by compare-and-swap.
    RecordFirst,
}

impl Mend {
    /// What is changed, in a sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Self::ConditionalDelete => {
                "a deletion names uid and version of the object whose references were seen empty"
            }
            Self::VersionedAdd => "a reference is added by compare-and-swap",
            Self::RetryMerge => "a conflict while references are merged into a successor is tried again",
            Self::RecordUnderLock => "the record is read, and its finalizer removed, under the lock of an unpublish",
            Self::DropEverywhere => {
                "an unpublish drops its reference from terminating pods too; a successor copies a record read under the lock"
            }
            Self::RecordFirst => "the record is read before the list of workloads, and written by compare-and-swap",
        }
    }
}

/// A selector of the pods that serve this volume on this node.
pub(super) fn pods_of(key: &PodKey) -> Selector {
    Selector { node: key.node.clone(), volume: Some(key.volume.clone()) }
}

/// The pod of this name, as a GET would show it.
pub(super) fn get<'a>(pods: &'a [Pod], name: &PodName) -> Option<&'a Pod> {
    pods.iter().find(|pod| pod.name == *name)
}
