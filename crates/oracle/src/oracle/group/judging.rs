//! How group snapshots follow the calls of a history.

use super::{Group, member::member_marks};
use crate::{
    history::{Reply, Request},
    oracle::{
        judge::Judge,
        ledger::Place,
        names::Key,
        objects::Subject as _,
        operation::Operation,
        ruling::{Answer, Mark, advise, check, is_transient},
    },
    rule,
};

impl Judge {
    /// A call ends with an answer, after the snapshots have taken note of it.
    pub(in crate::oracle) fn finish_groups(&mut self, operation: &Operation, answer: Answer<'_>, place: &Place) {
        let mut marks = match self.world.has("Plugin.GROUP_CONTROLLER_SERVICE") {
            true => capabilities(operation, answer, self.world.has("Controller.GET_SNAPSHOT")),
            false => Vec::new(),
        };
        marks.extend(member_marks(&self.groups, &self.told_groups, operation, answer));
        self.note_members(answer);
        marks.extend(self.groups.told(&self.names, operation, answer));
        let settled = self.groups.finish(&self.world, &self.names, operation, answer);
        self.ledger.enter(marks, place);
        self.enter(settled, place);
        if matches!(answer, Answer::Ok(_)) {
            self.lose_member(operation);
        }
    }

    /// A member that may have been deleted alone leaves a group of which nothing certain is known.
    pub(in crate::oracle) fn lose_member(&mut self, operation: &Operation) {
        let Request::DeleteSnapshot(request) = operation.request() else { return };
        let has_it =
            |state: &Group| state.members.as_ref().is_some_and(|members| members.contains(&request.snapshot_id));
        let with_it = self.groups.iter().filter(|(_, object)| object.worlds.states().any(has_it));
        let keys: Vec<Key> = with_it.map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(object) = self.groups.get_mut(&key) {
                object.worlds.rebuild(Group::foreign(), None);
            }
        }
    }

    fn note_members(&mut self, answer: Answer<'_>) {
        let Answer::Ok(reply) = answer else { return };
        let group = match reply {
            Reply::CreateVolumeGroupSnapshot(reply) => reply.group_snapshot.as_ref(),
            Reply::GetVolumeGroupSnapshot(reply) => reply.group_snapshot.as_ref(),
            _ => None,
        };
        let members = group.iter().flat_map(|group| &group.snapshots);
        let told = members.map(|member| (member.snapshot_id.clone(), member.group_snapshot_id.clone()));
        self.told_groups.extend(told);
    }
}

fn capabilities(operation: &Operation, answer: Answer<'_>, has_get_snapshot: bool) -> Vec<Mark> {
    let mut marks = Vec::new();
    match (operation.request(), answer) {
        (Request::GroupControllerGetCapabilities(_), Answer::Ok(Reply::GroupControllerGetCapabilities(reply))) => {
            marks.push(Mark::Held(rule!("GROUP-CAPS-001")));
            if !reply.capabilities.is_empty() {
                advise(&mut marks, rule!("CTRL-SNAPGET-003"), has_get_snapshot, || {
                    (
                        "members of groups cannot be looked up".into(),
                        "GET_SNAPSHOT beside group snapshots".into(),
                        "no GET_SNAPSHOT".into(),
                    )
                });
            }
        }
        (Request::GroupControllerGetCapabilities(_), Answer::Status(status))
            if !is_transient(tonic::Code::from(status.code)) =>
        {
            check(&mut marks, rule!("GROUP-CAPS-001"), false, || {
                ("GroupControllerGetCapabilities is refused".into(), "OK".into(), answer.describe())
            });
        }
        _ => {}
    }
    marks
}
