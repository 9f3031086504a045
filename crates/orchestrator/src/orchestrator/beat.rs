//! The beat of loops that look around every 100 ms: as upstream, but asleep while there is nothing to see.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{context::Context, store::Watch, timing::RECONCILER_PERIOD};

/// How long a loop sleeps that nothing wakes.
const LONG: Duration = Duration::from_secs(3600);

/// Wakes a loop at the next beat after something has changed or fallen due.
pub(super) struct Beat {
    began: Instant,
    period: Duration,
    watch: Watch,
}

impl Beat {
    pub(super) fn new(context: &Context) -> Self {
        let period = context.timing.of(RECONCILER_PERIOD);
        Self { began: Instant::now(), period, watch: context.store.watch() }
    }

    /// Since the loop began.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for a change or for the moment, and then for the next beat.
    pub(super) async fn next(&mut self, due: Option<Duration>) {
        let due = self.began + due.unwrap_or_else(|| self.now() + LONG);
        tokio::select! {
            () = self.watch.changed() => sleep(self.period).await,
            () = sleep_until(due) => {}
        }
        self.watch.changes();
    }
}
