//! The published protocols at work: the machines of `published` in place of the driver's own, with the same engine.
//!
//! They know no staging, and note with a reference only where it leads: a driver over them has to be without
//! STAGE_UNSTAGE_VOLUME.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Deadline, MountPods, Protocol, Publication, PublishError, Published, Role, TargetPath, UnpublishError, Usage,
        VolumeContent, VolumeId, annotations,
        pod::{ConfigurationHash, Pod, PodKey},
        protocol::{Liveness, WorkloadState},
        published::{
            Publish2022, Publish2026, PublishedOutcome, PublishedRequest, Reconcile2022, Reconcile2026, Reconciliation,
            Unpublish2022, Unpublish2026,
        },
    },
    Engine, Housekeeping,
    engine::TimeIsUp,
    guard::Guard,
};

/// How long a round may work on one pod: that of 2026 has five minutes.
const ROUND_TIME: Duration = Duration::from_secs(300);

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Edition {
    Of2022,
    Of2026,
}

/// An engine that runs a published protocol, with its reconciler.
pub struct RunningPublished {
    engine: Arc<Engine>,
    edition: Edition,
    housekeeping: Housekeeping,
    letters: AtomicU32,
}

impl RunningPublished {
    /// Starts the reconciler, one round over all pods in each interval.
    ///
    /// # Errors
    ///
    /// The driver's own protocol is not one of these: the engine is handed back.
    pub fn start(engine: Engine, protocol: Protocol, interval: Duration) -> Result<Self, Box<Engine>> {
        let edition = match protocol {
            Protocol::Current => return Err(Box::new(engine)),
            Protocol::Published2022 => Edition::Of2022,
            Protocol::Published2026 => Edition::Of2026,
        };
        let engine = Arc::new(engine);
        let reconciler = engine.clone();
        let rounds = |stop: CancellationToken| async move {
            loop {
                round(&reconciler, edition).await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(interval) => {}
                }
            }
        };
        let housekeeping = Housekeeping::spawn(rounds);
        Ok(Self { engine, edition, housekeeping, letters: AtomicU32::new(0) })
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Stops the reconciler and waits for its round to end. What is published stays published.
    pub async fn shutdown(&self) {
        self.housekeeping.stop().await;
    }

    /// The protocol of 2026 refuses a second request for a target; that of 2022 lets both go on.
    fn guard(&self, target: &TargetPath) -> Result<Option<Guard>, ()> {
        match self.edition {
            Edition::Of2022 => Ok(None),
            Edition::Of2026 => self.engine.guards.take(target, super::guard::Holder::Request).map(Some).map_err(|_| ()),
        }
    }

    fn request(&self, volume: &VolumeId, content: VolumeContent, target: &TargetPath) -> PublishedRequest {
        let configuration = ConfigurationHash::of(&std::collections::BTreeMap::new(), &content);
        let key = PodKey { node: self.engine.node_id.clone(), volume: volume.clone(), configuration };
        let letters = match self.edition {
            Edition::Of2022 => 0,
            Edition::Of2026 => self.letters.fetch_add(1, Ordering::Relaxed),
        };
        PublishedRequest { key, content, target: target.clone(), read_only: false, letters, mend: None }
    }
}

#[async_trait]
impl MountPods for RunningPublished {
    async fn publish(&self, publication: Publication, deadline: Deadline) -> Result<(), PublishError> {
        let Publication { volume, content, target, role, .. } = publication;
        if role == Role::Staging {
            return Err(PublishError::Failed(NO_STAGING.to_owned()));
        }
        let Ok(guard) = self.guard(&target) else { return Err(PublishError::InProgress(target)) };
        let request = PublishedRequest {
            read_only: publication.fingerprint.read_only,
            ..self.request(&volume, content, &target)
        };
        let (engine, edition) = (self.engine.clone(), self.edition);
        // A caller who leaves does not cut it in two: neither protocol looks at its context between two steps.
        let task = tokio::spawn(async move {
            let _guard = guard;
            match edition {
                Edition::Of2022 => engine.run(Publish2022::new(request), deadline).await,
                Edition::Of2026 => engine.run(Publish2026::new(request), deadline).await,
            }
        });
        match task.await {
            Ok(Ok(PublishedOutcome::Failed(text))) => Err(PublishError::Failed(text.to_owned())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(TimeIsUp)) => Err(PublishError::DeadlineExceeded("publishing the volume")),
            Err(error) => Err(PublishError::Failed(format!("the request was cut off: {error}"))),
        }
    }

