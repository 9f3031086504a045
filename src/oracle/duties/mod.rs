//! The orchestrator's side of the contract: which of its own duties a recording shows broken.
//!
//! It never bears on the driver's verdict. Only what the history proves counts: an object that was there before the
//! recording began is in an order that nobody saw.

mod course;
mod fields;

use std::collections::BTreeMap;

use serde::Serialize;

use super::{knowledge::Knowledge, operation::Operation};
use crate::{history::CallId, spec::RuleId};

/// A duty of the orchestrator that was broken.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Breach {
    /// The rule, one that binds the orchestrator.
    pub rule: RuleId,
    /// One sentence for the orchestrator's author.
    pub message: String,
    /// How often it was broken in the history.
    pub times: u64,
    /// The calls that show it the first time; the last one breaks it.
    pub calls: Vec<CallId>,
}

/// What one call breaks.
struct Broken {
    rule: RuleId,
    message: String,
    /// Earlier calls that show why.
    because: Vec<CallId>,
}

impl Broken {
    fn new(rule: RuleId, message: impl Into<String>, because: impl IntoIterator<Item = CallId>) -> Self {
        Self { rule, message: message.into(), because: because.into_iter().collect() }
    }
}

/// Follows the orchestrator through a history.
pub(super) struct Duties {
    course: course::Course,
    breaches: Vec<Breach>,
}

impl Duties {
    /// Nothing has happened yet; these ids the nodes will give themselves, by their labels.
    pub(super) const fn new(node_ids: BTreeMap<String, String>) -> Self {
        Self { course: course::Course::new(node_ids), breaches: Vec::new() }
    }

    /// A call starts.
    pub(super) fn start(&mut self, knowledge: &Knowledge, operation: &Operation<'_>) {
        let broken = fields::broken(knowledge, operation.request());
        for Broken { rule, message, because } in broken.into_iter().chain(self.course.start(knowledge, operation)) {
            match self.breaches.iter_mut().find(|breach| breach.rule == rule) {
                Some(breach) => breach.times += 1,
                None => {
                    let calls = because.into_iter().chain([operation.call.id]).collect();
                    self.breaches.push(Breach { rule, message, times: 1, calls });
                }
            }
        }
    }

    /// A call ends.
    pub(super) fn finish(&mut self, operation: &Operation<'_>) {
        self.course.finish(operation);
    }

    /// What was broken, each once, in the order of the rules' ids.
    pub(super) fn close(mut self) -> Vec<Breach> {
        self.breaches.sort_by_key(|breach| breach.rule);
        self.breaches
    }
}
