//! One driver with a fault in it, certified in this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    exit::Failure,
    mutants::{LONGEST_FAULTY_TRIAL, LONGEST_TRIAL},
};
use crate::{
    driver::{
        Configuration, Parts,
        clock::SystemClock,
        content::{ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::Database,
    },
    faults::{self, Assembled, Lane, Lifetimes, Seeded},
    history::{FORMAT, Header, Recorder},
    mountpod::{
        MountPods,
        memory::{MemoryMountPods, MemoryOptions},
    },
    oracle::{Finding, Severity, judge},
    report::power::{Kind, Row},
    suite::{self, Options, Silent},
    sut::{self, Driver, InProcess, NodeFsMode, Profile, Target},
};

/// What came of a trial.
pub(super) struct Verdict {
    /// The fault, or the variant; empty for the clean driver.
    pub(super) id: String,
    /// What was broken, one line each.
    pub(super) findings: Vec<String>,
    /// By peer, whether it saw something.
    pub(super) peers: BTreeMap<String, bool>,
    row: Row,
}

impl Verdict {
    /// The verdict in one line.
    pub(super) fn line(&self) -> String {
        self.row.line()
    }

    /// The line of the matrix.
    pub(super) fn into_row(self) -> Row {
        Row { peers: self.peers, ..self.row }
    }
}

/// Runs the suite against a driver: for a fault first the scenarios that aim at the rules that it should break, and all
/// of them when those find nothing.
///
/// # Errors
///
/// When the driver cannot be put together.
pub(super) async fn certify(
    seeded: Option<Arc<Seeded>>,
    lane: Lane,
    scenarios: Option<String>,
) -> Result<Verdict, Failure> {
    let entry = seeded.as_ref().and_then(|one| faults::entry(one.id));
    for rule in entry.iter().filter(|_| scenarios.is_none()).flat_map(|entry| &entry.rules) {
        let verdict = certify_by(seeded.clone(), lane, Some(rule.clone())).await?;
        if verdict.row.detected {
            return Ok(verdict);
        }
    }
    certify_by(seeded, lane, scenarios).await
}

async fn certify_by(seeded: Option<Arc<Seeded>>, lane: Lane, scenarios: Option<String>) -> Result<Verdict, Failure> {
    let directory = TempDir::with_prefix("csi-certify-mutant-").map_err(Failure::ours)?;
    let base = base(directory.path(), lane)?;
    let profile = Profile {
        other_nodes: vec!["node-b".into()],
        node_fs: if lane == Lane::Mounts { NodeFsMode::default() } else { NodeFsMode::Off },
        parameters: one("directoryMode", "0755"),
        incompatible_parameters: one("directoryMode", "0700"),
        mutable_parameters: one("iops", "500").into_iter().chain(one("tier", "standard")).collect(),
        modified_parameters: one("iops", "900"),
        secrets: one("token", "a-secret-that-nobody-guesses"),
        directory: Some(directory.path().to_owned()),
        ..Profile::default()
    };
    let again = (base, seeded.clone(), Lifetimes::default());
    let services = sut::Lane::InProcess(Arc::new(move || {
        let (base, seeded, lifetimes) = &again;
        match Assembled::new(&lifetimes.next(base.clone()), seeded.as_ref()) {
            Ok(assembled) => {
                // A driver that cannot recover says so at each call.
                let _ = assembled.driver.recover();
                InProcess::new(assembled.routes)
            }
            // No settings are left to contradict each other; a service without any method is the answer if they do.
            Err(_) => InProcess::new(tonic::service::Routes::default()),
        }
    }));
    let patience = Duration::from_secs(20);
    let driver = Driver::connect(Target::Plugin(services), &profile, patience).await.map_err(Failure::ours)?;
    let node_fs = sut::NodeFs::of(&driver, &profile).is_some();
    let header = Header { format: FORMAT, node_fs, restartable: driver.is_restartable(), ..Header::default() };
    let recorder = Recorder::new(header, None);
    let options = Options {
        profile,
        filter: scenarios,
        jobs: 4,
        seed: 1,
        call_deadline: Some(Duration::from_secs(5)),
        scenario_deadline: Duration::from_secs(60),
        ..Options::default()
    };
    let cancel = CancellationToken::new();
    let run = suite::run(driver, options, &recorder, &Silent, cancel.clone());
    // A driver that hangs is left after a while; what it did until then is judged.
    let is_faulty = seeded.as_ref().is_some_and(|one| faults::entry(one.id).is_some());
    let outcome = tokio::time::timeout(if is_faulty { LONGEST_FAULTY_TRIAL } else { LONGEST_TRIAL }, run).await;
    cancel.cancel();
    drop(outcome);
    let (history, _) = recorder.finish();
    let judgement = judge(&history);
    let mut findings = judgement.findings;
    findings.sort_by_key(|finding| finding.calls.last().map_or(u64::MAX, |call| call.0));
    Ok(verdict(seeded.as_ref(), lane, &findings))
}

fn verdict(seeded: Option<&Arc<Seeded>>, lane: Lane, findings: &[Finding]) -> Verdict {
    let entry = seeded.and_then(|one| faults::entry(one.id));
    let id = seeded.map_or("", |one| one.id);
    let counts = |finding: &&Finding| {
        let weighs = finding.severity == Severity::Violation || entry.is_some_and(|entry| entry.advisory);
        let is_named = entry
            .is_none_or(|entry| entry.rules.is_empty() || entry.rules.iter().any(|rule| rule == finding.rule.as_str()));
        weighs && is_named
    };
    let first = findings.iter().find(counts);
    let rules: BTreeSet<String> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Violation || entry.is_some_and(|entry| entry.advisory))
        .map(|finding| finding.rule.to_string())
        .collect();
    let kind = match (seeded, entry) {
        (None, _) => Kind::Clean,
        (_, Some(entry)) if entry.advisory => Kind::Advisory,
        (_, Some(_)) => Kind::Fault,
        _ => Kind::Variant,
    };
    let described = |finding: &Finding| {
        let severity = if finding.severity == Severity::Violation { "violation" } else { "warning" };
        let expected = finding.expected.join(", ");
        let Finding { rule, message, actual, scenario, .. } = finding;
        format!("{severity} {rule} in {scenario}: {message}; expected {expected}; came {actual}")
    };
    Verdict {
        id: id.to_owned(),
        findings: findings.iter().map(described).collect(),
        peers: BTreeMap::new(),
        row: Row {
            id: if id.is_empty() { format!("clean, {lane:?}").to_lowercase() } else { id.to_owned() },
            class: entry
                .map_or_else(|| if seeded.is_some() { "variant" } else { "clean" }, |entry| entry.class)
                .to_owned(),
            title: entry.map_or_else(
                || seeded.map_or("the reference driver itself", |one| one.what).to_owned(),
                |entry| entry.title.clone(),
            ),
            kind,
            detected: first.is_some(),
            by_rules: rules.into_iter().collect(),
            by: first.map(|finding| finding.scenario.clone()).unwrap_or_default(),
            rpcs: first.and_then(|finding| finding.calls.last()).map_or(0, |call| call.0 + 1),
            replay_len: first.map_or(0, |finding| finding.calls.len()),
            known_missed: entry.map(|entry| entry.missed.clone()).unwrap_or_default(),
            peers: BTreeMap::new(),
        },
    }
}

