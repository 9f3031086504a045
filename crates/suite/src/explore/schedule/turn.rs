//! The steps of a schedule.

use serde::{Deserialize, Serialize};

/// A path at which one volume can appear.
pub type Target = u8;

/// A place for one actor that has not ended.
pub type Actor = u8;

/// What holds for a whole schedule.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Environment {
    /// Whether a pod outlives its last reference for a while.
    #[serde(default)]
    pub delayed_deletion: bool,
    /// Whether daemons are started only when somebody waits for one.
    #[serde(default)]
    pub lazy_kubelet: bool,
}

/// One step of a schedule.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// An actor begins, and goes on to its end or to its pause.
    Start {
        /// Where it is remembered while it has not ended.
        actor: Actor,
        /// What it does.
        task: Task,
        /// After how many effects it pauses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<u8>,
    },
    /// An actor that has paused goes on.
    Resume {
        /// Which.
        actor: Actor,
        /// After how many more effects it pauses again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<u8>,
    },
    /// The process of all actors ends.
    Crash,
    /// Something happens to the world.
    Trouble(Trouble),
    /// A request to the pod API will not go as it should.
    Fault {
        /// How many requests go well before it.
        after: u8,
        /// What happens to it.
        fate: Fate,
    },
    /// Time passes.
    Time {
        /// How long.
        seconds: u16,
    },
}

/// What an actor does.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Makes the volume appear.
    Publish {
        /// Where.
        target: Target,
        /// Whether writes are refused there.
        #[serde(default)]
        read_only: bool,
    },
    /// Takes the volume away.
    Unpublish {
        /// From where.
        target: Target,
    },
    /// Repairs the mount after the daemon has changed.
    Rebind {
        /// Where.
        target: Target,
    },
    /// Finishes the deletion of a pod.
    Terminate,
    /// Drops the references of workloads that are gone.
    Collect,
    /// Deletes what nothing refers to.
    Retire,
}

/// What happens to the world.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Somebody deletes the mount pod.
    Evict,
    /// The daemon dies.
    KillDaemon,
    /// The node loses mounts and daemons; records stay, and say that all is well.
    Reboot,
    /// The kubelet writes a status that nobody waited for.
    WriteStatus,
    /// Somebody removes a target's directory on which nothing is mounted.
    RemoveDirectory {
        /// Which.
        target: Target,
    },
    /// The workload of the target is shutting down; it still uses its volume.
    ShutDown {
        /// Which.
        target: Target,
    },
    /// The workload of the target is gone for ever.
    RemoveWorkload {
        /// Which.
        target: Target,
    },
    /// Somebody writes nonsense into the moment of a pod's deletion.
    GarbleDeletion,
}

/// What happens to a request on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It takes effect, and the reply is lost.
    LostAfter,
    /// It takes no effect, and nobody knows.
    LostBefore,
    /// Somebody was faster, it is said.
    Conflict,
    /// The API is out of order.
    Failed,
}

impl Task {
    /// The target that the actor locks.
    pub const fn target(self) -> Option<Target> {
        match self {
            Self::Publish { target, .. } | Self::Unpublish { target } | Self::Rebind { target } => Some(target),
            Self::Terminate | Self::Collect | Self::Retire => None,
        }
    }
}

impl Trouble {
    /// The target that it strikes.
    pub const fn target(self) -> Option<Target> {
        match self {
            Self::RemoveDirectory { target } | Self::ShutDown { target } | Self::RemoveWorkload { target } => {
                Some(target)
            }
            Self::Evict | Self::KillDaemon | Self::Reboot | Self::WriteStatus | Self::GarbleDeletion => None,
        }
    }
}
