//! The loop of a controller: changes of objects become keys, keys are worked on side by side, failures come again.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    context::Context,
    store::Change,
    timing::{Backoff, SIDECAR_BACKOFF},
    work_queue::{Next, WorkQueue},
};

/// The pauses before a container that ended is started again.
const CONTAINER_BACKOFF: Backoff = Backoff { first: Duration::from_secs(10), longest: Duration::from_secs(300) };

/// Brings objects, one at a time, to where they should be.
#[async_trait]
pub(super) trait Controller: Send + Sync + 'static {
    /// Its name in histories and reports.
    fn name(&self) -> &str;

    /// The objects that a change concerns, by name.
    fn concerns(&self, change: &Change) -> Vec<String>;

    /// All objects, by name: for the start and each resync.
    fn all(&self) -> Vec<String>;

    /// What the troubles call the object.
    fn subject(&self, key: &str) -> String;

    /// Works on one of them; changes that come meanwhile bring it back.
    async fn reconcile(&self, key: &str) -> Next;
}

/// Runs a controller; dropping the future ends it as the end of its process does, in the middle of whatever it does.
pub(super) async fn run<C: Controller>(
    controller: Arc<C>,
    context: &Context,
    workers: usize,
    resync: Duration,
) -> Infallible {
    let resync = context.timing.of(resync);
    let mut watch = context.store.watch();
    let mut queue = WorkQueue::new(context.timing.backoff(SIDECAR_BACKOFF));
    let mut working = JoinSet::new();
    let began = Instant::now();
    let began_at = context.store.now();
    controller.all().into_iter().for_each(|key| queue.add(key));
    let mut again = began + resync;
    loop {
        for change in watch.changes() {
            controller.concerns(&change).into_iter().for_each(|key| queue.add(key));
        }
        while working.len() < workers
            && let Some(key) = queue.take(began.elapsed())
        {
            let controller = controller.clone();
            working.spawn(async move {
                let next = controller.reconcile(&key).await;
                (key, next)
            });
        }
        let due = queue.next_due().map_or(again, |due| again.min(began + due));
        tokio::select! {
            () = watch.changed() => {}
            Some(ended) = working.join_next() => {
                // A worker that panicked is a fault of our own; its key comes again with the next change.
                if let Ok((key, next)) = ended
                    && let Some(due) = queue.finish(&key, next, began.elapsed())
                {
                    let at = began_at + due.as_millis() as u64;
                    context.troubles.next_try(controller.name(), &controller.subject(&key), at);
                }
            }
            () = sleep_until(due) => {}
        }
        if Instant::now() >= again {
            again = Instant::now() + resync;
            controller.all().into_iter().for_each(|key| queue.add(key));
        }
    }
}

/// Keeps a container running: whatever ends it, it is started again, and at once when that is asked for.
pub(super) async fn supervise<F: Future<Output = String>>(
    context: Context,
    restart: Arc<Notify>,
    start: impl Fn() -> F + Send,
) -> Infallible {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        tokio::select! {
            exit = start() => {
                tracing::info!(exit, "a sidecar has ended");
                // A container that ran for a while starts afresh.
                failures = if began.elapsed() > context.timing.of(CONTAINER_BACKOFF.longest) { 1 } else { failures + 1 };
                let pause = context.timing.backoff(CONTAINER_BACKOFF).pause(failures);
                tokio::select! {
                    () = sleep(pause) => {}
                    () = restart.notified() => {}
                }
            }
            () = restart.notified() => failures = 0,
        }
    }
}
