//! The periods, limits and back-offs of all components, and how fast time passes.

use std::time::Duration;

/// An exponential back-off.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after so many failures in a row.
    pub fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// How fast time passes: upstream periods are divided by the scale.
///
/// Deadlines of calls stand outside: a driver needs its time, however fast the cluster runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    scale: f64,
    call_limit: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self { scale: 1.0, call_limit: None }
    }
}

impl Timing {
    /// Time that passes so many times faster, and a limit for calls in place of that of each component.
    pub fn scaled(scale: f64, call_limit: Option<Duration>) -> Self {
        Self { scale: scale.max(0.001), call_limit }
    }

    /// A period of this cluster.
    pub fn of(&self, upstream: Duration) -> Duration {
        upstream.div_f64(self.scale)
    }

    /// A back-off of this cluster.
    pub fn backoff(&self, upstream: Backoff) -> Backoff {
        Backoff { first: self.of(upstream.first), longest: self.of(upstream.longest) }
    }

    /// How long a call of a component may take.
    pub fn call_limit(&self, upstream: Duration) -> Duration {
        self.call_limit.unwrap_or(upstream)
    }
}

/// Retries of all sidecars.
pub(super) const SIDECAR_BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
/// Retries of the operations of a kubelet, and of the attach/detach controller.
pub(super) const OPERATION_BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(122) };
/// How long what is infeasible is not tried again.
pub(super) const SLOW_RETRY: Duration = Duration::from_secs(300);
/// Pause of the start-up Probe loop.
pub(super) const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// A call of the provisioner or the resizer.
pub(super) const PROVISIONER_LIMIT: Duration = Duration::from_secs(10);
/// A call of the attacher.
pub(super) const ATTACHER_LIMIT: Duration = Duration::from_secs(15);
/// A call of the snapshotter.
pub(super) const SNAPSHOTTER_LIMIT: Duration = Duration::from_secs(60);
/// All calls of one operation of a kubelet.
pub(super) const KUBELET_LIMIT: Duration = Duration::from_secs(120);

/// How often the provisioner and the snapshotter look at everything again.
pub(super) const PROVISIONER_RESYNC: Duration = Duration::from_secs(15 * 60);
/// How often the attacher and the resizer look at everything again.
pub(super) const ATTACHER_RESYNC: Duration = Duration::from_secs(10 * 60);

/// The beat of kubelet's reconciler and populator, and of the attach/detach controller.
pub(super) const RECONCILER_PERIOD: Duration = Duration::from_millis(100);
/// How often a kubelet computes its node's status.
pub(super) const NODE_STATUS_PERIOD: Duration = Duration::from_secs(10);
/// How long the attach/detach controller waits for an attachment.
pub(super) const ATTACHMENT_WAIT: Duration = Duration::from_secs(120);
/// When a node that is not ready loses its volumes.
pub(super) const FORCED_DETACH: Duration = Duration::from_secs(360);
/// How long containers take to stop.
pub(super) const CONTAINER_STOP: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u64> = (1..=11).map(|failures| SIDECAR_BACKOFF.pause(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn a_scale_shortens_periods_and_leaves_calls_their_time() {
        let timing = Timing::scaled(10.0, None);
        assert_eq!(timing.of(Duration::from_secs(5)), Duration::from_millis(500));
        assert_eq!(timing.call_limit(KUBELET_LIMIT), KUBELET_LIMIT);
    }
}
