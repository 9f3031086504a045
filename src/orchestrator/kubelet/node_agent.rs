//! The kubelet's process: registration, the loop over its worlds, and the machine that outlives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    ActualStateOfWorld, DesiredStateOfWorld, Operation, Outcome, Places,
    csi_mounter::CsiMounter,
    pod_worker::{self, Stopping},
    populator,
    reconciler::{self, Attachments, Step},
    reconstruction,
};
use crate::{
    csi::v1,
    orchestrator::{
        beat::Beat,
        csi_client::CsiClient,
        departure::Departure,
        object::{Metadata, Node, Pod, Registration},
        pending_operations::{OperationKey, PendingOperations},
        timing::{CONTAINER_STOP, KUBELET_LIMIT, NODE_STATUS_PERIOD, OPERATION_BACKOFF, RECONCILER_PERIOD},
    },
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
}

/// What it keeps in memory.
struct Memory {
    desired: DesiredStateOfWorld,
    actual: ActualStateOfWorld,
    pending: PendingOperations,
    stopping: Stopping,
    next_status: Duration,
    next_sync: BTreeMap<String, Duration>,
    /// Something changed that no object tells of.
    look_again: bool,
}

impl Kubelet {
    /// Runs it for ever.
    pub(in crate::orchestrator) async fn run(self) -> Infallible {
        self.register().await;
        let timing = self.client.context.timing;
        let mut memory = Memory {
            desired: DesiredStateOfWorld::default(),
            actual: reconstruction::reconstruct(&self.places, self.client.context.departs(Departure::ForgetStaged)),
            pending: PendingOperations::new(timing.backoff(OPERATION_BACKOFF)),
            stopping: Stopping::default(),
            next_status: Duration::ZERO,
            next_sync: BTreeMap::new(),
            look_again: false,
        };
        let mounter = CsiMounter { client: self.client.clone(), places: self.places.clone(), node: self.node.clone() };
        let mut running = JoinSet::new();
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
            let again = std::mem::take(&mut memory.look_again).then(|| now + timing.of(RECONCILER_PERIOD));
            let due = [memory.pending.next_due(now), memory.stopping.next_due(), Some(memory.next_status), again];
            let due = due.into_iter().flatten().chain(memory.next_sync.values().copied()).min();
            tokio::select! {
                () = beat.next(due) => {}
                Some(Ok((operation, outcome))) = running.join_next() => {
                    self.end(&mut memory, &operation, &outcome, beat.now());
                }
            }
        }
    }

    /// NodeGetInfo, until the driver answers; then the node is known.
    async fn register(&self) {
        let context = &self.client.context;
        let backoff = context.timing.backoff(OPERATION_BACKOFF);
        let mut failures = 0;
        let subject = format!("registration on {}", self.node);
        let info = loop {
            match self.client.call(&subject, v1::NodeGetInfoRequest {}, KUBELET_LIMIT).await {
                Ok(info) => break info,
                Err(_) => {
                    failures += 1;
                    sleep(backoff.pause(failures)).await;
                }
            }
        };
        let registration = Registration {
            node_id: info.node_id,
            topology: info.accessible_topology.map(|topology| topology.segments).unwrap_or_default(),
            limit: info.max_volumes_per_node.max(0),
        };
        let node = Node { metadata: Metadata::named(&self.node), ..Node::default() };
        // A node that was here before is taken up again.
        let _ = context.store.create(node);
        let register = |node: &mut Node| {
            node.registration = Some(registration);
            node.is_ready = true;
        };
        let _ = context.store.modify(&self.node, register);
    }

    /// One look around: the operations that begin.
    fn pass(&self, memory: &mut Memory, now: Duration) -> Vec<Operation> {
        let context = &self.client.context;
        let containers = self.machine.containers();
        context.store.read(|tables| {
            populator::populate(&mut memory.desired, &memory.actual, tables, &self.node, &containers);
        });
        self.sync_pods(memory, &containers, now);
        if memory.next_status <= now {
            memory.next_status = now + context.timing.of(NODE_STATUS_PERIOD);
            self.report_status(memory);
        }
        let node: Node = context.store.get(&self.node).unwrap_or_default();
        let attachments =
            Attachments { are_required: context.csi_driver.attach_required, attached: &node.volumes_attached };
        let mut begun = Vec::new();
        for step in reconciler::plan(&memory.desired, &memory.actual, attachments) {
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
            }
        }
        begun
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

    /// Tells the cluster which volumes are in use here: they are not detached while that stands.
    fn report_status(&self, memory: &mut Memory) {
        let mut in_use = BTreeSet::new();
        if self.client.context.csi_driver.attach_required {
            in_use.extend(memory.desired.volumes.keys().cloned());
            in_use.extend(memory.actual.volumes.keys().cloned());
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
