//! The orchestrator's side of the contract: which of its own duties a recording shows broken.
//!
//! It never bears on the driver's verdict. Only what the history proves counts: an object that was there before the
//! recording began is in an order that nobody saw.

mod course;
mod fields;

use serde::Serialize;

use super::{
    knowledge::Knowledge,
    operation::{Operation, Operations},
};
use crate::{
    history::{CallId, EventKind, History},
    spec::RuleId,
};

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

/// The duties of the orchestrator that a history shows broken, each once, in the order of the rules' ids.
pub fn duties(history: &History) -> Vec<Breach> {
    let operations = Operations::of(history);
    let knowledge = Knowledge::gather(&operations);
    let mut course = course::Course::of(&operations);
    let mut breaches: Vec<Breach> = Vec::new();
    let mut enter = |operation: &Operation<'_>, broken: Vec<Broken>| {
        for Broken { rule, message, because } in broken {
            match breaches.iter_mut().find(|breach| breach.rule == rule) {
                Some(breach) => breach.times += 1,
                None => {
                    let calls = because.into_iter().chain([operation.call.id]).collect();
                    breaches.push(Breach { rule, message, times: 1, calls });
                }
            }
        }
    };
    for (position, event) in history.events.iter().enumerate() {
        match &event.kind {
            EventKind::Call(call) => {
                let Some(operation) = operations.get(call.id) else { continue };
                enter(operation, fields::broken(&knowledge, operation.request()));
                enter(operation, course.start(&knowledge, operation));
            }
            EventKind::Return { call, .. } => {
                let operation = operations.get(*call).filter(|operation| operation.ended == position);
                operation.into_iter().for_each(|operation| course.finish(operation));
            }
            EventKind::Observed(_) | EventKind::Fault(_) | EventKind::Scenario { .. } => {}
        }
    }
    breaches.sort_by_key(|breach| breach.rule);
    breaches
}
