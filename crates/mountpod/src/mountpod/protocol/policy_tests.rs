//! Each choice of the policy, set to what a published protocol did, shows the harm that the default prevents.

use std::time::Duration;

use super::{
    super::{Fingerprint, TargetPath, annotations, api::Preconditions, instant::Timestamp},
    BindFailure, Collect, Effect, EvidenceOrder, LockScope, Machine, MountOperation, MountedAlready, Policy, Publish,
    PublishOutcome, RemoveTarget, Retire, Terminate, TerminatingWorkload, UnpublishOutcome, UnreadableDeleteAt,
    Waiting, WorkloadState,
    simulation::{Actor, Fate, MODE, Simulation, node, publish, publish_request, unpublish},
};

fn with(policy: Policy) -> Simulation {
    Simulation { policy, now: Timestamp(1_769_860_800_000), ..Simulation::default() }
}

fn retire() -> Retire {
    Retire::new(node(), "v".parse().unwrap())
}

#[test]
fn local_time_skips_the_delay_west_of_greenwich_and_stretches_it_east() {
    let delayed = |local_time| {
        let mut simulation =
            with(Policy { local_time, delete_delay: Some(Duration::from_secs(60)), ..Policy::default() });
        simulation.run(publish("/t/a"));
        simulation.run(unpublish("/t/a"));
        let at_once = simulation.pods().iter().all(|pod| pod.deleting);
        simulation.now = simulation.now.after(Duration::from_secs(60));
        (at_once, simulation.run(retire()).deleted)
    };
    assert_eq!(delayed(None), (false, 1));
    assert_eq!(delayed(Some(-300)), (true, 0), "deleted without any delay");
    assert_eq!(delayed(Some(480)), (false, 0), "still there after the delay");
}

#[test]
fn deleting_on_an_unreadable_moment_loses_the_delay() {
    for (choice, deleted) in [(UnreadableDeleteAt::KeepsThePod, 0), (UnreadableDeleteAt::DeletesThePod, 1)] {
        let delay = Some(Duration::from_secs(60));
        let mut simulation = with(Policy { unreadable_delete_at: choice, delete_delay: delay, ..Policy::default() });
        simulation.run(publish("/t/a"));
        simulation.run(unpublish("/t/a"));
        let mut pod = simulation.pods().remove(0);
        pod.annotations.insert(annotations::DELETE_AT.to_owned(), "tomorrow".to_owned());
        simulation.world.update(pod, Default::default()).unwrap();
        assert_eq!(simulation.run(retire()).deleted, deleted, "{choice:?}");
    }
}

#[test]
fn taking_terminating_workloads_for_dead_takes_their_volume_away() {
    for (choice, layers) in [(TerminatingWorkload::Counts, 1), (TerminatingWorkload::CountsAsGone, 0)] {
        let mut simulation = with(Policy { terminating_workload: choice, ..Policy::default() });
        simulation.run(publish("/t/a"));
        simulation.workloads.insert("/t/a".parse().unwrap(), WorkloadState::Terminating);
        let uid = simulation.pods()[0].uid.clone();
        simulation.run(Collect::new(node(), "v".parse().unwrap(), uid));
        assert_eq!(simulation.world.layers.len(), layers, "{choice:?}");
    }
}

#[test]
fn evidence_that_is_older_than_the_record_misses_a_new_reference() {
    for (choice, held) in [(EvidenceOrder::RecordFirst, true), (EvidenceOrder::EvidenceFirst, false)] {
        let mut simulation = with(Policy { evidence: choice, ..Policy::default() });
        simulation.run(publish("/t/a"));
        let uid = simulation.pods()[0].uid.clone();
        let mut collect = Actor::new(Collect::new(node(), "v".parse().unwrap(), uid), &simulation);
        // The collection has read what it reads first, and the workloads.
        collect.step(&mut simulation, Fate::Performed);
        collect.step(&mut simulation, Fate::Performed);
        assert_eq!(simulation.run(publish("/t/b")), PublishOutcome::Published);
        while collect.reply().is_none() {
            collect.step(&mut simulation, Fate::Performed);
        }
        assert_eq!(simulation.references().contains(&"/t/b".to_owned()), held, "{choice:?}");
    }
}

