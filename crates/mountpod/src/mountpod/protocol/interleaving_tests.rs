//! Every interleaving of a few actors, each state visited once.

use std::collections::HashSet;

use super::{
    super::{TargetPath, annotations, api::Preconditions, memory::World, pod::PodKey},
    Effect, Publish, PublishOutcome, Rebind, RebindOutcome, Terminate, Unpublish, UnpublishOutcome,
    simulation::{Actor, Fate, Simulation, assert_gone, assert_published, node, publish, terminate_all, unpublish},
};

/// Who takes part; each may be absent.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Cast {
    publishes: Vec<Actor<Publish>>,
    unpublishes: Vec<Actor<Unpublish>>,
    terminates: Vec<Actor<Terminate>>,
    kubelet_steps: u8,
    evictions: u8,
}

/// Visits every state; checks safety in each and the callers' promises in each final one.
fn explore(simulation: &Simulation, cast: Cast, at_the_end: impl Fn(&mut Simulation, &Cast)) -> usize {
    let mut visited: HashSet<(World, Cast)> = HashSet::new();
    let mut left = vec![(simulation.world.clone(), cast)];
    while let Some((world, cast)) = left.pop() {
        if !visited.insert((world.clone(), cast.clone())) {
            continue;
        }
        assert!(visited.len() < 400_000, "the search has grown out of its bound");
        check(&world, &cast);
        let mut ended = true;
        for (next_world, next_cast) in successors(simulation, &world, &cast) {
            ended = false;
            left.push((next_world, next_cast));
        }
        if ended {
            at_the_end(&mut Simulation { world, ..simulation.clone() }, &cast);
        }
    }
    visited.len()
}

fn successors(simulation: &Simulation, world: &World, cast: &Cast) -> Vec<(World, Cast)> {
    let mut found = Vec::new();
    let branch = |change: &dyn Fn(&mut Simulation, &mut Cast)| {
        let mut simulation = Simulation { world: world.clone(), ..simulation.clone() };
        let mut cast = cast.clone();
        change(&mut simulation, &mut cast);
        (simulation.world, cast)
    };
    for index in (0..cast.publishes.len()).filter(|&index| cast.publishes[index].reply().is_none()) {
        found.push(branch(&|simulation, cast| cast.publishes[index].step(simulation, Fate::Performed)));
    }
    for index in (0..cast.unpublishes.len()).filter(|&index| cast.unpublishes[index].reply().is_none()) {
        found.push(branch(&|simulation, cast| cast.unpublishes[index].step(simulation, Fate::Performed)));
    }
    for index in (0..cast.terminates.len()).filter(|&index| cast.terminates[index].reply().is_none()) {
        found.push(branch(&|simulation, cast| cast.terminates[index].step(simulation, Fate::Performed)));
    }
    if cast.kubelet_steps > 0 && world.kubelet_is_due() {
        found.push(branch(&|simulation, cast| {
            cast.kubelet_steps -= 1;
            simulation.world.run_kubelet();
        }));
    }
    let live = world.pods.values().find(|pod| pod.is_live());
    if let (Some(pod), true) = (live, cast.evictions > 0) {
        found.push(branch(&|simulation, cast| {
            cast.evictions -= 1;
            simulation.world.delete(&pod.name, &Preconditions::default()).unwrap();
            cast.terminates.push(Actor::new(Terminate::new(pod), simulation));
        }));
    }
    found
}

fn check(world: &World, cast: &Cast) {
    let mut keys: HashSet<&PodKey> = HashSet::new();
    for pod in world.pods.values().filter(|pod| pod.is_live() && !annotations::is_unconfirmed(pod)) {
        assert!(keys.insert(&pod.spec.key), "two confirmed pods: {world:#?}");
    }
    for actor in &cast.unpublishes {
        if let Effect::Delete(name, conditions) = actor.effect()
            && let Some(pod) = world.pods.get(name)
            && conditions.version.as_ref() == Some(&pod.version)
        {
            assert!(!annotations::is_referenced(pod), "a pod in use is deleted: {pod:#?}");
        }
    }
    assert!(world.layers.values().flatten().all(|layer| layer.daemon.is_some()), "the host's directory is seen");
}

