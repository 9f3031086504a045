//! The orchestrator against the built-in driver: canonical traces, recovery, and what always has to hold.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and prints its seed"
)]

mod command;
mod growth;
mod interposer;
mod invariants;
mod pods;
mod provisioning;
mod published;
mod recovery;
mod registration;
mod repeated;
mod sharing;
mod snapshots;
mod stage;
mod staging;
mod strict;
mod sweep;
mod trace;
mod traces;
mod workloads;
