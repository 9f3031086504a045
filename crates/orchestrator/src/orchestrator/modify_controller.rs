//! The modify controller of external-resizer: ControllerModifyVolume for claims whose class of attributes differs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    controller::Controller,
    csi_client::{CsiClient, RpcError},
    external_resizer::NAME,
    object::{Kind, Modification, PersistentVolume, PersistentVolumeClaim, VolumeAttributesClass},
    store::{Change, Store},
    timing::{PROVISIONER_LIMIT, SLOW_RETRY},
    work_queue::Next,
};
use crate::{csi::v1, spec::Rpc, sut::Code};

/// What is remembered of a claim; lost with a restart, after which everything under way counts as uncertain.
#[derive(Clone, Debug, Default)]
struct Remembered {
    /// The last failure was final, so that another class may be tried.
    failed_for_good: bool,
    /// This class is not tried again before that moment.
    slow: Option<(String, u64)>,
}

/// The claims, as far as their attributes go.
pub(super) struct Modifications {
    client: CsiClient,
    memory: Mutex<BTreeMap<String, Remembered>>,
}

/// What is to be done for a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    /// To this class.
    Modify(String),
    /// This class was refused; again at that moment.
    WaitUntil(u64),
    /// What was under way is not wanted any more.
    Forget,
}

fn step(claim: &PersistentVolumeClaim, remembered: &Remembered, now: u64) -> Step {
    let wanted = &claim.attributes_class;
    if !claim.is_bound || claim.metadata.is_deleting() {
        return Step::Nothing;
    }
    let is_wanted = !wanted.is_empty() && *wanted != claim.current_attributes_class;
    match &claim.modification {
        // It may have happened: nothing else before that is known.
        Some(Modification::InProgress(class)) if !remembered.failed_for_good => Step::Modify(class.clone()),
        Some(_) if !is_wanted => Step::Forget,
        None if !is_wanted => Step::Nothing,
        _ => match &remembered.slow {
            Some((class, until)) if class == wanted && *until > now => Step::WaitUntil(*until),
            _ => Step::Modify(wanted.clone()),
        },
    }
}

impl Modifications {
    pub(super) const fn new(client: CsiClient) -> Self {
        Self { client, memory: Mutex::new(BTreeMap::new()) }
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<String, Remembered>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self) -> &Store {
        &self.client.context.store
    }

    async fn modify(&self, claim: &PersistentVolumeClaim, class: &str) -> Next {
        let name = &claim.metadata.name;
        let volume = self.store().get::<PersistentVolume>(&claim.volume_name);
        let attributes = self.store().get::<VolumeAttributesClass>(class);
        let (Some(volume), Some(attributes)) = (volume, attributes) else { return Next::Retry };
        let begin = |claim: &mut PersistentVolumeClaim| {
            claim.modification = Some(Modification::InProgress(class.to_owned()));
        };
        // Claims that vanish meanwhile have no status.
        let _ = self.store().note(name, begin);
        let request = v1::ControllerModifyVolumeRequest {
            volume_id: volume.handle,
            secrets: self.client.secrets(Rpc::ControllerModifyVolume),
            mutable_parameters: attributes.parameters,
        };
        match self.client.call(&self.subject(name), request, PROVISIONER_LIMIT).await {
            Ok(_) => {
                self.memory().remove(&claim.metadata.uid);
                let finish = |claim: &mut PersistentVolumeClaim| {
                    class.clone_into(&mut claim.current_attributes_class);
                    claim.modification = None;
                };
                let _ = self.store().note(name, finish);
                // Another class may be wanted by now.
                Next::After(Duration::ZERO)
            }
            Err(error) => self.failed(claim, class, &error),
        }
    }

    fn failed(&self, claim: &PersistentVolumeClaim, class: &str, error: &RpcError) -> Next {
        let pause = self.client.context.timing.of(SLOW_RETRY);
        let until = self.store().now() + pause.as_millis() as u64;
        let is_infeasible = error.is(Code::INVALID_ARGUMENT);
        let mut memory = self.memory();
        let remembered = memory.entry(claim.metadata.uid.clone()).or_default();
        remembered.failed_for_good = !error.is_uncertain();
        if !is_infeasible {
            return Next::Retry;
        }
        remembered.slow = Some((class.to_owned(), until));
        let refuse = |claim: &mut PersistentVolumeClaim| {
            claim.modification = Some(Modification::Infeasible(class.to_owned()));
        };
        let _ = self.store().note(&claim.metadata.name, refuse);
        Next::After(pause)
    }
}

#[async_trait]
impl Controller for Modifications {
    fn name(&self) -> &str {
        NAME
    }

    fn concerns(&self, change: &Change) -> Vec<String> {
        match change.kind {
            Kind::PersistentVolumeClaim if !change.is_quiet => vec![change.name.clone()],
            Kind::VolumeAttributesClass => self.all(),
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<String> {
        self.store().read(|tables| tables.claims.keys().cloned().collect())
    }

    fn subject(&self, key: &str) -> String {
        format!("attributes of claim {key}")
    }

    async fn reconcile(&self, key: &str) -> Next {
        let Some(claim) = self.store().get::<PersistentVolumeClaim>(key) else {
            self.client.context.troubles.over(NAME, &self.subject(key));
            return Next::Settled;
        };
        let remembered = self.memory().get(&claim.metadata.uid).cloned().unwrap_or_default();
        let now = self.store().now();
        match step(&claim, &remembered, now) {
            Step::Nothing => Next::Settled,
            Step::WaitUntil(until) => Next::After(Duration::from_millis(until - now)),
            Step::Modify(class) => self.modify(&claim, &class).await,
            Step::Forget => {
                let _ = self.store().note(key, |claim: &mut PersistentVolumeClaim| claim.modification = None);
                self.client.context.troubles.over(NAME, &self.subject(key));
                Next::Settled
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(wanted: &str, current: &str, modification: Option<Modification>) -> PersistentVolumeClaim {
        PersistentVolumeClaim {
            attributes_class: wanted.into(),
            current_attributes_class: current.into(),
            modification,
            is_bound: true,
            ..Default::default()
        }
    }

    #[test]
    fn an_uncertain_change_freezes_its_class_and_a_final_failure_frees_it() {
        let under_way = claim("silver", "", Some(Modification::InProgress("gold".into())));
        assert_eq!(step(&under_way, &Remembered::default(), 0), Step::Modify("gold".into()));
        let failed = Remembered { failed_for_good: true, ..Remembered::default() };
        assert_eq!(step(&under_way, &failed, 0), Step::Modify("silver".into()));
        let back = claim("silver", "silver", Some(Modification::InProgress("gold".into())));
        assert_eq!(step(&back, &failed, 0), Step::Forget);
    }

    #[test]
    fn a_refused_class_waits_and_another_does_not() {
        let refused = Remembered { failed_for_good: true, slow: Some(("gold".into(), 9)) };
        let infeasible = |wanted| claim(wanted, "", Some(Modification::Infeasible("gold".into())));
        assert_eq!(step(&infeasible("gold"), &refused, 0), Step::WaitUntil(9));
        assert_eq!(step(&infeasible("gold"), &refused, 9), Step::Modify("gold".into()));
        assert_eq!(step(&infeasible("silver"), &refused, 0), Step::Modify("silver".into()));
        assert_eq!(step(&claim("gold", "gold", None), &Remembered::default(), 0), Step::Nothing);
    }
}
