//! The oracle: reads a history and says, rule by rule, what was kept and what was broken.
//!
//! It is pure: no I/O, no clock, no async, so that anybody can recompute a verdict. It is written from the
//! specification, never from a driver.

mod judgement;

pub use judgement::{DriverInfo, Finding, Judgement, RuleStatus, RuleVerdict, Severity, Verdict};
