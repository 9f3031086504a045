//! The pod API of a search: what writes do, with names that are free instead of counted.

use std::collections::BTreeMap;

use super::super::mountpod::{
    annotations,
    api::{ApiError, Preconditions, Selector, WriteMode},
    instant::Timestamp,
    objects,
    pod::{Phase, Pod, PodName, PodStatus, ResourceVersion, Uid},
    protocol::Answer,
};

/// The pods of the cluster.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Records {
    pub(super) pods: BTreeMap<PodName, Pod>,
    /// Since when nothing refers to a pod; kept only where deletions are delayed.
    pub(super) empty_since: BTreeMap<Uid, Timestamp>,
}

/// A uid and a version that nobody knows yet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Fresh {
    pub(super) uid: u32,
    pub(super) version: u32,
}

impl Fresh {
    fn uid(self) -> Uid {
        Uid::new(format!("{}{}", super::fingerprint::UID, self.uid))
    }

    fn version(self) -> ResourceVersion {
        ResourceVersion::new(format!("{}{}", super::fingerprint::VERSION, self.version))
    }
}

impl Records {
    pub(super) fn list(&self, selector: &Selector) -> Vec<Pod> {
        self.pods.values().filter(|pod| selector.selects(pod)).cloned().collect()
    }

    pub(super) fn create(&mut self, pod: &Pod, fresh: Fresh) -> Answer {
        let name = pod.name.clone();
        let created = objects::create(self.pods.get(&name), pod.clone(), fresh.uid(), fresh.version());
        self.put(&name, created.map(Some))
    }

    pub(super) fn update(&mut self, pod: &Pod, mode: WriteMode, fresh: Fresh) -> Answer {
        let name = pod.name.clone();
        let updated = objects::update(self.pods.get(&name), pod.clone(), mode, fresh.version());
        self.put(&name, updated)
    }

    /// Accepts a deletion; says which pod's daemon is killed by it.
    pub(super) fn delete(&mut self, name: &PodName, conditions: &Preconditions, fresh: Fresh) -> (Answer, Option<Pod>) {
        let before = self.pods.get(name).cloned();
        let deleted = objects::delete(before.as_ref(), conditions, fresh.version());
        let accepted = deleted.is_ok();
        (self.put(name, deleted), before.filter(|pod| accepted && pod.is_live()))
    }

    /// The kubelet writes that the pod's daemon runs.
    pub(super) fn report_running(&mut self, name: &PodName, ready: bool, fresh: Fresh) {
        let Some(pod) = self.pods.get(name) else { return };
        let status = PodStatus { phase: Phase::Running, ready };
        let uid = pod.uid.clone();
        if let Ok(written) = objects::update_status(Some(pod), &uid, status, fresh.version()) {
            self.pods.insert(name.clone(), written);
        }
    }

    /// Notes which pods nothing refers to since now.
    pub(super) fn note_empty(&mut self, now: Timestamp) {
        let empty = self.pods.values().filter(|pod| pod.is_live() && !annotations::is_referenced(pod));
        let since = empty.map(|pod| (pod.uid.clone(), *self.empty_since.get(&pod.uid).unwrap_or(&now)));
        self.empty_since = since.collect();
    }

    /// Takes away what no step reads any more and would only make records differ.
    pub(super) fn forget_marks(&mut self) {
        let pods: Vec<Pod> = self.pods.values().cloned().collect();
        for pod in self.pods.values_mut() {
            annotations::forget_marks(pod, &pods);
            if pod.deleting {
                pod.status = PodStatus::default();
            }
        }
    }

    fn put(&mut self, name: &PodName, result: Result<Option<Pod>, ApiError>) -> Answer {
        match result {
            Ok(Some(pod)) => {
                self.pods.insert(name.clone(), pod.clone());
                Answer::Written(Some(Box::new(pod)))
            }
            Ok(None) => {
                self.pods.remove(name);
                Answer::Written(None)
            }
            Err(ApiError::Failed(text)) => Answer::Failed(text),
            Err(_) => Answer::Refused,
        }
    }
}
