//! What all components share: the store, the time, the recorder, the profile, and what is in trouble.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    attempts::Attempts,
    csi_client::Turns,
    departure::Departure,
    external_provisioner::Orders,
    object::{CsiDriver, Event, Metadata},
    refusals::Refusals,
    store::Store,
    timing::Timing,
};
use crate::{
    history::{Recorder, Request},
    spec::Rpc,
    sut::Profile,
};

/// What is done to a call on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// Nothing.
    Calm,
    /// Its answer gets lost on the way back.
    LoseAnswer,
    /// The caller has no more patience than this.
    Hurry(Duration),
}

/// Who decides what is done to calls.
pub trait Nemesis: Send + Sync {
    /// What is done to this one.
    fn fate(&self, request: &Request) -> Fate;
}

/// Leaves all calls alone.
#[derive(Clone, Copy, Debug)]
pub struct Peace;

impl Nemesis for Peace {
    fn fate(&self, _: &Request) -> Fate {
        Fate::Calm
    }
}

/// Something that does not come about, and the answer that keeps it from it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// Who tries.
    pub component: String,
    /// For which object.
    pub subject: String,
    /// What is answered: which RPC.
    pub rpc: Rpc,
    /// What is answered: code and message.
    pub answer: String,
    /// How often in a row.
    pub tries: u32,
    /// When it is tried again, in milliseconds of the cluster's life, as far as that is known.
    pub next: Option<u64>,
}

/// What is in trouble now; clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<(String, String), Trouble>>>);

/// What all secrets have become, once they were changed; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Rotated(Arc<Mutex<Option<BTreeMap<String, String>>>>);

impl Rotated {
    pub(super) fn set(&self, secrets: BTreeMap<String, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(secrets);
    }

    fn get(&self) -> Option<BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What all components share.
#[derive(Clone)]
pub struct Context {
    /// The objects.
    pub store: Store,
    /// How fast time passes.
    pub timing: Timing,
    /// The history.
    pub recorder: Recorder,
    /// What is in trouble.
    pub troubles: Troubles,
    /// Parameters, secrets and sizes.
    pub profile: Arc<Profile>,
    /// How the driver wants to be treated.
    pub csi_driver: CsiDriver,
    /// What is done to calls.
    pub nemesis: Arc<dyn Nemesis>,
    /// What all secrets have become since the profile was read.
    pub(super) rotated: Rotated,
    /// Departures of Kubernetes that are switched off.
    pub without: BTreeSet<Departure>,
    /// The volumes that a call is under way for, where these have to come one after the other.
    pub(super) turns: Turns,
    /// Calls that may still be under way, where these are repeated as they were made first.
    pub(super) attempts: Attempts,
    /// What was refused for good, where that is not asked for again.
    pub(super) refusals: Refusals,
    /// Creations that may still come about, where these outlive a restart of the provisioner.
    pub(super) orders: Orders,
    /// Whether kubelets measure volumes.
    pub measures: bool,
    /// Whether kubelets look at the condition of what they measure (the gate CSIVolumeHealth).
    pub checks_health: bool,
}

impl Context {
    /// Tells something about an object; what was told before for the same reason is replaced.
    pub(super) fn tell(&self, regarding: &str, reason: &str, message: &str) {
        let name = format!("{regarding}.{reason}");
        let event = Event {
            metadata: Metadata::named(&name),
            regarding: regarding.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        if self.store.create(event).is_err() {
            let _ = self.store.note(&name, |event: &mut Event| message.clone_into(&mut event.message));
        }
    }

    /// The secrets of an RPC as they are now.
    pub(super) fn secrets(&self, rpc: Rpc) -> BTreeMap<String, String> {
        self.rotated.get().unwrap_or_else(|| self.profile.secrets_of(rpc).clone())
    }

    /// Whether Kubernetes departs here from what the specification asks.
    pub fn departs(&self, departure: Departure) -> bool {
        !self.without.contains(&departure)
    }
}

impl Troubles {
    /// All of them.
    pub fn list(&self) -> Vec<Trouble> {
        self.entries().values().cloned().collect()
    }

    pub(super) fn failed(&self, component: &str, subject: &str, rpc: Rpc, answer: String) {
        let mut entries = self.entries();
        let key = (component.to_owned(), subject.to_owned());
        let tries = entries.get(&key).filter(|trouble| trouble.rpc == rpc).map_or(0, |trouble| trouble.tries) + 1;
        let (component, subject) = key.clone();
        entries.insert(key, Trouble { component, subject, rpc, answer, tries, next: None });
    }

    pub(super) fn next_try(&self, component: &str, subject: &str, at: u64) {
        if let Some(trouble) = self.entries().get_mut(&(component.to_owned(), subject.to_owned())) {
            trouble.next = Some(at);
        }
    }

    pub(super) fn over(&self, component: &str, subject: &str) {
        self.entries().remove(&(component.to_owned(), subject.to_owned()));
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<(String, String), Trouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
