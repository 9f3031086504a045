//! The kill matrix: which faults were found, by which rule, after how many calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

/// A line of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The fault, or the variant.
    pub id: String,
    /// Its class.
    pub class: String,
    /// What it is.
    pub title: String,
    /// What is expected of the harness.
    pub kind: Kind,
    /// Whether it was found.
    pub detected: bool,
    /// The rules that were broken.
    pub by_rules: Vec<String>,
    /// The scenario that found it.
    pub by: String,
    /// Calls of the run until then.
    pub rpcs: u64,
    /// Calls that show it.
    pub replay_len: usize,
    /// Whether the trial ran out of time; a legal driver counts as accepted only when it did not.
    pub cut_short: bool,
    /// Why it is not found, for one that is known to be missed.
    pub known_missed: String,
    /// By peer, whether it saw something.
    pub peers: BTreeMap<String, bool>,
}

/// What is expected of the harness.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No violation.
    Clean,
    /// A violation.
    Fault,
    /// A warning at least.
    Advisory,
    /// No violation.
    Variant,
}

/// The matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matrix {
    /// Its lines.
    pub faults: Vec<Row>,
    /// The sums.
    pub totals: Totals,
    /// Faults of the catalogue that the driver cannot be asked to commit: id and title.
    pub not_seeded: Vec<(String, String)>,
    /// How it was run.
    pub run: Run,
}

/// How a matrix was run.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Run {
    /// The command.
    pub command: String,
    /// How long it took.
    pub seconds: u64,
    /// Processors that it could use.
    pub processors: usize,
}

/// The sums.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Faults that were tried.
    pub faults: usize,
    /// Of those, found.
    pub detected: usize,
    /// Calls of the run until a fault was found: half of the faults need no more.
    pub median_rpcs: u64,
    /// Legal variants that were tried, and the clean driver.
    pub legal: usize,
    /// Of those, wrongly accused.
    pub false_alarms: usize,
    /// By peer: faults found, and legal drivers accused.
    pub peers: BTreeMap<String, (usize, usize)>,
}

impl Row {
    const fn is_legal(&self) -> bool {
        matches!(self.kind, Kind::Clean | Kind::Variant)
    }

    /// The row in one line.
    pub fn line(&self) -> String {
        let outcome = match (self.is_legal(), self.detected) {
            (_, false) if self.cut_short => "CUT SHORT",
            (true, false) => "accepted",
            (true, true) => "FALSE ALARM",
            (false, true) => "detected",
            (false, false) => "MISSED",
        };
        let rules = if self.by_rules.len() > 4 {
            format!("{} and {} more", self.by_rules[..4].join(" "), self.by_rules.len() - 4)
        } else {
            self.by_rules.join(" ")
        };
        let mut line = format!("{:<34} {outcome:<11} {rules}", self.id);
        if self.detected {
            let _ = write!(line, ", {} after {} calls, shown by {}", self.by, self.rpcs, self.replay_len);
        }
        line
    }
}

impl Matrix {
    /// Adds up the lines.
    pub fn new(faults: Vec<Row>, not_seeded: Vec<(String, String)>, run: Run) -> Self {
        let mut totals = Totals::default();
        let mut rpcs: Vec<u64> =
            faults.iter().filter(|row| !row.is_legal() && row.detected).map(|row| row.rpcs).collect();
        rpcs.sort_unstable();
        totals.median_rpcs = rpcs.get(rpcs.len() / 2).copied().unwrap_or_default();
        for row in &faults {
            let (all, found) = match row.is_legal() {
                true => (&mut totals.legal, &mut totals.false_alarms),
                false => (&mut totals.faults, &mut totals.detected),
            };
            *all += 1;
            *found += usize::from(row.detected);
            for (peer, detected) in &row.peers {
                let (found, alarms) = totals.peers.entry(peer.clone()).or_default();
                *(if row.is_legal() { alarms } else { found }) += usize::from(*detected);
            }
        }
        Self { faults, totals, not_seeded, run }
    }

    /// Whether those faults were found that are not known to be missed, and only those, and nothing legal was accused.
    pub fn is_as_expected(&self) -> bool {
        self.faults.iter().all(|row| match row.is_legal() {
            true => !row.detected && !row.cut_short,
            false => row.detected == row.known_missed.is_empty(),
        })
    }

