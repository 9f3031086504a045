//! Programs, one after the other, against a driver behind its socket: run, confirmed, made small.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use super::{
    super::{Candidates, Failure, Language as _, Program},
    Calls, Environment, Executed, OverSocket, SceneError, Step, Surroundings, execute,
};
use crate::{
    history::{FORMAT, Header, History, Recorder},
    suite::Leftover,
    sut::{Driver, NodeFs, Profile},
};

/// What a run of programs is asked.
#[derive(Clone, Debug)]
pub struct CampaignOptions {
    /// Stands in the name of everything that is made.
    pub run_id: String,
    /// Where targets lie.
    pub directory: PathBuf,
    /// How long a call may take.
    pub patience: Duration,
    /// Which faults are used.
    pub nemeses: BTreeSet<Nemesis>,
    /// How many calls are under way at once.
    pub clients: u8,
}

/// A fault that needs nothing but the driver and its socket.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Nemesis {
    /// The driver's process is killed and started again, where the profile says how.
    Kill,
    /// Answers get lost on the way back.
    LostAnswer,
    /// Callers give up.
    Cancel,
}

impl Nemesis {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Kill, Self::LostAnswer, Self::Cancel];
}

/// A program that was run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// What came of it.
    pub executed: Executed,
    /// What happened.
    pub history: History,
}

/// A failure that was seen again just now, and its smallest program.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The program.
    pub program: Program<Environment, Step>,
    /// How it fails.
    pub failure: Failure,
    /// How often it failed in its last runs.
    pub failed: u32,
    /// How many these were.
    pub replays: u32,
    /// The history of the last one that failed.
    pub history: History,
}

/// Programs against one driver.
#[derive(Debug)]
pub struct Campaign {
    driver: Arc<Driver>,
    profile: Profile,
    options: CampaignOptions,
    /// What was found out about the driver once.
    known: Surroundings,
    cases: u32,
    leftovers: BTreeSet<Leftover>,
}

impl Campaign {
    /// Finds out what the driver is; nothing when it answers nothing.
    pub async fn begin(driver: Driver, profile: Profile, options: CampaignOptions) -> Option<Self> {
        let driver = Arc::new(driver);
        let recorder = Recorder::new(header(&driver, &profile), None);
        let prefix = format!("cc-{}", options.run_id);
        let mut known = Surroundings::greet(
            &driver,
            &recorder,
            profile.clone(),
            &prefix,
            options.directory.clone(),
            options.patience,
        )
        .await?;
        known.discover(&driver, &recorder).await;
        Some(Self { driver, profile, options, known, cases: 0, leftovers: BTreeSet::new() })
    }

    /// The driver.
    pub const fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// What could not be removed so far.
    pub const fn leftovers(&self) -> &BTreeSet<Leftover> {
        &self.leftovers
    }

    /// The program as far as this driver and these options can show it.
    #[must_use]
    pub fn adapted(&self, program: Program<Environment, Step>) -> Program<Environment, Step> {
        let clients = self.options.clients.max(1);
        let has = |nemesis| self.options.nemeses.contains(&nemesis);
        let steps = program.steps.into_iter().filter_map(|step| match step {
            Step::Call { lane, call, pause, lost } => {
                let (lane, pause) = (lane % clients, pause.filter(|_| clients > 1));
                Some(Step::Call { lane, call, pause, lost: lost && has(Nemesis::LostAnswer) })
            }
            Step::Cancel { .. } if has(Nemesis::Cancel) => Some(step),
            Step::Crash if has(Nemesis::Kill) && self.driver.is_restartable() => Some(step),
            Step::Resume { .. } => Some(step),
            _ => None,
        });
        let environment = Environment {
            staging: self.known.has("Node.STAGE_UNSTAGE_VOLUME"),
            attachment: self.known.has("Controller.PUBLISH_UNPUBLISH_VOLUME"),
            ..program.environment
        };
        Program { environment, steps: steps.collect() }.repaired::<Calls>()
    }

    /// The environment of programs that are drawn for this driver.
    pub fn environment(&self, drawn: Environment) -> Environment {
        self.adapted(Program { environment: drawn, steps: Vec::new() }).environment
    }

