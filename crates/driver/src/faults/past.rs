//! What a process has answered so far; gone when it ends.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tonic::Status;

use crate::{
    csi::v1,
    history::{Reply, Request},
};

/// How a call is answered.
pub(super) type Answer = Result<Reply, Status>;

/// The calls of a process, in the order of their answers.
#[derive(Debug, Default)]
pub struct Past(Mutex<Arc<Vec<(Request, Answer)>>>);

impl Past {
    /// Remembers a call.
    pub fn remember(&self, request: Request, answer: Answer) {
        Arc::make_mut(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)).push((request, answer));
    }

    /// The calls until now; whoever looks at one may ask for others meanwhile.
    fn calls(&self) -> Arc<Vec<(Request, Answer)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last value that some call gives, seen from now.
    pub fn last<T>(&self, mut of: impl FnMut(&Request, &Answer) -> Option<T>) -> Option<T> {
        self.calls().iter().rev().find_map(|(request, answer)| of(request, answer))
    }

    /// The values that calls give, in order.
    pub fn all<T>(&self, mut of: impl FnMut(&Request, &Answer) -> Option<T>) -> Vec<T> {
        self.calls().iter().filter_map(|(request, answer)| of(request, answer)).collect()
    }

    /// Whether this very request was answered OK before.
    pub fn has_succeeded(&self, again: &Request) -> bool {
        self.last(|request, answer| (request == again && answer.is_ok()).then_some(())).is_some()
    }
}

impl Past {
    /// Whether a volume is published at a target, as far as this process has answered.
    pub fn is_published(&self, volume: &str, target: &str) -> bool {
        self.last(|request, answer| match request {
            Request::NodePublishVolume(r) if r.volume_id == volume && r.target_path == target => {
                answer.is_ok().then_some(true)
            }
            Request::NodeUnpublishVolume(r) if r.volume_id == volume && r.target_path == target => {
                answer.is_ok().then_some(false)
            }
            _ => None,
        })
        .unwrap_or(false)
    }

    /// The targets at which a volume is published.
    pub fn targets_of(&self, volume: &str) -> Vec<String> {
        let targets = self.all(|request, answer| match request {
            Request::NodePublishVolume(r) if r.volume_id == volume && answer.is_ok() => Some(r.target_path.clone()),
            _ => None,
        });
        let there: BTreeSet<String> = targets.into_iter().filter(|target| self.is_published(volume, target)).collect();
        there.into_iter().collect()
    }

    /// The volume that is published at a target.
    pub fn holder_of(&self, target: &str) -> Option<String> {
        self.last(|request, answer| match request {
            Request::NodePublishVolume(r) if r.target_path == target && answer.is_ok() => {
                Some(Some(r.volume_id.clone()))
            }
            Request::NodeUnpublishVolume(r) if r.target_path == target && answer.is_ok() => Some(None),
            _ => None,
        })
        .flatten()
    }

    /// Whether a volume is staged at a path.
    pub fn is_staged(&self, volume: &str, path: &str) -> bool {
        self.last(|request, answer| match request {
            Request::NodeStageVolume(r) if r.volume_id == volume && r.staging_target_path == path => {
                answer.is_ok().then_some(true)
            }
            Request::NodeUnstageVolume(r) if r.volume_id == volume && r.staging_target_path == path => {
                answer.is_ok().then_some(false)
            }
            _ => None,
        })
        .unwrap_or(false)
    }

    /// Whether a volume is attached to a node.
    pub fn is_attached(&self, volume: &str, node: &str) -> bool {
        self.last(|request, answer| match request {
            Request::ControllerPublishVolume(r) if r.volume_id == volume && r.node_id == node => {
                answer.is_ok().then_some(true)
            }
            Request::ControllerUnpublishVolume(r)
                if r.volume_id == volume && (r.node_id == node || r.node_id.is_empty()) =>
            {
                answer.is_ok().then_some(false)
            }
            _ => None,
        })
        .unwrap_or(false)
    }

    /// The volume that the last CreateVolume of a name gave.
    pub fn volume_named(&self, name: &str) -> Option<v1::Volume> {
        self.last(|request, answer| match (request, answer) {
            (Request::CreateVolume(r), Ok(Reply::CreateVolume(reply))) if r.name == name => reply.volume.clone(),
            _ => None,
        })
    }

    /// A volume that was created and not deleted.
    pub fn volume(&self, id: &str) -> Option<v1::Volume> {
        self.last(|request, answer| match (request, answer) {
            (Request::CreateVolume(_), Ok(Reply::CreateVolume(reply))) => {
                reply.volume.clone().filter(|volume| volume.volume_id == id).map(Some)
            }
            (Request::DeleteVolume(r), Ok(_)) if r.volume_id == id => Some(None),
            _ => None,
        })
        .flatten()
    }

    /// Volumes that were created and not deleted, in order.
    pub fn volumes(&self) -> Vec<v1::Volume> {
        let created = self.all(|_, answer| match answer {
            Ok(Reply::CreateVolume(reply)) => reply.volume.clone(),
            _ => None,
        });
        let mut seen = BTreeSet::new();
        created
            .into_iter()
            .filter(|it| seen.insert(it.volume_id.clone()) && self.volume(&it.volume_id).is_some())
            .collect()
    }

    /// A snapshot that was cut and not deleted.
    pub fn snapshot(&self, id: &str) -> Option<v1::Snapshot> {
        self.last(|request, answer| match (request, answer) {
            (Request::CreateSnapshot(_), Ok(Reply::CreateSnapshot(reply))) => {
                reply.snapshot.clone().filter(|snapshot| snapshot.snapshot_id == id).map(Some)
            }
            (Request::DeleteSnapshot(r), Ok(_)) if r.snapshot_id == id => Some(None),
            _ => None,
        })
        .flatten()
    }

    /// The request that made a volume.
    pub fn creation(&self, volume: &str) -> Option<v1::CreateVolumeRequest> {
        self.last(|request, answer| match (request, answer) {
            (Request::CreateVolume(r), Ok(Reply::CreateVolume(reply))) => {
                reply.volume.as_ref().is_some_and(|it| it.volume_id == volume).then(|| r.clone())
            }
            _ => None,
        })
    }

    /// Whether snapshots of a volume were cut and not deleted.
    pub fn has_snapshots(&self, volume: &str) -> bool {
        let cut = self.all(|_, answer| match answer {
            Ok(Reply::CreateSnapshot(reply)) => reply.snapshot.clone(),
            _ => None,
        });
        cut.into_iter().any(|it| it.source_volume_id == volume && self.snapshot(&it.snapshot_id).is_some())
    }

    /// How often a request was made, whatever came of it.
    pub fn count(&self, of: impl Fn(&Request) -> bool) -> usize {
        self.all(|request, _| of(request).then_some(())).len()
    }
}
