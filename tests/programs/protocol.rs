//! Random schedules of the hardened protocol keep every promise.

use std::path::Path;

use csi_certify::{
    explore::{read, schedule::Schedules},
    mountpod::protocol::Policy,
};

use crate::{
    budget::{programs, seed},
    fuzz::refcount::run,
    property::hold,
};

/// How many smaller schedules are run of one that fails.
pub(crate) const BUDGET: u32 = 20_000;

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
    hold::<Schedules>((seed, programs(3000)), 40, BUDGET, |program| run(&Policy::default(), program));
}
