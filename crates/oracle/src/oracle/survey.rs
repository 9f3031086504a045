//! The first pass over a history: what has to be known before the first event is judged.
//!
//! The verdict does not depend on who asked first, so some of what judges a call is only told later: what the plugin
//! advertises, to which name an id will belong, how a call ends that takes long. And what nothing mentions any more can be
//! forgotten, which the second pass learns from here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    cuts::Cuts,
    excess::Excess,
    knowledge::{Gathering, Knowledge},
    mentions::Mentions,
    names::Foresight,
    operation::{End, Operation},
    operations::Numbers,
    ruling::Answer,
};
use crate::{
    history::{CallId, Event, EventKind, Reply},
    spec::Rpc,
};

/// How many events the second pass looks ahead for the ends of calls.
const WINDOW: usize = 16_384;

/// What a first pass gathers.
#[derive(Debug)]
pub struct Survey {
    window: usize,
    position: usize,
    numbers: Numbers,
    open: HashMap<CallId, Operation>,
    gathering: Gathering,
    node_ids: BTreeMap<String, (usize, String)>,
    gathered: Gathered,
}

/// What a first pass has gathered.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// How many events the second pass looks ahead.
    pub(super) window: usize,
    /// The plugin.
    pub(super) knowledge: Knowledge,
    /// Calls that go beyond the limits of the interface.
    pub(super) excess: Excess,
    /// RPCs that were answered.
    pub(super) answered: BTreeSet<Rpc>,
    /// When connections were cut.
    pub(super) cuts: Cuts,
    /// Which id belongs to which name.
    pub(super) foresight: Foresight,
    /// What is mentioned last where.
    pub(super) mentions: Mentions,
    /// The ends of calls that take longer than one looks ahead, by the positions at which they begin.
    pub(super) ends: HashMap<usize, End>,
    /// The id that each node gave itself, by the node's label in the history.
    pub(super) node_ids: BTreeMap<String, String>,
}

impl Default for Survey {
    fn default() -> Self {
        Self::looking_ahead(WINDOW)
    }
}

impl Survey {
    /// One for a second pass that looks so many events ahead for the ends of calls; the verdict does not depend on it.
    pub fn looking_ahead(window: usize) -> Self {
        Self {
            window,
            position: 0,
            numbers: Numbers::default(),
            open: HashMap::new(),
            gathering: Gathering::default(),
            node_ids: BTreeMap::new(),
            gathered: Gathered::default(),
        }
    }

    /// Takes note of the next event.
    pub fn note(&mut self, event: Event) {
        let position = self.position;
        self.position += 1;
        let gathered = &mut self.gathered;
        match event.kind {
            EventKind::Call(call) => {
                if self.numbers.add(call.id) {
                    gathered.mentions.note_request(&call.request, position);
                    gathered.excess.note(position, &call.request);
                    let id = call.id;
                    self.open.insert(id, Operation::begun(position, event.at, call, id));
                }
            }
            EventKind::Return { call, outcome } => {
                if let Some(mut operation) = self.open.remove(&call) {
                    operation.end(End { outcome, position, at: event.at });
                    self.ended(operation);
                }
            }
            EventKind::Observed(observation) => gathered.mentions.note_observation(&observation, position),
            EventKind::Fault(fault) => gathered.cuts.note(position, &fault),
            EventKind::Scenario { .. } => {}
        }
    }

    fn ended(&mut self, operation: Operation) {
        let gathered = &mut self.gathered;
        self.gathering.note(&operation);
        gathered.foresight.note(&operation, &gathered.mentions);
        gathered.mentions.note_request(operation.request(), operation.ended);
        if let Some(answer) = operation.answer() {
            gathered.answered.insert(operation.rpc());
            if let Answer::Ok(reply) = answer {
                gathered.mentions.note_reply(reply, operation.ended);
            }
            if let Answer::Ok(Reply::NodeGetInfo(info)) = answer {
                let told = self.node_ids.entry(operation.call.node.clone()).or_default();
                if told.0 <= operation.started {
                    *told = (operation.started, info.node_id.clone());
                }
            }
        }
        if operation.ended - operation.started > self.window {
            let (started, position) = (operation.started, operation.ended);
            let at = operation.at.saturating_add(operation.waited);
            if let Some(outcome) = operation.outcome {
                gathered.ends.insert(started, End { outcome, position, at });
            }
        }
    }

    /// How many events there were.
    pub const fn events(&self) -> usize {
        self.position
    }

    /// What the whole history tells.
    pub(super) fn close(self) -> Gathered {
        let mut gathered = self.gathered;
        // Of calls without an end there may be talk for ever.
        for operation in self.open.values() {
            gathered.mentions.note_request(operation.request(), usize::MAX);
        }
        gathered.foresight.close();
        gathered.window = self.window;
        gathered.knowledge = self.gathering.close();
        gathered.node_ids = self.node_ids.into_iter().map(|(label, (_, id))| (label, id)).collect();
        gathered
    }
}
