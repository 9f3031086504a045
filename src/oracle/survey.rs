//! What a history tells as a whole, gathered before anything is judged: no verdict depends on which scenario asked first.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{
    knowledge::Knowledge,
    moment::{Held, Kind, Moment, Numbers},
    names::Names,
    operation::Operation,
    ruling::Answer,
};
use crate::{
    history::{Call, CallId, Fault, Reply},
    spec::Rpc,
};

/// A while in which an instance had no connection: from one event to another.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) instance: String,
    pub(super) from: usize,
    pub(super) until: usize,
}

/// What a history tells as a whole.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// The plugin.
    pub(super) knowledge: Knowledge,
    /// Which id belongs to which name.
    pub(super) names: Names,
    /// RPCs that were answered at least once.
    pub(super) answered: BTreeSet<Rpc>,
    /// When connections were cut: a process that is ended on purpose answers nothing until another is there.
    pub(super) cuts: Vec<Cut>,
    /// The id that each node gave itself, by the node's label in the history.
    pub(super) node_ids: BTreeMap<String, String>,
    /// Calls that have no end in it.
    pub(super) endless: HashSet<CallId>,
}

impl Survey {
    /// Reads all events.
    ///
    /// # Errors
    ///
    /// Those of the source.
    pub(super) fn of<'h, E>(events: impl Iterator<Item = Result<Moment<'h>, E>>) -> Result<Self, E> {
        let mut survey = Self::default();
        let mut known = Numbers::default();
        let mut open: HashMap<CallId, (Held<'h, Call>, usize)> = HashMap::new();
        for (position, moment) in events.enumerate() {
            match moment?.kind {
                Kind::Call(call) => {
                    if known.insert(call.id.0) {
                        open.insert(call.id, (call, position));
                    }
                }
                Kind::Return(id, outcome) => {
                    if let Some((call, started)) = open.remove(&id) {
                        let alike = call.id;
                        let outcome = Some(outcome);
                        survey.learn(&Operation { call, outcome, started, ended: position, waited: 0, alike });
                    }
                }
                Kind::Fault(fault) => survey.cut(position, &fault),
                Kind::Observed(_) | Kind::Other => {}
            }
        }
        survey.knowledge.settle();
        survey.endless = open.into_keys().collect();
        Ok(survey)
    }

    fn learn(&mut self, operation: &Operation<'_>) {
        self.knowledge.learn(operation);
        let Some(answer) = operation.answer() else { return };
        self.answered.insert(operation.rpc());
        if let Answer::Ok(reply) = answer {
            self.names.learn(operation, reply);
            if let Reply::NodeGetInfo(info) = reply {
                self.node_ids.insert(operation.call.node.clone(), info.node_id.clone());
            }
        }
    }

    fn cut(&mut self, at: usize, fault: &Fault) {
        match fault {
            Fault::Killed { instance, .. } => {
                self.cuts.push(Cut { instance: instance.clone(), from: at, until: usize::MAX });
            }
            Fault::Crashed { instance, .. } | Fault::Disconnected { instance } => {
                self.cuts.push(Cut { instance: instance.clone(), from: at, until: at });
            }
            Fault::Restarted { instance } => {
                let down = self.cuts.iter_mut().rev().find(|cut| cut.instance == *instance);
                down.into_iter().for_each(|cut| cut.until = at);
            }
        }
    }
}
