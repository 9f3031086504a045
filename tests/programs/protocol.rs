//! Random schedules of the hardened protocol keep every promise.

use std::path::Path;

use csi_certify::{
    explore::{
        Failure, Program, Seeded, Shrunk, read,
        schedule::{Environment, Schedules, Turn},
        shrink,
    },
    mountpod::protocol::Policy,
};

use crate::{
    budget::{programs, seed},
    fuzz::refcount::{run, run_drawn},
};

/// Shrinks a schedule that fails under the policy. Any broken promise will do: one mistake breaks several.
pub(crate) fn shrunk(
    policy: &Policy,
    program: Program<Environment, Turn>,
    failure: Failure,
) -> Shrunk<Environment, Turn> {
    let kind = failure.kind.clone();
    shrink::<Schedules>(program, failure, 20_000, |candidate| {
        run(policy, candidate).map(|found| Failure { kind: kind.clone(), ..found })
    })
}

/// One step a line.
pub(crate) fn lines(program: &Program<Environment, Turn>) -> String {
    program.steps.iter().map(|step| format!("  {step:?}\n")).collect()
}

#[test]
fn reproducers_of_schedules_stay_repaired() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reproducers/schedule")).unwrap() {
        let path = entry.unwrap().path();
        let program = read::<Schedules>(&path.display().to_string(), &std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(run(&Policy::default(), &program), None, "{}", path.display());
    }
}

#[test]
fn random_schedules_keep_the_promises() {
    let seed = seed("random schedules");
    for number in 0..programs(3000) {
        let (program, failure) = run_drawn(&Policy::default(), &mut Seeded::new(seed.wrapping_add(number)), 40);
        if let Some(failure) = failure {
            let Shrunk { program, failure, runs } = shrunk(&Policy::default(), program, failure);
            let text = format!("{:?}\n{}", program.environment, lines(&program));
            panic!("CSI_CERTIFY_SEED={}: {failure:?}, shrunk in {runs} runs:\n{text}", seed.wrapping_add(number));
        }
    }
}
