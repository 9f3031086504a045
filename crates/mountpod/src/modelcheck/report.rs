//! How a search reads: its figures, and the broken promise with one lane for each actor.

use std::fmt;

use super::{Ending, Report, Trace, Violation};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match &self.ending {
            Ending::Complete => "complete, no violation".to_owned(),
            Ending::Incomplete(text) => format!("INCOMPLETE: {text}"),
            Ending::Broken(broken) => format!("{} is broken", broken.0.invariant),
        };
        write!(
            f,
            "{:<24} {:>9} states {:>10} transitions  depth {:>3}  {:>7.1} s  {ending}",
            self.scenario,
            self.states,
            self.transitions,
            self.depth,
            self.elapsed.as_secs_f64()
        )?;
        match &self.ending {
            Ending::Broken(broken) => write!(f, "\n\n{}", explanation(&broken.0, &broken.1)),
            _ => Ok(()),
        }
    }
}

/// The broken promise and the way to it, for people.
pub fn explanation(violation: &Violation, trace: &Trace) -> String {
    let invariant = violation.invariant;
    let mut text = format!("{invariant}: {}.\nSeen: {}.\n\n", invariant.promise(), violation.text);
    for line in &trace.before {
        text.push_str(&format!("Before: {line}.\n"));
    }
    let mut lanes: Vec<&str> = Vec::new();
    for step in &trace.steps {
        if !lanes.contains(&step.lane.as_str()) {
            lanes.push(&step.lane);
        }
    }
    let width = |lane: &str| {
        let steps = trace.steps.iter().filter(|step| step.lane == lane);
        steps.map(|step| step.text.len()).chain([lane.len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = lanes.iter().map(|lane| width(lane)).collect();
    let row = |number: &str, cells: &dyn Fn(usize) -> String| {
        let cells: Vec<String> = (0..lanes.len()).map(|lane| format!("{:<1$}", cells(lane), widths[lane])).collect();
        format!("{number:>3} | {}", cells.join(" | ")).trim_end_matches([' ', '|']).to_owned() + "\n"
    };
    text.push_str(&row("", &|lane| lanes[lane].to_owned()));
    text.push_str(&row("", &|lane| "-".repeat(widths[lane])));
    let mut at_rest = false;
    for (number, step) in trace.steps.iter().enumerate() {
        if step.at_rest && !at_rest {
            at_rest = true;
            text.push_str("      nothing goes wrong any more; what was begun goes on:\n");
        }
        let cell = |lane: usize| if lanes[lane] == step.lane { step.text.clone() } else { String::new() };
        text.push_str(&row(&(number + 1).to_string(), &cell));
    }
    text
}
