//! `csi-certify judge`: recompute the verdict from recorded histories; no driver is needed.

use std::{cell::Cell, collections::HashSet, path::PathBuf};

use clap::Args;

use super::{
    exit::{Exit, Failure},
    run::{ReportOptions, report, without_circumstances},
    target::{DriverOptions, accepted},
};
use crate::{
    history::{CallId, Event, EventKind, Header, History, HistoryError, Reader, Recordings, in_background},
    oracle::{CALLS_AT_HAND, judge_as_read},
    report::{Certificate, Circumstances},
};

/// What `csi-certify judge` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct JudgeArguments {
    /// Histories. Those that run --history wrote are judged each by itself; those of record, the files of one recording
    /// and of several components alike, are joined by time and judged as one
    #[arg(required = true)]
    histories: Vec<PathBuf>,
    /// The profile whose known failures are accepted
    #[arg(long, value_name = "F")]
    profile: Option<PathBuf>,
    #[command(flatten)]
    reports: ReportOptions,
}

/// Judges the histories; the gravest verdict decides how the program ends.
///
/// # Errors
///
/// When a file cannot be read or written.
pub(super) fn run(arguments: &JudgeArguments) -> Result<Exit, Failure> {
    let options = DriverOptions { profile: arguments.profile.clone(), ..DriverOptions::default() };
    let known = accepted(&options.profile()?.known_failures);
    let mut gravest = Exit::Conformant;
    let mut judge = |header: &Header, read: &dyn Fn() -> Result<Events, HistoryError>| -> Result<(), Failure> {
        let exit = judge(header, read, &known, &arguments.reports)?;
        if exit as u8 == Exit::Violations as u8 || gravest == Exit::Conformant {
            gravest = exit;
        }
        Ok(())
    };
    let mut recorded = Vec::new();
    let mut apart = Vec::new();
    for path in &arguments.histories {
        let header = Reader::open(path).map_err(Failure::usage)?.header().clone();
        let kind = if header.recording.is_some() { &mut recorded } else { &mut apart };
        kind.push((path.clone(), header));
    }
    for (path, header) in &apart {
        judge(header, &|| Ok(Box::new(in_background(Reader::open(path)?))))?;
    }
    if let Some(recordings) = Recordings::of(recorded) {
        judge(recordings.header(), &|| Ok(Box::new(in_background(recordings.read()))))?;
    }
    Ok(gravest)
}

/// The events of a history, as they are read.
type Events = Box<dyn Iterator<Item = Result<Event, HistoryError>>>;

fn judge(
    header: &Header,
    read: &dyn Fn() -> Result<Events, HistoryError>,
    known: &[(String, String)],
    reports: &ReportOptions,
) -> Result<Exit, Failure> {
    let ended = Cell::new(0);
    let until = &ended;
    let read_on = || Ok(read()?.inspect(move |event| event.iter().for_each(|event| until.set(event.at))));
    let (judgement, mut breaches) = judge_as_read(header, CALLS_AT_HAND, read_on).map_err(Failure::usage)?;
    if header.recording.is_none() {
        // This tool breaks them on purpose.
        breaches.clear();
    }
    let shown = judgement.findings.iter().flat_map(|finding| &finding.calls);
    let shown: HashSet<CallId> = shown.chain(breaches.iter().flat_map(|breach| &breach.calls)).copied().collect();
    let mut excerpt = History { header: header.clone(), events: Vec::new() };
    if !shown.is_empty() {
        excerpt.events = calls(read().map_err(Failure::usage)?, &shown).map_err(Failure::usage)?;
    }
    let circumstances = Circumstances { duties: breaches, ..without_circumstances(known.to_vec()) };
    let mut certificate = Certificate::new(&excerpt, &judgement, circumstances);
    certificate.duration_ms = ended.get() / 1000;
    report(&certificate, reports)
}

/// The events of some calls.
fn calls(events: Events, shown: &HashSet<CallId>) -> Result<Vec<Event>, HistoryError> {
    let is_shown = |event: &Event| match &event.kind {
        EventKind::Call(call) => shown.contains(&call.id),
        EventKind::Return { call, .. } => shown.contains(call),
        _ => false,
    };
    events.filter(|event| event.as_ref().map_or(true, is_shown)).collect()
}
