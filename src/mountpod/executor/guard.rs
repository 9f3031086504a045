//! One request at a time for each target of this process; the second one is told so instead of waiting.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::super::TargetPath;

/// The targets that are being worked on.
#[derive(Clone, Debug, Default)]
pub(super) struct Guards(Arc<Mutex<BTreeSet<TargetPath>>>);

/// Holds one target until it is dropped.
#[derive(Debug)]
#[must_use = "the target is given back when the guard is dropped"]
pub(super) struct Guard {
    guards: Guards,
    target: TargetPath,
}

impl Guards {
    /// Takes the target, or says that somebody else works on it.
    pub(super) fn take(&self, target: &TargetPath) -> Option<Guard> {
        let taken = self.held().insert(target.clone());
        taken.then(|| Guard { guards: self.clone(), target: target.clone() })
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<TargetPath>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.guards.held().remove(&self.target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_held_by_one_and_free_again_after() {
        let guards = Guards::default();
        let target = "/t".parse().unwrap();
        let guard = guards.take(&target).expect("free");
        assert!(guards.take(&target).is_none());
        assert!(guards.take(&"/u".parse().unwrap()).is_some());
        drop(guard);
        assert!(guards.take(&target).is_some());
    }
}
