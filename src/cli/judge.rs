//! `csi-certify judge`: recompute the verdict from recorded histories; no driver is needed.

use std::path::PathBuf;

use clap::Args;

use super::{
    exit::{Exit, Failure},
    run::{ReportOptions, report, without_circumstances},
    target::{DriverOptions, accepted},
};
use crate::{
    history::Source,
    oracle::{Judging, Survey},
    report::{Certificate, Circumstances, Excerpts},
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
    let sources = arguments.histories.iter().map(|path| Source::open(path).map_err(Failure::usage));
    let (recorded, mut apart): (Vec<_>, Vec<_>) =
        sources.collect::<Result<Vec<_>, _>>()?.into_iter().partition(|one| one.header().recording.is_some());
    apart.extend(Source::join(recorded));
    // A file that is no history is told before anything is judged.
    let surveys = apart.iter().map(survey).collect::<Result<Vec<_>, _>>()?;
    for (source, survey) in apart.iter().zip(surveys) {
        let exit = report(&certify(source, survey, without_circumstances(known.clone()))?, &arguments.reports)?;
        if exit as u8 == Exit::Violations as u8 || gravest == Exit::Conformant {
            gravest = exit;
        }
    }
    Ok(gravest)
}

/// Goes through a history for the first time.
fn survey(source: &Source) -> Result<Survey, Failure> {
    let mut survey = Survey::default();
    for event in source.events() {
        survey.note(event.map_err(Failure::usage)?);
    }
    Ok(survey)
}

/// Goes through a history for the second time, and judges it; where calls are to be shown, for a third time.
fn certify(source: &Source, survey: Survey, mut circumstances: Circumstances) -> Result<Certificate, Failure> {
    // A file may have grown since.
    let count = survey.events();
    let mut judging = match source.header().recording.is_some() {
        true => Judging::with_duties(source.header(), survey),
        false => Judging::new(source.header(), survey),
    };
    let mut duration = 0;
    for event in source.events().take(count) {
        let event = event.map_err(Failure::usage)?;
        duration = event.at;
        judging.push(event);
    }
    let (judgement, duties) = judging.close();
    circumstances.duties = duties;
    let mut excerpts = Excerpts::wanted(&judgement, &circumstances.duties);
    let mut events = source.events().take(count);
    while !excerpts.is_complete() {
        match events.next() {
            Some(event) => excerpts.note(&event.map_err(Failure::usage)?),
            None => break,
        }
    }
    Ok(Certificate::new(source.header(), duration, &judgement, &excerpts, circumstances))
}
