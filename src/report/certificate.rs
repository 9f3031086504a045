//! The certificate: everything that is to be told of a run, as one value.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Excerpt, Excerpts};
use crate::{
    history::Header,
    oracle::{Breach, Finding, Judgement, RuleStatus, Severity, Verdict},
    spec::{RuleId, SPEC_VERSION},
};

/// The version of the certificate's form.
const SCHEMA: &str = "csi-certify/certificate/1";

/// What is told of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// The form of this value.
    pub schema: &'static str,
    /// The tool that wrote it.
    pub tool: Tool,
    /// The version of the specification.
    pub spec: &'static str,
    /// Who was certified.
    pub driver: Driver,
    /// When the run began, RFC 3339 in UTC.
    pub started: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The seed of everything random in it.
    pub seed: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the verdict is `incomplete`, or empty.
    pub incomplete: String,
    /// How much was looked at.
    pub coverage: Coverage,
    /// Calls made, by RPC.
    pub rpcs: BTreeMap<String, u64>,
    /// Every rule that can be observed.
    pub rules: Vec<Rule>,
    /// What was broken; violations first.
    pub findings: Vec<Report>,
    /// Breaches that the profile accepts, and what became of them.
    pub accepted: Vec<Accepted>,
    /// Objects that could not be followed to the end.
    pub inconclusive: Vec<String>,
    /// Scenarios that could not begin or go on, and why.
    pub stopped: BTreeMap<String, String>,
    /// What the run could not remove, as the calls that would.
    pub leftovers: Vec<Leftover>,
    /// Duties of its own that the orchestrator broke, where it was not this tool; the verdict does not depend on them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orchestrator: Vec<Duty>,
}

/// A duty of the orchestrator that was broken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Duty {
    /// The rule.
    pub rule: RuleId,
    /// One sentence.
    pub message: String,
    /// How often it was broken.
    pub times: u64,
    /// The calls that show it the first time.
    pub history: Vec<Excerpt>,
}

/// The tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from, or empty.
    pub commit: &'static str,
}

/// The driver.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Driver {
    /// Its name.
    pub name: String,
    /// Its version.
    pub vendor_version: String,
    /// What it advertises, by service.
    pub capabilities: BTreeMap<String, Vec<String>>,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Coverage {
    /// Rules that apply to what the driver advertises.
    pub applicable: usize,
    /// Of those, rules that were judged at least once.
    pub exercised: usize,
    /// Rules of the specification that can be observed at all.
    pub observable_total: usize,
}

/// A rule and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// MUST, SHOULD and the like.
    pub level: &'static str,
    /// The section of the specification.
    pub section: &'static str,
    /// The line in it.
    pub line: u32,
    /// What became of it.
    pub status: RuleStatus,
    /// How often it was judged.
    pub observations: u64,
    /// Why it was not.
    pub reason: String,
}

/// A finding with the calls that show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The rule.
    pub rule: RuleId,
    /// Violation or warning.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// Every permitted outcome.
    pub expected: Vec<String>,
    /// What came.
    pub actual: String,
    /// Why no other explanation holds.
    pub ruled_out: Vec<String>,
    /// The calls that show it.
    pub history: Vec<Excerpt>,
    /// The command that shows it again.
    pub replay: String,
    /// The scenario in which it showed.
    pub scenario: String,
    /// Why the profile accepts it, or empty.
    pub accepted: String,
}

/// A breach that the profile accepts.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Accepted {
    /// The rule, or a pattern of rules.
    pub rule: String,
    /// Why it is accepted.
    pub reason: String,
    /// How many findings it covers; none of them fails the run, but a breach that is gone does.
    pub findings: usize,
}

/// Something that the run could not remove.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Leftover {
    /// The RPC that would remove it.
    pub rpc: String,
    /// Its arguments, without secrets.
    pub arguments: String,
}

/// What a judgement does not know of its run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Circumstances {
    /// Why the run did not reach its end, if it did not.
    pub incomplete: Option<String>,
    /// Breaches that the profile accepts: a matcher, its pattern and its reason.
    pub accepted: Vec<(String, String)>,
    /// What could not be removed.
    pub leftovers: Vec<Leftover>,
    /// Duties that the orchestrator broke.
    pub duties: Vec<Breach>,
    /// Scenarios that could not begin or go on.
    pub stopped: BTreeMap<String, String>,
    /// The command that runs a scenario again; `{scenario}` stands for its name.
    pub replay: String,
}

