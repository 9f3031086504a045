//! What the journal's thread makes of what it hears: calls and answers in a history.

use std::collections::HashMap;

use super::{
    conversation::{Conversation, Heard},
    journal::Summary,
    queue::Happening,
};
use crate::history::{CallId, Recorder};

/// What the thread makes of the happenings.
pub(super) struct Minutes {
    pub(super) recorder: Recorder,
    instance: &'static str,
    node: String,
    conversations: HashMap<u64, Conversation>,
    /// By connection and stream: under which number a call is in the history.
    calls: HashMap<(u64, u32), CallId>,
    pub(super) summary: Summary,
}

impl Minutes {
    pub(super) fn new(recorder: Recorder, instance: &'static str, node: String) -> Self {
        let (conversations, calls) = (HashMap::new(), HashMap::new());
        Self { recorder, instance, node, conversations, calls, summary: Summary::default() }
    }

    /// How many calls are under way.
    pub(super) fn under_way(&self) -> usize {
        self.conversations.values().map(Conversation::under_way).sum()
    }

    /// Takes down what happened at a moment on a connection.
    pub(super) fn take(&mut self, at: u64, connection: u64, happening: Happening) {
        self.recorder.turn_to(at);
        let heard = match happening {
            Happening::Passing(way, bytes) => self.conversations.entry(connection).or_default().hear(way, &bytes),
            Happening::Gone(lost) => {
                self.conversations.remove(&connection).map(|mut gone| gone.end(lost)).unwrap_or_default()
            }
        };
        heard.into_iter().for_each(|heard| self.enter(connection, heard));
    }

    fn enter(&mut self, connection: u64, heard: Heard) {
        let problem = match heard {
            Heard::Request { stream, request } => {
                let node = if request.rpc().is_node() { self.node.as_str() } else { "" };
                let call = self.recorder.call(self.instance, node, "", &request);
                self.calls.insert((connection, stream), call);
                self.summary.calls += 1;
                return;
            }
            Heard::Answer { stream, answer } => {
                if let Some(call) = self.calls.remove(&(connection, stream)) {
                    answer.record(&self.recorder, call);
                }
                return;
            }
            Heard::NotUnderstood { rpc, problem } => format!("{rpc}: {problem}"),
            Heard::Unreadable { problem } => problem,
        };
        let (count, last) = self.summary.not_understood.get_or_insert_default();
        *count += 1;
        *last = problem;
    }
}
