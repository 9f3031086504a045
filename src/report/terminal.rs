//! The report on a terminal: what was broken first, then warnings, then coverage, and what to do next.

use std::{collections::BTreeMap, fmt::Write as _};

use anstyle::{AnsiColor, Style};

use super::{
    Certificate, Excerpt,
    certificate::{Report, Rule},
    plain,
};
use crate::oracle::{RuleStatus, Severity, Verdict};

/// The longest text of a driver on one line, in characters.
const LONGEST: usize = 300;
/// How many warnings of one rule are shown in full.
const REPEATS: usize = 2;

/// How the reason of a shut gate begins.
const NOT_ADVERTISED: &str = "the driver does not advertise ";

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// The report, with ANSI styles; the printer strips them where they are not wanted.
pub fn terminal(certificate: &Certificate) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_report(&mut text, certificate);
    text
}

fn write_report(out: &mut String, certificate: &Certificate) -> std::fmt::Result {
    head(out, certificate)?;
    findings(out, certificate, Severity::Violation, "Violations", RED)?;
    for accepted in certificate.mended() {
        writeln!(
            out,
            "{RED}Mended{RED:#} {} is accepted by the profile ({}) and was not broken: take it off the list\n",
            plain(&accepted.rule, LONGEST),
            plain(&accepted.reason, LONGEST)
        )?;
    }
    findings(out, certificate, Severity::Warning, "Warnings", YELLOW)?;
    duties(out, certificate)?;
    coverage(out, certificate)?;
    list(out, "Could not be followed", certificate.inconclusive.iter().cloned())?;
    list(
        out,
        "Left behind; these calls would remove it",
        certificate.leftovers.iter().map(|one| format!("{} {}", one.rpc, one.arguments)),
    )?;
    next(out, certificate)
}

fn head(out: &mut String, certificate: &Certificate) -> std::fmt::Result {
    let (style, words) = match certificate.verdict {
        Verdict::Conformant => (GREEN, "CONFORMANT"),
        Verdict::ConformantWithWarnings => (YELLOW, "CONFORMANT WITH WARNINGS"),
        Verdict::NonConformant => (RED, "NON-CONFORMANT"),
        Verdict::Incomplete => (YELLOW, "INCOMPLETE"),
    };
    let name = if certificate.driver.name.is_empty() { "(no name)" } else { &certificate.driver.name };
    writeln!(
        out,
        "{style}{words}{style:#}  {BOLD}{}{BOLD:#} {}  with CSI {}",
        plain(name, 80),
        plain(&certificate.driver.vendor_version, 80),
        certificate.spec
    )?;
    let calls: u64 = certificate.rpcs.values().sum();
    writeln!(
        out,
        "{} of {} applicable rules exercised ({} observable in all), {calls} calls in {}.{:01} s, seed {}",
        certificate.coverage.exercised,
        certificate.coverage.applicable,
        certificate.coverage.observable_total,
        certificate.duration_ms / 1000,
        certificate.duration_ms % 1000 / 100,
        certificate.seed
    )?;
    if !certificate.incomplete.is_empty() {
        writeln!(out, "The run did not reach its end: {}", plain(&certificate.incomplete, LONGEST))?;
    }
    writeln!(out)
}

fn findings(
    out: &mut String,
    certificate: &Certificate,
    severity: Severity,
    title: &str,
    style: Style,
) -> std::fmt::Result {
    let all: Vec<&Report> = certificate.findings.iter().filter(|one| one.severity == severity).collect();
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "{style}{title} ({}){style:#}", all.len())?;
    let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
    for report in &all {
        let count = shown.entry(report.rule.as_str()).or_default();
        *count += 1;
        if *count <= REPEATS {
            finding(out, report)?;
        }
    }
    for (rule, count) in shown.iter().filter(|(_, count)| **count > REPEATS) {
        writeln!(out, "  {FAINT}{rule}: {} more like this, in --json{FAINT:#}", count - REPEATS)?;
    }
    writeln!(out)
}

fn duties(out: &mut String, certificate: &Certificate) -> std::fmt::Result {
    if certificate.orchestrator.is_empty() {
        return Ok(());
    }
    let count = certificate.orchestrator.len();
    writeln!(out, "{YELLOW}Duties that the orchestrator broke ({count}){YELLOW:#}, apart from the driver's verdict")?;
    for duty in &certificate.orchestrator {
        let row = duty.rule.rule();
        writeln!(out, "  {BOLD}{}{BOLD:#} {} ({}, line {})", duty.rule, row.level.keyword(), row.section, row.line)?;
        writeln!(out, "    {FAINT}rule{FAINT:#}      {}", row.text)?;
        writeln!(out, "    {FAINT}found{FAINT:#}     {}, {} times", plain(&duty.message, LONGEST), duty.times)?;
        calls(out, &duty.history)?;
    }
    writeln!(out)
}

