//! What one object's judgement may know of the world around it.

use std::collections::BTreeMap;

use super::{
    capability::Access, excess::Excess, knowledge::Knowledge, operation::Operation, operations::Operations,
    volume::Existence,
};
use crate::history::CallId;

/// Read-only surroundings of a judgement.
#[derive(Debug)]
pub(crate) struct World {
    /// The plugin.
    pub(crate) knowledge: Knowledge,
    /// All calls.
    pub(crate) operations: Operations,
    /// Calls that go beyond the limits of the interface.
    pub(crate) excess: Excess,
    /// What held around a call while it ran.
    pub(crate) surroundings: BTreeMap<CallId, Surroundings>,
}

/// What held of other objects from the start of a call to its end; what changed meanwhile is unknown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Surroundings {
    /// The snapshot or volume that a create takes its content from.
    pub(crate) source: Source,
    /// Whether the volume has snapshots.
    pub(crate) snapshots: Existence,
    /// Volumes restored from the snapshot.
    pub(crate) restored: Existence,
    /// How many volumes are certainly attached to the node of the request.
    pub(crate) attached: usize,
}

/// The source of a volume or snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Source {
    /// Whether it exists.
    pub(crate) existence: Existence,
    /// Its size in bytes, 0 when unknown.
    pub(crate) size: i64,
    /// How it appears on a node, where it was made for one access type only.
    pub(crate) access: Option<Access>,
}

impl Default for Surroundings {
    fn default() -> Self {
        let source = Source { existence: Existence::Unknown, size: 0, access: None };
        Self { source, snapshots: Existence::Unknown, restored: Existence::Unknown, attached: 0 }
    }
}

impl Surroundings {
    /// What held both then and now.
    pub(crate) fn and(&self, later: &Self) -> Self {
        let both = |a: Existence, b: Existence| if a == b { a } else { Existence::Unknown };
        Self {
            source: Source {
                existence: both(self.source.existence, later.source.existence),
                size: if self.source.size == later.source.size { self.source.size } else { 0 },
                access: self.source.access.filter(|access| later.source.access == Some(*access)),
            },
            snapshots: both(self.snapshots, later.snapshots),
            restored: both(self.restored, later.restored),
            attached: self.attached.min(later.attached),
        }
    }
}

impl World {
    /// What held around the call.
    pub(crate) fn around(&self, operation: &Operation) -> Surroundings {
        self.surroundings.get(&operation.call.id).cloned().unwrap_or_default()
    }

    /// Whether the call goes beyond the limits of the interface.
    pub(crate) fn is_excessive(&self, operation: &Operation) -> bool {
        self.excess.has(operation.started)
    }

    /// Whether the plugin advertises the capability.
    pub(crate) fn has(&self, capability: &str) -> bool {
        self.knowledge.has(capability)
    }
}
