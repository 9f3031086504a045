//! Who takes part: a machine of some protocol, with the effect that it asks for and the driver instance that runs it.

use super::super::mountpod::{
    instant::Timestamp,
    protocol::{
        Answer, Collect, Effect, EmptinessEvidence, Machine, Policy, Publish, PublishOutcome, Rebind, RebindOutcome,
        Retire, Terminate, TerminateOutcome, Unpublish, UnpublishOutcome,
    },
    published::{
        Publish2022, Publish2026, PublishedOutcome, Reconcile2022, Reconcile2026, Unpublish2022, Unpublish2026,
    },
};

/// How an actor ended, in terms that all protocols share.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Outcome {
    /// The volume is said to be at the target.
    Published,
    /// The volume is said to be away from the target.
    Unpublished,
    /// The request contradicts what is there.
    Refused,
    /// It did not work this time.
    Failed(String),
    /// Housekeeping ended.
    Done,
}

/// What an actor works for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Job {
    /// The request of this number in the scenario.
    Request(u8),
    /// The housekeeping of its instance, here for one target.
    Target(u8),
    /// The housekeeping of its instance.
    Housekeeping,
}

/// A machine with the effect that it asks for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Actor {
    pub(super) instance: u8,
    pub(super) job: Job,
    pub(super) machine: AnyMachine,
    pub(super) effect: Effect<Outcome>,
}

impl Actor {
    pub(super) fn new(instance: u8, job: Job, machine: AnyMachine, policy: &Policy, now: Timestamp) -> Self {
        let (machine, effect) = machine.step(policy, now, Answer::Begin);
        Self { instance, job, machine, effect }
    }

    /// Whether the actor is a round of the published collector of 2026 at its lock: it leaves alone what a request works on.
    pub(super) fn yields_to_requests(&self) -> bool {
        let collects = matches!(&self.machine, AnyMachine::Reconcile2026(round) if round.collects());
        collects && matches!(self.effect, Effect::Acquire(_))
    }

    /// Whether the actor may as well be started anew, because it is about to read what it would read first.
    pub(super) fn begins_anew(&self, policy: &Policy) -> bool {
        let restarts = match self.machine {
            AnyMachine::Terminate(_) => true,
            AnyMachine::Retire(_) => self.job == Job::Housekeeping && policy.emptiness == EmptinessEvidence::SameRead,
            _ => false,
        };
        restarts && matches!(self.effect, Effect::List(_))
    }

    pub(super) fn answered(&self, policy: &Policy, now: Timestamp, answer: Answer) -> Self {
        let (machine, effect) = self.machine.clone().step(policy, now, answer);
        Self { machine, effect, ..*self }
    }
}

macro_rules! machines {
    ($($name:ident),* $(,)?) => {
        /// A machine of any protocol.
        #[derive(Clone, Debug, Eq, Hash, PartialEq)]
        pub(super) enum AnyMachine {
            $(
                #[doc = concat!("A ", stringify!($name), ".")]
                $name(Box<$name>),
            )*
        }

        impl AnyMachine {
            fn step(self, policy: &Policy, now: Timestamp, answer: Answer) -> (Self, Effect<Outcome>) {
                match self {
                    $(Self::$name(machine) => {
                        let (machine, effect) = machine.step(policy, now, answer);
                        let effect = effect.lift().unwrap_or_else(|reply| Effect::Reply(Outcome::from(reply)));
                        (Self::$name(Box::new(machine.simplified())), effect)
                    })*
                }
            }

            /// The kind of the machine.
            pub(super) const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }
        }

        $(
            impl From<$name> for AnyMachine {
                fn from(machine: $name) -> Self {
                    Self::$name(Box::new(machine))
                }
            }
        )*
    };
}

machines! {
    Publish, Unpublish, Terminate, Rebind, Collect, Retire,
    Publish2022, Unpublish2022, Reconcile2022,
    Publish2026, Unpublish2026, Reconcile2026,
}

impl From<PublishOutcome> for Outcome {
    fn from(outcome: PublishOutcome) -> Self {
        match outcome {
            PublishOutcome::Published => Self::Published,
            PublishOutcome::Refused(_) => Self::Refused,
            PublishOutcome::TimedOut(waiting) => Self::Failed(format!("timed out waiting: {waiting:?}")),
            PublishOutcome::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<UnpublishOutcome> for Outcome {
    fn from(outcome: UnpublishOutcome) -> Self {
        match outcome {
            UnpublishOutcome::Unpublished(_) => Self::Unpublished,
            UnpublishOutcome::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<TerminateOutcome> for Outcome {
    fn from(outcome: TerminateOutcome) -> Self {
        match outcome {
            TerminateOutcome::Failed(text) => Self::Failed(text),
            TerminateOutcome::Vanished | TerminateOutcome::NotTerminating => Self::Done,
        }
    }
}

impl From<RebindOutcome> for Outcome {
    fn from(outcome: RebindOutcome) -> Self {
        match outcome {
            RebindOutcome::Failed(text) => Self::Failed(text),
            RebindOutcome::Nothing | RebindOutcome::Rebound | RebindOutcome::Later => Self::Done,
        }
    }
}

impl From<PublishedOutcome> for Outcome {
    fn from(outcome: PublishedOutcome) -> Self {
        match outcome {
            PublishedOutcome::Published => Self::Published,
            PublishedOutcome::Unpublished => Self::Unpublished,
            PublishedOutcome::Failed(text) => Self::Failed(text.to_owned()),
            PublishedOutcome::Done => Self::Done,
        }
    }
}

macro_rules! housekeeping_replies {
    ($($name:path),*) => {$(
        impl From<$name> for Outcome {
            fn from(_: $name) -> Self {
                Self::Done
            }
        }
    )*};
}

housekeeping_replies! { super::super::mountpod::protocol::Collected, super::super::mountpod::protocol::Retirement }
