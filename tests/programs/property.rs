//! Properties of random programs: drawn, tested and made small by proptest.

use std::{
    cell::{Cell, RefCell},
    fmt::Debug,
};

use csi_certify::explore::{Failure, Language, Program, ProgramTree, Programs};
use proptest::{
    strategy::Strategy as _,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

/// A program that fails, and none that is smaller by one edit does, within the budget.
pub(crate) struct Shrunk<L: Language> {
    pub(crate) program: Program<L::Environment, L::Step>,
    /// How it failed when it last did.
    pub(crate) failure: Failure,
    /// How many programs were run.
    pub(crate) runs: usize,
}

/// Runs programs of up to so many steps, with the seeds from this one on, and shows the smallest that fails.
pub(crate) fn hold<L: Language>(
    (first, count): (u64, u64),
    steps: usize,
    budget: u32,
    run: impl Fn(&Program<L::Environment, L::Step>) -> Option<Failure>,
) {
    for number in 0..count {
        let seed = first.wrapping_add(number);
        let mut runner = runner(seed, budget);
        let tree = Programs::<L>::of_up_to(steps).new_tree(&mut runner).unwrap();
        if let Some(Shrunk { program, failure, runs }) = test(&mut runner, tree, &run) {
            let text = toml::to_string(&program).unwrap();
            panic!("CSI_CERTIFY_SEED={seed}: {failure:?}, after {runs} runs:\n{}\n{text}", lines(&program));
        }
    }
}

/// Makes a program small that has failed. Any failure will do: one mistake breaks several promises.
pub(crate) fn shrunk<L: Language>(
    program: Program<L::Environment, L::Step>,
    failure: &Failure,
    budget: u32,
    run: impl Fn(&Program<L::Environment, L::Step>) -> Option<Failure>,
) -> Shrunk<L> {
    let tree = ProgramTree::of(program.up_to(failure));
    test(&mut runner(0, budget), tree, run).expect("what has failed once fails again")
}

/// One step a line.
pub(crate) fn lines<E: Debug, S: Debug>(program: &Program<E, S>) -> String {
    let steps: String = program.steps.iter().map(|step| format!("  {step:?}\n")).collect();
    format!("{:?}\n{steps}", program.environment)
}

fn runner(seed: u64, budget: u32) -> TestRunner {
    let config = Config { max_shrink_iters: budget, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn test<L: Language>(
    runner: &mut TestRunner,
    tree: ProgramTree<L>,
    run: impl Fn(&Program<L::Environment, L::Step>) -> Option<Failure>,
) -> Option<Shrunk<L>> {
    let (last, runs) = (RefCell::new(None), Cell::new(0));
    let tested = runner.run_one(tree, |program| {
        runs.set(runs.get() + 1);
        let Some(failure) = run(&program) else { return Ok(()) };
        let error = TestCaseError::fail(failure.message.clone());
        last.replace(Some(failure));
        Err(error)
    });
    match (tested, last.into_inner()) {
        (Ok(_), _) => None,
        (Err(TestError::Fail(_, program)), Some(failure)) => Some(Shrunk { program, failure, runs: runs.get() }),
        (Err(error), _) => panic!("{error:?}"),
    }
}
