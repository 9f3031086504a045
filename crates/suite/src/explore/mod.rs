//! Programs: random sequences of steps over symbolic handles, how they are drawn, repaired, shrunk, kept and run.
//!
//! A [`Language`] says what the steps are. [`schedule`] is the one of the interleavings of the actors of a reference-count
//! protocol, effect by effect; [`calls`] is that of whole requests to a driver, on several lanes. A language knows nothing of
//! the program that it is run against.

pub mod calls;
pub mod schedule;

mod language;
mod replay;
mod shrink;
mod source;
mod strategy;

pub use language::{Entity, Language, Program, draw};
pub use replay::{ReplayError, read, write};
pub use shrink::{Candidates, Failure};
pub use source::{Bytes, Seeded, Source};
pub use strategy::{ProgramTree, Programs};
