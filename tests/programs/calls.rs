//! Random programs of calls against the driver in this process: every answer is judged, every promise is kept.

use std::path::Path;

use csi_certify::{
    explore::{calls::Calls, read},
    mountpod::protocol::Policy,
};

use crate::{
    budget::{programs, seed},
    fuzz::driver::run,
    property::hold,
};

/// How many smaller programs are run of one that fails.
pub(crate) const BUDGET: u32 = 5_000;

#[test]
fn random_programs_keep_the_promises() {
    let (seed, count) = (seed("random programs"), programs(2000));
    // Each program has a runtime of its own, so they can be shared out between threads.
    std::thread::scope(|scope| {
        for part in 0..2 {
            let first = seed.wrapping_add(part * count / 2);
            scope.spawn(move || {
                hold::<Calls>((first, count / 2), 40, BUDGET, |program| run(&Policy::default(), program).0);
            });
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
