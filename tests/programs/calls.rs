//! Random programs of calls against the driver in this process: every answer is judged, every promise is kept.

use std::path::Path;

use csi_certify::{
    explore::{
        Failure, Program, Seeded, Shrunk,
        calls::{Calls, Environment, Step},
        read, shrink,
    },
    mountpod::protocol::Policy,
};

use crate::{
    budget::{programs, seed},
    fuzz::driver::{run, run_drawn},
};

/// Shrinks a program that fails under the policy. Any broken promise will do: one mistake breaks several.
pub(crate) fn shrunk(
    policy: &Policy,
    program: Program<Environment, Step>,
    failure: Failure,
) -> Shrunk<Environment, Step> {
    let kind = failure.kind.clone();
    shrink::<Calls>(program, failure, 5_000, |candidate| {
        run(policy, candidate).0.map(|found| Failure { kind: kind.clone(), ..found })
    })
}

/// One step a line.
pub(crate) fn lines(program: &Program<Environment, Step>) -> String {
    let steps: String = program.steps.iter().map(|step| format!("  {step:?}\n")).collect();
    format!("{:?}\n{steps}", program.environment)
}

/// Programs of 40 steps, with the seeds from this one on.
fn keep_the_promises(first: u64, count: u64) {
    for number in 0..count {
        let seed = first.wrapping_add(number);
        let (program, failure) = run_drawn(&Policy::default(), &mut Seeded::new(seed), 40);
        if let Some(failure) = failure {
            println!("CSI_CERTIFY_SEED={seed}: {failure:?}\n{}", lines(&program));
            let Shrunk { program, failure, runs } = shrunk(&Policy::default(), program, failure);
            let text = toml::to_string(&program).unwrap();
            panic!("CSI_CERTIFY_SEED={seed}: {failure:?}, shrunk in {runs} runs:\n{}\n{text}", lines(&program));
        }
    }
}

#[test]
fn random_programs_keep_the_promises() {
    let (seed, count) = (seed("random programs"), programs(2000));
    // Each program has a runtime of its own, so they can be shared out between threads.
    std::thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || keep_the_promises(seed.wrapping_add(part * count / 2), count / 2));
        }
    });
}

#[test]
fn reproducers_of_programs_stay_repaired() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reproducers/calls")).unwrap() {
        let path = entry.unwrap().path();
        let program = read::<Calls>(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(run(&Policy::default(), &program).0, None, "{}", path.display());
    }
}
