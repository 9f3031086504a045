//! The calls that show a finding, in a form for people and machines.

use serde::Serialize;
use serde_json::Value;

use super::plain;
use crate::{
    history::{Call, CallId, EventKind, History, Lost, Outcome, to_json},
    oracle::code_name,
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

impl Excerpt {
    /// The calls with these numbers.
    pub fn of(history: &History, calls: &[CallId]) -> Vec<Self> {
        let mut excerpts: Vec<Self> = Vec::new();
        for event in &history.events {
            match &event.kind {
                EventKind::Call(call) if calls.contains(&call.id) => excerpts.push(Self::started(call)),
                EventKind::Return { call, outcome } => {
                    if let Some(excerpt) = excerpts.iter_mut().find(|excerpt| excerpt.call == *call) {
                        excerpt.ended(outcome);
                    }
                }
                _ => {}
            }
        }
        excerpts
    }

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
