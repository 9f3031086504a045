//! Scripted conformance scenarios, one file per RPC: the shortest history that exercises each rule.
//!
//! A scenario never judges and never asserts: it only makes history. Judging is the oracle's business.

mod bench;
mod controller;
mod facts;
mod general;
mod greeting;
mod group_controller;
mod identity;
mod ledger;
mod matrix;
#[cfg(test)]
mod matrix_tests;
mod node;
mod node_use;
mod options;
mod registry;
mod run;
mod scenario;
mod snapshot_metadata;
mod volumes;

pub use bench::Bench;
pub(crate) use facts::Facts;
pub(crate) use ledger::Ledger;
pub use ledger::Leftover;
pub(crate) use node_use::remove_empty;
pub use options::{Options, Outcome, Progress, Silent};
pub use registry::scenarios;
pub use run::run;
pub use scenario::{Mode, Scenario, Stopped};
pub(crate) use volumes::with_secrets;
