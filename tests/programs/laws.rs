//! Laws of publishing: what undoes what, and which order does not matter.

use csi_certify::{
    explore::{
        Program, Seeded, Source as _,
        calls::{Call, Environment, Step, Use},
    },
    history::{EventKind, History, Outcome},
    mountpod::protocol::Policy,
    spec::Rpc,
};

use crate::{
    budget::{programs, seed},
    fuzz::driver::{portrait, run, run_drawn},
};

fn call(rpc: Rpc, target: u8) -> Step {
    Step::Call { lane: 0, call: Call { target, ..Call::plain(rpc) }, pause: None, lost: false }
}

/// The node after the steps, which must all succeed.
fn node_after(environment: Environment, steps: &[Step]) -> u64 {
    let program = Program { environment, steps: steps.to_vec() };
    match portrait(&Policy::default(), &program) {
        Ok(Some(portrait)) => portrait,
        other => panic!("{other:?}: {program:?}"),
    }
}

fn environments() -> impl Iterator<Item = Environment> {
    [Use::Shared, Use::Block].into_iter().flat_map(|usage| {
        [false, true].map(|lazy_kubelet| Environment { usage, lazy_kubelet, ..Environment::default() })
    })
}

/// A volume with some of its targets published, by a seed.
fn beginning(source: &mut Seeded) -> Vec<Step> {
    let mut steps = vec![call(Rpc::CreateVolume, 0)];
    steps.extend((1..3).filter(|_| source.below(2) == 0).map(|target| call(Rpc::NodePublishVolume, target)));
    steps
}

#[test]
fn a_publish_and_its_unpublish_change_nothing() {
    let seed = seed("publish and unpublish");
    for environment in environments() {
        for number in 0..8 {
            let before = beginning(&mut Seeded::new(seed.wrapping_add(number)));
            if before.len() == 1 {
                // Pods are numbered: without another target the second pod is not the first.
                continue;
            }
            let both = [&before[..], &[call(Rpc::NodePublishVolume, 0), call(Rpc::NodeUnpublishVolume, 0)]].concat();
            assert_eq!(node_after(environment, &before), node_after(environment, &both), "{before:?}");
        }
    }
}

#[test]
fn unpublishes_of_different_targets_commute() {
    for environment in environments() {
        let before: Vec<Step> = std::iter::once(call(Rpc::CreateVolume, 0))
            .chain((0..3).map(|at| call(Rpc::NodePublishVolume, at)))
            .collect();
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        for some in 1..=3 {
            let mut ends: Vec<(Vec<u8>, u64)> = Vec::new();
            for order in orders {
                let mut gone = order[..some].to_vec();
                let steps: Vec<Step> = gone.iter().map(|&at| call(Rpc::NodeUnpublishVolume, at)).collect();
                let end = node_after(environment, &[&before[..], &steps].concat());
                gone.sort_unstable();
                ends.push((gone, end));
            }
            for (gone, end) in &ends {
                let same = ends.iter().filter(|(other, _)| other == gone);
                assert!(same.clone().all(|(_, other)| other == end), "the order in which {gone:?} go matters");
            }
        }
    }
}

#[test]
fn a_program_that_runs_again_gets_the_same_answers() {
    let seed = seed("programs that run again");
    for number in 0..programs(2000) / 100 {
        let (program, _) = run_drawn(&Policy::default(), &mut Seeded::new(seed.wrapping_add(number)), 40);
        let [one, other] = [(); 2].map(|()| answers(&run(&Policy::default(), &program).1));
        assert_eq!(one, other, "CSI_CERTIFY_SEED={}", seed.wrapping_add(number));
    }
}

/// The outcomes in the order in which they came, without the time of day.
fn answers(history: &History) -> Vec<String> {
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Reply { reply, .. } => format!("{}", reply.rpc()),
        other => format!("{other:?}"),
    };
    let of = |kind: &EventKind| match kind {
        EventKind::Return { call, outcome: ended } => Some(format!("{call:?} {}", outcome(ended))),
        _ => None,
    };
    history.events.iter().filter_map(|event| of(&event.kind)).collect()
}
