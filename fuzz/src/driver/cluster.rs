//! The pod API and the node as the driver's process sees them: each effect passes the gate, may be spoilt, and is judged.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use csi_certify_mountpod::mountpod::{
    TargetPath, Usage, VolumeContent, annotations,
    api::{ApiError, PodApi, Preconditions, Selector, WriteMode},
    executor::{Clock, Node, Workloads},
    instant::Timestamp,
    memory::World,
    pod::{Pod, PodName, PodStatus, Uid},
    protocol::{Answer, MountOperation, WorkloadState},
};
use csi_certify_suite::explore::schedule::Fate;
use tokio::time::Instant;

use super::gate::Gate;

/// The delay of delayed deletion.
pub const DELAY: Duration = Duration::from_secs(60);
/// What somebody writes as the moment of a deletion.
pub const GARBAGE: &str = "tomorrow";

/// What outlives the processes of the driver.
pub struct Cluster {
    pub gate: Gate,
    state: Mutex<State>,
    started: Instant,
}

/// The node and its API.
pub struct State {
    pub world: World,
    pub workloads: BTreeMap<TargetPath, WorkloadState>,
    pub faults: Vec<(u8, Fate)>,
    /// The first promise that an effect has broken.
    pub broken: Option<String>,
    lazy_kubelet: bool,
    delayed: bool,
    /// Since when nothing refers to a pod.
    emptied: BTreeMap<Uid, Timestamp>,
}

/// The cluster as one process of the driver sees it.
#[derive(Clone)]
pub struct View {
    pub cluster: Arc<Cluster>,
    pub process: u64,
}

impl Cluster {
    pub fn new(lazy_kubelet: bool, delayed: bool) -> Self {
        let state = State {
            world: World::default(),
            workloads: BTreeMap::new(),
            faults: Vec::new(),
            broken: None,
            lazy_kubelet,
            delayed,
            emptied: BTreeMap::new(),
        };
        Self { gate: Gate::default(), state: Mutex::new(state), started: Instant::now() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(1_769_860_800_000).after(self.started.elapsed())
    }
}

impl View {
    /// What becomes of a request, and how to answer it.
    async fn request<T>(
        &self,
        conflict: ApiError,
        perform: impl FnOnce(&mut State, Timestamp) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        self.cluster.gate.pass(self.process).await;
        let now = self.cluster.now();
        let mut state = self.cluster.state();
        let answer = match state.fate() {
            None => perform(&mut state, now),
            Some(Fate::LostAfter) => {
                let _ = perform(&mut state, now);
                Err(ApiError::Unknown("the reply was lost".to_owned()))
            }
            Some(Fate::LostBefore) => Err(ApiError::Unknown("the request was lost".to_owned())),
            Some(Fate::Conflict) => Err(conflict),
            Some(Fate::Failed) => Err(ApiError::Failed("out of order".to_owned())),
        };
        if !state.lazy_kubelet {
            state.world.run_kubelet();
        }
        answer
    }
}

#[async_trait]
impl PodApi for View {
    async fn get(&self, name: &PodName) -> Result<Pod, ApiError> {
        self.request(ApiError::Failed("out of order".to_owned()), |state, _| {
            state.world.pods.get(name).cloned().ok_or(ApiError::NotFound)
        })
        .await
    }

    async fn list(&self, selector: &Selector) -> Result<Vec<Pod>, ApiError> {
        self.request(ApiError::Failed("out of order".to_owned()), |state, _| Ok(state.world.list(selector))).await
    }

    async fn create(&self, pod: Pod) -> Result<Pod, ApiError> {
        self.request(ApiError::Conflict, |state, _| state.world.create(pod)).await
    }

    async fn update(&self, pod: Pod, mode: WriteMode) -> Result<Option<Pod>, ApiError> {
        self.request(ApiError::Conflict, |state, now| {
            let written = state.world.update(pod, mode);
            if let Ok(Some(pod)) = &written {
                state.note_references(pod, now);
            }
            written
        })
        .await
    }

    async fn delete(&self, name: &PodName, preconditions: Preconditions) -> Result<Option<Pod>, ApiError> {
        self.request(ApiError::Conflict, |state, now| {
            state.judge_deletion(name, &preconditions, now);
            state.world.delete(name, &preconditions)
        })
        .await
    }

