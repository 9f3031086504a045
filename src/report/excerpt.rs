//! The calls that show a finding, in a form for people and machines.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::plain;
use crate::{
    history::{Call, CallId, Event, EventKind, History, Lost, Outcome, to_json},
    oracle::{Breach, Judgement, code_name},
};

/// The longest request or reply that is shown, in characters.
const LONGEST: usize = 400;

/// One call of a finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Excerpt {
    /// The call's number in the history.
    pub call: CallId,
    /// The RPC.
    pub rpc: String,
    /// The request, as canonical JSON, secrets redacted.
    pub request: Value,
    /// How it ended: a status, `lost`, or nothing yet.
    pub outcome: String,
    /// The reply, if there was one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reply: Vec<Value>,
}

/// The calls that a report shows, gathered from the events of a history.
#[derive(Clone, Debug, Default)]
pub struct Excerpts {
    wanted: BTreeSet<CallId>,
    /// In the order in which they began.
    found: Vec<Excerpt>,
    /// How many of them have ended.
    ended: usize,
}

impl Excerpts {
    /// None yet of those that show what was broken, by the driver or by the orchestrator.
    pub fn wanted(judgement: &Judgement, duties: &[Breach]) -> Self {
        let findings = judgement.findings.iter().flat_map(|finding| &finding.calls);
        let wanted = findings.chain(duties.iter().flat_map(|breach| &breach.calls)).copied().collect();
        Self { wanted, ..Self::default() }
    }

    /// Those of a history.
    pub fn of(history: &History, judgement: &Judgement, duties: &[Breach]) -> Self {
        let mut excerpts = Self::wanted(judgement, duties);
        history.events.iter().for_each(|event| excerpts.note(event));
        excerpts
    }

    /// Takes note of the next event.
    pub fn note(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Call(call) if self.wanted.contains(&call.id) => self.found.push(Excerpt::started(call)),
            EventKind::Return { call, outcome } if self.wanted.contains(call) => {
                if let Some(excerpt) = self.found.iter_mut().find(|excerpt| excerpt.call == *call) {
                    excerpt.ended(outcome);
                    self.ended += 1;
                }
            }
            _ => {}
        }
    }

    /// Whether all of them are there, so that no more events are needed.
    pub fn is_complete(&self) -> bool {
        self.ended >= self.wanted.len()
    }

    /// The calls with these numbers.
    pub(super) fn select(&self, calls: &[CallId]) -> Vec<Excerpt> {
        self.found.iter().filter(|excerpt| calls.contains(&excerpt.call)).cloned().collect()
    }
}

impl Excerpt {
    fn started(call: &Call) -> Self {
        Self {
            call: call.id,
            rpc: call.request.rpc().name().to_owned(),
            request: to_json(&call.request.to_dynamic()),
            outcome: "no answer".into(),
            reply: Vec::new(),
        }
    }

    fn ended(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Reply { reply, .. } => {
                self.outcome = "OK".into();
                self.reply = reply.to_dynamic().iter().map(to_json).collect();
            }
            Outcome::Status(status) => {
                self.outcome = format!("{} {}", code_name(status.code), plain(&status.message, LONGEST));
            }
            Outcome::Lost(lost) => {
                self.outcome = match lost {
                    Lost::Deadline => "lost: the client's deadline passed",
                    Lost::Connection => "lost: the connection broke",
                    Lost::Cancelled => "lost: cancelled on purpose",
                    Lost::Dropped => "lost: the answer was dropped on purpose",
                }
                .into();
            }
            Outcome::Garbage { what } => self.outcome = format!("no gRPC answer: {}", plain(what, LONGEST)),
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let request = plain(&self.request.to_string(), LONGEST);
        let reply = match &*self.reply {
            [Value::Object(fields)] if fields.is_empty() => String::new(),
            [] => String::new(),
            replies => {
                let text: Vec<String> = replies.iter().map(Value::to_string).collect();
                format!(" {}", plain(&text.join(" "), LONGEST))
            }
        };
        format!("{} {request} -> {}{reply}", self.rpc, self.outcome)
    }
}
