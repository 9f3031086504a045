//! The kubelet's process: registration, the loop over its worlds, and the machine that outlives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    ActualStateOfWorld, DesiredStateOfWorld, DesiredVolume, Operation, Outcome, Places,
    csi_mounter::CsiMounter,
    habits::{Habits, NodeAbilities},
    plugin_registration::PluginManager,
    pod_worker::{self, Stopping},
    populator,
    reconciler::{self, Attachments, Step},
    reconstruction,
    statistics::{self, Statistics},
};
use crate::orchestrator::{
    beat::Beat,
    csi_client::CsiClient,
    departure::Departure,
    dice::Dice,
    node_driver_registrar,
    object::{Node, Pod},
    pending_operations::{OperationKey, PendingOperations},
    timing::{CONTAINER_STOP, NODE_STATUS_PERIOD, OPERATION_BACKOFF, RECONCILER_PERIOD},
};

/// How often a pod that runs is looked after.
const POD_SYNC: Duration = Duration::from_secs(75);

/// What outlives a kubelet: the containers that run on its machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine(Arc<Mutex<BTreeSet<String>>>);

impl Machine {
    /// The identities of pods whose containers run.
    pub(crate) fn containers(&self) -> BTreeSet<String> {
        self.lock().clone()
    }

    /// All containers end, as with a reboot.
    pub(crate) fn stop_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a node's kubelet in histories.
pub(in crate::orchestrator) fn component(node: &str) -> String {
    format!("kubelet@{node}")
}

/// A kubelet; its memory is lost when its future is dropped.
pub(in crate::orchestrator) struct Kubelet {
    pub(in crate::orchestrator) client: CsiClient,
    pub(in crate::orchestrator) node: String,
    pub(in crate::orchestrator) places: Places,
    pub(in crate::orchestrator) machine: Machine,
    /// For the moments of measurements.
    pub(in crate::orchestrator) dice: Dice,
}

/// What it keeps in memory.
struct Memory {
    desired: DesiredStateOfWorld,
    actual: ActualStateOfWorld,
    pending: PendingOperations,
    stopping: Stopping,
    next_status: Duration,
    next_sync: BTreeMap<String, Duration>,
    statistics: Statistics,
    /// What the node service said that it can do.
    abilities: watch::Receiver<NodeAbilities>,
    /// What pods wait for, by identity, as they were told; `None` before they were told for the first time.
    waiting: Option<BTreeMap<String, String>>,
    /// Something changed that no object tells of.
    look_again: bool,
}

impl Kubelet {
    /// Runs it for ever.
    pub(in crate::orchestrator) async fn run(self) -> Infallible {
        let (registered, is_registered) = watch::channel(false);
        let plugins = PluginManager {
            client: self.client.clone(),
            node: self.node.clone(),
            registry: node_driver_registrar::registry(self.places.root()),
            registered,
        };
        tokio::select! {
            never = plugins.run() => never,
            never = self.work(is_registered) => never,
        }
    }

