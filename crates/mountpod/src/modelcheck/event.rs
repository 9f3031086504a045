//! What leads from one state of a search to the next.

use super::scenario::Trouble;

/// What happens to an effect on its way.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Fate {
    Performed,
    LostReply,
    LostRequest,
    Conflict,
    ApiFailure,
    FailedMount,
    NotYet,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Move {
    /// A request is made, and its first effect performed.
    Begin(u8),
    /// A piece of background work is started in an instance, and its first effect performed.
    Chore { instance: u8, number: u8 },
    /// The effect of an actor is performed.
    Advance { actor: u8, fate: Fate },
    /// The kubelet starts a daemon.
    Kubelet,
    /// An instance is killed, and all that runs in it.
    Crash(u8),
    /// One actor is cut off.
    CutOff(u8),
    /// Something else goes wrong, or happens, with the pod, target or clock of this number.
    Other(Trouble, u8),
    /// After all trouble has ended: the search lets time pass, or everybody leave.
    Settle,
}

/// Moves that lead from one state of a search to the next. Only a search that writes down its way notes them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Event(Option<Vec<Move>>);

impl Event {
    pub(super) fn new(noted: bool) -> Self {
        Self(noted.then(Vec::new))
    }

    #[must_use]
    pub(super) fn then(&self, next: Move) -> Self {
        Self(self.0.as_ref().map(|moves| moves.iter().copied().chain([next]).collect()))
    }

    pub(super) fn moves(&self) -> &[Move] {
        self.0.as_deref().unwrap_or_default()
    }
}
