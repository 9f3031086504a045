//! Counts observations of rules and collects what was broken.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    Finding, RuleStatus, RuleVerdict, Severity,
    ruling::{Mark, Strike, only_warns},
};
use crate::{
    history::CallId,
    spec::{Binds, Capabilities, RuleId},
};

/// Where something was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The calls that show it, in order.
    pub(crate) calls: Vec<CallId>,
    /// The scenario of the last of them.
    pub(crate) scenario: String,
}

/// What is known of each rule so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    observations: BTreeMap<RuleId, u64>,
    broken: BTreeSet<RuleId>,
    findings: Vec<Finding>,
    /// One finding for each rule, message and answer in a scenario.
    seen: HashSet<(RuleId, String, String, String)>,
}

impl Ledger {
    /// Enters marks.
    pub(crate) fn enter(&mut self, marks: Vec<Mark>, place: &Place) {
        for mark in marks {
            match mark {
                Mark::Held(rule) => *self.observations.entry(rule).or_default() += 1,
                Mark::Warned(strike) => self.find(strike, Vec::new(), place, true),
                Mark::Broken(strike) => self.find(strike, Vec::new(), place, false),
            }
        }
    }

    /// Enters an answer that nothing explains.
    pub(crate) fn convict(&mut self, strike: Strike, others: Vec<Strike>, place: &Place) {
        let ruled_out =
            others.into_iter().map(|other| format!("nor can it be that {} ({})", other.message, other.rule)).collect();
        self.find(strike, ruled_out, place, false);
    }

    fn find(&mut self, strike: Strike, ruled_out: Vec<String>, place: &Place, only_warn: bool) {
        let severity = if only_warn || only_warns(strike.rule) { Severity::Warning } else { Severity::Violation };
        *self.observations.entry(strike.rule).or_default() += 1;
        self.broken.insert(strike.rule);
        // An umbrella breaks with its row, unless the row draws no more than a warning.
        if severity == Severity::Violation {
            for &rule in &strike.also {
                *self.observations.entry(rule).or_default() += 1;
                self.broken.insert(rule);
            }
        }
        let key = (strike.rule, strike.message.clone(), strike.actual.clone(), place.scenario.clone());
        if !self.seen.insert(key) {
            return;
        }
        self.findings.push(Finding {
            rule: strike.rule,
            severity,
            message: strike.message,
            expected: strike.expected,
            actual: strike.actual,
            ruled_out,
            calls: place.calls.clone(),
            scenario: place.scenario.clone(),
        });
    }

    /// Every rule that can be observed, with what became of it, and the findings: violations first.
    pub(crate) fn close(self, capabilities: &Capabilities, node_fs: bool) -> (Vec<RuleVerdict>, Vec<Finding>) {
        let mut rules = Vec::new();
        for rule in RuleId::all() {
            let observations = self.observations.get(&rule).copied().unwrap_or(0);
            let row = rule.rule();
            let status = if self.broken.contains(&rule) {
                RuleStatus::Broken
            } else if observations > 0 && row.binds != Binds::Co {
                RuleStatus::Held
            } else {
                RuleStatus::NotExercised
            };
            if !row.is_observable() && status != RuleStatus::Broken {
                continue;
            }
            let reason = match status {
                RuleStatus::NotExercised => reason(rule, capabilities, node_fs),
                _ => String::new(),
            };
            rules.push(RuleVerdict { rule, status, observations, reason });
        }
        let mut findings = self.findings;
        findings.sort_by_key(|finding| finding.severity);
        (rules, findings)
    }
}

fn reason(rule: RuleId, capabilities: &Capabilities, node_fs: bool) -> String {
    let row = rule.rule();
    if let Some(gate) = capabilities.shut_gate(row) {
        return match gate.strip_prefix('!') {
            Some(name) => format!("the driver advertises {name}"),
            None => format!("the driver does not advertise {gate}"),
        };
    }
    if !row.beyond_reach.is_empty() {
        return row.beyond_reach.into();
    }
    match row.observe {
        crate::spec::Observe::Mount if !node_fs => "the node's file system is not visible from here".into(),
        crate::spec::Observe::Restart => "the run could not restart the driver: a profile says how".into(),
        crate::spec::Observe::Process => "the driver's process is not ours: a profile says how to start it".into(),
        _ => "its situation did not arise".into(),
    }
}
