//! One driver with a fault in it, certified in this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::exit::Failure;
use crate::{
    driver::{
        Configuration, Parts,
        clock::SystemClock,
        content::{ContentDirectory, Durability},
        identifier::OrderedIdentifiers,
        store::Database,
    },
    faults::{self, Assembled, Entry, Lane, Lifetimes, Seeded},
    history::{FORMAT, Header, Phase, Recorder},
    mountpod::{
        MountPods,
        memory::{MemoryMountPods, MemoryOptions},
    },
    oracle::{Finding, Severity, judge},
    report::power::{Kind, Row},
    suite::{self, Options, Progress},
    sut::{self, Driver, InProcess, NodeFsMode, Profile, Start, Target},
};

/// How long is waited for what is under way on real mounts at the end of a trial.
const LAST_MOUNTS: Duration = Duration::from_millis(500);

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

    /// Notes that the trial did not come to its end.
    pub(super) fn cut_short(&mut self, is: bool) {
        self.row.cut_short = is;
    }

    /// The line of the matrix.
    pub(super) fn into_row(self) -> Row {
        Row { peers: self.peers, ..self.row }
    }
}

/// What to try, and how.
#[derive(Clone)]
pub(super) struct Trial {
    /// The fault, or the variant; none for the clean driver.
    pub(super) seeded: Option<Arc<Seeded>>,
    /// Where it is tried.
    pub(super) lane: Lane,
    /// Only these scenarios.
    pub(super) scenarios: Option<String>,
    /// The seed of the run.
    pub(super) seed: u64,
    /// Ends the trial at once; what was seen until then is judged.
    pub(super) stop: CancellationToken,
}

impl Trial {
    /// Runs the suite against the driver: for a fault first the scenarios that aim at the rules that it should break, and
    /// all of them when those find nothing; each until it is found. A legal driver has to pass all of them. Blocks.
    ///
    /// The driver whose mounts are simulated lives in paused time: whatever waits, waits no real moment, and nothing that
    /// takes long on a busy machine runs into a deadline.
    ///
    /// # Errors
    ///
    /// When the driver cannot be put together.
    pub(super) fn certify(&self) -> Result<Verdict, Failure> {
        let aimed = self.entry().filter(|_| self.scenarios.is_none()).map(|entry| entry.rules.join(","));
        if let Some(rules) = aimed.filter(|rules| !rules.is_empty()) {
            let verdict = self.certify_by(Some(&rules))?;
            if verdict.row.detected {
                return Ok(verdict);
            }
        }
        self.certify_by(self.scenarios.as_deref())
    }

