//! A transparent proxy between an orchestrator and a driver: it writes the history of real traffic while it flows.
//!
//! Bytes pass in both directions as they come (`proxy`), and copies of them through a `queue` to a thread that listens:
//! `frames` cuts what each side says into HTTP/2 frames, `conversation` follows the streams of a connection, `call` puts the
//! messages of one stream together, `minutes` turns them into calls of a history, and `journal` keeps its files. Nothing is
//! answered in the driver's place, except that a driver that cannot be reached is UNAVAILABLE.

mod call;
mod conversation;
mod frames;
mod journal;
mod latency;
mod listen;
mod minutes;
mod proxy;
mod queue;

pub use conversation::{Conversation, Heard, Way};
pub use journal::{Journal, JournalError, Rotation, Summary, Writing};
pub use latency::Latency;
pub use listen::{Listen, ListenError};
pub use proxy::Proxy;
