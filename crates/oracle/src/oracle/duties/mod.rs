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

/// Follows what an orchestrator does.
pub(super) struct Duties {
    course: course::Course,
    breaches: Vec<Breach>,
}

impl Duties {
    /// Nothing has happened yet; `node_ids` are the ids that nodes give themselves, by their labels.
    pub(super) fn new(node_ids: BTreeMap<String, String>) -> Self {
        Self { course: course::Course::new(node_ids), breaches: Vec::new() }
    }

    /// A call starts.
    pub(super) fn start(&mut self, knowledge: &Knowledge, operation: &Operation) {
        self.enter(operation, fields::broken(knowledge, operation.request()));
        let broken = self.course.start(knowledge, operation);
        self.enter(operation, broken);
    }

    /// A call ended.
    pub(super) fn finish(&mut self, operation: &Operation) {
        self.course.finish(operation);
    }

    /// Forgets volumes and snapshots that nothing mentions any more.
    pub(super) fn forget(&mut self, is_mentioned: impl Fn(&str) -> bool) {
        self.course.forget(is_mentioned);
    }

    /// The duties that were broken, each once, in the order of the rules' ids.
    pub(super) fn close(mut self) -> Vec<Breach> {
        self.breaches.sort_by_key(|breach| breach.rule);
        self.breaches
    }

    fn enter(&mut self, operation: &Operation, broken: Vec<Broken>) {
        for Broken { rule, message, because } in broken {
            match self.breaches.iter_mut().find(|breach| breach.rule == rule) {
                Some(breach) => breach.times += 1,
                None => {
                    let calls = because.into_iter().chain([operation.call.id]).collect();
                    self.breaches.push(Breach { rule, message, times: 1, calls });
                }
            }
        }
    }
}
