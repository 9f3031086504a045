//! A way through a search as people read it: one line for each event, one lane for each actor.

use super::{
    actor::{Actor, AnyMachine, Job},
    event::{Fate, Move},
    scenario::{RequestKind, Trouble, target_text},
    search::{Search, State},
    telling,
};

/// The events from the beginning to the broken promise.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trace {
    /// What was there before the first event.
    pub before: Vec<String>,
    /// The events.
    pub steps: Vec<Step>,
}

/// One event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// Who does something.
    pub lane: String,
    /// What is done.
    pub text: String,
    /// Whether the trouble had ended before.
    pub at_rest: bool,
}

/// Writes a trace down while the search goes through it once more.
pub(super) struct Writer<'a> {
    search: &'a Search,
    trace: Trace,
    at_rest: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(search: &'a Search) -> Self {
        let published = search.scenario.published.iter();
        let before = published.map(|target| format!("{} is published", target_text(*target))).collect();
        Self { search, trace: Trace { before, steps: Vec::new() }, at_rest: false }
    }

    pub(super) fn trouble_ends(&mut self) {
        self.at_rest = true;
    }

    pub(super) fn write(&mut self, state: &State, made: Move, next: Option<&State>) {
        let (lane, text) = self.describe(state, made, next);
        if !text.is_empty() {
            self.trace.steps.push(Step { lane, text, at_rest: self.at_rest });
        }
    }

    pub(super) fn end(self) -> Trace {
        self.trace
    }

    fn describe(&self, state: &State, made: Move, next: Option<&State>) -> (String, String) {
        match made {
            Move::Begin(number) => {
                let request = self.search.scenario.requests[usize::from(number)];
                let machine = self.search.cast.machine(request);
                (self.request_lane(number), format!("begins: {}", self.first_effect(state, machine)))
            }
            Move::Chore { instance, number } => {
                let chores = self.search.chores(state, instance);
                let begun = chores
                    .into_iter()
                    .nth(usize::from(number))
                    .map(|(_, machine)| format!("{} begins: {}", machine.kind(), self.first_effect(state, machine)));
                (self.housekeeping_lane(instance), begun.unwrap_or_default())
            }
            Move::Advance { actor, fate } => {
                let actor = self.search.actors.value(state.actors[usize::from(actor)]);
                let seen = telling::effect(&actor.effect, self.search.records.value(state.records));
                (self.lane(actor), format!("{seen}{}", self.outcome(state, next, fate)))
            }
            Move::Kubelet => ("kubelet".to_owned(), "starts the daemon of a pod".to_owned()),
            Move::Crash(instance) => (self.housekeeping_lane(instance), "the driver crashes".to_owned()),
            Move::CutOff(number) => {
                let actor = self.search.actors.value(state.actors[usize::from(number)]);
                (self.lane(actor), "is cut off".to_owned())
            }
            Move::Other(trouble, subject) => other(trouble, subject),
            Move::Settle => (String::new(), String::new()),
        }
    }

    fn first_effect(&self, state: &State, machine: AnyMachine) -> String {
        let now = self.search.ledgers.value(state.ledger).now;
        let actor = Actor::new(0, Job::Housekeeping, machine, &self.search.policy, now);
        telling::effect(&actor.effect, self.search.records.value(state.records))
    }

    fn outcome(&self, state: &State, next: Option<&State>, fate: Fate) -> &'static str {
        match fate {
            Fate::LostReply => " (done, and the reply is lost)",
            Fate::LostRequest => " (the request is lost)",
            Fate::Conflict => " (refused: a conflict)",
            Fate::ApiFailure => " (the API fails)",
            Fate::FailedMount => " (fails)",
            Fate::NotYet => " (it does not serve yet)",
            Fate::Performed if next.is_some_and(|next| next.actors.len() < state.actors.len()) => ", and replies",
            Fate::Performed => "",
        }
    }

    fn lane(&self, actor: &Actor) -> String {
        match actor.job {
            Job::Request(number) => self.request_lane(number),
            Job::Target(_) | Job::Housekeeping => self.housekeeping_lane(actor.instance),
        }
    }

    fn request_lane(&self, number: u8) -> String {
        let request = self.search.scenario.requests[usize::from(number)];
        format!("{} {}{}", kind(request.kind), target_text(request.target), self.instance(request.instance))
    }

    fn housekeeping_lane(&self, instance: u8) -> String {
        format!("housekeeping{}", self.instance(instance))
    }

    fn instance(&self, instance: u8) -> String {
        match self.search.scenario.instances {
            1 => String::new(),
            _ => format!(" (driver {})", instance + 1),
        }
    }
}

fn kind(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Publish => "publish",
        RequestKind::PublishReadOnly => "publish read-only",
        RequestKind::Unpublish => "unpublish",
    }
}

fn other(trouble: Trouble, subject: u8) -> (String, String) {
    let (lane, text) = match trouble {
        Trouble::Eviction => ("user", "deletes the mount pod".to_owned()),
        Trouble::DaemonLoss => ("node", "the daemon dies".to_owned()),
        Trouble::StatusWrite => ("kubelet", "writes the pod's status: a new version".to_owned()),
        Trouble::ClockStep => ("clock", "the delay passes".to_owned()),
        Trouble::Scribble => ("user", "writes an unreadable delete-at".to_owned()),
        Trouble::WorkloadShutdown => ("user", format!("the workload of {} shuts down", target_text(subject))),
        Trouble::WorkloadLoss => ("user", format!("the workload of {} is gone", target_text(subject))),
        Trouble::Reboot => ("node", "restarts".to_owned()),
        other => ("world", format!("{other:?}")),
    };
    (lane.to_owned(), text)
}
