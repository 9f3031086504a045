//! Histories: every call with its full request and outcome, observations of the node, faults.
//!
//! Whoever talks to a driver writes one; the oracle reads it. On disk it is JSON Lines, versioned; secrets are redacted
//! before anything is written. The history knows nothing of rules.

mod event;
mod events;
mod file;
mod message;
mod record;
mod redact;
mod source;
mod stored;

pub use event::{
    Call, CallId, Event, EventKind, Fault, Launch, Lost, Mount, Observation, Outcome, PathKind, Phase, Status,
};
pub use events::Events;
pub use file::{FORMAT, Header, History, HistoryError, Recording, Writer};
pub use message::{Reply, Request, descriptors, to_json};
pub use record::Recorder;
pub use redact::{ALTERED, DENIED, REDACTED, Redactor};
pub use source::Source;
