//! A run: greets the driver, runs the scenarios side by side, cleans up whatever happens.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Bench, Facts, Ledger, Mode, Options, Outcome, Progress, Scenario, Stopped,
    bench::{MADE_UP_KEY, Run, hash},
    controller::list_volumes::BOGUS_TOKENS,
    greeting,
    node_use::remove_empty,
    scenarios,
};
use crate::{
    history::{Phase, Recorder},
    spec::Service,
    sut::{Driver, NodeFs, blocking},
};

/// How long the clean-up of a scenario, or of the run, may take.
const CLEAN_UP: Duration = Duration::from_secs(120);

/// Runs the scenarios that the options select, and cleans up.
///
/// The driver is shut down at the end if this run started it.
pub async fn run(
    driver: Driver,
    options: Options,
    recorder: &Recorder,
    progress: &dyn Progress,
    cancel: CancellationToken,
) -> Outcome {
    recorder.learn(&options.profile.secrets);
    for secrets in options.profile.secrets_by_rpc.values() {
        recorder.learn(secrets);
    }
    for made_up in [MADE_UP_KEY].into_iter().chain(BOGUS_TOKENS) {
        recorder.invent(made_up);
    }
    let run_id = options.run_id.clone().unwrap_or_else(|| run_id(options.seed));
    let base = options.profile.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory: PathBuf = base.join(format!("csi-certify-{run_id}"));
    let node_fs = NodeFs::of(&driver, &options.profile);
    let run = Arc::new(Run::new(driver, recorder.clone(), options, node_fs, directory.clone(), run_id));
    let mut conduct = Conduct { run, progress, cancel, outcome: Outcome::default(), left: Ledger::default() };
    if let Some(facts) = conduct.greeting().await {
        conduct.scenarios(facts).await;
    }
    conduct.last_clean_up().await;
    if conduct.run.driver.is_local() {
        blocking(move || remove_empty(&directory)).await;
    }
    conduct.run.driver.shut_down().await;
    conduct.outcome
}

/// The run as it goes on.
struct Conduct<'a> {
    run: Arc<Run>,
    progress: &'a dyn Progress,
    cancel: CancellationToken,
    outcome: Outcome,
    left: Ledger,
}

/// What one scenario gives back.
struct Ended {
    scenario: &'static Scenario,
    result: Result<(), Stopped>,
    left: Ledger,
}

