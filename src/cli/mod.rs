//! The command line: one thin file for each subcommand.

pub mod driver;
mod exit;
mod explore;
mod faults;
mod in_process;
mod judge;
mod modelcheck;
mod mutant;
mod mutants;
mod orchestrate;
mod peer;
mod progress;
mod record;
mod replay;
mod rules;
mod run;
mod target;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
pub use exit::{Exit, Failure};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Certifies that a Container Storage Interface (CSI) driver keeps its contract.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Certify a driver: without an endpoint, the built-in reference driver
    Run(Box<run::RunArguments>),
    /// Random programs of calls against a driver, and the smallest one that breaks a rule
    Explore(Box<explore::ExploreArguments>),
    /// Run a saved reproducer again
    Replay(Box<replay::ReplayArguments>),
    /// Drive a driver as Kubernetes does: claims, pods, snapshots, expansions, and faults beside them
    Orchestrate(Box<orchestrate::OrchestrateArguments>),
    /// Recompute the verdict from recorded histories
    Judge(judge::JudgeArguments),
    /// Write the history of real traffic: a transparent proxy between an orchestrator and a driver
    Record(Box<record::RecordArguments>),
    /// The reference driver alone
    Driver(Box<driver::DriverArguments>),
    /// Every interleaving of the mount-pod protocol, and the shortest one that breaks a promise
    Modelcheck(modelcheck::ModelcheckArguments),
    /// What the built-in driver can be asked to do wrong, or otherwise
    Faults(faults::FaultsArguments),
    /// The kill matrix: every fault and every legal variant against the harness
    Mutants(mutants::MutantsArguments),
    /// The rule catalogue, and how much of it is covered
    Rules(rules::RulesArguments),
}

/// Runs the program with these arguments.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap tells them apart.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    match execute(arguments.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            anstream::eprintln!("csi-certify: {failure}");
            failure.exit.into()
        }
    }
}

fn execute(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Rules(arguments) => Ok(rules::run(&arguments)),
        Command::Faults(arguments) => Ok(faults::run(&arguments)),
        Command::Mutants(arguments) => runtime()?.block_on(mutants::run(arguments)),
        Command::Judge(arguments) => judge::run(&arguments),
        Command::Modelcheck(arguments) => modelcheck::run(&arguments),
        Command::Record(arguments) => runtime()?.block_on(record::run(*arguments)),
        Command::Orchestrate(arguments) => orchestrate::run(&arguments),
        Command::Run(arguments) => runtime()?.block_on(run::run(*arguments)),
        Command::Explore(arguments) => runtime()?.block_on(explore::run(*arguments)),
        Command::Replay(arguments) => runtime()?.block_on(replay::run(*arguments)),
        Command::Driver(arguments) => {
            log();
            runtime()?.block_on(driver::run(*arguments)).map(|()| Exit::Conformant).map_err(Failure::usage)
        }
    }
}

/// What the built-in driver logs goes to standard error; `RUST_LOG` says how much.
fn log() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    // Whoever has installed another before keeps it.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::ours)
}
