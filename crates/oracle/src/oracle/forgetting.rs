//! Forgetting what is over, so that memory grows with what is there and not with the history.
//!
//! Nothing is forgotten that could still change the verdict: objects are found by ids, names and paths, so one that is gone, and
//! that no event mentions any more, is asked for by nobody. What such objects mean together for others is kept as a few facts
//! (`objects::Gone`).

use std::collections::{BTreeSet, HashSet};

use super::{
    judge::Judge,
    names::{Key, Kind, Names},
    objects::{Object, Objects, Subject},
    operations::Operations,
};
use crate::{
    csi::v1::volume_content_source::Type as SourceType,
    history::{CallId, Request},
};

impl Judge {
    /// How much is remembered: calls, objects, and what is kept of them beside.
    pub(super) fn held(&self) -> usize {
        self.world.operations.len()
            + self.world.surroundings.len()
            + self.volumes.len()
            + self.snapshots.len()
            + self.groups.len()
            + self.names.len()
            + self.places.len()
            + self.told_groups.len()
            + self.contents.len()
            + self.leftovers.len()
            + self.lists.len()
            + self.metadata.len()
            + self.persistence.len()
            + self.ripening.len()
            + self.rounding.len()
            + self.strays.len()
            + self.usage.len()
            + self.written.len()
    }

    /// Forgets what neither exists nor is mentioned after this event.
    pub(super) fn forget_what_is_over(&mut self, now: usize) {
        let mentions = std::mem::take(&mut self.mentions);
        let is_mentioned = |text: &str| mentions.come_after(now, text);
        let oldest = self.in_flight.iter().filter_map(|&call| self.world.operations.get(call)).map(|one| one.started);
        let oldest = oldest.min().unwrap_or(now);
        // Whose a volume is has to be known for as long as something was refused of it.
        let is_own = |source: &str| matches!(self.names.volume(source, now), Key::Name(_));
        self.strays.forget_what_is_over(&is_mentioned, oldest, is_own);
        let sources = self.sources();
        self.names.retain(|kind, id| {
            is_mentioned(id) || (kind == Kind::Volume && (sources.contains(id) || self.strays.knows(id)))
        });
        let names = &self.names;
        retire(&mut self.snapshots, names, Kind::Snapshot, &is_mentioned, &HashSet::new(), |object| {
            let vanished =
                object.worlds.states().any(|state| state.dead_ids.iter().any(|id| !names.is_reused_for_snapshots(id)));
            (vanished, BTreeSet::new())
        });
        retire(&mut self.groups, names, Kind::Group, &is_mentioned, &HashSet::new(), |_| Default::default());
        let placed = self.forget_places(&is_mentioned, &sources);
        let operations = &self.world.operations;
        let is_in_use = |text: &str| is_mentioned(text) || sources.contains(text);
        retire(&mut self.volumes, &self.names, Kind::Volume, &is_in_use, &placed, |object| {
            let made_from = object.calls.iter().filter_map(|&call| restored(operations, call));
            (false, made_from.filter(|snapshot| is_mentioned(snapshot)).map(str::to_owned).collect())
        });
        self.volumes.gone.made_from.retain(|snapshot| is_mentioned(snapshot));
        self.volumes.gone.unknown_from.retain(|snapshot| is_mentioned(snapshot));
        self.forget_calls(now);
        let in_flight = &self.in_flight;
        self.lists.forget_what_is_over(&is_mentioned, |call| in_flight.contains(&call));
        self.contents.forget_what_is_over(&is_mentioned, |call| in_flight.contains(&call));
        self.leftovers.forget_what_is_over(&is_mentioned);
        self.metadata.forget_what_is_over(&is_mentioned);
        self.ripening.forget_what_is_over(&is_mentioned);
        self.rounding.forget_what_is_over(&is_mentioned);
        self.usage.forget_what_is_over(&is_mentioned);
        self.written.forget_what_is_over(&is_mentioned, |key| self.volumes.contains_key(key));
        self.told_groups.retain(|member, _| is_mentioned(member));
        self.cuts.forget(oldest);
        self.mentions = mentions;
        self.mentions.forget(now);
    }