    async fn unpublish(
        &self,
        volume: &VolumeId,
        target: &TargetPath,
        role: Role,
        deadline: Deadline,
    ) -> Result<(), UnpublishError> {
        if role == Role::Staging {
            return Err(UnpublishError::Failed(NO_STAGING.to_owned()));
        }
        let Ok(guard) = self.guard(target) else { return Err(UnpublishError::InProgress(target.clone())) };
        // The pod of the volume is found by its name; without one there is only the target to be freed.
        let pods = self.pods(volume).await?;
        let nothing = VolumeContent::Directory(std::path::PathBuf::new());
        let content = pods.first().map_or(nothing, |pod| pod.spec.content.clone());
        let request = self.request(volume, content, target);
        let (engine, edition) = (self.engine.clone(), self.edition);
        let task = tokio::spawn(async move {
            let _guard = guard;
            match edition {
                Edition::Of2022 => engine.run(Unpublish2022::new(request), deadline).await,
                Edition::Of2026 => engine.run(Unpublish2026::new(request), deadline).await,
            }
        });
        match task.await {
            Ok(Ok(PublishedOutcome::Failed(text))) => Err(UnpublishError::Failed(text.to_owned())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(TimeIsUp)) => Err(UnpublishError::DeadlineExceeded("unpublishing the volume")),
            Err(error) => Err(UnpublishError::Failed(format!("the request was cut off: {error}"))),
        }
    }

    /// Nothing: what was asked for is not noted with a reference.
    async fn published(&self, _: &VolumeId) -> Result<Vec<Published>, UnpublishError> {
        Ok(Vec::new())
    }

    async fn usage(&self, volume: &VolumeId, target: &TargetPath) -> Result<Option<Usage>, UnpublishError> {
        let pods = self.pods(volume).await?;
        let Some(pod) = pods.iter().find(|pod| annotations::reference(pod, target).is_some()) else { return Ok(None) };
        match self.engine.look(target).await? {
            Some(Liveness::Alive) => {
                self.engine.node.measure(&pod.spec.content).await.map(Some).map_err(UnpublishError::Failed)
            }
            Some(Liveness::Dead) => {
                Err(UnpublishError::Failed(format!("{target}: transport endpoint is not connected")))
            }
            None => Ok(None),
        }
    }

    async fn resized(&self, volume: &VolumeId) -> Result<(), UnpublishError> {
        self.engine.resized(&self.pods(volume).await?).await
    }

    async fn ready(&self) -> Result<(), String> {
        self.engine.ready().await
    }

    async fn condition(&self, volume: &VolumeId) -> Result<String, String> {
        let pods = self.pods(volume).await.map_err(|error| error.to_string())?;
        Ok(format!("{} mount pods", pods.len()))
    }
}

impl RunningPublished {
    async fn pods(&self, volume: &VolumeId) -> Result<Vec<Pod>, UnpublishError> {
        self.engine.pods(Some(volume)).await.map_err(|error| UnpublishError::Failed(error.to_string()))
    }
}

/// One round of the reconciler over all pods.
async fn round(engine: &Engine, edition: Edition) {
    let Ok(pods) = engine.pods(None).await else { return };
    let targets: Vec<TargetPath> =
        pods.iter().flat_map(annotations::references).map(|reference| reference.target).collect();
    // Where no workload can be listed (the kubelet's port is closed), and beside requests under way, nothing is collected.
    let states = engine.workloads.states(&targets).await.unwrap_or_default();
    let is_blind = states.iter().all(|state| *state == WorkloadState::Unknown);
    let is_busy = edition == Edition::Of2026 && targets.iter().any(|target| engine.guards.is_requested(target));
    let candidates = if is_blind || is_busy { Vec::new() } else { targets };
    for pod in &pods {
        let round = Reconciliation {
            key: pod.spec.key.clone(),
            pod: pod.name.clone(),
            candidates: candidates.clone(),
            letters: 0,
            mend: None,
        };
        let deadline = Instant::now() + ROUND_TIME;
        let ended = match edition {
            Edition::Of2022 => engine.run(Reconcile2022::new(round), deadline).await,
            Edition::Of2026 => engine.run(Reconcile2026::new(round), deadline).await,
        };
        if ended.is_err() {
            tracing::warn!(pod = %pod.name, "a round of the reconciler did not end in time");
        }
    }
}

const NO_STAGING: &str = "the published protocols do not stage: run the driver without STAGE_UNSTAGE_VOLUME";
