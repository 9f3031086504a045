//! Reports: functions from a certificate to bytes, with no other input, so that a finished run can be shown again.

mod certificate;
mod excerpt;
mod html;
mod junit;
mod plain;
pub mod power;
mod terminal;

pub use certificate::{Accepted, Certificate, Circumstances, Coverage, Duty, Leftover, Tool};
pub use excerpt::{Excerpt, Excerpts};
pub use html::html;
pub use junit::{JunitError, junit};
pub use plain::plain;
pub use terminal::terminal;
