//! A simulated node and pod API as one value: requests and mount operations change it at once and deterministically.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    TargetPath, annotations,
    api::{ApiError, Preconditions, Selector, WriteMode},
    objects,
    pod::{Phase, Pod, PodName, PodStatus, ResourceVersion, Uid},
    protocol::{Answer, DaemonId, Liveness, MountOperation, Mounted, TargetState},
};

/// Pods, daemons and mounts.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct World {
    /// The pods by name.
    pub pods: BTreeMap<PodName, Pod>,
    /// The latest daemon of each pod, and whether it runs.
    pub daemons: BTreeMap<Uid, (u32, bool)>,
    /// What is mounted on each target, the visible layer last.
    pub layers: BTreeMap<TargetPath, Vec<Layer>>,
    /// The targets that exist as directory or file.
    pub targets: BTreeSet<TargetPath>,
    created: u64,
}

/// One mount on a target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Layer {
    /// The daemon that serves it; `None` is the bare directory of the host, which must never be seen.
    pub daemon: Option<DaemonId>,
    /// Whether writes are refused.
    pub read_only: bool,
}

impl World {
    /// The selected pods.
    pub fn list(&self, selector: &Selector) -> Vec<Pod> {
        self.pods.values().filter(|pod| selector.selects(pod)).cloned().collect()
    }

    /// Creates a pod.
    pub fn create(&mut self, pod: Pod) -> Result<Pod, ApiError> {
        let name = pod.name.clone();
        let uid = Uid::new(format!("pod-{}", self.created + 1));
        let created = objects::create(self.pods.get(&name), pod, uid, self.next_version(&name))?;
        self.created += 1;
        self.pods.insert(name, created.clone());
        Ok(created)
    }

    /// Updates a pod.
    pub fn update(&mut self, pod: Pod, mode: WriteMode) -> Result<Option<Pod>, ApiError> {
        let name = pod.name.clone();
        let version = self.next_version(&name);
        let updated = objects::update(self.pods.get(&name), pod, mode, version)?;
        Ok(self.replace(&name, updated))
    }

    /// Deletes a pod. Its daemon is killed when the deletion is accepted; the finalizer only keeps the record.
    pub fn delete(&mut self, name: &PodName, preconditions: &Preconditions) -> Result<Option<Pod>, ApiError> {
        let version = self.next_version(name);
        let uid = self.pods.get(name).map(|pod| pod.uid.clone());
        let deleted = objects::delete(self.pods.get(name), preconditions, version)?;
        if let Some(uid) = uid {
            self.kill_daemon(&uid);
        }
        Ok(self.replace(name, deleted))
    }

    /// Writes the status of a pod.
    pub fn update_status(&mut self, name: &PodName, uid: &Uid, status: PodStatus) -> Result<(), ApiError> {
        let version = self.next_version(name);
        let updated = objects::update_status(self.pods.get(name), uid, status, version)?;
        self.replace(name, Some(updated));
        Ok(())
    }

    /// Lets the kubelet start a daemon for each confirmed live pod that has none, and write what it did.
    pub fn run_kubelet(&mut self) {
        let wanting: Vec<Pod> = self.pods.values().filter(|pod| self.wants_daemon(pod)).cloned().collect();
        for pod in wanting {
            let daemon = self.daemons.entry(pod.uid.clone()).or_default();
            *daemon = (daemon.0 + 1, true);
            let status = PodStatus { phase: Phase::Running, ready: true };
            // The pod was listed just now.
            let _ = self.update_status(&pod.name, &pod.uid, status);
        }
    }

    /// Whether the kubelet has something to start.
    pub fn kubelet_is_due(&self) -> bool {
        self.pods.values().any(|pod| self.wants_daemon(pod))
    }

    /// Kills the daemon of a pod; its mounts stay, dead.
    pub fn kill_daemon(&mut self, pod: &Uid) {
        if let Some(daemon) = self.daemons.get_mut(pod) {
            daemon.1 = false;
        }
    }

