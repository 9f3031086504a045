//! The life of the containers of a node's pods: they start when all volumes are there, and a pod goes when none is left.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        names,
        object::{Pod, PodPhase},
        store::{Store, Tables},
    },
    ActualStateOfWorld, VolumeSpec,
    populator::may_run,
};

/// What is to be done for the pods of a node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct PodSteps {
    /// Identity and name of pods whose containers start.
    pub(super) start: Vec<(String, String)>,
    /// Identities of pods whose containers have to stop.
    pub(super) stop: BTreeSet<String>,
    /// Names of pods that are told to be without containers.
    pub(super) ended: Vec<String>,
    /// Names of pods that can vanish.
    pub(super) let_go: Vec<String>,
}

/// Decides over all pods of a node.
pub(super) fn plan(
    tables: &Tables,
    node: &str,
    actual: &ActualStateOfWorld,
    containers: &BTreeSet<String>,
) -> PodSteps {
    let mut steps = PodSteps::default();
    let pods: Vec<&Pod> = tables.pods.values().filter(|pod| pod.node_name == node).collect();
    for pod in &pods {
        let (uid, name) = (pod.metadata.uid.clone(), pod.metadata.name.clone());
        let runs = containers.contains(&uid);
        let ends = pod.metadata.is_deleting() || pod.phase == PodPhase::Succeeded;
        match (ends, runs) {
            (false, false) if has_all_volumes(pod, tables, actual) => steps.start.push((uid, name)),
            (true, true) => {
                steps.stop.insert(uid);
            }
            (true, false) if pod.containers_run => steps.ended.push(name),
            (true, false) if pod.metadata.is_deleting() && !actual.has_any(&uid) => steps.let_go.push(name),
            _ => {}
        }
    }
    // Pods that were deleted by force are gone while their containers run.
    let is_known = |uid: &&String| pods.iter().any(|pod| pod.metadata.uid == **uid);
    steps.stop.extend(containers.iter().filter(|uid| !is_known(uid)).cloned());
    steps
}

fn has_all_volumes(pod: &Pod, tables: &Tables, actual: &ActualStateOfWorld) -> bool {
    pod.volumes.iter().all(|volume| {
        let spec = VolumeSpec::of_pod(pod, volume, tables);
        spec.is_some_and(|spec| actual.is_mounted(&spec.unique_name, &pod.metadata.uid))
    })
}

/// Writes what the store has to know.
pub(super) fn report(store: &Store, steps: &PodSteps) {
    for (_, name) in &steps.start {
        let start = |pod: &mut Pod| {
            pod.phase = PodPhase::Running;
            pod.containers_run = true;
        };
        // A pod that is gone is met in the next pass.
        let _ = store.modify(name, start);
    }
    for name in &steps.ended {
        let _ = store.modify(name, |pod: &mut Pod| pod.containers_run = false);
    }
    for name in &steps.let_go {
        let let_go = |pod: &mut Pod| {
            pod.metadata.finalizers.remove(names::POD_GRACE);
        };
        let _ = store.modify(name, let_go);
    }
}

/// When containers that have to stop have stopped.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping(std::collections::BTreeMap<String, Duration>);

impl Stopping {
    /// Begins to stop what has to stop; the identities that have stopped by now.
    pub(super) fn update(&mut self, stop: &BTreeSet<String>, grace: Duration, now: Duration) -> Vec<String> {
        for uid in stop {
            self.0.entry(uid.clone()).or_insert(now + grace);
        }
        let stopped: Vec<String> = self.0.iter().filter(|(_, at)| **at <= now).map(|(uid, _)| uid.clone()).collect();
        for uid in &stopped {
            self.0.remove(uid);
        }
        stopped
    }

    /// When the next has stopped.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.0.values().min().copied()
    }
}

/// Whether a pod is still to be synced.
pub(super) fn is_active(pod: &Pod, containers: &BTreeSet<String>) -> bool {
    may_run(pod, containers)
}
