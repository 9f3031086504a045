//! The state of one group snapshot: whether it exists, of which volumes it is, which members it has.

use std::collections::BTreeSet;

use super::{expect::expect, succeed::succeed};
use crate::{
    csi::v1,
    history::{CallId, Reply, Request},
    oracle::{
        configurations::{Applied, Branch},
        names::{Key, Names},
        objects::{Object, Subject},
        operation::Operation,
        ruling::{Answer, Ruling, Strike},
        volume::Existence,
        world::World,
    },
    rule,
    spec::RuleId,
};

/// A possible state of a group snapshot.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Group {
    /// Whether it exists.
    pub(crate) existence: Existence,
    /// Its id, once told.
    pub(crate) id: Option<String>,
    /// Ids that it had and that were deleted, each with the members that it had then.
    pub(crate) dead: BTreeSet<(String, BTreeSet<String>)>,
    /// The call that created it.
    pub(crate) created: Option<CallId>,
    /// The volumes that it shows.
    pub(crate) sources: BTreeSet<String>,
    /// The ids of its members, once told.
    pub(crate) members: Option<BTreeSet<String>>,
    /// Seconds and nanoseconds of the cut, once told.
    pub(crate) creation_time: Option<(i64, i32)>,
    /// Whether an answer said that it is ready to use.
    pub(crate) ready: bool,
    /// Refusals are not judged.
    pub(crate) lenient: bool,
}

impl Group {
    /// Whether the group that goes by this id exists.
    pub(crate) fn existence_of(&self, id: &str) -> Existence {
        if self.existence != Existence::Present {
            return self.existence;
        }
        match &self.id {
            Some(own) if own == id => Existence::Present,
            None if !self.is_dead(id) => Existence::Present,
            None => Existence::Unknown,
            Some(_) => Existence::Absent,
        }
    }

    /// Whether a group of this id was deleted.
    pub(crate) fn is_dead(&self, id: &str) -> bool {
        self.dead.iter().any(|(dead, _)| dead == id)
    }

    /// Whether these are the members; `None` when they are not known.
    pub(crate) fn has_members(&self, given: &[String]) -> Option<bool> {
        let members = self.members.as_ref()?;
        Some(given.iter().collect::<BTreeSet<_>>() == members.iter().collect())
    }

    pub(super) fn told(mut self, group: &v1::VolumeGroupSnapshot) -> Self {
        self.existence = Existence::Present;
        if !group.group_snapshot_id.is_empty() {
            self.id = Some(group.group_snapshot_id.clone());
        }
        self.members = Some(group.snapshots.iter().map(|member| member.snapshot_id.clone()).collect());
        self.creation_time = group.creation_time.map(|time| (time.seconds, time.nanos));
        self.ready |= group.ready_to_use;
        self
    }

    fn deleted(mut self) -> Self {
        let mut dead = std::mem::take(&mut self.dead);
        if let Some(id) = self.id.take() {
            dead.insert((id, self.members.take().unwrap_or_default()));
        }
        Self { dead, ..Self::absent() }
    }
}

impl Subject for Group {
    const KIND: &'static str = "group_snapshot";

    fn key(names: &Names, operation: &Operation) -> Option<Key> {
        names.group_of(operation)
    }

    fn absent() -> Self {
        Self {
            existence: Existence::Absent,
            id: None,
            dead: BTreeSet::new(),
            created: None,
            sources: BTreeSet::new(),
            members: None,
            creation_time: None,
            ready: false,
            lenient: false,
        }
    }

    fn foreign() -> Self {
        Self { existence: Existence::Unknown, lenient: true, ..Self::absent() }
    }

    fn is_absent(&self) -> bool {
        self.existence == Existence::Absent
    }

    fn is_unknown(&self) -> bool {
        self.existence == Existence::Unknown && self.lenient && self.members.is_none()
    }

    fn texts(&self, each: &mut dyn FnMut(&str)) {
        self.id.iter().chain(self.members.iter().flatten()).for_each(|id| each(id));
        for (id, members) in &self.dead {
            each(id);
            members.iter().for_each(|member| each(member));
        }
    }

    fn calls(&self) -> Vec<CallId> {
        self.created.into_iter().collect()
    }

    fn is_known_as(&self, id: &str) -> bool {
        self.existence_of(id) == Existence::Present && self.id.is_some()
    }

    fn apply(world: &World, state: &Self, operation: &Operation) -> Applied<Self> {
        let Some(answer) = operation.answer() else {
            let after = effect(state, operation);
            return if after == *state {
                Err(Strike::new(rule!("GEN-TIME-005"), "the call would have changed nothing", "", ""))
            } else {
                Ok(vec![Branch { state: after, marks: Vec::new() }])
            };
        };
        match expect(world, state, operation).forgive(world.is_excessive(operation)).rule_on(answer) {
            Ruling::Struck(strike) => Err(strike),
            Ruling::Refused(marks) => Ok(vec![Branch { state: state.clone(), marks }]),
            Ruling::Open(marks) => {
                let after = effect(state, operation);
                let mut branches = vec![Branch { state: state.clone(), marks: marks.clone() }];
                if after != *state {
                    branches.push(Branch { state: after, marks });
                }
                Ok(branches)
            }
            Ruling::Succeeded(marks) => {
                let (told, marks) = succeed(state, operation, answer, marks);
                let after = effect(state, operation);
                Ok(vec![Branch { state: told.map_or(after.clone(), |told| after.told(told)), marks }])
            }
        }
    }

    fn cut_off(self, _: &Operation) -> Self {
        self
    }

    /// Specification line 3041.
    fn given<'a>(answer: Answer<'a>) -> Option<(RuleId, &'a str)> {
        let Answer::Ok(Reply::CreateVolumeGroupSnapshot(reply)) = answer else { return None };
        Some((rule!("GROUP-CREATE-026"), &reply.group_snapshot.as_ref()?.group_snapshot_id))
    }

    fn after_conviction(_: &Object<Self>, _: &Operation, answer: Answer<'_>) -> Self {
        let id = match answer {
            Answer::Ok(Reply::CreateVolumeGroupSnapshot(reply)) => {
                reply.group_snapshot.as_ref().map(|group| group.group_snapshot_id.clone())
            }
            _ => None,
        };
        Self { id, ..Self::foreign() }
    }
}

fn effect(state: &Group, operation: &Operation) -> Group {
    match operation.request() {
        Request::CreateVolumeGroupSnapshot(request) if state.existence != Existence::Present => Group {
            existence: Existence::Present,
            created: Some(operation.alike),
            sources: request.source_volume_ids.iter().cloned().collect(),
            ..state.clone()
        },
        Request::DeleteVolumeGroupSnapshot(request)
            if state.existence_of(&request.group_snapshot_id) != Existence::Absent =>
        {
            state.clone().deleted()
        }
        _ => state.clone(),
    }
}
