//! Random programs of calls against the driver in this process: every answer is judged, every promise is kept.

use csi_certify::{
    explore::{
        Failure, Program, Seeded, Shrunk,
        calls::{Calls, Environment, Step},
        shrink,
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

#[test]
fn random_programs_keep_the_promises() {
    let seed = seed("random programs");
    for number in 0..programs(2000) {
        let (program, failure) = run_drawn(&Policy::default(), &mut Seeded::new(seed.wrapping_add(number)), 40);
        if let Some(failure) = failure {
            println!("{failure:?}\n{}", lines(&program));
            let Shrunk { program, failure, runs } = shrunk(&Policy::default(), program, failure);
            let seed = seed.wrapping_add(number);
            panic!("CSI_CERTIFY_SEED={seed}: {failure:?}, shrunk in {runs} runs:\n{}", lines(&program));
        }
    }
}
