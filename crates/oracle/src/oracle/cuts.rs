//! When connections were cut: a process that is ended on purpose answers nothing until another is there.

use super::operation::Operation;
use crate::history::Fault;

/// Events after the end of a call in which a cut may be noted that ended it.
const LATE: usize = 64;

/// A while in which an instance had no connection: from one event to another.
#[derive(Debug)]
struct Cut {
    instance: String,
    from: usize,
    until: usize,
}

/// The cuts of a history.
#[derive(Debug, Default)]
pub(super) struct Cuts(Vec<Cut>);

impl Cuts {
    /// Takes note of a fault.
    pub(super) fn note(&mut self, at: usize, fault: &Fault) {
        match fault {
            Fault::Killed { instance, .. } => {
                self.0.push(Cut { instance: instance.clone(), from: at, until: usize::MAX });
            }
            Fault::Crashed { instance, .. } | Fault::Disconnected { instance } => {
                self.0.push(Cut { instance: instance.clone(), from: at, until: at });
            }
            Fault::Restarted { instance } => {
                let down = self.0.iter_mut().rev().find(|cut| cut.instance == *instance);
                down.into_iter().for_each(|cut| cut.until = at);
            }
        }
    }

    /// Whether the call's instance had no connection at some moment while it ran.
    pub(super) fn cover(&self, operation: &Operation) -> bool {
        self.0.iter().any(|cut| {
            cut.instance == operation.call.instance
                && cut.until > operation.started
                && cut.from < operation.ended.saturating_add(LATE)
        })
    }

    /// Forgets those that were over before this event.
    pub(super) fn forget(&mut self, at: usize) {
        self.0.retain(|cut| cut.until >= at);
    }
}
