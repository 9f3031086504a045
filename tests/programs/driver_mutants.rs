//! Every mistake of published protocols, switched on in the driver itself, is found by random programs of calls alone, and
//! shrunk to the fewest steps that can show it.

use std::sync::Mutex;

use csi_certify::explore::{Seeded, calls::Calls};

use crate::{
    budget::seed,
    calls::BUDGET,
    fuzz::driver::{run, run_drawn},
    property::{Shrunk, lines, shrunk},
    protocol_mutants::{Mistake, mistakes},
};

/// Each shrunk program is a local minimum; so many of them are looked at for the global one.
const SHRUNK: usize = 12;
/// How many programs may pass before a mistake shows.
const PROGRAMS: u64 = 20_000;

/// The fewest steps in calls that show the mistake: as many as in a schedule, and one more that creates the volume, but for
/// two.
fn fewest_steps(mistake: &Mistake) -> usize {
    match mistake.name {
        // The rounds that end a deletion mend at once what it lost: somebody has to publish while it is under way.
        "finalizer-first" => mistake.steps + 2,
        // The round at the end of every program acts on the news of the shutdown.
        "terminating-workload-is-dead" => mistake.steps,
        _ => mistake.steps + 1,
    }
}

/// Where the search begins under the usual seed: the rare ones show only after so many programs, which are known to pass and
/// would take minutes. Under any other seed it begins at the first.
fn first_program(mistake: &Mistake) -> u64 {
    match mistake.name {
        "delete-without-precondition" | "emptiness-from-an-earlier-read" => 1540,
        "evidence-before-record" => 770,
        "delete-on-unreadable-moment" => 780,
        "ok-on-failed-bind" => 725,
        "add-reference-without-version" | "patch-all-annotations" => 140,
        _ => 0,
    }
}

/// The fewest steps found; the search ends when they are as few as they can be.
fn search(mistake: &Mistake, seed: u64) -> usize {
    let first = if seed == SEED { first_program(mistake) } else { 0 };
    let Mistake { name, policy, .. } = mistake;
    let failing = (first..PROGRAMS).filter_map(|number| {
        let (program, failure) = run_drawn(policy, &mut Seeded::new(seed.wrapping_add(number)), 40);
        Some((number, program, failure?))
    });
    let mut fewest = usize::MAX;
    for (number, program, failure) in failing.take(SHRUNK) {
        let Shrunk { program, failure, runs } =
            shrunk::<Calls>(program, &failure, BUDGET, |candidate| run(policy, candidate).0);
        if program.steps.len() < fewest {
            fewest = program.steps.len();
            println!("{name}: program {number}, {fewest} steps after {runs} runs: {}", failure.message);
            println!("{}", lines(&program));
        }
        if fewest <= fewest_steps(mistake) {
            break;
        }
    }
    fewest
}

#[test]
fn every_mistake_in_the_driver_is_found_and_shrunk_to_its_fewest_steps() {
    // One seed unless others are asked for with CSI_CERTIFY_MISTAKES: whether a program shrinks to the very shortest is a matter of luck.
    let seed = if std::env::var_os("CSI_CERTIFY_MISTAKES").is_some() { seed("mistakes in the driver") } else { SEED };
    let (waiting, wrong) = (Mutex::new(mistakes()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(mistake) = waiting.lock().unwrap().pop() else { return };
                    let (found, fewest) = (search(&mistake, seed), fewest_steps(&mistake));
                    if found != fewest {
                        wrong.lock().unwrap().push(format!("{}: {found} steps instead of {fewest}", mistake.name));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One with which the rarest of them show early.
const SEED: u64 = 1;
