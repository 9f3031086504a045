//! The oracle: reads a history and says, rule by rule, what was kept and what was broken.
//!
//! It is pure: no I/O, no clock, no async, so that anybody can recompute a verdict. It is written from the
//! specification, never from a driver.
//!
//! For each volume and snapshot it keeps the set of worlds that explain all answers so far (`configurations`); the
//! tables of what may be answered in a state are in `volume/` and `snapshot`; rules on single replies and statuses are
//! in `replies` and `statuses`; lists are held against bounds in `lists`, data and mounts in `content` and
//! `volume/observe`.

mod around;
mod capability;
mod capacity;
mod configurations;
#[cfg(test)]
mod configurations_tests;
mod content;
mod cuts;
mod denied;
#[cfg(test)]
mod denied_tests;
mod duties;
#[cfg(test)]
mod duties_tests;
mod excess;
#[cfg(test)]
mod excused_tests;
mod flags;
mod forgetting;
#[cfg(test)]
mod forgetting_tests;
mod group;
mod judge;
#[cfg(test)]
mod judged_wrongly_tests;
mod judgement;
mod judging;
mod knowledge;
mod ledger;
#[cfg(test)]
mod left_open_tests;
mod leftovers;
mod listed;
mod lists;
mod mentions;
mod metadata;
mod modified;
mod names;
mod objects;
mod observed;
mod operation;
mod operations;
mod overlap;
mod persistence;
mod plugin;
mod process;
mod promises;
#[cfg(test)]
mod publications_tests;
mod replies;
mod ripening;
mod room;
mod rounding;
mod ruling;
#[cfg(test)]
mod seen_to_fail_tests;
mod shared_secrets;
mod snapshot;
mod start;
mod statuses;
mod strays;
mod survey;
mod topology;
mod usage;
mod volume;
mod whereabouts;
mod world;
mod written;

pub use duties::Breach;
pub use judgement::{DriverInfo, Finding, Judgement, RuleStatus, RuleVerdict, Severity, Verdict};
pub use judging::{Judging, duties, judge};
pub use ruling::code_name;
pub use survey::Survey;
