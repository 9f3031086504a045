//! Progress on standard error: a bar on a terminal, plain lines otherwise.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{history::Phase, suite::Progress};

/// Tells a person how a run goes on.
#[derive(Debug)]
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    planned: AtomicUsize,
    ended: AtomicUsize,
}

impl Bar {
    /// A bar if standard error is a terminal.
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, planned: AtomicUsize::new(0), ended: AtomicUsize::new(0) }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress for Bar {
    fn planned(&self, scenarios: usize) {
        self.planned.store(scenarios, Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.set_length(scenarios as u64),
            None => anstream::eprintln!("{scenarios} scenarios"),
        }
    }

    fn started(&self, scenario: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_message(scenario);
        }
    }

    fn ended(&self, _scenario: &'static str, _phase: &Phase) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        let planned = self.planned.load(Ordering::Relaxed);
        match &self.bar {
            Some(bar) => bar.set_position(ended as u64),
            // Every tenth part of the way.
            None if ended * 10 / planned.max(1) > (ended - 1) * 10 / planned.max(1) => {
                anstream::eprintln!("{ended} of {planned} scenarios");
            }
            None => {}
        }
    }
}
