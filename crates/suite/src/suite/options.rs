//! What a run is asked to do, and what became of it.

use std::time::Duration;

use super::{Leftover, Stopped};
use crate::{history::Phase, sut::Profile};

/// What a run is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Patterns of scenario names or rule ids, with commas between them; all scenarios without it.
    pub filter: Option<String>,
    /// How many scenarios run side by side.
    pub jobs: usize,
    /// The seed of names and of moments at which calls are cancelled.
    pub seed: u64,
    /// Stands in each name that the run creates; made up from the clock without it.
    pub run_id: Option<String>,
    /// How long a call may take, in place of the profile's deadline.
    pub call_deadline: Option<Duration>,
    /// How long a scenario may take, its clean-up not counted.
    pub scenario_deadline: Duration,
    /// The driver's particulars.
    pub profile: Profile,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: None,
            jobs: 4,
            seed: 0,
            run_id: None,
            call_deadline: None,
            scenario_deadline: Duration::from_secs(300),
            profile: Profile::default(),
        }
    }
}

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What could not be removed.
    pub leftovers: Vec<Leftover>,
    /// Whether the run was cut short: by whoever started it, or by the end of the driver.
    pub interrupted: Option<String>,
    /// Scenarios that could not begin or go on.
    pub stopped: Vec<(&'static str, Stopped)>,
    /// How many scenarios ran to their end.
    pub completed: usize,
}

/// Is told how a run goes on.
pub trait Progress: Send + Sync {
    /// The run has that many scenarios.
    fn planned(&self, _scenarios: usize) {}

    /// A scenario began.
    fn started(&self, _scenario: &'static str) {}

    /// A scenario ended or was left out.
    fn ended(&self, _scenario: &'static str, _phase: &Phase) {}
}

/// Does not care.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {}