    /// The loop over the two worlds, once there is a driver to work with.
    async fn work(self, mut registered: watch::Receiver<bool>) -> Infallible {
        // The plugin manager, which tells, lives as long as this.
        let _ = registered.wait_for(|is_registered| *is_registered).await;
        let timing = self.client.context.timing;
        let (told, abilities) = watch::channel(NodeAbilities::default());
        let mut memory = Memory {
            desired: DesiredStateOfWorld::default(),
            actual: reconstruction::reconstruct(&self.places, self.client.context.departs(Departure::ForgetStaged)),
            pending: PendingOperations::new(timing.backoff(OPERATION_BACKOFF)),
            stopping: Stopping::default(),
            next_status: Duration::ZERO,
            next_sync: BTreeMap::new(),
            statistics: Statistics::default(),
            abilities,
            waiting: None,
            look_again: false,
        };
        let mounter = CsiMounter {
            client: self.client.clone(),
            places: self.places.clone(),
            node: self.node.clone(),
            registered: registered.clone(),
            tokens: Arc::default(),
            abilities: told,
        };
        let mut running = JoinSet::new();
        // Measurements go beside all else, and end with the kubelet.
        let mut measuring = JoinSet::new();
        let mut beat = Beat::new(&self.client.context);
        loop {
            let now = beat.now();
            for operation in self.pass(&mut memory, now) {
                let mounter = mounter.clone();
                running.spawn(async move {
                    let outcome = mounter.perform(&operation).await;
                    (operation, outcome)
                });
            }
            self.measure(&mut memory, &mounter, &mut measuring, now);
            let again = std::mem::take(&mut memory.look_again).then(|| now + timing.of(RECONCILER_PERIOD));
            let due = [
                memory.pending.next_due(now),
                memory.stopping.next_due(),
                memory.statistics.next_due(),
                Some(memory.next_status),
                again,
            ];
            let due = due.into_iter().flatten().chain(memory.next_sync.values().copied()).min();
            tokio::select! {
                () = beat.next(due) => {}
                Some(_) = measuring.join_next() => {}
                Some(Ok((operation, outcome))) = running.join_next() => {
                    self.end(&mut memory, &operation, &outcome, beat.now());
                }
            }
        }
    }

    /// One look around: the operations that begin.
    fn pass(&self, memory: &mut Memory, now: Duration) -> Vec<Operation> {
        let context = &self.client.context;
        let containers = self.machine.containers();
        context.store.read(|tables| {
            let csi_driver = &context.csi_driver;
            populator::populate(&mut memory.desired, &memory.actual, tables, csi_driver, &self.node, &containers);
        });
        self.sync_pods(memory, &containers, now);
        if memory.next_status <= now {
            memory.next_status = now + context.timing.of(NODE_STATUS_PERIOD);
            self.report_status(memory);
        }
        let node: Node = context.store.get(&self.node).unwrap_or_default();
        let attachments =
            Attachments { are_required: context.csi_driver.attach_required, attached: &node.volumes_attached };
        let habits = Habits::of(context, *memory.abilities.borrow());
        let (mut begun, mut waiting) = (Vec::new(), BTreeMap::new());
        for step in reconciler::plan(&memory.desired, &memory.actual, attachments, habits) {
            match step {
                Step::MarkAttached(spec) => {
                    memory.actual.attached(&spec);
                    memory.look_again = true;
                }
                Step::MarkDetached(volume) => {
                    if !memory.pending.is_pending(&OperationKey::volume(&volume)) {
                        memory.actual.volumes.remove(&volume);
                    }
                }
                Step::Start(operation) => {
                    if memory.pending.begin(&operation.key(), operation.name(), now) {
                        begun.push(operation);
                    }
                }
                Step::Wait { pod, waits_for } => {
                    waiting.insert(pod, waits_for);
                }
            }
        }
        self.report_waiting(memory, waiting);
        begun
    }

    /// Tells the pods of the node what they wait for, where that is something else than before.
    fn report_waiting(&self, memory: &mut Memory, waiting: BTreeMap<String, String>) {
        if memory.waiting.as_ref() == Some(&waiting) {
            return;
        }
        let store = &self.client.context.store;
        for pod in store.list::<Pod>().into_iter().filter(|pod| pod.node_name == self.node) {
            let waits_for = waiting.get(&pod.metadata.uid).cloned();
            // A pod that is gone waits for nothing.
            let _ = store.modify(&pod.metadata.name, |pod: &mut Pod| pod.waits_for = waits_for);
        }
        memory.waiting = Some(waiting);
    }

    fn end(&self, memory: &mut Memory, operation: &Operation, outcome: &Outcome, now: Duration) {
        memory.actual.apply(operation, outcome);
        let key = operation.key();
        match outcome.error() {
            None => memory.pending.succeeded(&key),
            Some(error) => {
                tracing::debug!(node = self.node, operation = operation.name(), %error, "an operation failed");
                let pause = memory.pending.failed(&key, now).saturating_sub(now);
                let subject = format!("volume {} on {}", operation.spec().volume_name, self.node);
                let at = self.client.context.store.now() + pause.as_millis() as u64;
                self.client.context.troubles.next_try(&self.client.component, &subject, at);
            }
        }
    }