impl Conduct<'_> {
    /// Learns what has to be known of the driver; `None` when it is not there or the run was cancelled.
    async fn greeting(&mut self) -> Option<Arc<Facts>> {
        let recorder = self.run.recorder.clone();
        recorder.scenario("greeting", Phase::Begin);
        let bench = Bench::new(self.run.clone(), Arc::default(), "greeting");
        let facts = tokio::select! {
            facts = greeting::greet(&bench) => facts.map(Arc::new).ok_or("the driver answers none of the first calls"),
            () = self.cancel.cancelled() => Err("cancelled"),
        };
        recorder.scenario("greeting", Phase::End);
        let facts = match facts {
            Ok(facts) if !self.run.driver.is_dead() => facts,
            Ok(_) => return self.interrupted("the driver died"),
            Err(reason) => return self.interrupted(reason),
        };
        let discovery = Bench::new(self.run.clone(), facts.clone(), "discovery");
        if !discovery.serves(Service::Controller) {
            return Some(facts);
        }
        recorder.scenario("discovery", Phase::Begin);
        let found = tokio::select! {
            found = timeout(self.run.options.scenario_deadline, greeting::discover(&discovery)) => {
                found.unwrap_or_else(|_| Err(Stopped::because("it took too long")))
            }
            () = self.cancel.cancelled() => Err(Stopped::because("cancelled")),
        };
        let (phase, facts) = match found {
            Ok(found) => (Phase::End, Arc::new(found)),
            Err(Stopped { reason }) => (Phase::Stopped { reason }, facts),
        };
        recorder.scenario("discovery", phase);
        self.left.absorb(clean_up(&discovery).await);
        Some(facts)
    }

    fn interrupted<T>(&mut self, reason: &str) -> Option<T> {
        self.outcome.interrupted = Some(reason.to_owned());
        None
    }

    async fn scenarios(&mut self, facts: Arc<Facts>) {
        let pattern = self.run.options.filter.clone();
        let selected: Vec<&'static Scenario> =
            scenarios().filter(|it| pattern.as_deref().is_none_or(|pattern| it.is_selected_by(pattern))).collect();
        self.progress.planned(selected.len());
        let mut side_by_side = Vec::new();
        let mut alone = Vec::new();
        for scenario in selected {
            match self.obstacle(scenario, &facts) {
                Some(reason) => self.leave_out(scenario, reason),
                None if scenario.mode == Mode::SideBySide => side_by_side.push(scenario),
                None => alone.push(scenario),
            }
        }
        // Without volumes of their own, scenarios share those of the profile and would get into each other's way.
        let jobs = if facts.has("Controller.CREATE_DELETE_VOLUME") { self.run.options.jobs.max(1) } else { 1 };
        self.all_of(side_by_side, jobs, &facts).await;
        self.all_of(alone, 1, &facts).await;
    }

    async fn all_of(&mut self, chosen: Vec<&'static Scenario>, jobs: usize, facts: &Arc<Facts>) {
        let (run, progress, cancel) = (self.run.clone(), self.progress, self.cancel.clone());
        let mut ended = stream::iter(chosen)
            .map(|scenario| {
                let (run, facts, cancel) = (run.clone(), facts.clone(), cancel.clone());
                async move {
                    if cancel.is_cancelled() || run.driver.is_dead() {
                        return Err(scenario);
                    }
                    progress.started(scenario.name);
                    // A task of its own: a mistake of ours costs this scenario only.
                    let task = tokio::spawn(one(scenario, run, facts, cancel));
                    let result = Err(Stopped::because("a mistake of csi-certify itself: the scenario panicked"));
                    Ok(task.await.unwrap_or(Ended { scenario, result, left: Ledger::default() }))
                }
            })
            .buffer_unordered(jobs);
        let mut left_out = Vec::new();
        while let Some(ended) = ended.next().await {
            match ended {
                Err(scenario) => left_out.push(scenario),
                Ok(Ended { scenario, result, left }) => {
                    self.left.absorb(left);
                    let phase = match result {
                        Ok(()) => {
                            self.outcome.completed += 1;
                            Phase::End
                        }
                        Err(stopped) => {
                            self.outcome.stopped.push((scenario.name, stopped.clone()));
                            Phase::Stopped { reason: stopped.reason }
                        }
                    };
                    progress.ended(scenario.name, &phase);
                }
            }
        }
        drop(ended);
        for scenario in left_out {
            let reason = if self.run.driver.is_dead() { "the driver died" } else { "cancelled" };
            self.outcome.interrupted.get_or_insert_with(|| reason.to_owned());
            self.leave_out(scenario, reason.to_owned());
        }
    }

    /// Why a scenario cannot be tried with this driver.
    fn obstacle(&self, scenario: &Scenario, facts: &Facts) -> Option<String> {
        if let Some(gate) = scenario.lacks(&facts.capabilities) {
            return Some(match gate.strip_prefix('!') {
                Some(gate) => format!("the driver advertises {gate}"),
                None => format!("the driver does not advertise {gate}"),
            });
        }
        let ours = self.run.driver.instances().iter().any(|instance| instance.is_ours());
        match scenario.mode {
            Mode::Restart if !self.run.driver.is_restartable() => {
                Some("the profile does not say how to start the driver".to_owned())
            }
            Mode::Process if !ours => Some("the driver's process was not started by this run".to_owned()),
            _ => None,
        }
    }

    fn leave_out(&mut self, scenario: &'static Scenario, reason: String) {
        let phase = Phase::Stopped { reason: reason.clone() };
        self.run.recorder.scenario(scenario.name, phase.clone());
        self.progress.ended(scenario.name, &phase);
        self.outcome.stopped.push((scenario.name, Stopped { reason }));
    }

    /// Tries once more to remove what scenarios could not.
    async fn last_clean_up(&mut self) {
        let left = std::mem::take(&mut self.left);
        if left.is_empty() {
            return;
        }
        if self.run.driver.is_dead() {
            self.outcome.leftovers = left.leftovers();
            return;
        }
        let bench = Bench::new(self.run.clone(), Arc::default(), "clean-up");
        bench.ledger().absorb(left);
        self.outcome.leftovers = clean_up(&bench).await.leftovers();
    }
}

/// Runs a scenario and cleans up after it.
async fn one(scenario: &'static Scenario, run: Arc<Run>, facts: Arc<Facts>, cancel: CancellationToken) -> Ended {
    let recorder = run.recorder.clone();
    let deadline = run.options.scenario_deadline;
    let bench = Bench::new(run, facts, scenario.name);
    recorder.scenario(scenario.name, Phase::Begin);
    let result = tokio::select! {
        result = timeout(deadline, (scenario.run)(&bench)) => {
            result.unwrap_or_else(|_| Err(Stopped::because(format!("it took longer than {deadline:?}"))))
        }
        () = cancel.cancelled() => Err(Stopped::because("cancelled")),
    };
    let phase = match &result {
        Ok(()) => Phase::End,
        Err(Stopped { reason }) => Phase::Stopped { reason: reason.clone() },
    };
    recorder.scenario(scenario.name, phase);
    let left = clean_up(&bench).await;
    Ended { scenario, result, left }
}

/// Cleans up within bounds; what is left.
async fn clean_up(bench: &Bench) -> Ledger {
    if !bench.run.driver.is_dead() {
        // Running out of time leaves the rest in the ledger.
        let _ = timeout(CLEAN_UP, bench.clean_up()).await;
    }
    std::mem::take(&mut *bench.ledger())
}

/// Tells this run's names from those of others, also of runs that started at the same moment elsewhere.
fn run_id(seed: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:08x}", hash(&format!("{}-{}-{seed}", now.as_nanos(), std::process::id())))
}
