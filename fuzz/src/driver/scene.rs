//! The driver of this process as the scene of a program: calls are paused at the gate, and the node is looked at as a value.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use csi_certify_driver::driver::store::Store;
use csi_certify_history::history::{Lost, Recorder, Request};
use csi_certify_mountpod::mountpod::{
    TargetPath, VolumeId, annotations,
    api::{Preconditions, WriteMode},
    executor::{Engine, Swept},
    memory::World,
    pod::Pod,
    protocol::WorkloadState,
};
use csi_certify_suite::{
    explore::{
        calls::{HOUSEKEEPING, Lane, Scene, SceneError, Surroundings},
        schedule::{Fate, Trouble},
    },
    sut::{Answer, Driver, Signal},
};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    cluster::{Cluster, DELAY, GARBAGE},
    content::Existence,
    gate::UNHINDERED,
    promises::Promises,
};

/// How long a call is let wait before somebody looks after the node; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How often somebody looks after what an orphan does: three quarters of a minute in all.
const ORPHAN_ROUNDS: u32 = 12;
/// More rounds than any deletion needs.
const ROUNDS: u32 = 20;

/// The engine of the process that lives.
pub type Living = Arc<Mutex<Option<Arc<Engine>>>>;

/// What outlives the processes of the driver, and what they have promised.
pub struct Played {
    pub cluster: Arc<Cluster>,
    pub store: Arc<dyn Store>,
    pub content: Arc<Existence>,
    pub living: Living,
    pub promises: Promises,
    pub round: Option<JoinHandle<Swept>>,
    /// The node when the last step had ended.
    pub last: Option<u64>,
}

impl Played {
    /// One round of housekeeping that nothing holds up, while the kubelet does its work.
    async fn attend(&self) {
        self.cluster.state().world.run_kubelet();
        let Some(round) = self.begin_round(UNHINDERED) else { return };
        let before = self.cluster.gate.turn(UNHINDERED);
        self.cluster.gate.grant(UNHINDERED, None);
        // A round has its own bounds.
        let _ = round.await;
        self.cluster.gate.turn(before);
        self.cluster.state().world.run_kubelet();
    }

    fn begin_round(&self, lane: Lane) -> Option<JoinHandle<Swept>> {
        let engine = self.living.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let round = tokio::spawn(async move { engine.sweep().await });
        self.cluster.gate.assign(round.id(), lane);
        Some(round)
    }

    fn stop_round(&mut self) {
        if let Some(round) = self.round.take() {
            round.abort();
        }
    }

    fn repair_garbage(&self) {
        let now = self.cluster.now();
        let world = &mut self.cluster.state().world;
        let live: Vec<Pod> = world.pods.values().filter(|pod| pod.is_live()).cloned().collect();
        for mut pod in live {
            // Whoever garbled the moment is told, and repairs it.
            if pod.annotations.get(annotations::DELETE_AT).is_some_and(|moment| moment == GARBAGE) {
                pod.annotations.insert(annotations::DELETE_AT.to_owned(), now.to_string());
                let _ = world.update(pod, WriteMode::CompareAndSwap);
            }
        }
    }

    fn records_left(&self) -> Option<String> {
        let volumes = self.store.volumes_after(None, 1).unwrap_or_default();
        let snapshots = self.store.snapshots_after(None, 1).unwrap_or_default();
        let volume = volumes.first().map(|volume| format!("the record of volume {}", volume.id));
        volume.or_else(|| snapshots.first().map(|snapshot| format!("the record of snapshot {}", snapshot.id)))
    }
}

impl Scene for Played {
    const ENDS_IN_A_CRASH: bool = true;

    fn began(&mut self, request: &Request) {
        self.promises.began(request, &mut self.cluster.state());
    }

    fn ended(&mut self, request: &Request, answer: &Answer) -> Result<(), String> {
        self.promises.ended(request, answer, &mut self.cluster.state())
    }

