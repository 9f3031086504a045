//! The protocol under crashes, lost replies, conflicts, delays and random interleavings.

use std::time::Duration;

use super::{
    super::{
        AccessMode, TargetPath,
        admission::Admission,
        annotations,
        api::{Preconditions, WriteMode},
        instant::Timestamp,
        pod::{ConfigurationHash, Pod},
    },
    Collect, Effect, Machine, MountOperation, Policy, Publish, PublishOutcome, Rebind, RebindOutcome, Retire,
    Terminate, Unpublish, UnpublishOutcome, WorkloadState,
    simulation::{
        Actor, Fate, MODE, Simulation, assert_gone, assert_published, node, publish, publish_request, terminate_all,
        unpublish, unpublish_request,
    },
};

fn steps_of<M: Machine>(mut simulation: Simulation, machine: M) -> usize {
    let mut actor = Actor::new(machine, &simulation);
    let mut steps = 0;
    while actor.reply().is_none() {
        actor.step(&mut simulation, Fate::Performed);
        simulation.world.run_kubelet();
        steps += 1;
        assert!(steps < 1000);
    }
    steps
}

fn disturb<M: Machine>(simulation: &mut Simulation, machine: M, before: usize, fate: Fate) {
    let mut actor = Actor::new(machine, simulation);
    for _ in 0..before {
        actor.step(simulation, Fate::Performed);
        simulation.world.run_kubelet();
    }
    actor.step(simulation, fate);
}

#[test]
fn every_crash_point_of_publish_recovers() {
    let total = steps_of(Simulation::default(), publish("/t/a"));
    assert!(total > 5, "{total}");
    for fate in [Fate::Performed, Fate::LostBefore] {
        for crash_after in 0..total {
            let context = format!("crash after {crash_after} effects, the last one {fate:?}");
            let mut simulation = Simulation::default();
            disturb(&mut simulation, publish("/t/a"), crash_after, fate);
            assert_eq!(simulation.run(publish("/t/a")), PublishOutcome::Published, "{context}");
            assert_published(&simulation, "/t/a", &context);

            let mut abandoned = Simulation::default();
            disturb(&mut abandoned, publish("/t/a"), crash_after, fate);
            assert!(matches!(abandoned.run(unpublish("/t/a")), UnpublishOutcome::Unpublished(_)), "{context}");
            terminate_all(&mut abandoned);
            assert_gone(&abandoned, "/t/a", &context);
            assert!(abandoned.pods().is_empty() && abandoned.world.daemons.is_empty(), "{context}");
        }
    }
}

#[test]
fn every_crash_point_of_unpublish_recovers() {
    let mut published = Simulation::default();
    published.run(publish("/t/a"));
    let total = steps_of(published.clone(), unpublish("/t/a"));
    for crash_after in 0..total {
        let context = format!("crash after {crash_after} effects");
        let mut simulation = published.clone();
        disturb(&mut simulation, unpublish("/t/a"), crash_after, Fate::Performed);
        assert!(matches!(simulation.run(unpublish("/t/a")), UnpublishOutcome::Unpublished(_)), "{context}");
        terminate_all(&mut simulation);
        assert_gone(&simulation, "/t/a", &context);
        assert!(simulation.pods().is_empty() && simulation.world.daemons.is_empty(), "{context}");

        let mut simulation = published.clone();
        disturb(&mut simulation, unpublish("/t/a"), crash_after, Fate::Performed);
        assert_eq!(simulation.run(publish("/t/a")), PublishOutcome::Published, "{context}");
        terminate_all(&mut simulation);
        assert_published(&simulation, "/t/a", &context);
    }
}

#[test]
fn every_crash_point_of_replacing_a_pod_keeps_its_references() {
    let mut evicted = Simulation::default();
    evicted.run(publish("/t/a"));
    evicted.run(publish("/t/b"));
    let pod = evicted.pods().remove(0);
    evicted.world.delete(&pod.name, &Preconditions::default()).unwrap();
    let total = steps_of(evicted.clone(), Terminate::new(&pod));
    for crash_after in 0..total {
        let context = format!("crash after {crash_after} effects");
        let mut simulation = evicted.clone();
        disturb(&mut simulation, Terminate::new(&pod), crash_after, Fate::Performed);
        terminate_all(&mut simulation);
        for target in ["/t/a", "/t/b"] {
            let rebind = Rebind::new(node(), target.parse().unwrap());
            assert_eq!(simulation.run(rebind), RebindOutcome::Rebound, "{context}");
            assert_published(&simulation, target, &context);
        }
    }
}

