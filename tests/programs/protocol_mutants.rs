//! Every mistake of published protocols, switched on in the protocol itself, is found by random schedules alone, and shrunk
//! to the fewest steps that can show it.

use csi_certify::{
    explore::{Seeded, schedule::Schedules},
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
    fuzz::refcount::{run, run_drawn},
    property::{Shrunk, lines, shrunk},
    protocol::BUDGET,
};

/// A mistake, and the fewest steps that show it.
pub(crate) struct Mistake {
    pub(crate) name: &'static str,
    pub(crate) policy: Policy,
    pub(crate) steps: usize,
}

pub(crate) fn mistakes() -> Vec<Mistake> {
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
        // A moment is written by an unpublish of something published; it is garbled before that unpublish has ended, and
        // the repetition at the end of the schedule reads it.
        mistake(
            "delete-on-unreadable-moment",
            3,
            Policy { unreadable_delete_at: UnreadableDeleteAt::DeletesThePod, ..hardened() },
        ),
        // A pod that is going, and a publish that waits for it.
        mistake("wait-under-the-lock", 3, Policy { lock: LockScope::HeldWhileWaiting, ..hardened() }),
    ]
}

/// Each shrunk program is a local minimum; so many of them are looked at for the global one.
const SHRUNK: usize = 12;

#[test]
fn every_mistake_is_found_and_shrunk_to_its_fewest_steps() {
    // One seed unless another is asked for: whether a program shrinks to the very shortest is a matter of luck.
    let seed = if std::env::var_os("CSI_CERTIFY_MISTAKES").is_some() { seed("mistakes") } else { 1 };
    let mut wrong = Vec::new();
    for Mistake { name, policy, steps } in mistakes() {
        let failing = (0..200_000).filter_map(|number| {
            let (program, failure) = run_drawn(&policy, &mut Seeded::new(seed.wrapping_add(number)), 40);
            Some((number, program, failure?))
        });
        let mut fewest = usize::MAX;
        for (number, program, failure) in failing.take(SHRUNK) {
            let Shrunk { program, failure, runs } =
                shrunk::<Schedules>(program, &failure, BUDGET, |candidate| run(&policy, candidate));
            if program.steps.len() < fewest {
                fewest = program.steps.len();
                println!("{name}: program {number}, {fewest} steps after {runs} runs: {}", failure.message);
                println!("{}", lines(&program));
            }
            if fewest <= steps {
                break;
            }
        }
        if fewest != steps {
            wrong.push(format!("{name}: {fewest} steps instead of {steps}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
