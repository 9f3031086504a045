//! Random walks over everything that can happen at once, checked after each step; and proof that the walk is not blind.

use std::collections::BTreeSet;

use super::{
    super::{
        TargetPath, annotations,
        api::{Preconditions, WriteMode},
        pod::{PodKey, Uid},
    },
    BindSource, Collect, DeletePrecondition, Effect, EmptinessEvidence, FinalizerOrder, Machine, MountOperation,
    Policy, Publish, PublishOutcome, Readiness, Rebind, Retire, TeardownOrder, Terminate, Unpublish, UnpublishOutcome,
    UnpublishScope,
    simulation::{Actor, Fate, Simulation, assert_gone, assert_published, node, publish, terminate_all, unpublish},
};

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
            Anybody::Publish(target, actor) if actor.reply() == Some(&PublishOutcome::Published) => {
                self.published.insert(target);
            }
            Anybody::Unpublish(target, actor) if matches!(actor.reply(), Some(UnpublishOutcome::Unpublished(_))) => {
                self.unpublished.insert(target);
            }
            actor if !ended => self.actors.push(actor),
            _ => {}
        }
    }

    fn check(&self, context: &str) {
        let pods = self.simulation.pods();
        // I1, at every moment: the reference is somewhere.
        for target in &self.published {
            let held = pods.iter().any(|pod| annotations::refers_to(pod, target));
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
    // Rule 4: what serves is torn down only once the deletion was accepted.
    if let Effect::Mount(MountOperation::Teardown(pod)) = actor.effect() {
        let live = simulation.world.pods.get(&pod.name).filter(|found| found.uid == pod.uid && found.is_live());
        assert!(live.is_none(), "teardown of the live {live:#?}");
    }
    actor.step(simulation, fate);
    actor.reply().is_some()
}

fn walk(seed: u64, policy: &Policy) {
    let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut walk = Walk {
        simulation: Simulation { policy: policy.clone(), ..Simulation::default() },
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

#[test]
fn random_interleavings_keep_the_promises() {
    let wish = std::env::var("MOUNTPOD_SEED").unwrap_or_else(|_| "1-300".to_owned());
    let (first, last) = wish.split_once('-').unwrap_or((&wish, &wish));
    for seed in first.parse().unwrap()..=last.parse().unwrap() {
        walk(seed, &Policy::default());
    }
}

#[test]
fn the_walk_finds_the_mistakes_of_published_protocols() {
    let mistakes = [
        ("reference added without a version", Policy { add_reference: WriteMode::Unconditional, ..Policy::default() }),
        (
            "all annotations patched",
            Policy {
                add_reference: WriteMode::PatchAnnotations,
                drop_reference: WriteMode::PatchAnnotations,
                ..Policy::default()
            },
        ),
        (
            "deletion without a precondition",
            Policy { delete_precondition: DeletePrecondition::Nothing, ..Policy::default() },
        ),
        ("emptiness from an earlier read", Policy { emptiness: EmptinessEvidence::EarlierRead, ..Policy::default() }),
        ("finalizer first", Policy { finalizer: FinalizerOrder::BeforeSuccessor, ..Policy::default() }),
        (
            "terminating pods skipped in unpublish",
            Policy { unpublish_scope: UnpublishScope::LivePods, ..Policy::default() },
        ),
        ("ready by status", Policy { readiness: Readiness::Status, ..Policy::default() }),
        ("bind by path", Policy { bind_source: BindSource::Path, ..Policy::default() }),
        ("teardown before the deletion", Policy { teardown: TeardownOrder::BeforeDelete, ..Policy::default() }),
    ];
    for (name, policy) in mistakes {
        let found = (1..=600).find(|&seed| std::panic::catch_unwind(|| walk(seed, &policy)).is_err());
        assert!(found.is_some(), "no seed from 1 to 600 finds: {name}");
    }
}