#[test]
fn ignoring_a_failed_bind_answers_success_without_a_mount() {
    for (choice, published) in [(BindFailure::Fails, false), (BindFailure::IsIgnored, true)] {
        let mut simulation = with(Policy { bind_failure: choice, ..Policy::default() });
        let mut actor = Actor::new(publish("/t/a"), &simulation);
        while actor.reply().is_none() {
            if matches!(actor.effect(), Effect::Mount(MountOperation::Bind { .. })) {
                // Somebody removes the directory of the workload.
                simulation.world.targets.clear();
            }
            actor.step(&mut simulation, Fate::Performed);
            simulation.world.run_kubelet();
        }
        assert_eq!(actor.reply() == Some(&PublishOutcome::Published), published, "{choice:?}");
        assert!(simulation.world.layers.is_empty());
        assert_eq!(simulation.references().is_empty(), !published, "a failed publish takes its reference back");
    }
}

#[test]
fn answering_from_the_mount_table_alone_overlooks_a_different_request() {
    for (choice, published) in [(MountedAlready::EnsureReference, false), (MountedAlready::ReplyAtOnce, true)] {
        let mut simulation = with(Policy { mounted_already: choice, ..Policy::default() });
        simulation.run(publish("/t/a"));
        let mut request = publish_request("v", "/t/a", MODE);
        request.fingerprint = Fingerprint { read_only: true, ..request.fingerprint };
        let outcome = simulation.run(Publish::new(request));
        assert_eq!(outcome == PublishOutcome::Published, published, "{choice:?}: {outcome:?}");
    }
}

#[test]
fn removing_the_target_first_leaves_a_reference_that_nobody_asks_about_again() {
    for (choice, orphaned) in [(RemoveTarget::AfterReferenceDrop, false), (RemoveTarget::BeforeReferenceDrop, true)] {
        let mut published = with(Policy { remove_target: choice, ..Policy::default() });
        published.run(publish("/t/a"));
        let target: TargetPath = "/t/a".parse().unwrap();
        let found = (0..20).any(|crash_after| {
            let mut simulation = published.clone();
            let mut actor = Actor::new(unpublish("/t/a"), &simulation);
            for _ in 0..crash_after {
                actor.step(&mut simulation, Fate::Performed);
            }
            !simulation.world.targets.contains(&target) && !simulation.references().is_empty()
        });
        assert_eq!(found, orphaned, "{choice:?}");
    }
}

#[test]
fn waiting_under_the_lock_that_the_deletion_needs_times_out() {
    let mut simulation = with(Policy { lock: LockScope::HeldWhileWaiting, ..Policy::default() });
    simulation.run(publish("/t/a"));
    let pod = simulation.pods().remove(0);
    simulation.world.delete(&pod.name, &Preconditions::default()).unwrap();
    let terminate = Actor::new(Terminate::new(&pod), &simulation);
    let mut waiting = Actor::new(publish("/t/b"), &simulation);
    assert_eq!(waiting.effect(), &acquire_of(&terminate), "both need the same lock, and the publish was faster");
    for _ in 0..1000 {
        waiting.step(&mut simulation, Fate::Performed);
    }
    assert_eq!(waiting.reply(), Some(&PublishOutcome::TimedOut(Waiting::Predecessor)));

    // The default needs no lock and no wait.
    simulation.policy = Policy::default();
    assert_eq!(simulation.run(publish("/t/b")), PublishOutcome::Published);
    assert!(matches!(simulation.run(unpublish("/t/b")), UnpublishOutcome::Unpublished(_)));
}

fn acquire_of<R>(terminate: &Actor<Terminate>) -> Effect<R> {
    match terminate.effect() {
        Effect::Acquire(lock) => Effect::Acquire(lock.clone()),
        other => panic!("no lock is taken: {other:?}"),
    }
}

/// The machines are values: the model checker puts them into a set of visited states.
#[test]
fn equal_histories_give_equal_machines() {
    fn assert_machine<M: Machine>(_: M) {}
    assert_machine(publish("/t/a"));
    assert_eq!(publish("/t/a"), publish("/t/a"));
    assert_ne!(publish("/t/a"), publish("/t/b"));
}
