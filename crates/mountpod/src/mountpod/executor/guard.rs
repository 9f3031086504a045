//! One request at a time for each target of this process; the second one is told so instead of waiting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::timeout_at};

use super::super::{Deadline, TargetPath};

/// The targets that are being worked on.
#[derive(Clone, Debug, Default)]
pub(super) struct Guards(Arc<State>);

#[derive(Debug, Default)]
struct State {
    held: Mutex<BTreeMap<TargetPath, Holder>>,
    freed: Notify,
}

/// Who works on a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    /// A request of the orchestrator: another one for the same target is refused.
    Request,
    /// A repair: it is short, and nobody outside has to know of it.
    Repair,
}

/// Holds one target until it is dropped.
#[derive(Debug)]
#[must_use = "the target is given back when the guard is dropped"]
pub(super) struct Guard {
    guards: Guards,
    target: TargetPath,
}

impl Guards {
    /// Takes the target, or says who works on it.
    pub(super) fn take(&self, target: &TargetPath, holder: Holder) -> Result<Guard, Holder> {
        let mut held = self.held();
        if let Some(other) = held.get(target) {
            return Err(*other);
        }
        held.insert(target.clone(), holder);
        Ok(Guard { guards: self.clone(), target: target.clone() })
    }

    /// Takes the target for a request; waits for a repair to end, and gives up when another request has the target or at
    /// the deadline.
    pub(super) async fn take_for_request(&self, target: &TargetPath, deadline: Deadline) -> Option<Guard> {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            // Counts from here on, so that a repair that ends before the wait begins is not missed.
            freed.as_mut().enable();
            match self.take(target, Holder::Request) {
                Ok(guard) => return Some(guard),
                Err(Holder::Request) => return None,
                Err(Holder::Repair) => timeout_at(deadline, freed).await.ok()?,
            }
        }
    }

    /// Whether a request of the orchestrator works on the target.
    pub(super) fn is_requested(&self, target: &TargetPath) -> bool {
        self.held().get(target) == Some(&Holder::Request)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<TargetPath, Holder>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.guards.held().remove(&self.target);
        self.guards.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_target_is_held_by_one_and_free_again_after() {
        let guards = Guards::default();
        let target = "/t".parse().unwrap();
        let guard = guards.take(&target, Holder::Request).expect("free");
        assert_eq!(guards.take(&target, Holder::Repair).unwrap_err(), Holder::Request);
        assert!(guards.take(&"/u".parse().unwrap(), Holder::Request).is_ok());
        drop(guard);
        assert!(guards.take(&target, Holder::Request).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_repair_but_not_for_another_request() {
        let guards = Guards::default();
        let target: TargetPath = "/t".parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let repair = guards.take(&target, Holder::Repair).unwrap();
        let waiting = tokio::spawn({
            let (guards, target) = (guards.clone(), target.clone());
            async move { guards.take_for_request(&target, deadline).await }
        });
        tokio::task::yield_now().await;
        drop(repair);
        let held = waiting.await.unwrap().expect("the repair has ended");
        assert!(guards.take_for_request(&target, deadline).await.is_none());
        drop(held);
        let _repair = guards.take(&target, Holder::Repair).unwrap();
        assert!(guards.take_for_request(&target, deadline).await.is_none(), "the deadline bounds the wait");
    }
}
