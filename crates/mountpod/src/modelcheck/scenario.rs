//! Who takes part in a search, what may go wrong and how often.

use super::{super::mountpod::published::Mend, Invariant};

/// One search: a list of requests and a bound for each kind of trouble.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is about, in one sentence.
    pub about: &'static str,
    /// The requests; each is made once, in any order, and made again when it was cut off.
    pub requests: Vec<Request>,
    /// Targets that were published before the search begins.
    pub published: Vec<u8>,
    /// How many driver instances there are.
    pub instances: u8,
    /// How many of them, the last ones, do no background work: they only end the requests that they have.
    pub leaving: u8,
    /// Which background work may run.
    pub chores: Chores,
    /// Whether a pod stays for a while after its last reference.
    pub delayed_deletion: bool,
    /// Whether the orchestrator's workloads are known.
    pub workloads: bool,
    /// How often each kind of trouble may happen.
    pub trouble: Vec<(Trouble, u8)>,
    /// What is looked for.
    pub watch: Watch,
    /// The change of a published protocol that is tried.
    pub mend: Option<Mend>,
}

/// What a search looks for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Watch {
    /// Every broken promise, also on the way to rest.
    #[default]
    Everything,
    /// One promise, at the moment at which it is broken: others are broken on the way, and have their own scenarios.
    Only(Invariant),
}

impl Watch {
    pub(super) fn sees(self, invariant: Invariant) -> bool {
        self == Self::Everything || self == Self::Only(invariant)
    }
}

/// One request of the orchestrator.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Request {
    /// Publish or unpublish.
    pub kind: RequestKind,
    /// The target, by number.
    pub target: u8,
    /// The driver instance that it is sent to.
    pub instance: u8,
}

/// Publish or unpublish.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RequestKind {
    /// NodePublishVolume, for reading and writing.
    Publish,
    /// NodePublishVolume, read-only.
    PublishReadOnly,
    /// NodeUnpublishVolume.
    Unpublish,
}

/// The background work of a driver instance; one piece of it runs at a time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Chores {
    /// Ends terminating pods and replaces those in use.
    pub terminate: bool,
    /// Mounts targets again whose daemon was lost.
    pub rebind: bool,
    /// Collects references whose workloads are gone.
    pub collect: bool,
    /// Deletes pods that nothing refers to.
    pub retire: bool,
}

/// What may go wrong, or merely happen, at any moment.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Trouble {
    /// A driver instance is killed and started again.
    Crash,
    /// One request is cut off between two effects, by its deadline.
    CutOff,
    /// A write takes effect and its reply is lost.
    LostReply,
    /// A request to the pod API is lost before it takes effect.
    LostRequest,
    /// The pod API refuses a write although nothing is wrong with it.
    Conflict,
    /// The pod API is out of order for one request.
    ApiFailure,
    /// Somebody deletes a mount pod.
    Eviction,
    /// A daemon dies.
    DaemonLoss,
    /// The kubelet writes a pod's status, which gives it a new version.
    StatusWrite,
    /// The delay of a deletion passes.
    ClockStep,
    /// Somebody writes an unreadable moment of deletion.
    Scribble,
    /// A mount on a target fails.
    FailedMount,
    /// A daemon that is being started does not serve in time.
    SlowDaemon,
    /// A workload is asked to shut down.
    WorkloadShutdown,
    /// A workload is gone, and nobody unpublishes its target.
    WorkloadLoss,
    /// The node restarts: mounts, daemons and driver instances are gone, records stay.
    Reboot,
}

impl Trouble {
    /// All kinds.
    pub const ALL: [Self; 16] = [
        Self::Crash,
        Self::CutOff,
        Self::LostReply,
        Self::LostRequest,
        Self::Conflict,
        Self::ApiFailure,
        Self::Eviction,
        Self::DaemonLoss,
        Self::StatusWrite,
        Self::ClockStep,
        Self::Scribble,
        Self::FailedMount,
        Self::SlowDaemon,
        Self::WorkloadShutdown,
        Self::WorkloadLoss,
        Self::Reboot,
    ];
}

/// How often each kind of trouble may still happen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Budget([u8; Trouble::ALL.len()]);

impl Budget {
    pub(super) fn of(trouble: &[(Trouble, u8)]) -> Self {
        let mut budget = Self::default();
        for (kind, times) in trouble {
            budget.0[*kind as usize] += times;
        }
        budget
    }

    pub(super) const fn allows(&self, trouble: Trouble) -> bool {
        self.0[trouble as usize] > 0
    }

    #[must_use]
    pub(super) const fn after(mut self, trouble: Trouble) -> Self {
        self.0[trouble as usize] = self.0[trouble as usize].saturating_sub(1);
        self
    }
}

impl Scenario {
    pub(super) fn targets(&self) -> u8 {
        let asked = self.requests.iter().map(|request| request.target);
        asked.chain(self.published.iter().copied()).max().map_or(0, |last| last + 1)
    }
}

/// The path of a target, by number.
pub(super) fn target_text(target: u8) -> String {
    format!("/target/{}", char::from(b'a' + target))
}
