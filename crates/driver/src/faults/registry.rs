//! All faults and legal variants by their ids.

use std::sync::Arc;

use thiserror::Error;

use super::{
    access_mode, block, capability, capacity, conduct::Conduct, crash_recovery, data_loss, error_code, expand, group,
    hang, idempotency, leak, metadata, other, pagination, protocol, race, refcount, security, snapshot, stats,
    topology, variants as legal,
};
use crate::driver::Parts;

/// A fault, or a legal variant, as a value.
pub struct Seeded {
    /// Its id; that of the catalogue for a fault.
    pub id: &'static str,
    /// What a variant does otherwise; empty for a fault, which the catalogue describes.
    pub what: &'static str,
    parts: Box<dyn Fn(Parts) -> Parts + Send + Sync>,
    conduct: Box<dyn Fn() -> Conduct + Send + Sync>,
}

impl Seeded {
    /// A fault in how calls are answered; each process makes its conduct anew.
    pub(super) fn conducting(id: &'static str, conduct: impl Fn() -> Conduct + Send + Sync + 'static) -> Self {
        Self { id, what: "", parts: Box::new(|parts| parts), conduct: Box::new(conduct) }
    }

    /// A fault in one of the parts.
    pub(super) fn replacing(id: &'static str, parts: impl Fn(Parts) -> Parts + Send + Sync + 'static) -> Self {
        Self { id, what: "", parts: Box::new(parts), conduct: Box::new(Conduct::default) }
    }

    /// Says what a variant does otherwise.
    pub(super) fn legally(mut self, what: &'static str) -> Self {
        self.what = what;
        self
    }

    /// Adds a replaced part.
    pub(super) fn and_replacing(mut self, parts: impl Fn(Parts) -> Parts + Send + Sync + 'static) -> Self {
        self.parts = Box::new(parts);
        self
    }

    /// The driver's parts with the fault in them.
    pub fn parts(&self, parts: Parts) -> Parts {
        (self.parts)(parts)
    }

    /// The conduct of a new process.
    pub fn conduct(&self) -> Conduct {
        (self.conduct)()
    }
}

/// No fault and no variant has that id.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("there is no fault {0:?}: see csi-certify faults")]
pub struct UnknownFault(String);

/// Every fault.
pub fn seeded() -> Vec<Arc<Seeded>> {
    let classes = [
        access_mode::faults(),
        block::faults(),
        capability::faults(),
        capacity::faults(),
        crash_recovery::faults(),
        data_loss::faults(),
        error_code::faults(),
        expand::faults(),
        group::faults(),
        hang::faults(),
        idempotency::faults(),
        leak::faults(),
        metadata::faults(),
        other::faults(),
        pagination::faults(),
        protocol::faults(),
        race::faults(),
        refcount::faults(),
        security::faults(),
        snapshot::faults(),
        stats::faults(),
        topology::faults(),
    ];
    classes.into_iter().flatten().map(Arc::new).collect()
}

/// Every legal variant.
pub fn variants() -> Vec<Arc<Seeded>> {
    legal::variants().into_iter().map(Arc::new).collect()
}

/// A fault or variant by its id.
///
/// # Errors
///
/// When there is none.
pub fn find(id: &str) -> Result<Arc<Seeded>, UnknownFault> {
    let all = seeded().into_iter().chain(variants());
    all.into_iter().find(|one| one.id.eq_ignore_ascii_case(id)).ok_or_else(|| UnknownFault(id.to_owned()))
}