    /// Loses all daemons, mounts and kubelet knowledge, as a reboot does; records stay as they are.
    pub fn reboot(&mut self) {
        self.layers.clear();
        for daemon in self.daemons.values_mut() {
            daemon.1 = false;
        }
    }

    /// Whether this very daemon runs.
    pub fn is_alive(&self, daemon: &DaemonId) -> bool {
        self.daemons.get(&daemon.pod) == Some(&(daemon.run, true))
    }

    /// Performs a mount operation.
    pub fn perform(&mut self, operation: MountOperation) -> Answer {
        match operation {
            MountOperation::Look(target) => Answer::Target(self.look(&target)),
            MountOperation::Verify(pod) => match self.daemons.get(&pod.uid) {
                Some(&(run, true)) => Answer::Serving(DaemonId { pod: pod.uid, run }),
                _ => Answer::NotServing,
            },
            MountOperation::Prepare { target, .. } => {
                self.targets.insert(target);
                Answer::Done
            }
            MountOperation::Bind { daemon, target, read_only, from_descriptor } => {
                self.bind(daemon, target, read_only, from_descriptor)
            }
            MountOperation::UnmountBeneath(target) => {
                if let Some(layers) = self.layers.get_mut(&target) {
                    layers.drain(..layers.len().saturating_sub(1));
                }
                Answer::Done
            }
            MountOperation::UnmountAll(target) => {
                self.layers.remove(&target);
                Answer::Done
            }
            MountOperation::RemoveTarget(target) => {
                if self.layers.contains_key(&target) {
                    return Answer::Failed(format!("{target} is a mount point"));
                }
                self.targets.remove(&target);
                Answer::Done
            }
            MountOperation::Teardown(pod) => {
                self.daemons.remove(&pod.uid);
                Answer::Done
            }
        }
    }

    fn look(&self, target: &TargetPath) -> TargetState {
        let layers = self.layers.get(target).map_or(&[][..], Vec::as_slice);
        match layers.last() {
            None => TargetState::Bare,
            Some(Layer { daemon: None, .. }) => TargetState::Foreign,
            Some(Layer { daemon: Some(daemon), read_only }) => {
                let alive = if self.is_alive(daemon) { Liveness::Alive } else { Liveness::Dead };
                let top = Mounted { daemon: daemon.clone(), read_only: *read_only, alive };
                TargetState::Ours { top, layers: u32::try_from(layers.len()).unwrap_or(u32::MAX) }
            }
        }
    }

    fn bind(&mut self, daemon: DaemonId, target: TargetPath, read_only: bool, from_descriptor: bool) -> Answer {
        if !self.targets.contains(&target) {
            return Answer::Failed(format!("{target} does not exist"));
        }
        let alive = self.is_alive(&daemon);
        if from_descriptor && !alive {
            return Answer::NotServing;
        }
        // A path leads to the daemon that runs by now, or to the bare directory of the host.
        let current = self.daemons.get(&daemon.pod).filter(|(_, alive)| *alive).map(|(run, _)| *run);
        let daemon = current.map(|run| DaemonId { pod: daemon.pod, run });
        self.layers.entry(target).or_default().push(Layer { daemon, read_only });
        Answer::Done
    }

    fn wants_daemon(&self, pod: &Pod) -> bool {
        let runs = self.daemons.get(&pod.uid).is_some_and(|(_, alive)| *alive);
        pod.is_live() && !annotations::is_unconfirmed(pod) && !runs
    }

    fn replace(&mut self, name: &PodName, pod: Option<Pod>) -> Option<Pod> {
        match &pod {
            Some(pod) => self.pods.insert(name.clone(), pod.clone()),
            None => self.pods.remove(name),
        };
        pod
    }

    /// Versions count the writes of one object, so that worlds that differ only in what other objects went through are equal.
    fn next_version(&self, name: &PodName) -> ResourceVersion {
        let before: u64 = self.pods.get(name).and_then(|pod| pod.version.as_str().parse().ok()).unwrap_or_default();
        ResourceVersion::new((before + 1).to_string())
    }
}
