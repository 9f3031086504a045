//! The second pass over a history: events are judged one by one, each once the ends of the calls around it are in sight.

use std::collections::{HashMap, VecDeque};

use super::{
    Breach, Judgement,
    duties::Duties,
    judge::Judge,
    operation::End,
    survey::{Gathered, Survey},
};
use crate::history::{CallId, Event, EventKind, Fault, Header, History, Observation};

/// Judges a history: every rule that can be observed, and what was broken.
///
/// The verdict is a function of the history alone.
pub fn judge(history: &History) -> Judgement {
    let mut judging = Judging::new(&history.header, survey(history));
    history.events.iter().for_each(|event| judging.push(event.clone()));
    judging.close().0
}

/// The duties of the orchestrator that a history shows broken, each once, in the order of the rules' ids.
pub fn duties(history: &History) -> Vec<Breach> {
    let mut judging = Judging::with_duties(&history.header, survey(history));
    history.events.iter().for_each(|event| judging.push(event.clone()));
    judging.close().1
}

fn survey(history: &History) -> Survey {
    let mut survey = Survey::default();
    history.events.iter().for_each(|event| survey.note(event.clone()));
    survey
}

/// A judgement under way.
///
/// It takes all events of a history a second time, after a [`Survey`] has taken them, and remembers what is still there or
/// will be mentioned again.
pub struct Judging {
    judge: Judge,
    duties: Option<Duties>,
    window: usize,
    ends: HashMap<usize, End>,
    /// Events that wait until so many after them have been seen.
    ahead: VecDeque<Ahead>,
    /// How many events have been taken.
    taken: usize,
    /// The event after which things are forgotten again.
    forgetting: usize,
}

/// An event that has been seen and is yet to be judged.
enum Ahead {
    Call(CallId),
    Return(CallId),
    Observed(Observation),
    Fault(Fault),
    /// Nothing that anybody judges.
    Nothing,
}

impl Judging {
    /// Begins to judge the driver.
    pub fn new(header: &Header, survey: Survey) -> Self {
        Self::of(header, survey, false)
    }

    /// Begins to judge the driver, and the orchestrator too.
    pub fn with_duties(header: &Header, survey: Survey) -> Self {
        Self::of(header, survey, true)
    }

    fn of(header: &Header, survey: Survey, with_duties: bool) -> Self {
        let mut gathered = survey.close();
        let Gathered { window, node_ids, ends, .. } = &mut gathered;
        let (window, ends, node_ids) = (*window, std::mem::take(ends), std::mem::take(node_ids));
        Self {
            judge: Judge::new(header, gathered),
            duties: with_duties.then(|| Duties::new(node_ids)),
            window,
            ends,
            ahead: VecDeque::new(),
            taken: 0,
            forgetting: window,
        }
    }

    /// Takes the next event.
    pub fn push(&mut self, event: Event) {
        let position = self.taken;
        self.taken += 1;
        let operations = &mut self.judge.world.operations;
        let ahead = match event.kind {
            EventKind::Call(call) => {
                let id = call.id;
                let end = self.ends.remove(&position);
                let is_one = operations.begin(position, event.at, call, end, &self.judge.mentions);
                if is_one { Ahead::Call(id) } else { Ahead::Nothing }
            }
            EventKind::Return { call, outcome } => {
                let is_one = operations.end(call, End { outcome, position, at: event.at });
                if is_one { Ahead::Return(call) } else { Ahead::Nothing }
            }
            EventKind::Observed(observation) => Ahead::Observed(observation),
            EventKind::Fault(fault) => Ahead::Fault(fault),
            EventKind::Scenario { .. } => Ahead::Nothing,
        };
        self.ahead.push_back(ahead);
        if self.ahead.len() > self.window {
            self.step();
        }
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.judge.held()
    }

    /// The history ends: what is to be said of it, of the driver and of the orchestrator.
    pub fn close(mut self) -> (Judgement, Vec<Breach>) {
        while !self.ahead.is_empty() {
            self.step();
        }
        let breaches = self.duties.map(Duties::close).unwrap_or_default();
        (self.judge.close(), breaches)
    }

    /// Judges the first of the events that wait.
    fn step(&mut self) {
        let position = self.taken - self.ahead.len();
        let Some(event) = self.ahead.pop_front() else { return };
        match event {
            Ahead::Call(call) => {
                if let Some(operation) = self.judge.world.operations.share(call) {
                    if let Some(duties) = &mut self.duties {
                        duties.start(&self.judge.world.knowledge, &operation);
                    }
                    self.judge.start(&operation);
                }
            }
            Ahead::Return(call) => {
                if let Some(operation) = self.judge.world.operations.share(call) {
                    if let Some(duties) = &mut self.duties {
                        duties.finish(&operation);
                    }
                    self.judge.finish(&operation);
                }
            }
            Ahead::Observed(observation) => self.judge.observed(position, &observation),
            Ahead::Fault(fault) => self.judge.fault(position, &fault),
            Ahead::Nothing => {}
        }
        if position >= self.forgetting {
            self.judge.forget_what_is_over(position);
            if let Some(duties) = &mut self.duties {
                duties.forget(|text| self.judge.mentions.come_after(position, text));
            }
            // As often as what is left has been gone through in vain once, so that it costs no more than judging.
            self.forgetting = position.saturating_add(self.window.max(2 * self.judge.held()));
        }
    }
}
