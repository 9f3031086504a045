//! Drives one machine: performs each effect, hands the answer back, and stops at the deadline between two effects.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    super::{
        Deadline, TargetPath, UnpublishError, VolumeId,
        api::{ApiError, PodApi, Selector},
        pod::{NodeId, Pod, PodKey},
        protocol::{Answer, Effect, Liveness, Machine, MountOperation, PodLock, Policy, TargetState},
    },
    Clock, Node, Workloads,
    guard::Guards,
};

/// The protocol bound to the outside worlds of one node.
pub struct Engine {
    /// The node it works for.
    pub node_id: NodeId,
    /// Where pods are recorded.
    pub api: Arc<dyn PodApi>,
    /// The node's mounts.
    pub node: Arc<dyn Node>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who still runs.
    pub workloads: Arc<dyn Workloads>,
    /// The choices of the protocol.
    pub policy: Policy,
    pub(super) guards: Guards,
    locks: Mutex<BTreeMap<PodKey, Arc<AsyncMutex<()>>>>,
}

/// The deadline came before the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TimeIsUp;

impl Engine {
    /// Binds the protocol to these worlds.
    pub fn new(
        node_id: NodeId,
        api: Arc<dyn PodApi>,
        node: Arc<dyn Node>,
        clock: Arc<dyn Clock>,
        workloads: Arc<dyn Workloads>,
        policy: Policy,
    ) -> Self {
        let locks = Mutex::default();
        Self { node_id, api, node, clock, workloads, policy, guards: Guards::default(), locks }
    }

    /// Runs the machine to its reply, or to the deadline.
    pub(super) async fn run<M: Machine>(&self, machine: M, deadline: Deadline) -> Result<M::Reply, TimeIsUp> {
        let mut held = None;
        let mut pauses = 0;
        let (mut machine, mut effect) = machine.step(&self.policy, self.clock.now(), Answer::Begin);
        loop {
            if let Effect::Reply(reply) = effect {
                return Ok(reply);
            }
            if Instant::now() >= deadline {
                return Err(TimeIsUp);
            }
            tracing::trace!(?effect, "perform");
            let answer = self.perform(effect, deadline, &mut pauses, &mut held).await?;
            tracing::trace!(?answer, "performed");
            (machine, effect) = machine.step(&self.policy, self.clock.now(), answer);
        }
    }

    /// The pods of this node that are selected.
    pub(super) async fn pods(&self, volume: Option<&VolumeId>) -> Result<Vec<Pod>, ApiError> {
        let selector = Selector { node: self.node_id.clone(), volume: volume.cloned() };
        let listed = timeout(LIST_TIME, self.api.list(&selector)).await;
        listed.unwrap_or_else(|_| Err(ApiError::Failed(format!("no answer within {LIST_TIME:?}"))))
    }

    /// Whether what is mounted on the target answers; `None` when nothing of ours is.
    pub(super) async fn look(&self, target: &TargetPath) -> Result<Option<Liveness>, UnpublishError> {
        match self.node.perform(MountOperation::Look(target.clone())).await {
            Answer::Target(TargetState::Ours { top, .. }) => Ok(Some(top.alive)),
            Answer::Failed(text) => Err(UnpublishError::Failed(text)),
            _ => Ok(None),
        }
    }

    /// Tells those of the pods that live that their content has a new size.
    pub(super) async fn resized(&self, pods: &[Pod]) -> Result<(), UnpublishError> {
        for pod in pods.iter().filter(|pod| pod.is_live()) {
            self.node.resize(pod).await.map_err(UnpublishError::Failed)?;
        }
        Ok(())
    }

    /// Whether node and pod API are there.
    pub(super) async fn ready(&self) -> Result<(), String> {
        self.node.ready().await?;
        self.pods(None).await.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn perform<R>(
        &self,
        effect: Effect<R>,
        deadline: Deadline,
        pauses: &mut u32,
        held: &mut Option<OwnedMutexGuard<()>>,
    ) -> Result<Answer, TimeIsUp> {
        // A mount operation is not cut off: it would go on behind the back of the next request.
        if let Effect::Mount(operation) = effect {
            return Ok(self.node.perform(operation).await);
        }
        let request = async {
            match effect {
                Effect::List(selector) => self.api.list(&selector).await.map_or_else(refusal, Answer::Pods),
                Effect::Create(pod) => self.api.create(*pod).await.map_or_else(refusal, |pod| written(Some(pod))),
                Effect::Update(pod, mode) => self.api.update(*pod, mode).await.map_or_else(refusal, written),
                Effect::Delete(name, conditions) => {
                    self.api.delete(&name, conditions).await.map_or_else(refusal, written)
                }
                Effect::Workloads(targets) => {
                    self.workloads.states(&targets).await.map_or_else(Answer::Failed, Answer::Workloads)
                }
                Effect::Acquire(lock) => {
                    *held = Some(self.lock(&lock).lock_owned().await);
                    Answer::Done
                }
                Effect::Release(_) => {
                    *held = None;
                    Answer::Done
                }
                Effect::Wait(_) => {
                    let longest = Duration::from_millis(self.policy.limits.poll_milliseconds.into());
                    let pause = FIRST_PAUSE.saturating_mul(1 << (*pauses).min(16)).min(longest);
                    *pauses += 1;
                    sleep_until(Instant::now() + pause).await;
                    Answer::Done
                }
                Effect::Mount(_) | Effect::Reply(_) => Answer::Done,
            }
        };
        timeout_at(deadline, request).await.map_err(|_| TimeIsUp)
    }

    fn lock(&self, lock: &PodLock) -> Arc<AsyncMutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.entry(lock.0.clone()).or_default().clone()
    }
}

const LIST_TIME: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(5);

fn refusal(error: ApiError) -> Answer {
    match error {
        ApiError::Conflict | ApiError::NotFound | ApiError::AlreadyExists => Answer::Refused,
        ApiError::Unknown(_) => Answer::Unknown,
        ApiError::Failed(text) => Answer::Failed(text),
    }
}

fn written(pod: Option<Pod>) -> Answer {
    Answer::Written(pod.map(Box::new))
}