    async fn go_on(&mut self, lane: Lane, pause: Option<u8>, call: &mut JoinHandle<Answer>) -> Option<Answer> {
        self.cluster.gate.grant(lane, pause);
        let mut wait = FIRST_WAIT;
        let answer = loop {
            tokio::select! {
                biased;
                joined = &mut *call => break Some(joined.unwrap_or(Answer::Lost(Lost::Connection))),
                () = self.cluster.gate.holds_back(lane), if pause.is_some() => break None,
                () = sleep(wait) => {}
            }
            self.attend().await;
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        // What comes next without a lane is not held up by what this one had left.
        self.cluster.gate.turn(UNHINDERED);
        answer
    }

    async fn abandoned(&mut self, lane: Lane) {
        self.cluster.gate.grant(lane, None);
        let mut wait = FIRST_WAIT;
        for _ in 0..ORPHAN_ROUNDS {
            sleep(wait).await;
            self.attend().await;
            wait *= 2;
        }
    }

    async fn housekeeping(&mut self, pause: Option<u8>) {
        let Some(mut round) = self.round.take().or_else(|| self.begin_round(HOUSEKEEPING)) else { return };
        self.cluster.gate.grant(HOUSEKEEPING, pause);
        let mut wait = FIRST_WAIT;
        self.round = loop {
            tokio::select! {
                biased;
                _ = &mut round => break None,
                () = self.cluster.gate.holds_back(HOUSEKEEPING), if pause.is_some() => break Some(round),
                () = sleep(wait) => {}
            }
            self.cluster.state().world.run_kubelet();
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        self.cluster.gate.turn(UNHINDERED);
    }

    async fn crash(&mut self, driver: &Driver, recorder: &Recorder) -> Result<(), SceneError> {
        self.stop_round();
        self.cluster.gate.end_process();
        for instance in driver.instances() {
            let restarted = instance.restart(recorder, Signal::Kill).await;
            restarted.map_err(|error| SceneError::Restart(error.to_string()))?;
        }
        Ok(())
    }

    fn trouble(&mut self, volume: u8, trouble: Trouble, surroundings: &Surroundings) -> bool {
        let mut state = self.cluster.state();
        let state = &mut *state;
        let path = trouble.target().and_then(|target| surroundings.target(volume, target).parse().ok());
        let world = &mut state.world;
        // Pods are struck in the order of their names, the first of them.
        let live = world.pods.values().find(|pod| pod.is_live()).cloned();
        match (trouble, live, path) {
            (Trouble::Evict, Some(pod), _) => drop(world.delete(&pod.name, &Preconditions::default())),
            (Trouble::KillDaemon, Some(pod), _) => world.kill_daemon(&pod.uid),
            (Trouble::Reboot, ..) => {
                world.reboot();
                self.promises.forget_publications();
                return true;
            }
            (Trouble::WriteStatus, Some(pod), _) => {
                let _ = world.update_status(&pod.name, &pod.uid, pod.status);
            }
            (Trouble::RemoveDirectory { .. }, _, Some(path))
                if !world.layers.contains_key(&path) && world.targets.remove(&path) =>
            {
                if let Some(volume) = holder(world, &path) {
                    self.promises.remember(&volume, &path);
                }
            }
            (Trouble::ShutDown { .. }, _, Some(path)) => {
                state.workloads.insert(path, WorkloadState::Terminating);
            }
            (Trouble::RemoveWorkload { .. }, _, Some(path)) => {
                self.promises.forget(&path);
                state.workloads.insert(path, WorkloadState::Gone);
            }
            (Trouble::GarbleDeletion, Some(mut pod), _) => {
                if let Some(moment) = pod.annotations.get_mut(annotations::DELETE_AT) {
                    GARBAGE.clone_into(moment);
                    let _ = world.update(pod, WriteMode::CompareAndSwap);
                }
            }
            _ => {}
        }
        false
    }

    fn fault(&mut self, after: u8, fate: Fate) {
        self.cluster.state().faults.push((after, fate));
    }

    async fn pass(&mut self, seconds: u16) {
        sleep(Duration::from_secs(seconds.into())).await;
    }

    async fn look(&mut self, _: Option<&Request>, _: &Recorder) -> Result<(), String> {
        let mut state = self.cluster.state();
        match state.broken.take() {
            Some(promise) => Err(promise),
            None => self.promises.look(&state.world),
        }
    }

    fn portrait(&self) -> Option<u64> {
        let state = self.cluster.state();
        if !state.faults.is_empty() || self.round.is_some() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        let World { pods, daemons, layers, targets, .. } = &state.world;
        (daemons, layers, targets).hash(&mut hasher);
        for pod in pods.values() {
            (&pod.name, pod.deleting, annotations::references(pod)).hash(&mut hasher);
        }
        let volumes = self.store.volumes_after(None, usize::MAX).unwrap_or_default();
        let snapshots = self.store.snapshots_after(None, usize::MAX).unwrap_or_default();
        format!("{volumes:?}{snapshots:?}").hash(&mut hasher);
        for volume in &volumes {
            format!("{:?}", self.store.attachments_of(&volume.id).unwrap_or_default()).hash(&mut hasher);
        }
        Some(hasher.finish())
    }

    async fn settle(&mut self) -> Result<(), String> {
        self.last = self.portrait();
        self.stop_round();
        self.cluster.state().faults.clear();
        for _ in 0..3 {
            self.attend().await;
            let mut rounds = 0;
            while self.cluster.state().world.pods.values().any(|pod| pod.deleting) {
                rounds += 1;
                if rounds > ROUNDS {
                    return Err("I8: a deletion is never finished".to_owned());
                }
                self.attend().await;
            }
        }
        let mut state = self.cluster.state();
        match state.broken.take() {
            Some(promise) => Err(promise),
            None => self.promises.look(&state.world).and_then(|()| self.promises.serve(&state.world)),
        }
    }

    fn owes(&self, request: &Request) -> bool {
        self.promises.owes(request, &self.cluster.state().world)
    }

    async fn vacated(&mut self) -> Result<(), String> {
        self.repair_garbage();
        sleep(DELAY).await;
        for _ in 0..3 {
            self.attend().await;
        }
        let mut state = self.cluster.state();
        if let Some(promise) = state.broken.take() {
            return Err(promise);
        }
        self.promises.remove_directories(&mut state.world);
        let world = &state.world;
        self.promises.look(world)?;
        if let Some(pod) = world.pods.values().next() {
            return Err(format!("I5: {} is left, though nobody needs it", pod.name));
        }
        if !(world.layers.is_empty() && world.targets.is_empty() && world.daemons.is_empty()) {
            return Err("I5: mounts, directories or daemons are left".to_owned());
        }
        match self.records_left() {
            Some(left) => Err(format!("I5: {left} is left")),
            None if !self.content.is_empty() => Err("I5: content is left".to_owned()),
            None => Ok(()),
        }
    }
}

/// The volume that a pod holds at the path.
fn holder(world: &World, path: &TargetPath) -> Option<VolumeId> {
    let pod = world.pods.values().find(|pod| annotations::refers_to(pod, path))?;
    Some(pod.spec.key.volume.clone())
}
