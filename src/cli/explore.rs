//! `csi-certify explore`: random programs of calls against a driver, and the smallest one that breaks a rule.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use clap::Args;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    exit::{Exit, Failure},
    run::cancelled_by_signals,
    target::{Connected, DriverOptions, now},
};
use crate::{
    explore::{
        Program, Seeded,
        calls::{Campaign, CampaignOptions, Environment, Found, Nemesis, SceneError, Step, draw_for},
        write,
    },
    history::Writer,
};

/// How often a small program is run once more before it is reported.
const REPLAYS: u32 = 20;
/// How many candidates are run to make a program small.
const SHRINKING: usize = 400;
/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `csi-certify explore` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct ExploreArguments {
    #[command(flatten)]
    driver: DriverOptions,
    /// How many programs are run
    #[arg(long, value_name = "N", default_value_t = 100)]
    cases: u64,
    /// How many steps a program has
    #[arg(long, value_name = "N", default_value_t = 40)]
    steps: usize,
    /// How many calls are under way at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    clients: u8,
    /// Which faults are used: kill needs a profile that says how the driver is started
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Nemesis::ALL)]
    nemesis: Vec<Nemesis>,
    /// Seed of the programs; drawn anew without it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End after so many seconds, whatever is left
    #[arg(long, value_name = "SECONDS")]
    time: Option<u64>,
    /// Run only the I-th of N shares of the programs, such as 1/4
    #[arg(long, value_name = "I/N", value_parser = shard, default_value = "1/1")]
    shard: (u64, u64),
    /// Where reproducers and their histories are written
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    reproducers: PathBuf,
}

/// Runs programs until one breaks a rule, or none is left.
///
/// # Errors
///
/// When no driver answers, or a file cannot be written.
pub(super) async fn run(arguments: ExploreArguments) -> Result<Exit, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let connected = arguments.driver.connect().await?;
    let cancel = cancelled_by_signals();
    let nemeses = arguments.nemesis.iter().copied().collect();
    let mut begun = begin(connected, nemeses, arguments.clients, seed).await?;
    anstream::println!("seed {seed}: repeat with csi-certify explore --seed {seed}");
    let until = arguments.time.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let ended = explore(&mut begun, &arguments, seed, until, &cancel).await;
    let leftovers = begun.campaign.leftovers().clone();
    begun.campaign.end().await;
    for left in &leftovers {
        anstream::println!("left behind: {} with {}", left.rpc, left.arguments);
    }
    let (run, exit) = ended?;
    let ending = match exit {
        _ if cancel.is_cancelled() => "interrupted",
        Exit::Conformant => "no rule was broken",
        _ => "the last one broke a rule",
    };
    anstream::println!("{run} programs of up to {} steps: {ending}", arguments.steps);
    Ok(if cancel.is_cancelled() && exit == Exit::Conformant { Exit::Interrupted } else { exit })
}

/// A campaign, with what has to stay alive as long as it.
pub(super) struct Begun {
    pub(super) campaign: Campaign,
    /// Dropping it removes the driver's state.
    _connection: Connection,
}

/// What is left of a connection whose driver has gone into a campaign.
type Connection = Option<tempfile::TempDir>;

/// Learns the driver.
pub(super) async fn begin(
    connected: Connected,
    nemeses: BTreeSet<Nemesis>,
    clients: u8,
    seed: u64,
) -> Result<Begun, Failure> {
    let run_id = format!("{:08x}", seed ^ u64::from(std::process::id()));
    let base = connected.profile.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = base.join(format!("csi-certify-{run_id}"));
    let options = CampaignOptions { run_id, directory, patience: PATIENCE, nemeses, clients };
    let Connected { driver, profile, state, .. } = connected;
    let campaign = Campaign::begin(driver, profile, options).await;
    let campaign = campaign.ok_or_else(|| Failure::usage("the driver answers none of the first calls"))?;
    Ok(Begun { campaign, _connection: state })
}

async fn explore(
    begun: &mut Begun,
    arguments: &ExploreArguments,
    seed: u64,
    until: Option<Instant>,
    cancel: &CancellationToken,
) -> Result<(u64, Exit), Failure> {
    let campaign = &mut begun.campaign;
    let (part, parts) = arguments.shard;
    let mut run = 0;
    for number in (0..arguments.cases).filter(|number| number % parts == part - 1) {
        if cancel.is_cancelled() || until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        let program = draw_for(campaign, &mut Seeded::new(seed.wrapping_add(number)), arguments.steps);
        let case = campaign.run(&program).await.map_err(gone)?;
        run += 1;
        let Some(failure) = case.executed.failure else { continue };
        anstream::eprintln!("program {number}: {}; making it small", failure.message);
        match campaign.shrink(program, failure.clone(), SHRINKING, REPLAYS).await.map_err(gone)? {
            Some(found) => {
                report(arguments, seed, number, &found)?;
                return Ok((run, Exit::Violations));
            }
            None => anstream::println!("program {number}: {}; it did not come again", failure.message),
        }
    }
    Ok((run, Exit::Conformant))
}

fn report(arguments: &ExploreArguments, seed: u64, number: u64, found: &Found) -> Result<(), Failure> {
    let stem = format!("csi-certify-{}-{number}", found.failure.kind.to_lowercase());
    let program = arguments.reproducers.join(format!("{stem}.toml"));
    let history = arguments.reproducers.join(format!("{stem}.jsonl"));
    let times = format!("failed {} of {} replays", found.failed, found.replays);
    let comment = format!("{}\n{times}; seed {seed}, program {number}, {}", found.failure.message, now());
    write::<crate::explore::calls::Calls>(&program, &comment, &found.program).map_err(Failure::usage)?;
    let mut writer = Writer::create(&history, &found.history.header).map_err(Failure::usage)?;
    for event in &found.history.events {
        writer.append(event).map_err(Failure::usage)?;
    }
    writer.flush().map_err(Failure::usage)?;
    anstream::println!("{}", found.failure.message);
    anstream::print!("{}", steps(&found.program));
    anstream::println!("{times}");
    anstream::println!("again: csi-certify replay {}", program.display());
    anstream::println!("history: {}", history.display());
    Ok(())
}

/// One step a line, for people.
fn steps(program: &Program<Environment, Step>) -> String {
    program.steps.iter().enumerate().map(|(number, step)| format!("  {number}. {step}\n")).collect()
}

/// The driver's end costs the rest of the run, not the verdict.
pub(super) fn gone(error: SceneError) -> Failure {
    Failure { message: error.to_string(), exit: Exit::Interrupted }
}

/// A share of the programs, counted from one.
fn shard(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    let parts = parts.filter(|&(part, parts): &(u64, u64)| part >= 1 && part <= parts);
    parts.ok_or_else(|| "write I/N with I from 1 to N, such as 1/4".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_of_several() {
        assert_eq!(shard("2/3"), Ok((2, 3)));
        for junk in ["0/3", "4/3", "3", "/", "a/b"] {
            assert!(shard(junk).is_err(), "{junk}");
        }
    }
}