fn finding(out: &mut String, report: &Report) -> std::fmt::Result {
    let row = report.rule.rule();
    writeln!(out, "  {BOLD}{}{BOLD:#} {} ({}, line {})", report.rule, row.level.keyword(), row.section, row.line)?;
    writeln!(out, "    {FAINT}rule{FAINT:#}      {}", row.text)?;
    writeln!(out, "    {FAINT}found{FAINT:#}     {}", plain(&report.message, LONGEST))?;
    if !report.expected.is_empty() {
        writeln!(out, "    {FAINT}expected{FAINT:#}  {}", plain(&report.expected.join(", or "), LONGEST))?;
    }
    writeln!(out, "    {FAINT}came{FAINT:#}      {}", plain(&report.actual, LONGEST))?;
    for reason in &report.ruled_out {
        writeln!(out, "              {}", plain(reason, LONGEST))?;
    }
    calls(out, &report.history)?;
    if !report.accepted.is_empty() {
        writeln!(out, "    {FAINT}accepted{FAINT:#}  {}", plain(&report.accepted, LONGEST))?;
    }
    if !report.scenario.is_empty() {
        writeln!(out, "    {FAINT}again{FAINT:#}     {}", plain(&report.replay, LONGEST))?;
    }
    Ok(())
}

fn calls(out: &mut String, history: &[Excerpt]) -> std::fmt::Result {
    for (index, call) in history.iter().enumerate() {
        let label = if index == 0 { "calls" } else { "" };
        writeln!(out, "    {FAINT}{label:<8}{FAINT:#}  {}", call.line())?;
    }
    Ok(())
}

fn coverage(out: &mut String, certificate: &Certificate) -> std::fmt::Result {
    writeln!(out, "{BOLD}Coverage{BOLD:#}")?;
    let mut services: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in &certificate.rules {
        let counts = services.entry(service(rule)).or_default();
        match rule.status {
            RuleStatus::Held => counts[0] += 1,
            RuleStatus::Broken => counts[1] += 1,
            RuleStatus::NotExercised => {
                counts[2] += 1;
                *reasons.entry(&rule.reason).or_default() += 1;
            }
        }
    }
    for (service, [held, broken, not]) in services {
        writeln!(out, "  {service:<18} {held:>4} held {broken:>4} broken {not:>4} not exercised")?;
    }
    let mut reasons: Vec<(&str, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
    // Capabilities that are not advertised are many and small: they share a line.
    let (gates, others): (Vec<_>, Vec<_>) =
        reasons.into_iter().partition(|(reason, _)| reason.starts_with(NOT_ADVERTISED));
    if !gates.is_empty() {
        let total: usize = gates.iter().map(|(_, count)| count).sum();
        let names: Vec<&str> = gates.iter().map(|(reason, _)| &reason[NOT_ADVERTISED.len()..]).collect();
        writeln!(
            out,
            "  {FAINT}{total:>4} not exercised: not advertised are {}{FAINT:#}",
            plain(&names.join(", "), 2000)
        )?;
    }
    for (reason, count) in others {
        writeln!(out, "  {FAINT}{count:>4} not exercised: {}{FAINT:#}", plain(reason, LONGEST))?;
    }
    writeln!(out)
}

fn service(rule: &Rule) -> &'static str {
    match rule.id.as_str().split('-').next() {
        Some("IDENT") => "Identity",
        Some("CTRL") => "Controller",
        Some("GROUP") => "GroupController",
        Some("META") => "SnapshotMetadata",
        Some("NODE") => "Node",
        _ => "General",
    }
}

fn list(out: &mut String, title: &str, lines: impl ExactSizeIterator<Item = String>) -> std::fmt::Result {
    if lines.len() == 0 {
        return Ok(());
    }
    writeln!(out, "{BOLD}{title}{BOLD:#}")?;
    for line in lines {
        writeln!(out, "  {}", plain(&line, LONGEST))?;
    }
    writeln!(out)
}

fn next(out: &mut String, certificate: &Certificate) -> std::fmt::Result {
    let words = match certificate.verdict {
        Verdict::NonConformant => {
            "Next: mend the first violation, run its \"again\" command until it is gone, then run everything. \
             A breach that has to wait goes into the profile as [[known_failure]] with a reason."
        }
        Verdict::ConformantWithWarnings => {
            "Next: a warning is a SHOULD, or a point where the specification is not clear; \
             each is worth a look, none fails a run."
        }
        Verdict::Incomplete => "Next: run it again to its end; what was not exercised is not certified.",
        Verdict::Conformant => "Next: keep the history (--history F); anybody can recompute this verdict from it.",
    };
    writeln!(out, "{words}")
}