fn actors<M: super::Machine>(simulation: &Simulation, machines: impl IntoIterator<Item = M>) -> Vec<Actor<M>> {
    machines.into_iter().map(|machine| Actor::new(machine, simulation)).collect()
}

/// Publishes whose daemon never came in this interleaving time out; the others keep their promise.
fn assert_promises(simulation: &mut Simulation, cast: &Cast, published: &[&str], unpublished: &[&str]) {
    simulation.world.run_kubelet();
    terminate_all(simulation);
    simulation.world.run_kubelet();
    for target in published {
        let path: TargetPath = target.parse().unwrap();
        simulation.run(Rebind::new(node(), path));
    }
    for (actor, target) in cast.publishes.iter().zip(published) {
        if actor.reply() == Some(&PublishOutcome::Published) {
            assert_published(simulation, target, "at the end");
        }
    }
    for actor in &cast.unpublishes {
        assert!(matches!(actor.reply(), Some(UnpublishOutcome::Unpublished(_))));
    }
    for target in unpublished {
        assert_gone(simulation, target, "at the end");
    }
}

#[test]
fn every_interleaving_of_two_publishes_shares_one_pod() {
    let mut simulation = Simulation::default();
    simulation.policy.limits.readiness_polls = 1;
    let publishes = actors(&simulation, [publish("/t/a"), publish("/t/b")]);
    let (unpublishes, terminates) = (Vec::new(), Vec::new());
    let cast = Cast { publishes, unpublishes, terminates, kubelet_steps: 1, evictions: 0 };
    let states = explore(&simulation, cast, |simulation, cast| {
        assert_promises(simulation, cast, &["/t/a", "/t/b"], &[]);
    });
    assert!(states > 100, "{states} states");
}

#[test]
fn every_interleaving_of_a_publish_with_the_last_unpublish_keeps_the_mount() {
    let mut simulation = Simulation::default();
    simulation.policy.limits.readiness_polls = 1;
    simulation.run(publish("/t/b"));
    let publishes = actors(&simulation, [publish("/t/a")]);
    let unpublishes = actors(&simulation, [unpublish("/t/b")]);
    let cast = Cast { publishes, unpublishes, terminates: Vec::new(), kubelet_steps: 2, evictions: 0 };
    let states = explore(&simulation, cast, |simulation, cast| {
        assert_promises(simulation, cast, &["/t/a"], &["/t/b"]);
    });
    assert!(states > 100, "{states} states");
}

#[test]
fn every_interleaving_of_an_eviction_with_a_publish_loses_nothing() {
    let mut simulation = Simulation::default();
    simulation.policy.limits.readiness_polls = 1;
    simulation.run(publish("/t/b"));
    let publishes = actors(&simulation, [publish("/t/a")]);
    let cast = Cast { publishes, unpublishes: Vec::new(), terminates: Vec::new(), kubelet_steps: 1, evictions: 1 };
    let states = explore(&simulation, cast, |simulation, cast| {
        assert_promises(simulation, cast, &["/t/a"], &[]);
        assert_eq!(simulation.run(Rebind::new(node(), "/t/b".parse().unwrap())), RebindOutcome::Rebound);
        assert_published(simulation, "/t/b", "at the end");
    });
    assert!(states > 100, "{states} states");
}

#[test]
fn every_interleaving_of_an_eviction_with_an_unpublish_leaves_nothing() {
    let mut simulation = Simulation::default();
    simulation.run(publish("/t/a"));
    simulation.run(publish("/t/b"));
    let unpublishes = actors(&simulation, [unpublish("/t/b")]);
    let cast = Cast { publishes: Vec::new(), unpublishes, terminates: Vec::new(), kubelet_steps: 1, evictions: 1 };
    let states = explore(&simulation, cast, |simulation, cast| {
        assert_promises(simulation, cast, &[], &["/t/b"]);
        assert_eq!(simulation.references(), ["/t/a"]);
    });
    assert!(states > 100, "{states} states");
}
