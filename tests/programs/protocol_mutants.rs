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
    vec![
        mistake("add-reference-without-version", 4, Policy { add_reference: WriteMode::Unconditional, ..hardened() }),
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
        mistake(
            "patch-all-annotations",
            4,
            Policy {
                add_reference: WriteMode::PatchAnnotations,
                drop_reference: WriteMode::PatchAnnotations,
                ..hardened()
            },
        ),
        mistake("finalizer-first", 3, Policy { finalizer: FinalizerOrder::BeforeSuccessor, ..hardened() }),
        mistake("skip-terminating-pods", 3, Policy { unpublish_scope: UnpublishScope::LivePods, ..hardened() }),
        mistake(
            "terminating-workload-is-dead",
            3,
            Policy { terminating_workload: TerminatingWorkload::CountsAsGone, ..hardened() },
        ),
        mistake("evidence-before-record", 4, Policy { evidence: EvidenceOrder::EvidenceFirst, ..hardened() }),
        mistake("ready-by-status", 3, Policy { readiness: Readiness::Status, ..hardened() }),
        mistake("bind-by-path", 3, Policy { bind_source: BindSource::Path, ..hardened() }),
        mistake("ok-on-failed-bind", 3, Policy { bind_failure: BindFailure::IsIgnored, ..hardened() }),
        mistake("ok-because-mounted", 2, Policy { mounted_already: MountedAlready::ReplyAtOnce, ..hardened() }),
        mistake(
            "directory-before-reference",
            2,
            Policy { remove_target: RemoveTarget::BeforeReferenceDrop, ..hardened() },
        ),
        mistake("local-time", 2, Policy { local_time: Some(-300), ..hardened() }),
        mistake(
            "delete-on-unreadable-moment",
            4,
            Policy { unreadable_delete_at: UnreadableDeleteAt::DeletesThePod, ..hardened() },
        ),
        mistake("teardown-before-delete", 2, Policy { teardown: TeardownOrder::BeforeDelete, ..hardened() }),
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
