//! Every interleaving, crash and lost reply of the mount-pod protocol, on the very step functions that the driver runs.

mod actor;
mod conduct;
mod event;
mod explore;
mod fault;
mod fingerprint;
mod goal;
mod hazard;
mod invariant;
mod ledger;
mod memory;
mod moves;
mod perform;
mod protocol;
mod records;
mod reduction;
mod report;
mod scenario;
mod scenarios;
mod search;
mod settle;
mod store;
mod successors;
mod telling;
mod trace;
mod upheaval;

pub use super::mountpod::Protocol;
pub use explore::{Ending, Options, Reduction, Report, explore};
pub use fault::Fault;
pub use goal::missing_goals;
pub use hazard::Hazard;
pub use invariant::{Invariant, Violation};
pub use report::explanation;
pub use scenario::{Chores, Request, RequestKind, Scenario, Trouble, Watch};
pub use scenarios::{clients, large_scenarios, scenarios};
pub use trace::{Step, Trace};
