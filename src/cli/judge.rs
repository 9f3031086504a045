//! `csi-certify judge`: recompute the verdict from recorded histories; no driver is needed.

use std::path::PathBuf;

use clap::Args;

use super::{
    exit::{Exit, Failure},
    run::{ReportOptions, conclude, without_circumstances},
    target::{DriverOptions, accepted},
};
use crate::{history::History, oracle::duties};

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
    let histories = arguments.histories.iter().map(|path| History::read(path).map_err(Failure::usage));
    let (recorded, mut apart): (Vec<_>, Vec<_>) =
        histories.collect::<Result<Vec<_>, _>>()?.into_iter().partition(|one| one.header.recording.is_some());
    apart.extend(History::join(recorded));
    for history in apart {
        let mut circumstances = without_circumstances(known.clone());
        if history.header.recording.is_some() {
            circumstances.duties = duties(&history);
        }
        let exit = conclude(&history, circumstances, &arguments.reports)?;
        if exit as u8 == Exit::Violations as u8 || gravest == Exit::Conformant {
            gravest = exit;
        }
    }
    Ok(gravest)
}
