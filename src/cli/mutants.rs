//! `csi-certify mutants`: the kill matrix. Every fault and every legal variant of the built-in driver against the harness.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{
    exit::{Exit, Failure},
    mutant::{Trial, Verdict},
    peer::Peer,
};
use crate::{
    faults::{self, Lane, Seeded},
    report::power,
};

/// What `csi-certify mutants` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct MutantsArguments {
    /// Only faults and variants whose id or class matches; the classes of the others are clean and variant
    #[arg(long, value_name = "GLOB", default_value = "*")]
    filter: String,
    /// Only scenarios whose name or rule matches
    #[arg(long, value_name = "GLOB")]
    scenarios: Option<String>,
    /// A tool to run against the same driver: NAME=COMMAND, where {endpoint} and {dir} are replaced
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<Peer>,
    /// How many drivers are tried at a time; those with real mounts mostly wait
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// How many seeds the clean driver is tried with
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: usize,
    /// The seed of names and moments
    #[arg(long, env = "CSI_CERTIFY_SEED", value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave out what needs real mounts
    #[arg(long)]
    without_mounts: bool,
    /// Write the matrix as JSON
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
    /// Write the matrix as a page in Markdown
    #[arg(long, value_name = "F")]
    page: Option<PathBuf>,
    /// Show everything that was broken
    #[arg(long)]
    verbose: bool,
}

/// Runs the matrix and prints it.
///
/// # Errors
///
/// When nothing matches, or a report cannot be written.
pub(super) async fn run(arguments: MutantsArguments) -> Result<Exit, Failure> {
    let wanted = |one: &Arc<Seeded>| {
        let class = faults::entry(one.id).map_or("variant", |entry| entry.class);
        crate::sut::glob(&arguments.filter, one.id) || crate::sut::glob(&arguments.filter, class)
    };
    let mut trials: Vec<(Option<Arc<Seeded>>, Lane, u64)> = Vec::new();
    let can_mount = !arguments.without_mounts && super::target::fuse_is_here();
    let mut lanes = vec![Lane::Memory];
    if can_mount {
        lanes.extend([Lane::Mounts, Lane::Process]);
    } else {
        anstream::eprintln!("skipped: what shows on real mounts needs root and /dev/fuse");
    }
    let seed = arguments.seed;
    let clean = crate::sut::glob(&arguments.filter, "clean");
    let seeds = (seed..).take(if clean { arguments.seeds } else { 0 });
    trials.extend(seeds.flat_map(|seed| lanes.iter().map(move |&lane| (None, lane, seed))));
    for one in faults::seeded().into_iter().filter(wanted) {
        let lane = faults::entry(one.id).map_or(Lane::Memory, |entry| entry.lane);
        if lanes.contains(&lane) {
            trials.push((Some(one), lane, seed));
        }
    }
    for one in faults::variants().into_iter().filter(wanted) {
        trials.push((Some(one), Lane::Memory, seed));
    }
    if trials.is_empty() {
        return Err(Failure::usage(format!(
            "no fault, class or variant matches {:?} here: csi-certify faults lists them, and clean and variant are classes too",
            arguments.filter
        )));
    }
    let trials = mixed(trials);
    let (jobs, count) = (arguments.jobs.max(1), trials.len());
    let began = Instant::now();
    let mut verdicts: Vec<(usize, Verdict)> = stream::iter(trials.into_iter().enumerate())
        .map(|(at, (seeded, lane, seed))| {
            let (scenarios, peers) = (arguments.scenarios.clone(), arguments.peers.clone());
            async move {
                let stop = CancellationToken::new();
                let trial = Trial { seeded: seeded.clone(), lane, scenarios, seed, stop: stop.clone() };
                // A thread of its own: one that keeps a thread busy does not keep the others from running.
                let mut trial = tokio::task::spawn_blocking(move || trial.certify());
                let ended = match tokio::time::timeout(LIMIT, &mut trial).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        stop.cancel();
                        trial.await
                    }
                };
                let mut verdict = ended.map_err(Failure::ours)??;
                verdict.cut_short(stop.is_cancelled());
                for peer in &peers {
                    verdict.peers.insert(peer.name.clone(), peer.detects(seeded.as_ref(), lane).await?);
                }
                anstream::eprintln!("{} of {count}: {}", at + 1, verdict.line());
                Ok::<_, Failure>((at, verdict))
            }
        })
        .buffer_unordered(jobs)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<Result<_, _>>()?;
    verdicts.sort_by(|(at, one), (other_at, other)| (&one.id, at).cmp(&(&other.id, other_at)));
    let verdicts: Vec<Verdict> = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
    if arguments.verbose {
        for verdict in &verdicts {
            verdict.findings.iter().for_each(|finding| anstream::eprintln!("{}: {finding}", verdict.id));
        }
    }
    let run = power::Run {
        command: command(),
        seconds: began.elapsed().as_secs(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let matrix = power::Matrix::new(verdicts.into_iter().map(Verdict::into_row).collect(), unseeded(), run);
    write(arguments.json.as_deref(), &matrix.to_json().map_err(Failure::ours)?)?;
    write(arguments.page.as_deref(), &matrix.page())?;
    anstream::print!("{}", matrix.terminal());
    anstream::eprintln!("{count} drivers in {} s", matrix.run.seconds);
    Ok(if matrix.is_as_expected() { Exit::Conformant } else { Exit::Violations })
}

/// The trials with those that wait for real mounts spread evenly among those that keep a processor busy.
fn mixed(trials: Vec<(Option<Arc<Seeded>>, Lane, u64)>) -> Vec<(Option<Arc<Seeded>>, Lane, u64)> {
    let (computing, waiting): (Vec<_>, Vec<_>) = trials.into_iter().partition(|(_, lane, _)| *lane == Lane::Memory);
    let placed = |trials: Vec<_>| {
        let count = trials.len().max(1);
        trials.into_iter().enumerate().map(move |(at, trial)| (at * 1000 / count, trial)).collect::<Vec<_>>()
    };
    let mut all = placed(waiting);
    all.extend(placed(computing));
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, trial)| trial).collect()
}

/// The command as it was given, but for the path of the program.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).map(|argument| quoted(&argument)).collect();
    format!("csi-certify {}", arguments.join(" "))
}

/// The argument as a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./,:=@".contains(letter);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    }
}

/// Faults of the catalogue that the driver cannot be asked to commit yet.
fn unseeded() -> Vec<(String, String)> {
    let seeded: Vec<&str> = faults::seeded().iter().map(|one| one.id).collect();
    let missing = faults::entries().iter().filter(|entry| !seeded.contains(&entry.id.as_str()));
    missing.map(|entry| (entry.id.clone(), entry.title.clone())).collect()
}

fn write(path: Option<&Path>, text: &str) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    fs::write(path, text).map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
}

/// How long a trial may take. A fault is found long before, and ends its trial; a busy machine needs a multiple of that.
const LIMIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("docs/power.md"), "docs/power.md");
        assert_eq!(quoted("sanity=run {dir}"), "'sanity=run {dir}'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