    /// The fault in the catalogue.
    fn entry(&self) -> Option<&'static Entry> {
        self.seeded.as_ref().and_then(|one| faults::entry(one.id))
    }

    fn certify_by(&self, scenarios: Option<&str>) -> Result<Verdict, Failure> {
        let directory = directory(self.lane).map_err(Failure::ours)?;
        let mut runtime = match self.lane {
            Lane::Memory => Builder::new_current_thread(),
            Lane::Mounts | Lane::Process => Builder::new_multi_thread(),
        };
        let runtime = runtime.enable_all().start_paused(self.lane == Lane::Memory).build().map_err(Failure::ours)?;
        let tried = runtime.block_on(self.findings(directory.path(), scenarios));
        match self.lane {
            // What a fault keeps busy is not waited for.
            Lane::Memory => runtime.shutdown_background(),
            // What is being mounted when the fault is found is waited for, so that it can be taken away.
            Lane::Mounts | Lane::Process => runtime.shutdown_timeout(LAST_MOUNTS),
        }
        clear(directory.path(), self.lane);
        let (findings, calls) = tried?;
        Ok(self.verdict(&findings, calls))
    }

    /// What the run shows, in the order in which it shows it, and how many calls it made.
    async fn findings(&self, directory: &Path, scenarios: Option<&str>) -> Result<(Vec<Finding>, usize), Failure> {
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let mut profile = Profile {
            other_nodes: vec!["node-b".into()],
            node_fs: if self.lane == Lane::Memory { NodeFsMode::Off } else { NodeFsMode::default() },
            parameters: one("directoryMode", "0755"),
            incompatible_parameters: one("directoryMode", "0700"),
            mutable_parameters: one("iops", "500").into_iter().chain(one("tier", "standard")).collect(),
            modified_parameters: one("iops", "900"),
            take_all_capacity: true,
            secrets: one("token", "a-secret-that-nobody-guesses"),
            directory: Some(directory.to_owned()),
            ..Profile::default()
        };
        let lane = match self.lane {
            Lane::Memory | Lane::Mounts => self.in_this_process(directory)?,
            Lane::Process => self.in_its_own_process(directory, &mut profile)?,
        };
        let patience = Duration::from_secs(20);
        let driver = Driver::connect(Target::Plugin(lane), &profile, patience).await.map_err(Failure::ours)?;
        let node_fs = sut::NodeFs::of(&driver, &profile).is_some();
        let header = Header { format: FORMAT, node_fs, restartable: driver.is_restartable(), ..Header::default() };
        let recorder = Recorder::new(header, None).in_time_of_the_runtime();
        let options = Options {
            profile,
            filter: scenarios.map(str::to_owned),
            jobs: 4,
            seed: self.seed,
            // Real time has to leave room for a busy machine.
            call_deadline: Some(Duration::from_secs(if self.lane == Lane::Memory { 5 } else { 30 })),
            scenario_deadline: Duration::from_secs(60),
            ..Options::default()
        };
        let found = CancellationToken::new();
        let watch = Watch {
            entry: self.entry(),
            recorder: recorder.clone(),
            found: found.clone(),
            ended: 0.into(),
            next_look: 1.into(),
        };
        tokio::select! {
            _ = suite::run(driver, options, &recorder, &watch, CancellationToken::new()) => {}
            () = found.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
        let (history, _) = recorder.finish();
        let mut findings = judge(&history).findings;
        findings.sort_by_key(|finding| finding.calls.last().map_or(u64::MAX, |call| call.0));
        Ok((findings, history.calls()))
    }

    /// The driver as a service of this process; a restart is played.
    fn in_this_process(&self, directory: &Path) -> Result<sut::Lane, Failure> {
        let (base, seeded, lifetimes) = (base(directory, self.lane)?, self.seeded.clone(), Lifetimes::default());
        Ok(sut::Lane::InProcess(Arc::new(move || {
            match Assembled::new(&lifetimes.next(base.clone()), seeded.as_ref()) {
                Ok(assembled) => {
                    // A driver that cannot recover says so at each call.
                    let _ = assembled.driver.recover();
                    InProcess::new(assembled.routes)
                }
                // No settings are left to contradict each other; a service without any method is the answer if they do.
                Err(_) => InProcess::new(tonic::service::Routes::default()),
            }
        })))
    }

    /// The driver as a program of its own, with a log that can be read and mounts that outlive it.
    fn in_its_own_process(&self, directory: &Path, profile: &mut Profile) -> Result<sut::Lane, Failure> {
        let socket = directory.join("socket");
        fs::create_dir(&socket).map_err(Failure::ours)?;
        let executable = std::env::current_exe().map_err(Failure::ours)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = vec![text(&executable)];
        command.extend(["driver", "--runtime", "process", "--endpoint", "{endpoint}"].map(str::to_owned));
        command.extend(["--node-id", "node-a", "--node-id", "node-b", "--state-dir"].map(str::to_owned));
        command.push(text(&directory.join("state")));
        if let Some(seeded) = &self.seeded {
            command.extend(["--fault".to_owned(), seeded.id.to_owned()]);
        }
        profile.start = Some(Start { command, ..Start::default() });
        let endpoint = format!("unix://{}", text(&socket.join("csi.sock")));
        Ok(sut::Lane::Socket(endpoint.parse().map_err(Failure::ours)?))
    }

    fn verdict(&self, findings: &[Finding], calls: usize) -> Verdict {
        let (seeded, lane) = (self.seeded.as_ref(), self.lane);
        let entry = self.entry();
        let id = seeded.map_or("", |one| one.id);
        let first = findings.iter().find(|finding| counts(entry, finding));
        // What is seen beside the calls, in a log or on the disk, no call shows by itself: it takes the run.
        let (rpcs, replay_len) = match first.map(|finding| (finding.calls.len(), finding.calls.last())) {
            None => (0, 0),
            Some((_, None)) => (calls as u64, calls),
            Some((shown, Some(last))) => (last.0 + 1, shown),
        };
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
                id: if id.is_empty() {
                    format!("clean, {lane:?}, seed {}", self.seed).to_lowercase()
                } else {
                    id.to_owned()
                },
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
                by: match first.map(|finding| finding.scenario.as_str()) {
                    Some("") => "the whole run".to_owned(),
                    scenario => scenario.unwrap_or_default().to_owned(),
                },
                rpcs,
                replay_len,
                cut_short: false,
                known_missed: entry.map(|entry| entry.missed.clone()).unwrap_or_default(),
                peers: BTreeMap::new(),
            },
        }
    }
}

