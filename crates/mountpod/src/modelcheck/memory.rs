//! What one thread of a search has worked out, and what it came across.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use super::{
    super::mountpod::{
        instant::Timestamp,
        pod::Uid,
        protocol::{Answer, Effect, Liveness, MountOperation, TargetState},
    },
    actor::Actor,
    event::Fate,
    invariant::Violation,
    records::Fresh,
    store::Kept,
};

/// What one thread has worked out before.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) performed: HashMap<(Kept, Kept, Fate, Fresh, Timestamp), Performed>,
    pub(super) checked: HashMap<(Kept, Kept, Kept), Option<Violation>>,
    /// Whether events note their moves.
    pub(super) is_noting: bool,
    /// Which kinds of machines met which effects, and what became of them.
    pub(super) reached: HashSet<Reached>,
}

/// A machine of a kind performed an effect of a kind, and this became of it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Reached {
    machine: &'static str,
    effect: &'static str,
    answer: &'static str,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.machine, self.effect, self.answer)
    }
}

impl Memory {
    /// Forgets what can be worked out again, when it has become much.
    pub(super) fn shrink(&mut self) {
        if self.performed.len() > REMEMBERED {
            self.performed.clear();
        }
        if self.checked.len() > REMEMBERED {
            self.checked.clear();
        }
    }
}

/// What became of an effect.
#[derive(Clone)]
pub(super) struct Performed {
    pub(super) actor: Kept,
    /// The pod API or the node, whichever the effect is about.
    pub(super) part: Kept,
    pub(super) killed: Option<Uid>,
    pub(super) broken: Option<Violation>,
    pub(super) reached: Reached,
}

pub(super) fn reached(actor: &Actor, answer: &Answer) -> Reached {
    let effect = match &actor.effect {
        Effect::List(_) => "list",
        Effect::Create(_) => "create",
        Effect::Update(..) => "update",
        Effect::Delete(..) => "delete",
        Effect::Mount(MountOperation::Look(_)) => "look",
        Effect::Mount(MountOperation::Verify(_)) => "verify",
        Effect::Mount(MountOperation::Bind { .. }) => "bind",
        Effect::Mount(MountOperation::Teardown(_)) => "teardown",
        Effect::Mount(_) => "mount",
        _ => "other",
    };
    let answer = match answer {
        Answer::Written(None) => "vanished",
        Answer::Written(_) => "written",
        Answer::Refused => "refused",
        Answer::Unknown => "unknown",
        Answer::Failed(_) => "failed",
        Answer::NotServing => "not-serving",
        Answer::Serving(_) => "serving",
        Answer::Target(TargetState::Bare) => "bare",
        Answer::Target(TargetState::Ours { top, .. }) if top.alive == Liveness::Dead => "dead",
        Answer::Target(_) => "alive",
        _ => "done",
    };
    Reached { machine: actor.machine.kind(), effect, answer }
}

const REMEMBERED: usize = 1_000_000;
