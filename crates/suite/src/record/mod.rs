//! A transparent proxy between an orchestrator and a driver: it writes the history of real traffic while it flows.
//!
//! Bytes pass in both directions as they come; what is understood of them on the way is journalled by a thread of its
//! own. Nothing is answered in the driver's place, except that a driver that cannot be reached is UNAVAILABLE.

mod journal;
mod latency;
mod listen;
mod proxy;
mod tap;

pub use journal::{Journal, JournalError, Rotation, Summary, Writing};
pub use latency::Latency;
pub use listen::{Listen, ListenError};
pub use proxy::Proxy;
