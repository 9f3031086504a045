//! What calls on single snapshots show of the groups that they are members of.

use std::collections::BTreeMap;

use tonic::Code;

use super::Group;
use crate::{
    csi::v1::volume_content_source::Type as SourceType,
    history::{Reply, Request},
    oracle::{
        objects::Objects,
        operation::Operation,
        ruling::{Answer, Mark, Strike, check, is_transient},
        volume::Existence,
    },
    rule,
};

/// Judges a call that names or lists members of groups. `told` has the group id that each member was last shown with.
pub(super) fn member_marks(
    groups: &Objects<Group>,
    told: &BTreeMap<String, String>,
    operation: &Operation,
    answer: Answer<'_>,
) -> Vec<Mark> {
    let mut marks = Vec::new();
    match (operation.request(), answer) {
        (Request::DeleteSnapshot(request), Answer::Status(status))
            if is_alive(groups, operation, &request.snapshot_id) =>
        {
            let code = Code::from(status.code);
            if is_transient(code) {
                return marks;
            }
            check(&mut marks, rule!("CTRL-SNAPDELETE-013"), code == Code::InvalidArgument, || {
                (
                    "a member of a group is refused with another code".into(),
                    "OK or INVALID_ARGUMENT".into(),
                    answer.describe(),
                )
            });
            let is_named = told.get(&request.snapshot_id).is_some_and(|group| !group.is_empty());
            for rule in [rule!("CTRL-SNAPCREATE-041"), rule!("CTRL-SNAPCREATE-044")] {
                check(&mut marks, rule, is_named, || {
                    (
                        "a snapshot that does not name a group cannot be deleted alone".into(),
                        "group_snapshot_id, or OK".into(),
                        answer.describe(),
                    )
                });
            }
        }
        (Request::GetSnapshot(request), _) => gone(groups, operation, &request.snapshot_id, answer, &mut marks),
        (Request::CreateVolume(request), _) => {
            let source = request.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref());
            if let Some(SourceType::Snapshot(source)) = source {
                gone(groups, operation, &source.snapshot_id, answer, &mut marks);
                let is_ready = |state: &Group| state.ready && state.existence == Existence::Present;
                if is_member_of(groups, operation, &source.snapshot_id, is_ready) && matches!(answer, Answer::Ok(_)) {
                    marks.extend([rule!("GROUP-CREATE-009"), rule!("GROUP-CREATE-012")].map(Mark::Held));
                }
            }
        }
        (Request::ListSnapshots(_), Answer::Ok(Reply::ListSnapshots(reply))) => {
            for listed in reply.entries.iter().filter_map(|entry| entry.snapshot.as_ref()) {
                gone(groups, operation, &listed.snapshot_id, answer, &mut marks);
            }
        }
        _ => {}
    }
    marks
}

/// A member of a deleted group is gone with it: a call that finds it is a breach.
fn gone(groups: &Objects<Group>, operation: &Operation, id: &str, answer: Answer<'_>, marks: &mut Vec<Mark>) {
    let is_dead = groups.values().any(|object| {
        object.is_quiet_since(operation)
            && object.certainly(|state| !state.lenient && state.dead.iter().any(|(_, members)| members.contains(id)))
    });
    if !is_dead {
        return;
    }
    let rules = [rule!("CTRL-SNAPDELETE-007"), rule!("GROUP-DELETE-002")];
    match answer {
        Answer::Ok(_) => {
            let mut strike = Strike::new(
                rules[0],
                "a member of a deleted group is still there",
                "no such snapshot",
                format!("{} of {id:?}: OK", operation.rpc()),
            );
            strike.also = vec![rules[1]];
            marks.push(Mark::Broken(strike));
        }
        Answer::Status(status) if Code::from(status.code) == Code::NotFound => {
            marks.extend(rules.map(Mark::Held));
        }
        Answer::Status(_) => {}
    }
}

fn is_alive(groups: &Objects<Group>, operation: &Operation, id: &str) -> bool {
    is_member_of(groups, operation, id, |state| state.existence == Existence::Present && !state.lenient)
}

fn is_member_of(groups: &Objects<Group>, operation: &Operation, id: &str, holds: impl Fn(&Group) -> bool) -> bool {
    groups.living().any(|(_, object)| {
        object.is_quiet_since(operation)
            && object
                .certainly(|state| holds(state) && state.members.as_ref().is_some_and(|members| members.contains(id)))
    })
}
