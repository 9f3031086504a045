//! Every mistake of published protocols, switched on in the protocol itself, is found by random schedules alone, and shrunk
//! to the fewest steps that can show it.

use csi_certify::{
    explore::{Seeded, Shrunk},
    mountpod::{
        api::WriteMode,
        protocol::{
            BindFailure, BindSource, DeletePrecondition, EmptinessEvidence, EvidenceOrder, FinalizerOrder, LockScope,
            MountedAlready, Policy, Readiness, RemoveTarget, TeardownOrder, TerminatingWorkload, UnpublishScope,
            UnreadableDeleteAt,
        },
    },
};

use crate::{
    budget::seed,
    fuzz::refcount::run_drawn,
    protocol::{lines, shrunk},
};

/// A mistake, and the fewest steps that show it.
struct Mistake {
    name: &'static str,
    policy: Policy,
    steps: usize,
}

fn mistakes() -> Vec<Mistake> {
    let hardened = Policy::default;
    let mistake = |name, steps, policy| Mistake { name, policy, steps };
    let (unconditional, patch) = (WriteMode::Unconditional, WriteMode::PatchAnnotations);
    vec![
        // A write over a version that was read before another reference came: a publish that pauses before its write, the
        // other publish, and the write. Each write of all annotations does the same.
        mistake("add-reference-without-version", 3, Policy { add_reference: unconditional, ..hardened() }),
        mistake("patch-all-annotations", 3, Policy { add_reference: patch, drop_reference: patch, ..hardened() }),
        // Only an unpublish, or what looks after it, deletes; it must have seen a pod without references (so one publish
        // and its own drop went before) and find one when it goes on: a second publish in its pause.
        mistake(
            "delete-without-precondition",
            4,
            Policy { delete_precondition: DeletePrecondition::Nothing, ..hardened() },
        ),
        mistake(
            "emptiness-from-an-earlier-read",
            4,
            Policy { emptiness: EmptinessEvidence::EarlierRead, ..hardened() },
        ),
        // A pod with a reference has to be on its way out; the end of every schedule finishes its deletion.
        mistake("finalizer-first", 2, Policy { finalizer: FinalizerOrder::BeforeSuccessor, ..hardened() }),
        // The same, and an unpublish that overlooks the pod.
        mistake("skip-terminating-pods", 3, Policy { unpublish_scope: UnpublishScope::LivePods, ..hardened() }),
        // A publish, the news of the shutdown, and somebody who acts on it.
        mistake(
            "terminating-workload-is-dead",
            3,
            Policy { terminating_workload: TerminatingWorkload::CountsAsGone, ..hardened() },
        ),
        // There must be a pod to collect from; the collection pauses after its evidence, a publish comes, it goes on.
        mistake("evidence-before-record", 4, Policy { evidence: EvidenceOrder::EvidenceFirst, ..hardened() }),
        // A status can only be stale once there was one and the daemon went; then a publish believes it.
        mistake("ready-by-status", 3, Policy { readiness: Readiness::Status, ..hardened() }),
        // The daemon has to go between the look and the bind of one publish; likewise the directory.
        mistake("bind-by-path", 3, Policy { bind_source: BindSource::Path, ..hardened() }),
        mistake("ok-on-failed-bind", 3, Policy { bind_failure: BindFailure::IsIgnored, ..hardened() }),
        // Two publishes that differ.
        mistake("ok-because-mounted", 2, Policy { mounted_already: MountedAlready::ReplyAtOnce, ..hardened() }),
        // An unpublish that ends half way, of something that is published.
        mistake(
            "directory-before-reference",
            2,
            Policy { remove_target: RemoveTarget::BeforeReferenceDrop, ..hardened() },
        ),
        // The end of every schedule unpublishes what is published: one publish is enough.
        mistake("local-time", 1, Policy { local_time: Some(-300), ..hardened() }),
        mistake("teardown-before-delete", 1, Policy { teardown: TeardownOrder::BeforeDelete, ..hardened() }),
        // A moment is written by an unpublish of something published, is garbled while that unpublish pauses (or after it),
        // and is read when it goes on; or a collection does both. The end of every schedule repairs it first.
        mistake(
            "delete-on-unreadable-moment",
            3,
            Policy { unreadable_delete_at: UnreadableDeleteAt::DeletesThePod, ..hardened() },
        ),
        // A pod that is going, and a publish that waits for it.
        mistake("wait-under-the-lock", 3, Policy { lock: LockScope::HeldWhileWaiting, ..hardened() }),
    ]
}

#[test]
fn every_mistake_is_found_and_shrunk_to_its_fewest_steps() {
    let seed = seed("mistakes");
    let mut wrong = Vec::new();
    for Mistake { name, policy, steps } in mistakes() {
        let found = (0..100_000).find_map(|number| {
            let (program, failure) = run_drawn(&policy, &mut Seeded::new(seed.wrapping_add(number)), 40);
            Some((number, program, failure?))
        });
        let Some((number, program, failure)) = found else {
            wrong.push(format!("{name} is not found"));
            continue;
        };
        let Shrunk { program, failure, runs } = shrunk(&policy, program, failure);
        let count = program.steps.len();
        println!("{name}: program {number}, {count} steps after {runs} runs: {}\n{}", failure.message, lines(&program));
        if count != steps {
            wrong.push(format!("{name}: {count} steps instead of {steps}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
