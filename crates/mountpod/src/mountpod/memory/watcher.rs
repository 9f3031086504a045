//! Watching the simulated pod API, and letting its answers take their time.

use std::time::Duration;

use super::super::pod::{Pod, PodName};

/// A request to the pod API that has just taken effect.
#[derive(Clone, Copy, Debug)]
pub enum PodApiRequest<'a> {
    /// Pods were listed, or one was read.
    Read,
    /// This pod was created.
    Create(&'a Pod),
    /// This is a pod after it was written; `None` when it vanished with its last finalizer.
    Update(&'a PodName, Option<&'a Pod>),
    /// The deletion of this pod was accepted; `None` when it vanished at once.
    Delete(&'a PodName, Option<&'a Pod>),
    /// It was refused: nothing changed.
    Refused,
}

/// Sees every request to the pod API.
pub trait PodApiWatcher: Send + Sync + 'static {
    /// A request took effect; how long its answer is on its way back.
    fn took_effect(&self, request: PodApiRequest<'_>) -> Duration;
}
