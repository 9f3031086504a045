//! The background rounds: ends terminating pods, repairs targets, collects dead references, retires pods that are due.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        TargetPath, annotations,
        instant::Timestamp,
        pod::{Pod, PodName, Uid},
        protocol::{Collect, Rebind, RebindOutcome, Retire, Terminate, TerminateOutcome},
    },
    Engine,
    guard::Holder,
};

/// The background task of one engine.
pub struct Housekeeping {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What one round did and found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Terminating pods that vanished.
    pub vanished: u32,
    /// Targets that were mounted again.
    pub rebound: Vec<TargetPath>,
    /// Targets whose dead references were dropped.
    pub collected: Vec<TargetPath>,
    /// The earliest moment at which a pod falls due.
    pub due: Option<Timestamp>,
    /// Delays that cannot be read, by pod.
    pub unreadable: BTreeMap<PodName, String>,
    /// What could not be done in this round, for people.
    pub trouble: Vec<String>,
}

impl Housekeeping {
    /// Starts the rounds.
    pub fn start(engine: Arc<Engine>, wake: Arc<Notify>, interval: Duration) -> Self {
        Self::spawn(|stop| rounds(engine, wake, interval, stop))
    }

    /// Starts rounds that end when they are told to.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(rounds: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(rounds(stop.clone()));
        Self { stop, task: Mutex::new(Some(task)) }
    }

    /// Ends the rounds; the one under way is finished, within a bound.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && timeout(ROUND_TIME, task).await.is_err()
        {
            tracing::warn!("the round of housekeeping did not end in time");
        }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Engine {
    /// Runs one round.
    pub async fn sweep(&self) -> Swept {
        let mut swept = Swept::default();
        // What is on the node is read before the records: a pod that is recorded later has no remains yet.
        let remains = self.node.remains().await;
        let pods = match self.pods(None).await {
            Ok(pods) => pods,
            Err(error) => {
                swept.trouble.push(error.to_string());
                return swept;
            }
        };
        self.end_terminating(&pods, &mut swept).await;
        self.repair_targets(&pods, &mut swept).await;
        self.collect_references(&pods, &mut swept).await;
        self.retire_pods(&pods, &mut swept).await;
        match remains {
            Ok(remains) => self.discard_remains(remains, &pods, &mut swept).await,
            Err(text) => swept.trouble.push(text),
        }
        swept
    }

    async fn end_terminating(&self, pods: &[Pod], swept: &mut Swept) {
        for pod in pods.iter().filter(|pod| pod.deleting) {
            match self.run(Terminate::new(pod), soon()).await {
                Ok(TerminateOutcome::Vanished) => swept.vanished += 1,
                Ok(TerminateOutcome::NotTerminating) => {}
                Ok(TerminateOutcome::Failed(text)) => swept.trouble.push(format!("mount pod {}: {text}", pod.name)),
                Err(_) => swept.trouble.push(format!("mount pod {} did not end in time", pod.name)),
            }
        }
    }

    async fn repair_targets(&self, pods: &[Pod], swept: &mut Swept) {
        let targets: BTreeSet<TargetPath> =
            pods.iter().flat_map(annotations::references).map(|reference| reference.target).collect();
        for target in targets {
            // Whoever works on the target sees to it.
            let Ok(_guard) = self.guards.take(&target, Holder::Repair) else { continue };
            match self.run(Rebind::new(self.node_id.clone(), target.clone()), soon()).await {
                Ok(RebindOutcome::Nothing) => {}
                Ok(RebindOutcome::Rebound) => swept.rebound.push(target),
                Ok(RebindOutcome::Later) => swept.trouble.push(format!("{target}: its daemon does not serve yet")),
                Ok(RebindOutcome::Failed(text)) => swept.trouble.push(format!("{target}: {text}")),
                Err(_) => swept.trouble.push(format!("{target} was not repaired in time")),
            }
        }
    }

    async fn collect_references(&self, pods: &[Pod], swept: &mut Swept) {
        for pod in pods.iter().filter(|pod| pod.is_live() && annotations::is_referenced(pod)) {
            let volume = pod.spec.key.volume.clone();
            let collect = Collect::new(self.node_id.clone(), volume, pod.uid.clone());
            if let Ok(collected) = self.run(collect, soon()).await {
                swept.collected.extend(collected.dropped);
            }
        }
    }

    async fn retire_pods(&self, pods: &[Pod], swept: &mut Swept) {
        let volumes: BTreeSet<_> = pods.iter().map(|pod| &pod.spec.key.volume).collect();
        for volume in volumes {
            let retire = Retire::new(self.node_id.clone(), volume.clone());
            let Ok(retirement) = self.run(retire, soon()).await else { continue };
            swept.due = [swept.due, retirement.due].into_iter().flatten().min();
            swept.unreadable.extend(retirement.unreadable);
        }
    }

    async fn discard_remains(&self, remains: Vec<Uid>, pods: &[Pod], swept: &mut Swept) {
        for uid in remains {
            if pods.iter().any(|pod| pod.uid == uid) {
                continue;
            }
            if let Err(text) = self.node.discard(&uid).await {
                swept.trouble.push(text);
            }
        }
    }
}

async fn rounds(engine: Arc<Engine>, wake: Arc<Notify>, interval: Duration, stop: CancellationToken) {
    loop {
        let swept = engine.sweep().await;
        for (pod, text) in &swept.unreadable {
            tracing::warn!(%pod, "the pod is kept although nothing refers to it: {text}");
        }
        for text in &swept.trouble {
            tracing::warn!("housekeeping: {text}");
        }
        let until_due = swept.due.map(|due| due.since(engine.clock.now()).max(SHORTEST_PAUSE));
        let quiet = swept.vanished == 0 && swept.trouble.is_empty();
        let next = if quiet { interval } else { interval.min(RETRY_PAUSE) };
        let pause = until_due.unwrap_or(next).min(next);
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn soon() -> Instant {
    Instant::now() + STEP_TIME
}

const ROUND_TIME: Duration = Duration::from_secs(30);
const STEP_TIME: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