/// The parts of a driver whose state lasts for one trial.
fn base(directory: &Path, lane: Lane) -> Result<Parts, Failure> {
    let content = ContentDirectory::open(&directory.join("content"), Durability::Relaxed).map_err(Failure::ours)?;
    Ok(Parts {
        configuration: Configuration { nodes: vec!["node-a".into(), "node-b".into()], ..Configuration::default() },
        store: Arc::new(Database::in_memory().map_err(Failure::ours)?),
        content: Arc::new(content),
        mount_pods: mount_pods(directory, lane)?,
        clock: Arc::new(SystemClock),
        identifiers: Arc::new(OrderedIdentifiers::default()),
    })
}

#[cfg(target_os = "linux")]
fn mount_pods(directory: &Path, lane: Lane) -> Result<Arc<dyn MountPods>, Failure> {
    use crate::mountpod::process::{ProcessMountPods, ProcessOptions};
    Ok(match lane {
        Lane::Memory => Arc::new(MemoryMountPods::new(MemoryOptions::new("node-a"))),
        Lane::Mounts => {
            let options = ProcessOptions::new(directory.join("pods"), "node-a");
            Arc::new(ProcessMountPods::start(options).map_err(Failure::ours)?)
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn mount_pods(_: &Path, _: Lane) -> Result<Arc<dyn MountPods>, Failure> {
    Ok(Arc::new(MemoryMountPods::new(MemoryOptions::new("node-a"))))
}

fn one(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}