#[test]
fn a_lost_reply_a_conflict_or_a_failure_anywhere_only_delays() {
    let total = steps_of(Simulation::default(), publish("/t/a"));
    for fate in [Fate::LostAfter, Fate::LostBefore, Fate::Conflict, Fate::Failed] {
        for at in 0..total {
            let context = format!("{fate:?} at effect {at}");
            let mut simulation = Simulation::default();
            let mut actor = Actor::new(publish("/t/a"), &simulation);
            for step in 0..200 {
                actor.step(&mut simulation, if step == at { fate } else { Fate::Performed });
                simulation.world.run_kubelet();
            }
            assert_eq!(actor.reply(), Some(&PublishOutcome::Published), "{context}");
            assert_published(&simulation, "/t/a", &context);

            let mut actor = Actor::new(unpublish("/t/a"), &simulation);
            for step in 0..200 {
                actor.step(&mut simulation, if step == at { fate } else { Fate::Performed });
            }
            assert!(matches!(actor.reply(), Some(UnpublishOutcome::Unpublished(_))), "{context}");
            assert_gone(&simulation, "/t/a", &context);
        }
    }
}

#[test]
fn a_publish_that_cannot_start_its_daemon_takes_its_reference_back() {
    let mut simulation = Simulation::default();
    let mut actor = Actor::new(publish("/t/a"), &simulation);
    // No kubelet runs here.
    for _ in 0..1000 {
        actor.step(&mut simulation, Fate::Performed);
    }
    assert_eq!(actor.reply(), Some(&PublishOutcome::TimedOut(super::Waiting::Readiness)));
    assert_gone(&simulation, "/t/a", "after the refusal");
    terminate_all(&mut simulation);
    assert!(simulation.pods().is_empty());
}

#[test]
fn a_pod_stays_for_its_delay_and_a_publish_cancels_the_deletion() {
    let mut simulation = Simulation {
        policy: Policy { delete_delay: Some(Duration::from_secs(60)), ..Policy::default() },
        now: Timestamp(1_000_000),
        ..Simulation::default()
    };
    simulation.run(publish("/t/a"));
    let UnpublishOutcome::Unpublished(retirement) = simulation.run(unpublish("/t/a")) else { panic!() };
    assert_eq!(retirement.due, Some(Timestamp(1_060_000)));
    let pod = simulation.pods().remove(0);
    assert_eq!(simulation.run(publish("/t/b")), PublishOutcome::Published);
    assert_eq!(simulation.pods()[0].uid, pod.uid, "the pod is used again");
    assert_eq!(annotations::delete_at(&simulation.pods()[0]), Ok(None));

    simulation.run(unpublish("/t/b"));
    simulation.now = Timestamp(1_059_999);
    assert_eq!(simulation.run(Retire::new(node(), "v".parse().unwrap())).deleted, 0);
    simulation.now = Timestamp(1_060_000);
    assert_eq!(simulation.run(Retire::new(node(), "v".parse().unwrap())).deleted, 1);
}

#[test]
fn a_delay_that_cannot_be_read_keeps_the_pod_and_is_reported() {
    for key in [annotations::DELETE_AT, annotations::DELETE_DELAY] {
        let mut simulation = Simulation {
            policy: Policy { delete_delay: Some(Duration::from_secs(60)), ..Policy::default() },
            ..Simulation::default()
        };
        simulation.run(publish("/t/a"));
        simulation.run(unpublish("/t/a"));
        let mut pod = simulation.pods().remove(0);
        pod.annotations.insert(key.to_owned(), "2026-01-31 20:00:00".to_owned());
        simulation.world.update(pod.clone(), WriteMode::CompareAndSwap).unwrap();
        simulation.now = Timestamp(u64::MAX / 2);
        let retirement = simulation.run(Retire::new(node(), "v".parse().unwrap()));
        assert_eq!(retirement.deleted, 0);
        assert!(retirement.unreadable[0].1.starts_with(key), "{retirement:?}");
    }
}

#[test]
fn a_killed_daemon_is_covered_before_its_dead_layer_goes() {
    let mut simulation = Simulation::default();
    simulation.run(publish("/t/a"));
    let pod = simulation.pods().remove(0);
    simulation.world.kill_daemon(&pod.uid);
    let target: TargetPath = "/t/a".parse().unwrap();
    let mut actor = Actor::new(Rebind::new(node(), target.clone()), &simulation);
    simulation.world.run_kubelet();
    while actor.reply().is_none() {
        actor.step(&mut simulation, Fate::Performed);
        assert!(simulation.world.layers.contains_key(&target), "the target is never bare");
    }
    assert_eq!(actor.reply(), Some(&RebindOutcome::Rebound));
    assert_published(&simulation, "/t/a", "after the repair");
}

