//! The protocol under crashes, lost replies, conflicts, delays and random interleavings.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        AccessMode, TargetPath,
        admission::Admission,
        annotations,
        api::Preconditions,
        instant::Timestamp,
        pod::{PodKey, Uid},
    },
    Collect, Effect, Machine, Policy, Publish, PublishOutcome, Rebind, RebindOutcome, Retire, Terminate,
    TerminateOutcome, Unpublish, UnpublishOutcome, WorkloadState,
    simulation::{Actor, Fate, Simulation, node, publish_request, unpublish_request},
};

const MODE: AccessMode = AccessMode::MultiNodeMultiWriter;

fn publish(target: &str) -> Publish {
    Publish::new(publish_request("v", target, MODE))
}

fn unpublish(target: &str) -> Unpublish {
    Unpublish::new(unpublish_request("v", target))
}

fn terminate_all(simulation: &mut Simulation) {
    for pod in simulation.pods().iter().filter(|pod| pod.deleting) {
        assert_eq!(simulation.run(Terminate::new(pod)), TerminateOutcome::Vanished);
    }
}

fn assert_published(simulation: &Simulation, target: &str, context: &str) {
    let target: TargetPath = target.parse().unwrap();
    let layers = simulation.world.layers.get(&target).map_or(&[][..], Vec::as_slice);
    assert_eq!(layers.len(), 1, "{context}: one layer at {target}: {layers:?}");
    let daemon = layers[0].daemon.as_ref().unwrap_or_else(|| panic!("{context}: the host's directory at {target}"));
    assert!(simulation.world.is_alive(daemon), "{context}: {target} is served by a dead daemon");
    let pods = simulation.pods();
    let holders: Vec<_> = pods.iter().filter(|pod| annotations::reference(pod, &target).is_some()).collect();
    assert_eq!(holders.len(), 1, "{context}: one pod holds {target}: {pods:#?}");
    assert!(holders[0].is_live() && holders[0].uid == daemon.pod, "{context}: {target} is held by the pod that serves");
}

fn assert_gone(simulation: &Simulation, target: &str, context: &str) {
    let target: TargetPath = target.parse().unwrap();
    assert!(!simulation.world.layers.contains_key(&target), "{context}: {target} is mounted");
    assert!(!simulation.world.targets.contains(&target), "{context}: {target} exists");
    for pod in simulation.pods() {
        assert!(annotations::reference(&pod, &target).is_none(), "{context}: {} holds {target}", pod.name);
    }
}

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
        simulation.world.update(pod.clone(), super::super::api::WriteMode::CompareAndSwap).unwrap();
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
    other.key.configuration = super::super::pod::ConfigurationHash::new("f".repeat(64));
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

/// An actor of any kind, with the target that it works on.
#[derive(Debug)]
enum Anybody {
    Publish(TargetPath, Actor<Publish>),
    Unpublish(TargetPath, Actor<Unpublish>),
    Terminate(Actor<Terminate>),
    Rebind(TargetPath, Actor<Rebind>),
    Collect(Actor<Collect>),
    Retire(Actor<Retire>),
}

/// A random walk over everything at once.
struct Walk {
    simulation: Simulation,
    random: u64,
    actors: Vec<Anybody>,
    /// Published, and no unpublish has begun.
    published: BTreeSet<TargetPath>,
    /// Unpublished, and no publish has begun.
    unpublished: BTreeSet<TargetPath>,
}

const TARGETS: [&str; 3] = ["/t/a", "/t/b", "/t/c"];

impl Walk {
    fn pick(&mut self, bound: usize) -> usize {
        // Xorshift: the walk is the seed's alone, on every machine.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap() % bound
    }

    fn is_busy(&self, target: &TargetPath) -> bool {
        self.actors.iter().any(|actor| match actor {
            Anybody::Publish(held, _) | Anybody::Unpublish(held, _) | Anybody::Rebind(held, _) => held == target,
            _ => false,
        })
    }

    fn spawn(&mut self) {
        let target: TargetPath = TARGETS[self.pick(TARGETS.len())].parse().unwrap();
        let pods = self.simulation.pods();
        match self.pick(8) {
            0..=2 if !self.is_busy(&target) => {
                self.unpublished.remove(&target);
                let actor = Actor::new(publish(target.as_str()), &self.simulation);
                self.actors.push(Anybody::Publish(target, actor));
            }
            3..=4 if !self.is_busy(&target) => {
                self.published.remove(&target);
                self.unpublished.remove(&target);
                let actor = Actor::new(unpublish(target.as_str()), &self.simulation);
                self.actors.push(Anybody::Unpublish(target, actor));
            }
            5 if !self.is_busy(&target) => {
                let actor = Actor::new(Rebind::new(node(), target.clone()), &self.simulation);
                self.actors.push(Anybody::Rebind(target, actor));
            }
            6 => {
                let deleting: Vec<_> = pods.iter().filter(|pod| pod.deleting).collect();
                if !deleting.is_empty() {
                    let pod = deleting[self.pick(deleting.len())];
                    self.actors.push(Anybody::Terminate(Actor::new(Terminate::new(pod), &self.simulation)));
                }
            }
            7 if !pods.is_empty() => {
                let uid = pods[self.pick(pods.len())].uid.clone();
                let volume: super::super::VolumeId = "v".parse().unwrap();
                let collect = Actor::new(Collect::new(node(), volume.clone(), uid), &self.simulation);
                self.actors.push(Anybody::Collect(collect));
                let retire = Actor::new(Retire::new(node(), volume), &self.simulation);
                self.actors.push(Anybody::Retire(retire));
            }
            _ => {}
        }
    }

