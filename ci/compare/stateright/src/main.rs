//! Searches two publishes and two unpublishes of the mount-pod protocol twice: with stateright's breadth-first search, and with
//! that of csi-certify. Both call the same `step` functions.
//!
//! Usage: compare-stateright [threads]

mod model;

use std::time::Instant;

use csi_certify_mountpod::{
    modelcheck::{Options, Protocol, Reduction, clients, explore},
    mountpod::protocol::Policy,
};
use model::Mountpods;
use stateright::{Checker, Model};

fn main() {
    let threads = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let started = Instant::now();
    let checker = Mountpods::default().checker().threads(threads).target_state_count(BOUND).spawn_bfs().join();
    let broken = checker.discoveries().len();
    line("stateright 0.31", checker.unique_state_count(), started.elapsed().as_secs_f64(), broken == 0);
    for (name, reduction) in
        [("csi-certify, every order", Reduction::Nothing), ("csi-certify, one of equal orders", Reduction::EqualOrders)]
    {
        let options = Options { threads, reduction, ..Options::default() };
        let report = explore(Protocol::Current, Policy::default(), &clients(2, 0), &options);
        let Some(report) = report else { continue };
        let holds = matches!(report.ending, csi_certify_mountpod::modelcheck::Ending::Complete);
        line(name, report.states, report.elapsed.as_secs_f64(), holds);
    }
}

fn line(name: &str, states: usize, seconds: f64, holds: bool) {
    let verdict = if holds { "nothing broken" } else { "BROKEN" };
    println!("{name:<34} {states:>9} states {seconds:>8.2} s {:>9.0} states/s  {verdict}", states as f64 / seconds);
}

/// Where stateright stops; it generates states up to this number, visited before or not.
const BOUND: usize = 20_000_000;