/// Whether a finding counts: a violation, or a warning too of what the specification does not forbid outright; for a fault
/// whose rules are named, of one of these.
fn counts(entry: Option<&Entry>, finding: &Finding) -> bool {
    let weighs = finding.severity == Severity::Violation || entry.is_some_and(|entry| entry.advisory);
    let is_named = entry
        .is_none_or(|entry| entry.rules.is_empty() || entry.rules.iter().any(|rule| rule == finding.rule.as_str()));
    weighs && is_named
}

/// Judges the run of a faulty driver as it goes on, and says when the fault is found: nothing more is needed then.
struct Watch {
    /// None for a driver that has to pass everything.
    entry: Option<&'static Entry>,
    recorder: Recorder,
    found: CancellationToken,
    /// Scenarios that have ended.
    ended: AtomicUsize,
    /// How many have to have ended for the next look.
    next_look: AtomicUsize,
}

impl Progress for Watch {
    fn ended(&self, _: &'static str, _: &Phase) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        let due = self.next_look.load(Ordering::Relaxed);
        if self.entry.is_none() || ended < due {
            return;
        }
        // Judging takes as long as the history: with growing steps, all looks together cost no more than a few of the last.
        self.next_look.store(ended + ended / 4 + 1, Ordering::Relaxed);
        if judge(&self.recorder.history()).findings.iter().any(|finding| counts(self.entry, finding)) {
            self.found.cancel();
        }
    }
}

/// A directory for a trial; in memory where that can be, since a driver with simulated mounts makes and removes thousands of
/// small files.
pub(super) fn directory(lane: Lane) -> io::Result<TempDir> {
    const PREFIX: &str = "csi-certify-mutant-";
    let in_memory = (lane == Lane::Memory).then(|| TempDir::with_prefix_in(PREFIX, "/dev/shm")).and_then(Result::ok);
    in_memory.map_or_else(|| TempDir::with_prefix(PREFIX), Ok)
}

/// Ends what a faulty driver has started and takes away what it has mounted below the directory.
pub(super) fn clear(directory: &Path, lane: Lane) {
    #[cfg(target_os = "linux")]
    if lane != Lane::Memory {
        // The second time takes what was started meanwhile.
        for _ in 0..2 {
            end_processes_of(directory);
            unmount_below(directory);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (directory, lane);
}

/// Ends what a trial started and nobody waits for any more: processes with the path of its directory, which no other trial
/// has, among their arguments.
#[cfg(target_os = "linux")]
fn end_processes_of(directory: &Path) {
    use rustix::process::{Pid, Signal, kill_process};
    let path = directory.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.windows(path.len()).any(|part| part == path) {
            // One that has just ended by itself needs no signal.
            let _ = kill_process(id, Signal::KILL);
        }
    }
}

/// Takes away what a faulty driver left mounted.
#[cfg(target_os = "linux")]
fn unmount_below(directory: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut below: Vec<&Path> = points.filter(|point| point.starts_with(directory)).collect();
    below.reverse();
    for point in below {
        // What is gone by now needs nothing more.
        let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
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
        Lane::Mounts | Lane::Process => {
            let options = ProcessOptions::new(directory.join("pods"), "node-a");
            Arc::new(ProcessMountPods::start(options).map_err(Failure::ours)?)
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn mount_pods(_: &Path, _: Lane) -> Result<Arc<dyn MountPods>, Failure> {
    Ok(Arc::new(MemoryMountPods::new(MemoryOptions::new("node-a"))))
}
