//! The state of one volume: whether it exists, what it is like, where it is attached, staged and published.

use std::collections::{BTreeMap, BTreeSet};

use crate::{csi::v1, history::CallId, oracle::capability::Capability};

/// A node and a path on it.
pub(crate) type Place = (String, String);

/// Whether an object exists.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Existence {
    /// It does not.
    Absent,
    /// It does.
    Present,
    /// The history does not tell.
    Unknown,
}

/// A possible state of a volume.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Volume {
    /// Whether it exists.
    pub(crate) existence: Existence,
    /// Its id, once an answer has told it.
    pub(crate) id: Option<String>,
    /// Ids that it had and that were deleted.
    pub(crate) dead_ids: BTreeSet<String>,
    /// The call that created it; `None` for a volume that was there before.
    pub(crate) created: Option<CallId>,
    /// The call that modified it last, where nothing may have modified it since.
    pub(crate) modified: Option<CallId>,
    /// Bytes; 0 when unknown.
    pub(crate) capacity: i64,
    /// Once told.
    pub(crate) context: Option<BTreeMap<String, String>>,
    /// Once told; empty means everywhere.
    pub(crate) topology: Option<Vec<BTreeMap<String, String>>>,
    /// Where it is attached, by node id.
    pub(crate) attachments: BTreeMap<String, Attachment>,
    /// Nodes that it was attached to and detached from.
    pub(crate) detached: BTreeSet<String>,
    /// Where it is staged.
    pub(crate) stagings: BTreeMap<Place, Capability>,
    /// Of these places, those at which a mount was seen.
    pub(crate) mounted: BTreeSet<Place>,
    /// Where it is published.
    pub(crate) publications: BTreeMap<Place, Publication>,
    /// Targets from which it was unpublished.
    pub(crate) withdrawn: BTreeSet<Place>,
    /// Paths from which it was unstaged.
    pub(crate) unstaged: BTreeSet<Place>,
    /// The history does not tell enough (it began earlier, or a violation has confused it): refusals are not judged.
    pub(crate) lenient: bool,
    /// Nothing was known about attachments, stagings and publications when the history began.
    pub(crate) foreign: bool,
}

/// Attached to a node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Attachment {
    /// The capability of the request.
    pub(crate) capability: Capability,
    /// The flag of the request.
    pub(crate) read_only: bool,
    /// The publish context, once told.
    pub(crate) context: Option<BTreeMap<String, String>>,
}

/// Published at a target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Publication {
    /// The capability of the request.
    pub(crate) capability: Capability,
    /// The flag of the request.
    pub(crate) read_only: bool,
    /// The call, whose other arguments a repeat is compared with.
    pub(crate) by: CallId,
}

impl Volume {
    /// A volume that does not exist yet.
    pub(crate) fn absent() -> Self {
        Self {
            existence: Existence::Absent,
            id: None,
            dead_ids: BTreeSet::new(),
            created: None,
            modified: None,
            capacity: 0,
            context: None,
            topology: None,
            attachments: BTreeMap::new(),
            detached: BTreeSet::new(),
            stagings: BTreeMap::new(),
            mounted: BTreeSet::new(),
            publications: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            unstaged: BTreeSet::new(),
            lenient: false,
            foreign: false,
        }
    }

    /// A volume of which the history does not tell where it comes from.
    pub(crate) fn foreign() -> Self {
        Self { existence: Existence::Unknown, lenient: true, foreign: true, ..Self::absent() }
    }

    /// Whether the object that goes by this id exists.
    pub(crate) fn existence_of(&self, id: &str) -> Existence {
        if self.existence != Existence::Present {
            return self.existence;
        }
        match &self.id {
            Some(own) if own == id => Existence::Present,
            None if !self.dead_ids.contains(id) => Existence::Present,
            None => Existence::Unknown,
            Some(_) => Existence::Absent,
        }
    }

    /// Whether anything holds it.
    pub(crate) fn is_in_use(&self) -> bool {
        !(self.attachments.is_empty() && self.stagings.is_empty() && self.publications.is_empty())
    }

    /// Whether it may be mounted at a path at which it was asked for once.
    pub(crate) fn may_be_at(&self, place: &Place) -> bool {
        let is_known = self.publications.contains_key(place) || self.stagings.contains_key(place);
        // What a volume left behind when it was deleted, or had before the history began, nobody tells.
        let may_have_stayed = self.foreign || !self.dead_ids.is_empty();
        let is_gone = self.withdrawn.contains(place) || self.unstaged.contains(place);
        is_known || (may_have_stayed && !is_gone)
    }

    /// The state in which it exists with what an answer says of it.
    pub(crate) fn told(mut self, volume: &v1::Volume) -> Self {
        self.existence = Existence::Present;
        if !volume.volume_id.is_empty() {
            self.id = Some(volume.volume_id.clone());
        }
        if volume.capacity_bytes > 0 {
            self.capacity = volume.capacity_bytes;
        }
        self.context = Some(volume.volume_context.clone());
        self.topology = Some(volume.accessible_topology.iter().map(|topology| topology.segments.clone()).collect());
        self
    }

    /// The state after a deletion.
    pub(crate) fn deleted(mut self) -> Self {
        let mut dead_ids = std::mem::take(&mut self.dead_ids);
        dead_ids.extend(self.id.take());
        let (withdrawn, unstaged) = (std::mem::take(&mut self.withdrawn), std::mem::take(&mut self.unstaged));
        Self { dead_ids, withdrawn, unstaged, lenient: self.lenient && self.foreign, ..Self::absent() }
    }
}
