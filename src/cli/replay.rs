//! `csi-certify replay`: runs a saved reproducer again.

use std::{fs, path::PathBuf};

use clap::Args;

use super::{
    exit::{Exit, Failure},
    explore::{begin, gone},
    target::DriverOptions,
};
use crate::explore::{
    calls::{Calls, Nemesis},
    read,
};

/// What `csi-certify replay` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct ReplayArguments {
    /// A program, as explore writes them
    file: PathBuf,
    #[command(flatten)]
    driver: DriverOptions,
    /// How often it is run
    #[arg(long, value_name = "N", default_value_t = 20)]
    times: u32,
}

/// Runs the program so often, and says how often it failed.
///
/// # Errors
///
/// When the file holds no program, or no driver answers.
pub(super) async fn run(arguments: ReplayArguments) -> Result<Exit, Failure> {
    let file = arguments.file.display().to_string();
    let text = fs::read_to_string(&arguments.file).map_err(|error| Failure::usage(format!("{file}: {error}")))?;
    let program = read::<Calls>(&file, &text).map_err(Failure::usage)?;
    let connected = arguments.driver.connect().await?;
    let mut begun = begin(connected, Nemesis::ALL.into(), 3, rand::random()).await?;
    let program = begun.campaign.adapted(program);
    let replayed = begun.campaign.replay(&program, None, arguments.times).await;
    begun.campaign.end().await;
    let (failed, last) = replayed.map_err(gone)?;
    if let Some(failure) = last.and_then(|case| case.executed.failure) {
        anstream::println!("{}", failure.message);
    }
    anstream::println!("failed {failed} of {} replays", arguments.times);
    Ok(if failed == 0 { Exit::Conformant } else { Exit::Violations })
}