    fn trouble(&mut self) {
        let pods = self.simulation.pods();
        if pods.is_empty() {
            return;
        }
        let pod = pods[self.pick(pods.len())].clone();
        match self.pick(4) {
            0 => self.simulation.world.kill_daemon(&pod.uid),
            // An eviction asks nobody.
            1 if pod.is_live() => drop(self.simulation.world.delete(&pod.name, &Preconditions::default())),
            2 => {
                let mut status = pod.status;
                status.ready = !status.ready;
                let _ = self.simulation.world.update_status(&pod.name, &pod.uid, status);
            }
            _ if !self.actors.is_empty() => {
                // The driver is killed: every actor stops where it is, and requests under way count as begun.
                self.actors.clear();
            }
            _ => {}
        }
    }

    fn advance(&mut self) {
        let index = self.pick(self.actors.len());
        let fate = match self.pick(30) {
            0 => Fate::LostAfter,
            1 => Fate::LostBefore,
            2 => Fate::Conflict,
            3 => Fate::Failed,
            _ => Fate::Performed,
        };
        let mut actor = self.actors.swap_remove(index);
        let simulation = &mut self.simulation;
        let ended = match &mut actor {
            Anybody::Publish(_, actor) => advance(simulation, actor, fate),
            Anybody::Unpublish(_, actor) => advance(simulation, actor, fate),
            Anybody::Terminate(actor) => advance(simulation, actor, fate),
            Anybody::Rebind(_, actor) => advance(simulation, actor, fate),
            Anybody::Collect(actor) => advance(simulation, actor, fate),
            Anybody::Retire(actor) => advance(simulation, actor, fate),
        };
        match actor {
            Anybody::Publish(target, actor) if ended => {
                if actor.reply() == Some(&PublishOutcome::Published) {
                    self.published.insert(target);
                }
            }
            Anybody::Unpublish(target, actor) if ended => {
                if matches!(actor.reply(), Some(UnpublishOutcome::Unpublished(_))) {
                    self.unpublished.insert(target);
                }
            }
            actor if !ended => self.actors.push(actor),
            _ => {}
        }
    }

    fn check(&self, context: &str) {
        let pods = self.simulation.pods();
        // I1, at every moment: the reference is somewhere.
        for target in &self.published {
            let held = pods.iter().any(|pod| annotations::reference(pod, target).is_some());
            assert!(held, "{context}: I1: nobody holds {target}\n{:#?}", self.simulation.world);
        }
        // I3.
        let bare = self.simulation.world.layers.values().flatten().find(|layer| layer.daemon.is_none());
        assert!(bare.is_none(), "{context}: I3");
        // I4.
        for target in &self.unpublished {
            assert_gone(&self.simulation, target.as_str(), &format!("{context}: I4"));
        }
        // I6.
        let mut keys: BTreeSet<&PodKey> = BTreeSet::new();
        for pod in pods.iter().filter(|pod| pod.is_live() && !annotations::is_unconfirmed(pod)) {
            assert!(keys.insert(&pod.spec.key), "{context}: I6: {pods:#?}");
        }
    }

    /// Lets every loose end be tied up, and then looks at what the callers were promised.
    fn settle(&mut self, context: &str) {
        self.actors.clear();
        let simulation = &mut self.simulation;
        for _ in 0..4 {
            simulation.world.run_kubelet();
            for pod in simulation.pods().iter().filter(|pod| pod.deleting) {
                simulation.run(Terminate::new(pod));
            }
            for target in TARGETS {
                simulation.run(Rebind::new(node(), target.parse().unwrap()));
            }
        }
        for target in &self.published {
            assert_published(simulation, target.as_str(), &format!("{context}: I1 at rest"));
        }
        // I5: when everybody has left, nothing is left.
        for target in TARGETS {
            assert!(matches!(simulation.run(unpublish(target)), UnpublishOutcome::Unpublished(_)), "{context}");
        }
        terminate_all(simulation);
        simulation.run(Retire::new(node(), "v".parse().unwrap()));
        terminate_all(simulation);
        assert!(simulation.pods().is_empty(), "{context}: I5: {:#?}", simulation.pods());
        let world = &simulation.world;
        assert!(
            world.layers.is_empty() && world.targets.is_empty() && world.daemons.is_empty(),
            "{context}: {world:#?}"
        );
    }
}

fn advance<M: Machine>(simulation: &mut Simulation, actor: &mut Actor<M>, fate: Fate) -> bool {
    // I2: a deletion that takes effect finds no reference.
    if let Effect::Delete(name, conditions) = actor.effect()
        && let Some(pod) = simulation.world.pods.get(name)
        && conditions.uid.as_ref().is_none_or(|uid: &Uid| *uid == pod.uid)
        && conditions.version.as_ref().is_none_or(|version| *version == pod.version)
    {
        assert!(!annotations::is_referenced(pod), "I2: deletion of {pod:#?}");
    }
    actor.step(simulation, fate);
    actor.reply().is_some()
}

#[test]
fn random_interleavings_keep_the_promises() {
    let one = std::env::var("MOUNTPOD_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = one.map_or(1..=300, |seed| seed..=seed);
    for seed in seeds {
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut walk = Walk {
            simulation: Simulation::default(),
            random,
            actors: Vec::new(),
            published: BTreeSet::new(),
            unpublished: BTreeSet::new(),
        };
        for step in 0..400 {
            match walk.pick(20) {
                0..=2 if walk.actors.len() < 5 => walk.spawn(),
                3 => walk.simulation.world.run_kubelet(),
                4 if walk.pick(4) == 0 => walk.trouble(),
                _ if !walk.actors.is_empty() => walk.advance(),
                _ => {}
            }
            walk.check(&format!("MOUNTPOD_SEED={seed}, step {step}"));
        }
        walk.settle(&format!("MOUNTPOD_SEED={seed}"));
    }
}
