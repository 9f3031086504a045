//! A volume as an object of a history.

use super::{
    super::{
        configurations::Applied,
        names::{Key, Names},
        objects::{Object, Subject},
        operation::Operation,
        ruling::Answer,
        world::World,
    },
    rules,
    state::{Existence, Volume},
};
use crate::{
    history::{CallId, Reply, Request},
    rule,
    spec::RuleId,
};

impl Subject for Volume {
    const KIND: &'static str = "volume";

    fn key(names: &Names, operation: &Operation) -> Option<Key> {
        names.volume_of(operation)
    }

    fn absent() -> Self {
        Self::absent()
    }

    fn foreign() -> Self {
        Self::foreign()
    }

    fn is_absent(&self) -> bool {
        self.existence == Existence::Absent
    }

    fn is_unknown(&self) -> bool {
        self.existence == Existence::Unknown
    }

    fn texts(&self, each: &mut dyn FnMut(&str)) {
        self.id.iter().chain(&self.dead_ids).for_each(|id| each(id));
    }

    fn calls(&self) -> Vec<CallId> {
        self.created.into_iter().chain(self.publications.values().map(|one| one.by)).collect()
    }

    fn is_known_as(&self, id: &str) -> bool {
        self.existence_of(id) == Existence::Present && self.id.is_some()
    }

    fn apply(world: &World, state: &Self, operation: &Operation) -> Applied<Self> {
        rules::apply(world, state, operation)
    }

    /// What it was to put to a path, or to take from there, may be there in part.
    fn cut_off(mut self, operation: &Operation) -> Self {
        let node = || operation.call.node.clone();
        match operation.request() {
            Request::NodePublishVolume(r) => self.withdrawn.remove(&(node(), r.target_path.clone())),
            Request::NodeUnpublishVolume(r) => self.withdrawn.remove(&(node(), r.target_path.clone())),
            Request::NodeStageVolume(r) => self.unstaged.remove(&(node(), r.staging_target_path.clone())),
            Request::NodeUnstageVolume(r) => self.unstaged.remove(&(node(), r.staging_target_path.clone())),
            _ => false,
        };
        self
    }

    /// Specification line 1031.
    fn given<'a>(answer: Answer<'a>) -> Option<(RuleId, &'a str)> {
        let Answer::Ok(Reply::CreateVolume(reply)) = answer else { return None };
        Some((rule!("CTRL-CREATE-087"), &reply.volume.as_ref()?.volume_id))
    }

    fn after_conviction(object: &Object<Self>, operation: &Operation, answer: Answer<'_>) -> Self {
        let known = object.worlds.states().next().cloned().unwrap_or_else(Self::foreign);
        let confused = Self { id: known.id, dead_ids: known.dead_ids, ..Self::foreign() };
        let told = match (operation.request(), answer) {
            (Request::CreateVolume(_), Answer::Ok(Reply::CreateVolume(reply))) => match &reply.volume {
                Some(volume) => confused.told(volume),
                None => confused,
            },
            _ => confused,
        };
        Self { foreign: true, lenient: true, ..told }
    }
}
