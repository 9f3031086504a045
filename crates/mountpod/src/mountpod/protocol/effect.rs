//! What a machine asks of the world, one thing at a time, and what the world answers.

use std::{fmt, fmt::Debug, hash::Hash};

use super::{
    super::{
        Role, TargetPath, VolumeContent,
        api::{Preconditions, Selector, WriteMode},
        instant::Timestamp,
        pod::{Pod, PodKey, PodName, Uid},
    },
    Policy,
};

/// A protocol actor. It is a value: stopping to step it is a crash, cloning it is a branch of a search.
pub trait Machine: Clone + Debug + Eq + Hash {
    /// What the actor concludes.
    type Reply: Clone + Debug + Eq + Hash;

    /// Takes the answer to the last effect ([`Answer::Begin`] at first) and says what is to be done next.
    fn step(self, policy: &Policy, now: Timestamp, answer: Answer) -> (Self, Effect<Self::Reply>);

    /// The same actor without what no later step depends on, such as what it only reports. A search of states uses it.
    #[must_use]
    fn simplified(self) -> Self {
        self
    }
}

/// One request to the world. At most one is outstanding for each machine.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[must_use = "an effect that is not performed leaves the protocol half way"]
pub enum Effect<Reply> {
    /// Read pods, at one moment.
    List(Selector),
    /// Create a pod.
    Create(Box<Pod>),
    /// Write annotations and finalizers.
    Update(Box<Pod>, WriteMode),
    /// Ask for a deletion.
    Delete(PodName, Preconditions),
    /// Work on the mounts of the node.
    Mount(MountOperation),
    /// Ask who still needs the targets.
    Workloads(Vec<TargetPath>),
    /// Let time pass.
    Wait(Waiting),
    /// Take a lock shared with the other actors of this process.
    Acquire(PodLock),
    /// Give the lock back.
    Release(PodLock),
    /// End.
    Reply(Reply),
}

/// Work on the mounts of the node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum MountOperation {
    /// Look at what is mounted on the target.
    Look(TargetPath),
    /// Open the mount root of the pod's daemon and check that it is this daemon's, alive.
    Verify(Box<Pod>),
    /// Make the target's directory or file, and let the group in.
    Prepare {
        /// The target.
        target: TargetPath,
        /// Whose it is.
        role: Role,
        /// What will be mounted there.
        content: VolumeContent,
        /// The group that shall own the content.
        mount_group: Option<u32>,
    },
    /// Mount on the target, on top of what is there.
    Bind {
        /// The daemon whose root it is.
        daemon: DaemonId,
        /// The target.
        target: TargetPath,
        /// Whether writes are refused there.
        read_only: bool,
        /// Whether the verified descriptor or the daemon's path is the source.
        from_descriptor: bool,
    },
    /// Remove all layers of ours but the top one.
    UnmountBeneath(TargetPath),
    /// Remove every layer of ours and check that none is left.
    UnmountAll(TargetPath),
    /// Remove the target's directory or file, which holds nothing.
    RemoveTarget(TargetPath),
    /// Stop the daemon of the pod and remove its mounts, devices and directories.
    Teardown(Box<Pod>),
}

/// A lock of one process; `None` of it is needed for the protocol to be right.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PodLock(pub PodKey);

/// What is waited for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Waiting {
    /// A terminating pod to vanish.
    Predecessor,
    /// A daemon to serve.
    Readiness,
    /// The pod API to recover, or another writer to finish.
    Retry,
}

/// One run of a pod's daemon.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DaemonId {
    /// The pod.
    pub pod: Uid,
    /// Which of its runs.
    pub run: u32,
}

impl fmt::Display for DaemonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.pod, self.run)
    }
}

/// What is mounted on a target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TargetState {
    /// Nothing.
    Bare,
    /// Layers of ours.
    Ours {
        /// The one that is seen.
        top: Mounted,
        /// How many there are.
        layers: u32,
    },
    /// A mount that is not ours is seen.
    Foreign,
}

/// One layer of ours.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Mounted {
    /// The daemon that serves it.
    pub daemon: DaemonId,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether the daemon answers.
    pub alive: Liveness,
}

/// Whether a daemon answers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Liveness {
    /// It does.
    Alive,
    /// It does not, and never will.
    Dead,
}

/// What is known of the workload behind a target.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WorkloadState {
    /// It exists.
    Lives,
    /// It exists and is shutting down; it still uses its volumes.
    Terminating,
    /// Its object is gone, for ever.
    Gone,
    /// The path names no workload, or nobody knows.
    Unknown,
}

/// The world's answer to an effect.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Answer {
    /// Nothing was asked yet.
    Begin,
    /// The pods of a list.
    Pods(Vec<Pod>),
    /// The write took effect; the object as it is now, unless it vanished.
    Written(Option<Box<Pod>>),
    /// The object is not what the request expected, does not exist, or exists already. Nothing was written.
    Refused,
    /// No reply came: the write may have taken effect.
    Unknown,
    /// What is mounted on the target.
    Target(TargetState),
    /// The daemon serves, and its root is open.
    Serving(DaemonId),
    /// The daemon does not serve (yet, or any more).
    NotServing,
    /// Done.
    Done,
    /// What is known of the workloads, in the order of the question.
    Workloads(Vec<WorkloadState>),
    /// It could not be done.
    Failed(String),
}

impl Answer {
    /// Whether a write has to be followed by a pause before the next look: the API is in trouble.
    pub(super) const fn is_trouble(&self) -> bool {
        matches!(self, Self::Unknown | Self::Failed(_))
    }
}

impl<Reply> Effect<Reply> {
    /// The same effect asked for by a machine that contains this one, or the reply that ends this one.
    pub fn lift<Outer>(self) -> Result<Effect<Outer>, Reply> {
        Ok(match self {
            Self::List(selector) => Effect::List(selector),
            Self::Create(pod) => Effect::Create(pod),
            Self::Update(pod, mode) => Effect::Update(pod, mode),
            Self::Delete(name, preconditions) => Effect::Delete(name, preconditions),
            Self::Mount(operation) => Effect::Mount(operation),
            Self::Workloads(targets) => Effect::Workloads(targets),
            Self::Wait(waiting) => Effect::Wait(waiting),
            Self::Acquire(lock) => Effect::Acquire(lock),
            Self::Release(lock) => Effect::Release(lock),
            Self::Reply(reply) => return Err(reply),
        })
    }
}
