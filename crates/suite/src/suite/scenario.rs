//! What a scenario is: a short sequence of calls that brings about the situation in which some rules can be judged.

use std::fmt;

use futures_util::future::BoxFuture;

use super::Bench;
use crate::spec::{Capabilities, Gate, RuleId};

/// A scripted sequence of calls. It never judges: it only makes history.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Unique, `create_volume::repeat_is_idempotent`.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Capabilities that the driver has to advertise, in the form of [`Gate`]s.
    pub needs: &'static [&'static str],
    /// The rules that it is meant to exercise.
    pub rules: &'static [RuleId],
    /// What it does to those that run at the same time.
    pub mode: Mode,
    pub(super) run: for<'a> fn(&'a Bench) -> BoxFuture<'a, Result<(), Stopped>>,
}

/// What a scenario does to those that run at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Nothing: it keeps to objects of its own.
    SideBySide,
    /// It needs a quiet driver.
    Exclusive,
    /// It kills and starts the driver, and so runs alone.
    Restart,
    /// It looks at the driver's process, and so needs one that this run started.
    Process,
}

/// Why a scenario could not begin or go on; it says nothing about the driver's conformance.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Stopped {
    /// For people.
    pub reason: String,
}

impl Stopped {
    /// With a reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl Scenario {
    /// The first capability that it needs and the driver lacks.
    pub fn lacks(&self, capabilities: &Capabilities) -> Option<&'static str> {
        let open = |text: &str| Gate::parse(text).is_ok_and(|gate| gate.is_open(capabilities));
        self.needs.iter().copied().find(|text| !open(text))
    }

    /// Whether a filter, patterns of scenario names or rule ids with commas between them, selects it.
    pub fn is_selected_by(&self, patterns: &str) -> bool {
        let matches = |text: &str| patterns.split(',').any(|pattern| crate::sut::glob(pattern, text));
        matches(self.name) || self.rules.iter().any(|rule| matches(rule.as_str()))
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Lists the scenarios of a file: `mode? function, what it does, needed capabilities, rules;`.
macro_rules! scenarios {
    (mode) => { $crate::suite::Mode::SideBySide };
    (mode exclusive) => { $crate::suite::Mode::Exclusive };
    (mode restart) => { $crate::suite::Mode::Restart };
    (mode process) => { $crate::suite::Mode::Process };
    ($area:literal: $($(@$mode:ident)? $name:ident, $about:literal, [$($need:expr),*], [$($rule:literal),* $(,)?];)+) => {
        pub(in crate::suite) const SCENARIOS: &[$crate::suite::Scenario] = &[$($crate::suite::Scenario {
            name: concat!($area, "::", stringify!($name)),
            about: $about,
            needs: &[$($need),*],
            rules: &[$($crate::rule!($rule)),*],
            mode: $crate::suite::scenario::scenarios!(mode $($mode)?),
            run: |bench| Box::pin($name(bench)),
        }),+];
    };
}

pub(in crate::suite) use scenarios;
