//! `csi-certify mutants`: the kill matrix. Every fault and every legal variant of the built-in driver against the harness.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use futures_util::{StreamExt as _, stream};
use tokio::runtime::Handle;

use super::{
    exit::{Exit, Failure},
    mutant::{self, Verdict},
    peer::Peer,
};
use crate::{
    faults::{self, Lane, Seeded},
    report::power,
};

/// What `csi-certify mutants` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct MutantsArguments {
    /// Only faults and variants whose id or class matches
    #[arg(long, value_name = "GLOB", default_value = "*")]
    filter: String,
    /// Only scenarios whose name or rule matches
    #[arg(long, value_name = "GLOB")]
    scenarios: Option<String>,
    /// A tool to run against the same driver: NAME=COMMAND, where {endpoint} and {dir} are replaced
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<Peer>,
    /// How many drivers are tried at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
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
    let mut trials: Vec<(Option<Arc<Seeded>>, Lane)> = Vec::new();
    let can_mount = !arguments.without_mounts && super::target::fuse_is_here();
    let mut lanes = vec![Lane::Memory];
    if can_mount {
        lanes.push(Lane::Mounts);
    } else {
        anstream::eprintln!("skipped: what shows on real mounts needs root and /dev/fuse");
    }
    trials.extend(lanes.iter().map(|&lane| (None, lane)));
    for one in faults::seeded().into_iter().filter(wanted) {
        let lane = faults::entry(one.id).map_or(Lane::Memory, |entry| entry.lane);
        if lanes.contains(&lane) {
            trials.push((Some(one), lane));
        }
    }
    for one in faults::variants().into_iter().filter(wanted) {
        trials.push((Some(one), Lane::Memory));
    }
    let (jobs, count) = (arguments.jobs.max(1), trials.len());
    let mut verdicts: Vec<(usize, Verdict)> = stream::iter(trials.into_iter().enumerate())
        .map(|(at, (seeded, lane))| {
            let (scenarios, peers) = (arguments.scenarios.clone(), arguments.peers.clone());
            async move {
                // A thread of its own: one that keeps a thread busy does not keep the others from running.
                let trial = tokio::task::spawn_blocking({
                    let seeded = seeded.clone();
                    move || Handle::current().block_on(mutant::certify(seeded, lane, scenarios))
                });
                let mut verdict = trial.await.map_err(Failure::ours)??;
                for peer in &peers {
                    verdict.peers.insert(peer.name.clone(), peer.detects(seeded.as_ref()).await?);
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
    verdicts.sort_by_key(|(at, _)| *at);
    let verdicts: Vec<Verdict> = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
    if arguments.verbose {
        for verdict in &verdicts {
            verdict.findings.iter().for_each(|finding| anstream::eprintln!("{}: {finding}", verdict.id));
        }
    }
    let matrix = power::Matrix::new(verdicts.into_iter().map(Verdict::into_row).collect(), unseeded());
    write(arguments.json.as_deref(), &matrix.to_json().map_err(Failure::ours)?)?;
    write(arguments.page.as_deref(), &matrix.page())?;
    anstream::print!("{}", matrix.terminal());
    Ok(if matrix.is_as_expected() { Exit::Conformant } else { Exit::Violations })
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

/// How long a legal driver may be tried.
pub(super) const LONGEST_TRIAL: Duration = Duration::from_secs(400);
/// How long a faulty driver may be tried: one that cannot be cleaned up keeps the suite waiting long after it was found.
pub(super) const LONGEST_FAULTY_TRIAL: Duration = Duration::from_secs(120);