#[test]
fn references_of_workloads_that_are_gone_are_collected_and_of_terminating_ones_are_not() {
    let mut simulation = Simulation::default();
    simulation.run(publish("/t/a"));
    simulation.run(publish("/t/b"));
    simulation.workloads.insert("/t/a".parse().unwrap(), WorkloadState::Gone);
    simulation.workloads.insert("/t/b".parse().unwrap(), WorkloadState::Terminating);
    let pod = simulation.pods().remove(0);
    let collected = simulation.run(Collect::new(node(), "v".parse().unwrap(), pod.uid));
    assert_eq!(collected.dropped, ["/t/a".parse().unwrap()]);
    assert_gone(&simulation, "/t/a", "after the collection");
    assert_published(&simulation, "/t/b", "after the collection");
}

/// Found by the search of states: the workload went while its publish was under way, the collection unmounted, the publish
/// mounted, and the collection dropped the reference; the mount stayed for ever.
#[test]
fn a_mount_that_comes_while_its_reference_is_collected_goes_with_it() {
    for lead in 0..8 {
        let mut simulation = Simulation::default();
        simulation.run(publish("/t/b"));
        let mut late = Actor::new(publish("/t/a"), &simulation);
        while !matches!(late.effect(), Effect::Mount(MountOperation::Bind { .. })) {
            late.step(&mut simulation, Fate::Performed);
        }
        simulation.workloads.insert("/t/a".parse().unwrap(), WorkloadState::Gone);
        simulation.workloads.insert("/t/b".parse().unwrap(), WorkloadState::Lives);
        let uid = simulation.pods()[0].uid.clone();
        let collect = || Collect::new(node(), "v".parse().unwrap(), uid.clone());
        let mut collecting = Actor::new(collect(), &simulation);
        for _ in 0..lead {
            collecting.step(&mut simulation, Fate::Performed);
        }
        for _ in 0..100 {
            late.step(&mut simulation, Fate::Performed);
        }
        for _ in 0..100 {
            collecting.step(&mut simulation, Fate::Performed);
        }
        simulation.run(collect());
        assert_gone(&simulation, "/t/a", &format!("{lead} steps of the collection before the mount"));
        assert_published(&simulation, "/t/b", "the other target");
    }
}

#[test]
fn a_target_without_a_mount_is_marked_first_and_collected_after_the_grace() {
    let mut simulation = Simulation::default();
    simulation.run(publish("/t/a"));
    simulation.world.layers.clear();
    let pod = simulation.pods().remove(0);
    let collect = || Collect::new(node(), "v".parse().unwrap(), pod.uid.clone());
    assert!(simulation.run(collect()).dropped.is_empty());
    assert_eq!(simulation.references(), ["/t/a"]);
    // A publish that comes back in time is safe.
    let mut returned = simulation.clone();
    returned.now = Timestamp(600_000);
    assert_eq!(returned.run(publish("/t/a")), PublishOutcome::Published);
    assert!(returned.run(collect()).dropped.is_empty());
    simulation.now = Timestamp(600_000);
    assert_eq!(simulation.run(collect()).dropped, ["/t/a".parse().unwrap()]);
    terminate_all(&mut simulation);
    assert!(simulation.pods().is_empty());
}

#[test]
fn two_exclusive_publishes_under_different_settings_do_not_both_succeed() {
    let mode = AccessMode::SingleNodeSingleWriter;
    let mut other = publish_request("v", "/t/b", mode);
    other.key.configuration = ConfigurationHash::new("f".repeat(64));
    for lead in 0..30 {
        let mut simulation = Simulation::default();
        let mut first = Actor::new(Publish::new(publish_request("v", "/t/a", mode)), &simulation);
        let mut second = Actor::new(Publish::new(other.clone()), &simulation);
        for _ in 0..lead {
            first.step(&mut simulation, Fate::Performed);
        }
        for _ in 0..200 {
            second.step(&mut simulation, Fate::Performed);
            first.step(&mut simulation, Fate::Performed);
            simulation.world.run_kubelet();
        }
        let both = [first.reply(), second.reply()];
        let successes = both.iter().filter(|reply| **reply == Some(&PublishOutcome::Published)).count();
        assert!(successes <= 1, "lead {lead}: {both:?}");
    }
}

