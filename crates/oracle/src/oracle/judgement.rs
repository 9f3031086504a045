//! What the oracle says of a history.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    history::CallId,
    spec::{Capabilities, Rpc, RuleId},
};

/// The judgement of a whole history.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Judgement {
    /// Who was judged, as far as it said so.
    pub driver: DriverInfo,
    /// Every rule that can be observed, in the order of ids.
    pub rules: Vec<RuleVerdict>,
    /// What was broken: violations first, then warnings, each in the order of the history.
    pub findings: Vec<Finding>,
    /// Objects that could not be followed to the end, and why.
    pub inconclusive: Vec<String>,
    /// Calls by RPC.
    pub rpcs: BTreeMap<Rpc, u64>,
}

/// What the driver says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct DriverInfo {
    /// `GetPluginInfoResponse.name`.
    pub name: String,
    /// `GetPluginInfoResponse.vendor_version`.
    pub vendor_version: String,
    /// Everything that it advertises, by service.
    pub capabilities: Capabilities,
}

/// What became of one rule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct RuleVerdict {
    /// The rule.
    pub rule: RuleId,
    /// What became of it.
    pub status: RuleStatus,
    /// How often its condition was met and an answer was judged by it.
    pub observations: u64,
    /// Why it was not exercised; empty otherwise.
    pub reason: String,
}

/// Whether a rule was kept.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleStatus {
    /// Judged at least once, never broken.
    Held,
    /// Broken at least once.
    Broken,
    /// Its condition was never met.
    NotExercised,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A MUST was broken.
    Violation,
    /// A SHOULD was broken, or the specification is not clear there.
    Warning,
}

/// One thing that was broken.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The rule that was broken.
    pub rule: RuleId,
    /// Violation or warning.
    pub severity: Severity,
    /// One sentence for the driver's author.
    pub message: String,
    /// Every permitted outcome.
    pub expected: Vec<String>,
    /// What came.
    pub actual: String,
    /// Why no other explanation holds, where there could have been several.
    pub ruled_out: Vec<String>,
    /// The calls that show it, in order; the last one is where it showed.
    pub calls: Vec<CallId>,
    /// The scenario or case in which it showed.
    pub scenario: String,
}

/// The verdict as a whole.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing was broken.
    Conformant,
    /// Only warnings.
    ConformantWithWarnings,
    /// Something was broken.
    NonConformant,
    /// The run did not reach its end.
    Incomplete,
}

impl Judgement {
    /// The verdict on a run that reached its end; `Incomplete` is the caller's to say.
    pub fn verdict(&self) -> Verdict {
        match self.findings.iter().map(|finding| finding.severity).min() {
            None => Verdict::Conformant,
            Some(Severity::Warning) => Verdict::ConformantWithWarnings,
            Some(Severity::Violation) => Verdict::NonConformant,
        }
    }

    /// Rules that apply to the driver and were judged.
    pub fn exercised(&self) -> usize {
        self.rules.iter().filter(|verdict| verdict.status != RuleStatus::NotExercised).count()
    }

    /// Rules that apply to what the driver advertises.
    pub fn applicable(&self) -> usize {
        let capabilities = &self.driver.capabilities;
        self.rules.iter().filter(|verdict| capabilities.shut_gate(verdict.rule.rule()).is_none()).count()
    }
}