    /// As JSON.
    ///
    /// # Errors
    ///
    /// Never, in practice: all of it is text and numbers.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// For people at a terminal.
    pub fn terminal(&self) -> String {
        let mut text = String::new();
        for row in &self.faults {
            let _ = writeln!(text, "{}", row.line());
        }
        let Totals { faults, detected, median_rpcs, legal, false_alarms, peers } = &self.totals;
        let _ = writeln!(
            text,
            "{detected} of {faults} faults detected, half of them within {median_rpcs} calls; {false_alarms} false alarms on {legal} legal drivers"
        );
        for (peer, (found, alarms)) in peers {
            let _ = writeln!(text, "{peer}: {found} of {faults} faults detected, {alarms} false alarms");
        }
        text
    }

    /// As a page in Markdown.
    pub fn page(&self) -> String {
        let Totals { faults, detected, median_rpcs, legal, false_alarms, peers } = &self.totals;
        let Run { command, seconds, processors } = &self.run;
        let mut page = String::from("# What the harness can see\n\n");
        let _ = writeln!(
            page,
            "The reference driver commits one fault of the catalogue at a time (`csi-certify faults --long` shows where each was\n\
             seen), and the suite and the oracle have to find it. Then it behaves differently within the specification, and\n\
             nothing may be found. Written by `{command}`, which took {seconds} s on a machine that gave it\n\
             {processors} processors; do not edit.\n\n\
             Calls are counted in the run that found the fault: the greeting and the scenarios that aim at its rules, or all\n\
             scenarios where these found nothing. What is seen beside the calls, on the disk or in a log, takes the whole run.\n"
        );
        let _ = writeln!(
            page,
            "- {detected} of {faults} seeded faults are detected, half of them within {median_rpcs} calls.\n\
             - {false_alarms} false alarms on {legal} legal drivers."
        );
        for (peer, (found, alarms)) in peers {
            let _ = writeln!(page, "- {peer}: {found} of {faults} faults detected, {alarms} false alarms.");
        }
        if !peers.is_empty() {
            let _ = writeln!(
                page,
                "\nA peer is run once against each of these drivers, whatever it lacks, with the same options for all. What makes it\n\
                 end with an error is counted: against a faulty driver as detected, for whatever reason, and against a legal one as\n\
                 a false alarm."
            );
        }
        let names: BTreeSet<&String> = peers.keys().collect();
        let columns: String = names.iter().map(|name| format!(" {name} |")).collect();
        let rule: String = names.iter().map(|_| "---|").collect();
        let _ = writeln!(
            page,
            "\n## Faults\n\n| fault | class | what | found | by | rules | calls | shown by |{columns}\n|---|---|---|---|---|---|---|---|{rule}"
        );
        for row in self.faults.iter().filter(|row| !row.is_legal()) {
            let found = match (row.detected, row.kind) {
                (true, Kind::Advisory) => "warned",
                (true, _) => "yes",
                (false, _) => "**no**",
            };
            let rules: Vec<&str> = row.by_rules.iter().take(3).map(String::as_str).collect();
            let peers: String = names
                .iter()
                .map(|name| row.peers.get(*name).map_or(" |", |found| if *found { " yes |" } else { " no |" }))
                .collect();
            let _ = writeln!(
                page,
                "| {} | {} | {} | {found} | {} | {} | {} | {} |{peers}",
                row.id,
                row.class,
                row.title.replace('|', "\\|"),
                row.by,
                rules.join(", "),
                row.rpcs,
                row.replay_len
            );
        }
        let missed: Vec<&Row> = self.faults.iter().filter(|row| !row.is_legal() && !row.detected).collect();
        if !missed.is_empty() {
            let _ = writeln!(page, "\n## Not found, and why\n");
        }
        for Row { id, title, known_missed, .. } in missed {
            let why = if known_missed.is_empty() { "not known" } else { known_missed };
            let _ = writeln!(page, "- {id} ({title}): {why}.");
        }
        let _ = writeln!(page, "\n## Legal variants\n\n| variant | what | accepted |{columns}\n|---|---|---|{rule}");
        for row in self.faults.iter().filter(|row| row.is_legal()) {
            let accepted = match (row.detected, row.cut_short) {
                (true, _) => "**no**",
                (false, true) => "not tried to the end",
                (false, false) => "yes",
            };
            let peers: String = names
                .iter()
                .map(|name| row.peers.get(*name).map_or(" |", |found| if *found { " no |" } else { " yes |" }))
                .collect();
            let _ = writeln!(page, "| {} | {} | {accepted} |{peers}", row.id, row.title);
        }
        if !self.not_seeded.is_empty() {
            let _ = writeln!(page, "\n## Not seeded yet\n");
            for (id, title) in &self.not_seeded {
                let _ = writeln!(page, "- {id}: {title}");
            }
        }
        page
    }
}
