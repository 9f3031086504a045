//! `csi-certify run`: certify a driver.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::{
    exit::{Exit, Failure},
    progress::Bar,
    target::{DriverOptions, accepted, now},
};
use crate::{
    history::{FORMAT, Header, History, Recorder, Writer},
    oracle::{Verdict, judge},
    report::{Certificate, Circumstances, Excerpts, Leftover, html, junit, terminal},
    suite::{self, Options},
};

/// What `csi-certify run` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct RunArguments {
    #[command(flatten)]
    driver: DriverOptions,
    /// What to write.
    #[command(flatten)]
    pub reports: ReportOptions,
    /// Write the history of the run, from which the verdict can be recomputed
    #[arg(long, value_name = "F")]
    history: Option<PathBuf>,
    /// Run only scenarios whose name, or one of whose rules, matches
    #[arg(long, value_name = "GLOB")]
    filter: Option<String>,
    /// Seed of everything random; drawn anew without it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many scenarios run side by side
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// How long a call may take, in seconds, in place of the profile's deadline
    #[arg(long, value_name = "SECONDS")]
    call_timeout: Option<u64>,
}

/// Which reports to write.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ReportOptions {
    /// Write the certificate as JSON
    #[arg(long, value_name = "F")]
    json: Option<PathBuf>,
    /// Write the certificate as JUnit XML
    #[arg(long, value_name = "F")]
    junit: Option<PathBuf>,
    /// Write the certificate as an HTML page
    #[arg(long, value_name = "F")]
    html: Option<PathBuf>,
    /// What standard output gets
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What standard output gets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// A report for people.
    #[default]
    Text,
    /// The certificate as JSON.
    Json,
}

/// Certifies the driver and prints the certificate.
///
/// # Errors
///
/// When the options are wrong, no driver answers, or a report cannot be written.
pub(super) async fn run(arguments: RunArguments) -> Result<Exit, Failure> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    // Files that cannot be written are said before anything is done to the driver.
    let connected = arguments.driver.connect().await?;
    let node_fs = crate::sut::NodeFs::of(&connected.driver, &connected.profile).is_some();
    let header = Header {
        format: FORMAT,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        started: now(),
        seed,
        node_fs,
        restartable: connected.driver.is_restartable(),
        endpoints: connected.driver.endpoints(),
        recording: None,
    };
    let writer = match &arguments.history {
        Some(path) => Some(Writer::create(path, &header).map_err(|error| cannot_write(path, &error))?),
        None => None,
    };
    let recorder = Recorder::new(header, writer);
    let options = Options {
        filter: arguments.filter.clone(),
        jobs: arguments.jobs,
        seed,
        call_deadline: arguments.call_timeout.map(Duration::from_secs),
        profile: connected.profile.clone(),
        ..Options::default()
    };
    let cancel = cancelled_by_signals();
    let bar = Bar::new();
    let outcome = suite::run(connected.driver, options, &recorder, &bar, cancel.clone()).await;
    bar.finish();
    let (history, written) = recorder.finish();
    if let (Err(error), Some(path)) = (written, &arguments.history) {
        return Err(cannot_write(path, &error));
    }
    let replay = ["csi-certify run", &connected.arguments, "--filter {scenario}"];
    let circumstances = Circumstances {
        incomplete: outcome.interrupted,
        accepted: accepted(&connected.profile.known_failures),
        leftovers: outcome
            .leftovers
            .iter()
            .map(|one| Leftover { rpc: one.rpc.to_owned(), arguments: one.arguments.clone() })
            .collect(),
        // This tool breaks them on purpose.
        duties: Vec::new(),
        stopped: outcome.stopped.iter().map(|(name, why)| ((*name).to_owned(), why.reason.clone())).collect(),
        replay: replay.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" "),
    };
    if arguments.filter.is_some() && outcome.completed == 0 && circumstances.stopped.is_empty() {
        return Err(Failure::usage(format!(
            "no scenario and no rule matches {:?}: see csi-certify rules",
            arguments.filter.unwrap_or_default()
        )));
    }
    let interrupted = cancel.is_cancelled();
    let exit = conclude(&history, circumstances, &arguments.reports)?;
    Ok(if interrupted { Exit::Interrupted } else { exit })
}

/// Judges a history and writes all reports.
///
/// # Errors
///
/// When a report cannot be written.
pub(super) fn conclude(
    history: &History,
    circumstances: Circumstances,
    reports: &ReportOptions,
) -> Result<Exit, Failure> {
    let judgement = judge(history);
    let excerpts = Excerpts::of(history, &judgement, &circumstances.duties);
    report(&Certificate::new(&history.header, history.duration(), &judgement, &excerpts, circumstances), reports)
}

/// Writes what was asked for of a certificate; how the program ends.
///
/// # Errors
///
/// When a report cannot be written.
pub(super) fn report(certificate: &Certificate, reports: &ReportOptions) -> Result<Exit, Failure> {
    let json = certificate.to_json().map_err(Failure::ours)?;
    if let Some(path) = &reports.json {
        fs::write(path, &json).map_err(|error| cannot_write(path, &error))?;
    }
    if let Some(path) = &reports.junit {
        let xml = junit(certificate).map_err(Failure::ours)?;
        fs::write(path, xml).map_err(|error| cannot_write(path, &error))?;
    }
    if let Some(path) = &reports.html {
        fs::write(path, html(certificate)).map_err(|error| cannot_write(path, &error))?;
    }
    match reports.format {
        Format::Text => anstream::print!("{}", terminal(certificate)),
        Format::Json => anstream::print!("{json}"),
    }
    // Without a single answer there was nothing to certify.
    if certificate.verdict == Verdict::Incomplete && certificate.driver.name.is_empty() {
        return Ok(Exit::Usage);
    }
    Ok(certificate.verdict.into())
}

/// Circumstances of a history whose run is not at hand.
pub(super) fn without_circumstances(accepted: Vec<(String, String)>) -> Circumstances {
    Circumstances {
        accepted,
        stopped: BTreeMap::new(),
        replay: "csi-certify run --filter {scenario}".into(),
        ..Circumstances::default()
    }
}

/// Cancelled by the first Ctrl-C or SIGTERM; a second one ends the process at once.
pub(super) fn cancelled_by_signals() -> CancellationToken {
    let cancel = CancellationToken::new();
    let cancelled = cancel.clone();
    tokio::spawn(async move {
        interruption().await;
        anstream::eprintln!("interrupted: cleaning up (once more to leave at once)");
        cancelled.cancel();
        interruption().await;
        std::process::exit(Exit::Interrupted as i32);
    });
    cancel
}

async fn interruption() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler there is nothing to wait for but the other signal.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}
