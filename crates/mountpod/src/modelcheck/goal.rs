//! What the searches of the driver's protocol must have come across: a check that never got there proves nothing.

use super::{Protocol, Report};

/// The goals that none of the searches reached.
pub fn missing_goals(protocol: Protocol, reports: &[&Report]) -> Vec<String> {
    let goals = match protocol {
        Protocol::Current => GOALS,
        // Their searches end at the hazard that they look for.
        Protocol::Published2022 | Protocol::Published2026 => &[],
    };
    let reached = |goal: &str| reports.iter().any(|report| report.reached.iter().any(|found| found == goal));
    goals.iter().filter(|goal| !reached(goal)).map(|goal| (*goal).to_owned()).collect()
}

/// Machine, effect and answer.
const GOALS: &[&str] = &[
    "Publish create written",
    "Publish create refused",
    "Publish create unknown",
    "Publish update written",
    "Publish update refused",
    "Publish update unknown",
    "Publish update failed",
    "Publish list failed",
    "Publish look bare",
    "Publish look alive",
    "Publish look dead",
    "Publish verify serving",
    "Publish verify not-serving",
    "Publish bind done",
    "Publish bind not-serving",
    "Publish bind failed",
    "Unpublish update written",
    "Unpublish update refused",
    "Unpublish update unknown",
    "Unpublish delete written",
    "Unpublish delete refused",
    "Unpublish delete unknown",
    "Terminate create written",
    "Terminate create refused",
    "Terminate update written",
    "Terminate update refused",
    "Terminate update vanished",
    "Terminate teardown done",
    "Rebind look dead",
    "Rebind verify serving",
    "Rebind verify not-serving",
    "Rebind bind done",
    "Collect update written",
    "Collect update refused",
    "Collect delete written",
    "Retire update written",
    "Retire delete written",
    "Retire delete refused",
];