    async fn update_status(&self, name: &PodName, uid: &Uid, status: PodStatus) -> Result<(), ApiError> {
        self.cluster.state().world.update_status(name, uid, status)
    }
}

#[async_trait]
impl Node for View {
    async fn perform(&self, operation: MountOperation) -> Answer {
        self.cluster.gate.pass(self.process).await;
        let mut state = self.cluster.state();
        if let MountOperation::Teardown(pod) = &operation {
            let found = state.world.pods.get(&pod.name);
            if found.is_some_and(|found| found.uid == pod.uid && found.is_live()) {
                state.breaks("R4: mounts are torn down before the deletion was accepted");
            }
        }
        let answer = state.world.perform(operation);
        if !state.lazy_kubelet {
            state.world.run_kubelet();
        }
        answer
    }

    async fn measure(&self, _: &VolumeContent) -> Result<Usage, String> {
        Ok(Usage { used_bytes: 4096, used_inodes: 1 })
    }

    async fn resize(&self, _: &Pod) -> Result<(), String> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    async fn serves(&self, pod: &Pod) -> bool {
        self.cluster.state().world.daemons.get(&pod.uid).is_some_and(|(_, alive)| *alive)
    }

    async fn remains(&self) -> Result<Vec<Uid>, String> {
        // The rounds that the engine makes by itself never begin: programs say when there is one.
        if !self.cluster.gate.knows_this_task() {
            pending::<()>().await;
        }
        Ok(self.cluster.state().world.daemons.keys().cloned().collect())
    }

    async fn discard(&self, pod: &Uid) -> Result<(), String> {
        self.cluster.state().world.daemons.remove(pod);
        Ok(())
    }
}

#[async_trait]
impl Workloads for View {
    async fn states(&self, targets: &[TargetPath]) -> Result<Vec<WorkloadState>, String> {
        self.cluster.gate.pass(self.process).await;
        let state = self.cluster.state();
        let of = |target| state.workloads.get(target).copied().unwrap_or(WorkloadState::Unknown);
        Ok(targets.iter().map(of).collect())
    }
}

impl Clock for View {
    fn now(&self) -> Timestamp {
        self.cluster.now()
    }
}

impl State {
    fn fate(&mut self) -> Option<Fate> {
        let (after, fate) = self.faults.first_mut()?;
        match after.checked_sub(1) {
            Some(left) => {
                *after = left;
                None
            }
            None => {
                let fate = *fate;
                self.faults.remove(0);
                Some(fate)
            }
        }
    }

    fn breaks(&mut self, promise: impl Into<String>) {
        self.broken.get_or_insert_with(|| promise.into());
    }

    fn note_references(&mut self, pod: &Pod, now: Timestamp) {
        if annotations::is_referenced(pod) {
            self.emptied.remove(&pod.uid);
        } else {
            self.emptied.entry(pod.uid.clone()).or_insert(now);
        }
    }

    /// The promises that a deletion can break when it takes effect.
    fn judge_deletion(&mut self, name: &PodName, conditions: &Preconditions, now: Timestamp) {
        let Some(pod) = self.world.pods.get(name).filter(|pod| pod.is_live()) else { return };
        let matches = conditions.uid.as_ref().is_none_or(|uid| *uid == pod.uid)
            && conditions.version.as_ref().is_none_or(|version| *version == pod.version);
        if !matches {
            return;
        }
        if annotations::is_referenced(pod) {
            return self.breaks("I2: a deletion that takes effect finds references");
        }
        if !self.delayed || annotations::is_unconfirmed(pod) {
            return;
        }
        if pod.annotations.get(annotations::DELETE_AT).is_some_and(|moment| moment == GARBAGE) {
            return self.breaks("I7: a pod goes whose moment of deletion cannot be read");
        }
        if let Some(&since) = self.emptied.get(&pod.uid)
            && now.since(since) < DELAY
        {
            self.breaks(format!("I7: a pod goes after {:?} instead of {DELAY:?}", now.since(since)));
        }
    }
}