    fn sync_pods(&self, memory: &mut Memory, containers: &BTreeSet<String>, now: Duration) {
        let context = &self.client.context;
        let steps = context.store.read(|tables| pod_worker::plan(tables, &self.node, &memory.actual, containers));
        let grace = context.timing.of(CONTAINER_STOP);
        let stopped = memory.stopping.update(&steps.stop, grace, now);
        {
            let mut running = self.machine.lock();
            running.extend(steps.start.iter().map(|(uid, _)| uid.clone()));
            for uid in stopped {
                memory.look_again |= running.remove(&uid);
            }
        }
        pod_worker::report(&context.store, &steps);
        if context.csi_driver.requires_republish {
            self.republish(memory, containers, now);
        }
    }

    /// Volumes of drivers that want it are published again and again while their pods run.
    fn republish(&self, memory: &mut Memory, containers: &BTreeSet<String>, now: Duration) {
        let period = self.client.context.timing.of(POD_SYNC);
        let pods: Vec<Pod> = self.client.context.store.list();
        let active: BTreeSet<String> = pods
            .iter()
            .filter(|pod| pod.node_name == self.node && containers.contains(&pod.metadata.uid))
            .filter(|pod| pod_worker::is_active(pod, containers) && !pod.metadata.is_deleting())
            .map(|pod| pod.metadata.uid.clone())
            .collect();
        memory.next_sync.retain(|uid, _| active.contains(uid));
        for uid in active {
            let due = memory.next_sync.entry(uid.clone()).or_insert(now + period);
            if *due > now {
                continue;
            }
            *due = now + period;
            for volume in memory.actual.volumes.values_mut() {
                if let Some(mount) = volume.pods.get_mut(&uid) {
                    mount.wants_remount = true;
                }
            }
        }
    }

    /// Starts the measurements that are due; what is found wrong is told as an event of the pod.
    fn measure(&self, memory: &mut Memory, mounter: &CsiMounter, measuring: &mut JoinSet<()>, now: Duration) {
        let context = &self.client.context;
        if !context.measures {
            return;
        }
        let period = context.timing.of(statistics::PERIOD);
        let pause = || period.mul_f64(1.0 + self.dice.below(1000) as f64 / 1000.0);
        for (spec, uid) in memory.statistics.due(&memory.actual, now, pause) {
            let (mounter, context) = (mounter.clone(), context.clone());
            measuring.spawn(async move {
                // A measurement that fails is made again in its turn.
                let Ok(Some(message)) = mounter.measure(&spec, &uid).await else { return };
                let pod = context.store.list::<Pod>().into_iter().find(|pod| pod.metadata.uid == uid);
                if let Some(pod) = pod {
                    let regarding = format!("pod {}", pod.metadata.name);
                    context.tell(&regarding, "VolumeConditionAbnormal", &format!("{}: {message}", spec.volume_name));
                }
            });
        }
    }

    /// Tells the cluster which volumes are in use here: they are not detached while that stands.
    fn report_status(&self, memory: &mut Memory) {
        let mut in_use = BTreeSet::new();
        if self.client.context.csi_driver.attach_required {
            let is_attached = |volume: &&DesiredVolume| volume.pods.values().any(|pod| !pod.spec.is_inline);
            let desired = memory.desired.volumes.iter().filter(|(_, volume)| is_attached(volume));
            in_use.extend(desired.map(|(name, _)| name.clone()));
            let actual = memory.actual.volumes.iter().filter(|(_, volume)| !volume.spec.is_inline);
            in_use.extend(actual.map(|(name, _)| name.clone()));
        }
        for volume in memory.desired.volumes.values_mut() {
            volume.is_reported_in_use = true;
        }
        // A node that was deleted is told nothing.
        let _ = self.client.context.store.modify(&self.node, |node: &mut Node| {
            node.volumes_in_use = in_use;
        });
    }
}