#[test]
fn an_admission_refusal_leaves_nothing() {
    let mode = AccessMode::SingleNodeSingleWriter;
    let mut simulation = Simulation::default();
    simulation.run(Publish::new(publish_request("v", "/t/a", mode)));
    let refused = simulation.run(Publish::new(publish_request("v", "/t/b", mode)));
    assert_eq!(refused, PublishOutcome::Refused(Admission::SingleTarget { at: "/t/a".parse().unwrap() }));
    assert_eq!(simulation.run(Publish::new(publish_request("v", "/t/a", mode))), PublishOutcome::Published);
    assert_gone(&simulation, "/t/b", "after the refusal");
}

#[test]
fn an_unpublish_of_another_volume_leaves_the_target_alone() {
    let mut simulation = Simulation::default();
    simulation.run(publish("/t/a"));
    let outcome = simulation.run(Unpublish::new(unpublish_request("w", "/t/a")));
    assert!(matches!(outcome, UnpublishOutcome::Unpublished(_)));
    assert_published(&simulation, "/t/a", "after the other volume's unpublish");
}

#[test]
fn a_reference_that_is_dropped_while_a_successor_is_made_does_not_come_back() {
    let mut evicted = Simulation::default();
    evicted.run(publish("/t/a"));
    evicted.run(publish("/t/b"));
    let pod = evicted.pods().remove(0);
    evicted.world.delete(&pod.name, &Preconditions::default()).unwrap();
    for lead in 0..14 {
        for into_unpublish in 0..24 {
            let context =
                format!("{lead} steps of the first handler, {into_unpublish} of the unpublish, a second handler");
            let mut simulation = evicted.clone();
            let mut slow = Actor::new(Terminate::new(&pod), &simulation);
            for _ in 0..lead {
                slow.step(&mut simulation, Fate::Performed);
            }
            let mut leaving = Actor::new(unpublish("/t/a"), &simulation);
            for _ in 0..into_unpublish {
                leaving.step(&mut simulation, Fate::Performed);
            }
            simulation.run(Terminate::new(&pod));
            for _ in 0..100 {
                leaving.step(&mut simulation, Fate::Performed);
            }
            assert!(matches!(leaving.reply(), Some(UnpublishOutcome::Unpublished(_))), "{context}");
            assert_gone(&simulation, "/t/a", &context);
            for _ in 0..100 {
                slow.step(&mut simulation, Fate::Performed);
                assert_gone(&simulation, "/t/a", &context);
            }
            simulation.world.run_kubelet();
            assert_eq!(
                simulation.run(Rebind::new(node(), "/t/b".parse().unwrap())),
                RebindOutcome::Rebound,
                "{context}"
            );
            assert_published(&simulation, "/t/b", &context);
        }
    }
}

#[test]
fn of_two_pods_that_nobody_confirmed_one_stays() {
    let request = publish_request("v", "/t/a", MODE);
    for (referenced, lead) in [(false, 0), (true, 0), (true, 1), (true, 2)] {
        let mut simulation = Simulation::default();
        // A creator with an old list is about to use a name that has come and gone; it is cut off after some steps.
        let mut stale = Actor::new(publish("/t/a"), &simulation);
        stale.step(&mut simulation, Fate::Performed);
        for generation in [3, 4] {
            let mut pod = Pod::new(request.key.clone(), generation, request.content.clone());
            if referenced {
                annotations::add_reference(&mut pod, &"/t/c".parse().unwrap(), Some(&request.detail()));
            }
            simulation.world.create(pod).unwrap();
        }
        for _ in 0..lead {
            stale.step(&mut simulation, Fate::Performed);
        }
        assert_eq!(simulation.run(publish("/t/b")), PublishOutcome::Published);
        assert_eq!(simulation.run(publish("/t/a")), PublishOutcome::Published);
        let pods = simulation.pods();
        let live: Vec<_> = pods.iter().filter(|pod| pod.is_live()).collect();
        assert_eq!(live.len(), 1, "{live:#?}");
        assert_published(&simulation, "/t/a", "after the race");
        assert_published(&simulation, "/t/b", "after the race");
    }
}

#[test]
fn after_a_reboot_a_stale_ready_status_is_not_believed() {
    let mut simulation = Simulation::default();
    simulation.run(publish("/t/a"));
    simulation.world.reboot();
    assert!(simulation.pods()[0].status.ready, "nobody has corrected the record");
    assert_eq!(simulation.run(publish("/t/a")), PublishOutcome::Published);
    assert_published(&simulation, "/t/a", "after the reboot");
}
