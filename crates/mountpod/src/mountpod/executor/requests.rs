//! The requests of the node service, each run as a task of its own so that a caller who leaves cannot cut it in two.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    super::{
        Deadline, MountPods, Publication, PublishError, Published, Role, TargetPath, UnpublishError, Usage, VolumeId,
        admission::Admission,
        annotations,
        pod::{ConfigurationHash, Pod, PodKey},
        protocol::{
            Liveness, Publish, PublishOutcome, PublishRequest, Rebind, RebindOutcome, Terminate, Unpublish,
            UnpublishOutcome, UnpublishRequest, Waiting,
        },
    },
    Engine, Housekeeping,
    guard::Holder,
    staging,
};

/// An engine with its housekeeping; what a runtime hands to the node service.
pub struct Running {
    engine: Arc<Engine>,
    housekeeping: Housekeeping,
    wake: Arc<Notify>,
}

impl Running {
    /// Starts the housekeeping of the engine, one round in each interval and whenever a pod falls due.
    pub fn start(engine: Engine, interval: Duration) -> Self {
        let engine = Arc::new(engine);
        let wake = Arc::new(Notify::new());
        let housekeeping = Housekeeping::start(engine.clone(), wake.clone(), interval);
        Self { engine, housekeeping, wake }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Stops the housekeeping and waits for its round to end. What is published stays published.
    pub async fn shutdown(&self) {
        self.housekeeping.stop().await;
    }
}

#[async_trait]
impl MountPods for Running {
    async fn publish(&self, publication: Publication, deadline: Deadline) -> Result<(), PublishError> {
        let (engine, wake) = (self.engine.clone(), self.wake.clone());
        let task = tokio::spawn(async move {
            let guard = engine.guards.take_for_request(&staging::mount_target(&publication), deadline).await;
            let _guard = guard.ok_or_else(|| PublishError::InProgress(publication.target.clone()))?;
            if publication.role == Role::Staging {
                let pods = engine.pods(None).await.map_err(|error| PublishError::Failed(error.to_string()))?;
                staging::check_other_kind(&publication, &pods)?;
            }
            let request = request(&engine, &publication);
            let outcome = engine.run(Publish::new(request), deadline).await;
            // A refused or failed publish may leave a pod to delete; a slow one a pod to look after.
            if !matches!(outcome, Ok(PublishOutcome::Published)) {
                wake.notify_one();
            }
            match outcome {
                Ok(outcome) => verdict(outcome, publication),
                Err(_) => Err(PublishError::DeadlineExceeded("publishing the volume")),
            }
        });
        joined(task).await.unwrap_or_else(|text| Err(PublishError::Failed(text)))
    }

    async fn unpublish(
        &self,
        volume: &VolumeId,
        target: &TargetPath,
        role: Role,
        deadline: Deadline,
    ) -> Result<(), UnpublishError> {
        let (engine, wake) = (self.engine.clone(), self.wake.clone());
        let (volume, target) = (volume.clone(), target.clone());
        let task = tokio::spawn(async move {
            unpublish_path(&engine, &volume, &target, role, deadline).await?;
            if role == Role::Staging {
                let pods = engine.pods(None).await.map_err(|error| UnpublishError::Failed(error.to_string()))?;
                let inner = staging::device_in(&target).filter(|_| staging::holds_device(&target, &volume, &pods));
                if let Some(inner) = inner {
                    // The directory is the orchestrator's, the file in it is ours.
                    unpublish_path(&engine, &volume, &inner, Role::Target, deadline).await?;
                }
            }
            terminate_now(&engine, &volume, deadline).await;
            wake.notify_one();
            Ok(())
        });
        joined(task).await.unwrap_or_else(|text| Err(UnpublishError::Failed(text)))
    }

    async fn published(&self, volume: &VolumeId) -> Result<Vec<Published>, UnpublishError> {
        let pods = self.pods(volume).await?;
        let mut published: Vec<Published> = Vec::new();
        for reference in pods.iter().flat_map(annotations::references) {
            let Some(detail) = reference.detail else { continue };
            let annotations::Detail { role, fingerprint } = detail;
            let found = staging::as_requested(Published { target: reference.target, role, fingerprint });
            // A pod and its successor hold the same reference for a moment.
            if !published.iter().any(|known| known.target == found.target) {
                published.push(found);
            }
        }
        published.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(published)
    }

    async fn usage(&self, volume: &VolumeId, target: &TargetPath) -> Result<Option<Usage>, UnpublishError> {
        let pods = self.pods(volume).await?;
        let holder = |target: &TargetPath| pods.iter().find(|pod| annotations::refers_to(pod, target));
        let inner = staging::device_in(target).filter(|_| holder(target).is_none());
        let target = inner.as_ref().unwrap_or(target);
        let Some(pod) = holder(target) else { return Ok(None) };
        if self.engine.look(target).await? != Some(Liveness::Alive) {
            // A dead daemon is noticed here first; it is repaired at once when nobody works on the target.
            self.repair(target).await;
            let seen = self.engine.look(target).await?;
            if seen != Some(Liveness::Alive) {
                self.wake.notify_one();
                // Somebody refers to it: it is there, or on its way, and cannot be asked.
                return Err(match (seen, self.engine.guards.is_requested(target)) {
                    (None, true) => UnpublishError::InProgress(target.clone()),
                    (None, false) => {
                        UnpublishError::Failed(format!("{target} was not published to its end: repeat it"))
                    }
                    (Some(_), _) => UnpublishError::Failed(format!("the daemon at {target} is being replaced: retry")),
                });
            }
        }
        self.engine.node.measure(&pod.spec.content).await.map(Some).map_err(UnpublishError::Failed)
    }