    /// The volumes that snapshots were, or may have been, cut from.
    fn sources(&self) -> HashSet<String> {
        let mut sources = HashSet::new();
        for object in self.snapshots.values() {
            sources.extend(object.worlds.states().filter_map(|state| state.source.clone()));
            for call in object.worlds.calls() {
                if let Some(Request::CreateSnapshot(request)) = self.world.operations.get(call).map(|one| one.request())
                {
                    sources.insert(request.source_volume_id.clone());
                }
            }
        }
        sources
    }

    /// Forgets paths that nothing mentions, and at the others the volumes that are gone from there; those that are left.
    fn forget_places(&mut self, is_mentioned: &dyn Fn(&str) -> bool, sources: &HashSet<String>) -> HashSet<Key> {
        let volumes = &self.volumes;
        let found: HashSet<&str> = self.names.found(Kind::Volume).collect();
        let is_in_use = |text: &str| is_mentioned(text) || sources.contains(text);
        let is_gone_from = |key: &Key, place: &(String, String)| match volumes.get(key) {
            Some(object) => {
                is_over(key, object, &found, &is_in_use) && !object.worlds.states().any(|state| state.may_be_at(place))
            }
            None => true,
        };
        self.places.retain(|(_, path), _| is_mentioned(path));
        for (place, asked) in &mut self.places {
            let last = asked.last().cloned();
            asked.retain(|key| Some(key) == last.as_ref() || !is_gone_from(key, place));
        }
        self.places.values().flatten().cloned().collect()
    }

    /// Forgets the calls that no object and no list remembers.
    fn forget_calls(&mut self, now: usize) {
        let operations = &self.world.operations;
        let mut remembered: HashSet<CallId> = self.in_flight.iter().copied().collect();
        self.volumes.remember(operations, &mut remembered);
        self.snapshots.remember(operations, &mut remembered);
        self.groups.remember(operations, &mut remembered);
        self.world.operations.forget(now, &remembered);
        self.world.surroundings.retain(|call, _| remembered.contains(call));
        let repeatable = self.world.operations.repeatable();
        self.persistence.forget_what_is_over(|call| repeatable.contains(&call));
    }
}

/// The snapshot that a call makes a volume from.
pub(super) fn restored(operations: &Operations, call: CallId) -> Option<&str> {
    let Request::CreateVolume(request) = operations.get(call)?.request() else { return None };
    match request.volume_content_source.as_ref()?.r#type.as_ref()? {
        SourceType::Snapshot(source) => Some(&source.snapshot_id),
        SourceType::Volume(_) => None,
    }
}

/// Whether an object is gone, or nothing is known of it, and nobody will ask for it.
fn is_over<S: Subject>(key: &Key, object: &Object<S>, found: &HashSet<&str>, is_in_use: &dyn Fn(&str) -> bool) -> bool {
    let is_found = match key {
        Key::Name(name) => is_in_use(name) || found.contains(name.as_str()),
        Key::Id(id) => is_in_use(id),
        Key::Call(_) => false,
    };
    let mut is_named = is_found;
    object.worlds.states().for_each(|state| state.texts(&mut |text| is_named |= is_in_use(text)));
    !is_named
        && object.open.is_empty()
        && (object.certainly(Subject::is_absent) || object.certainly(Subject::is_unknown))
}

/// Forgets the objects that are over, but for some; `leaves` says what is left of one: whether ids that are certainly
/// nobody's, and what it was made from.
fn retire<S: Subject>(
    objects: &mut Objects<S>,
    names: &Names,
    kind: Kind,
    is_in_use: &dyn Fn(&str) -> bool,
    kept: &HashSet<Key>,
    leaves: impl Fn(&Object<S>) -> (bool, BTreeSet<String>),
) {
    let found: HashSet<&str> = names.found(kind).collect();
    objects.retire(|key, object| !kept.contains(key) && is_over(key, object, &found, is_in_use), leaves);
}