impl Certificate {
    /// Brings together what the oracle says of a history, the calls that show it, and what is known of the run, which took so
    /// many microseconds.
    pub fn new(
        header: &Header,
        duration: u64,
        judgement: &Judgement,
        excerpts: &Excerpts,
        circumstances: Circumstances,
    ) -> Self {
        let matches = |pattern: &str, rule: RuleId| crate::sut::glob(pattern, rule.as_str());
        let excuse = |finding: &Finding| {
            let found = circumstances.accepted.iter().find(|(pattern, _)| matches(pattern, finding.rule));
            found.map(|(_, reason)| reason.clone()).unwrap_or_default()
        };
        let findings: Vec<Report> = judgement
            .findings
            .iter()
            .map(|finding| Report {
                rule: finding.rule,
                severity: finding.severity,
                message: finding.message.clone(),
                expected: finding.expected.clone(),
                actual: finding.actual.clone(),
                ruled_out: finding.ruled_out.clone(),
                history: excerpts.select(&finding.calls),
                replay: circumstances.replay.replace("{scenario}", &finding.scenario),
                scenario: finding.scenario.clone(),
                accepted: excuse(finding),
            })
            .collect();
        let accepted: Vec<Accepted> = circumstances
            .accepted
            .iter()
            .map(|(pattern, reason)| Accepted {
                rule: pattern.clone(),
                reason: reason.clone(),
                findings: judgement.findings.iter().filter(|finding| matches(pattern, finding.rule)).count(),
            })
            .collect();
        let incomplete = circumstances.incomplete.unwrap_or_default();
        Self {
            schema: SCHEMA,
            tool: Tool {
                name: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                commit: option_env!("CSI_CERTIFY_COMMIT").unwrap_or(""),
            },
            spec: SPEC_VERSION,
            driver: driver(judgement),
            started: header.started.clone(),
            duration_ms: duration / 1000,
            seed: header.seed,
            verdict: verdict(&findings, &accepted, &incomplete),
            incomplete,
            coverage: coverage(judgement),
            rpcs: judgement.rpcs.iter().map(|(rpc, calls)| (rpc.name().to_owned(), *calls)).collect(),
            rules: judgement.rules.iter().map(rule).collect(),
            findings,
            accepted,
            inconclusive: judgement.inconclusive.clone(),
            stopped: circumstances.stopped,
            leftovers: circumstances.leftovers,
            orchestrator: circumstances
                .duties
                .into_iter()
                .map(|breach| Duty {
                    rule: breach.rule,
                    message: breach.message,
                    times: breach.times,
                    history: excerpts.select(&breach.calls),
                })
                .collect(),
        }
    }

    /// The certificate as pretty JSON.
    ///
    /// # Errors
    ///
    /// Never in practice: every part of it has a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Findings of one severity that no profile accepts.
    pub fn open(&self, severity: Severity) -> impl Iterator<Item = &Report> {
        self.findings.iter().filter(move |finding| finding.severity == severity && finding.accepted.is_empty())
    }

    /// Accepted breaches that did not show: they are to be taken off the list.
    pub fn mended(&self) -> impl Iterator<Item = &Accepted> {
        self.accepted.iter().filter(|accepted| accepted.findings == 0)
    }
}

fn verdict(findings: &[Report], accepted: &[Accepted], incomplete: &str) -> Verdict {
    let open = |severity| findings.iter().any(|one| one.severity == severity && one.accepted.is_empty());
    let mended = accepted.iter().any(|one| one.findings == 0);
    if open(Severity::Violation) || (mended && incomplete.is_empty()) {
        Verdict::NonConformant
    } else if !incomplete.is_empty() {
        Verdict::Incomplete
    } else if findings.is_empty() {
        Verdict::Conformant
    } else {
        Verdict::ConformantWithWarnings
    }
}

fn driver(judgement: &Judgement) -> Driver {
    let mut capabilities: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in judgement.driver.capabilities.iter() {
        let (service, capability) = name.split_once('.').unwrap_or(("", name));
        capabilities.entry(service.to_owned()).or_default().push(capability.to_owned());
    }
    Driver {
        name: judgement.driver.name.clone(),
        vendor_version: judgement.driver.vendor_version.clone(),
        capabilities,
    }
}

fn coverage(judgement: &Judgement) -> Coverage {
    let observable_total = RuleId::all().filter(|rule| rule.rule().is_observable()).count();
    let capabilities = &judgement.driver.capabilities;
    let applicable = |rule: RuleId| capabilities.shut_gate(rule.rule()).is_none();
    Coverage {
        applicable: judgement.rules.iter().filter(|one| applicable(one.rule)).count(),
        exercised: judgement
            .rules
            .iter()
            .filter(|one| one.status != RuleStatus::NotExercised && applicable(one.rule))
            .count(),
        observable_total,
    }
}

fn rule(verdict: &crate::oracle::RuleVerdict) -> Rule {
    let row = verdict.rule.rule();
    Rule {
        id: verdict.rule,
        level: row.level.keyword(),
        section: row.section,
        line: row.line,
        status: verdict.status,
        observations: verdict.observations,
        reason: verdict.reason.clone(),
    }
}
