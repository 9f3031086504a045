//! Laws of the value trees by which proptest makes programs small.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use csi_certify::explore::{Candidates, Entity, Language, Program, Programs, calls::Calls, schedule::Schedules};
use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{budget::seed, property::lines};

type Of<L> = Program<<L as Language>::Environment, <L as Language>::Step>;

/// More programs than any of these trees holds.
const MANY: usize = 300_000;

fn fingerprint<L: Language>(program: &Of<L>) -> u64 {
    let mut hasher = DefaultHasher::new();
    program.hash(&mut hasher);
    hasher.finish()
}

/// Whether so many steps speak of one thing.
fn insists<L: Language>(program: &Of<L>, often: usize) -> bool {
    let mut counts: BTreeMap<Entity, usize> = BTreeMap::new();
    program.steps.iter().flat_map(|step| L::entities(step)).for_each(|entity| *counts.entry(entity).or_default() += 1);
    counts.values().any(|&count| count >= often)
}

/// Follows a tree to its end, as proptest does.
fn follow<L: Language>(seed: u64, fails: impl Fn(&Of<L>) -> bool) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut tree = Programs::<L>::of_up_to(12).new_tree(&mut TestRunner::new_with_rng(Config::default(), rng)).unwrap();
    let first = tree.current();
    let (mut smallest, mut seen) = (first.clone(), HashSet::new());
    loop {
        let program = tree.current();
        let text = || format!("CSI_CERTIFY_SEED={seed}: {}", lines(&program));
        assert_eq!(program.clone().repaired::<L>(), program, "a step has no precondition: {}", text());
        assert!(program.steps.len() <= smallest.steps.len(), "it grew: {}", text());
        assert!(seen.insert(fingerprint::<L>(&program)), "it came before: {}", text());
        assert!(seen.len() < MANY, "there is no end to it: {}", text());
        let failed = fails(&program);
        if failed {
            smallest = program;
        }
        let goes_on = if failed { tree.simplify() } else { tree.complicate() };
        if !goes_on {
            break;
        }
    }
    assert_eq!(tree.current(), smallest, "CSI_CERTIFY_SEED={seed}: the end is not the last that failed");
    assert!(!tree.simplify() && !tree.complicate(), "CSI_CERTIFY_SEED={seed}: it goes on after its end");
    assert_eq!(tree.current(), smallest, "CSI_CERTIFY_SEED={seed}: the end moves");
    if fails(&first) {
        let smaller = Candidates::<L>::of(smallest).find(|candidate| fails(candidate));
        assert_eq!(smaller, None, "CSI_CERTIFY_SEED={seed}: a smaller one fails as well");
    }
}

fn every_tree<L: Language>(name: &str) {
    let seed = seed(name);
    for number in 0..40 {
        let seed = seed.wrapping_add(number);
        follow::<L>(seed, |_| true);
        follow::<L>(seed, |_| false);
        // Without rhyme or reason, but the same each time.
        follow::<L>(seed, |program| !fingerprint::<L>(program).is_multiple_of(3));
        follow::<L>(seed, |program| insists::<L>(program, 3));
    }
}

#[test]
fn trees_of_schedules_end_hold_programs_only_and_keep_the_failure() {
    every_tree::<Schedules>("trees of schedules");
}

#[test]
fn trees_of_calls_end_hold_programs_only_and_keep_the_failure() {
    every_tree::<Calls>("trees of calls");
}

/// Proptest itself arrives at a program that cannot be smaller.
#[test]
fn proptest_shrinks_a_program_to_the_steps_that_fail() {
    let seed = seed("proptest shrinks");
    let mut found = 0;
    for number in 0..20 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.wrapping_add(number).to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config { cases: 20, max_shrink_iters: 100_000, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let tested = runner.run(&Programs::<Schedules>::of_up_to(40), |program| {
            proptest::prop_assert!(!insists::<Schedules>(&program, 3));
            Ok(())
        });
        if let Err(proptest::test_runner::TestError::Fail(_, program)) = tested {
            assert_eq!(program.steps.len(), 3, "CSI_CERTIFY_SEED={seed}+{number}: {}", lines(&program));
            found += 1;
        }
    }
    assert!(found > 10, "{found} of 20 runs found a program that speaks of one thing three times");
}