    /// Runs a program under names of its own.
    ///
    /// # Errors
    ///
    /// When the driver cannot be restarted, or is gone.
    pub async fn run(&mut self, program: &Program<Environment, Step>) -> Result<Case, SceneError> {
        self.cases += 1;
        let prefix = format!("cc-{}-{}", self.options.run_id, self.cases);
        let directory = self.options.directory.join(self.cases.to_string());
        let recorder = Recorder::new(header(&self.driver, &self.profile), None);
        let profile = self.profile.clone();
        let patience = self.options.patience;
        let greeted = Surroundings::greet(&self.driver, &recorder, profile, &prefix, directory.clone(), patience).await;
        let surroundings = greeted.ok_or(SceneError::Gone)?.with_modes_of(&self.known);
        let mut scene = OverSocket::new(&self.driver, &self.profile, directory);
        let executed = execute(program, &self.driver, &recorder, &surroundings, &mut scene).await?;
        self.leftovers.extend(executed.leftovers.iter().cloned());
        let (history, _) = recorder.finish();
        match self.driver.is_dead() {
            true => Err(SceneError::Gone),
            false => Ok(Case { executed, history }),
        }
    }

    /// Runs a program so often; how often it failed like that, with the last of these cases.
    ///
    /// # Errors
    ///
    /// When the driver cannot be restarted, or is gone.
    pub async fn replay(
        &mut self,
        program: &Program<Environment, Step>,
        kind: Option<&str>,
        times: u32,
    ) -> Result<(u32, Option<Case>), SceneError> {
        let mut failed = 0;
        let mut last = None;
        for _ in 0..times {
            let case = self.run(program).await?;
            if case.executed.failure.as_ref().is_some_and(|failure| kind.is_none_or(|kind| failure.kind == kind)) {
                failed += 1;
                last = Some(case);
            }
        }
        Ok((failed, last))
    }

    /// Confirms a failure and makes its program small: each candidate is judged by running it, and what comes back has
    /// just failed again. Nothing when it did not fail a second time.
    ///
    /// # Errors
    ///
    /// When the driver cannot be restarted, or is gone.
    pub async fn shrink(
        &mut self,
        program: Program<Environment, Step>,
        failure: Failure,
        budget: usize,
        replays: u32,
    ) -> Result<Option<Found>, SceneError> {
        let kind = failure.kind.clone();
        if self.replay(&program, Some(&kind), CONFIRMATIONS).await?.0 == 0 {
            return Ok(None);
        }
        let mut candidates = Candidates::<Calls>::of(program.up_to(&failure));
        let mut runs = 0;
        while runs < budget
            && let Some(candidate) = candidates.next()
        {
            runs += 1;
            let case = self.run(&candidate).await?;
            if let Some(found) = case.executed.failure.filter(|found| found.kind == kind) {
                candidates.accept(candidate.up_to(&found));
            }
        }
        let program = candidates.best().clone();
        let (failed, last) = self.replay(&program, Some(&kind), replays).await?;
        Ok(last.map(|case| {
            let failure = case.executed.failure.unwrap_or(failure);
            Found { program, failure, failed, replays, history: case.history }
        }))
    }

    /// Ends the driver, if this run started it.
    pub async fn end(&self) {
        self.driver.shut_down().await;
    }
}

/// How often a failure may fail to come again before it is given up.
const CONFIRMATIONS: u32 = 3;

fn header(driver: &Driver, profile: &Profile) -> Header {
    Header {
        format: FORMAT,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        node_fs: NodeFs::of(driver, profile).is_some(),
        restartable: driver.is_restartable(),
        endpoints: driver.endpoints(),
        ..Header::default()
    }
}

/// Draws a program for the driver of a campaign.
pub fn draw_for(
    campaign: &Campaign,
    source: &mut dyn super::super::Source,
    steps: usize,
) -> Program<Environment, Step> {
    let environment = campaign.environment(Calls::environment(source));
    let mut program = Program { environment, steps: Vec::with_capacity(steps) };
    // What this driver cannot show is drawn again, within a bound.
    for _ in 0..steps * 4 {
        if program.steps.len() >= steps {
            break;
        }
        program.steps.push(Calls::step(&environment, &program.steps, source));
        program = campaign.adapted(program);
    }
    program
}