    async fn resized(&self, volume: &VolumeId) -> Result<(), UnpublishError> {
        self.engine.resized(&self.pods(volume).await?).await
    }

    async fn ready(&self) -> Result<(), String> {
        self.engine.ready().await
    }

    async fn condition(&self, volume: &VolumeId) -> Result<String, String> {
        let pods = self.pods(volume).await.map_err(|error| error.to_string())?;
        let referenced: Vec<&Pod> = pods.iter().filter(|pod| annotations::is_referenced(pod)).collect();
        for pod in &referenced {
            if pod.deleting {
                return Err(format!("mount pod {} is terminating and is being replaced", pod.name));
            }
            if !self.engine.node.serves(pod).await {
                return Err(format!("the daemon of mount pod {} does not answer and is being restarted", pod.name));
            }
        }
        Ok(match referenced.as_slice() {
            [] => "not mounted on this node".to_owned(),
            pods => format!("served by {}", pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>().join(", ")),
        })
    }
}

impl Running {
    async fn pods(&self, volume: &VolumeId) -> Result<Vec<Pod>, UnpublishError> {
        self.engine.pods(Some(volume)).await.map_err(|error| UnpublishError::Failed(error.to_string()))
    }

    async fn repair(&self, target: &TargetPath) {
        let (engine, target) = (self.engine.clone(), target.clone());
        let task = tokio::spawn(async move {
            let Ok(_guard) = engine.guards.take(&target, Holder::Repair) else { return };
            for _ in 0..REPAIR_ATTEMPTS {
                let rebind = Rebind::new(engine.node_id.clone(), target.clone());
                let outcome = engine.run(rebind, Instant::now() + REPAIR_TIME).await;
                if !matches!(outcome, Ok(RebindOutcome::Later)) {
                    return;
                }
                tokio::time::sleep(REPAIR_PAUSE).await;
            }
        });
        // A panic there is logged by the runtime; the next round of housekeeping tries again.
        let _ = task.await;
    }
}

const REPAIR_ATTEMPTS: u32 = 40;
const REPAIR_PAUSE: Duration = Duration::from_millis(50);
const REPAIR_TIME: Duration = Duration::from_secs(10);
const TERMINATION_TIME: Duration = Duration::from_secs(5);

async fn unpublish_path(
    engine: &Engine,
    volume: &VolumeId,
    target: &TargetPath,
    role: Role,
    deadline: Deadline,
) -> Result<(), UnpublishError> {
    let guard = engine.guards.take_for_request(target, deadline).await;
    let _guard = guard.ok_or_else(|| UnpublishError::InProgress(target.clone()))?;
    let (node, volume, target) = (engine.node_id.clone(), volume.clone(), target.clone());
    let request = UnpublishRequest { node, volume, target, role };
    match engine.run(Unpublish::new(request), deadline).await {
        Ok(UnpublishOutcome::Unpublished(_)) => Ok(()),
        Ok(UnpublishOutcome::Failed(text)) => Err(UnpublishError::Failed(text)),
        Err(_) => Err(UnpublishError::DeadlineExceeded("unpublishing the volume")),
    }
}

/// Removes the volume's terminating pods while the caller waits, so that nothing of them is left when it is told so.
async fn terminate_now(engine: &Engine, volume: &VolumeId, deadline: Deadline) {
    let deadline = deadline.min(Instant::now() + TERMINATION_TIME);
    let Ok(Ok(pods)) = timeout_at(deadline, engine.pods(Some(volume))).await else { return };
    for pod in pods.iter().filter(|pod| pod.deleting) {
        // Housekeeping goes on with what does not end here.
        let _ = engine.run(Terminate::new(pod), deadline).await;
    }
}

fn request(engine: &Engine, publication: &Publication) -> PublishRequest {
    let configuration = ConfigurationHash::of(&publication.configuration, &publication.content);
    PublishRequest {
        key: PodKey { node: engine.node_id.clone(), volume: publication.volume.clone(), configuration },
        content: publication.content.clone(),
        target: staging::mount_target(publication),
        role: publication.role,
        fingerprint: publication.fingerprint.clone(),
        mount_group: publication.mount_group,
    }
}

fn verdict(outcome: PublishOutcome, publication: Publication) -> Result<(), PublishError> {
    let Publication { volume, target, .. } = publication;
    match outcome {
        PublishOutcome::Published => Ok(()),
        PublishOutcome::Refused(Admission::Incompatible { difference }) => {
            Err(PublishError::Incompatible { volume, target, difference: difference.to_owned() })
        }
        PublishOutcome::Refused(Admission::Occupied { holder }) => Err(PublishError::Occupied { target, holder }),
        PublishOutcome::Refused(Admission::SingleTarget { at }) => Err(PublishError::SingleTarget { volume, at }),
        PublishOutcome::Refused(other) => Err(PublishError::Failed(format!("refused although {other:?}"))),
        PublishOutcome::TimedOut(Waiting::Readiness) => {
            Err(PublishError::DeadlineExceeded("starting the daemon of the volume"))
        }
        PublishOutcome::TimedOut(Waiting::Predecessor) => {
            Err(PublishError::DeadlineExceeded("removing the previous mount pod of the volume"))
        }
        PublishOutcome::TimedOut(Waiting::Retry) => {
            Err(PublishError::DeadlineExceeded("recording the reference of the target"))
        }
        PublishOutcome::Failed(text) => Err(PublishError::Failed(text)),
    }
}

async fn joined<T>(task: JoinHandle<T>) -> Result<T, String> {
    task.await.map_err(|error| format!("the request was cut off: {error}"))
}
