//! What an OK answer to a call on a group snapshot shows.

use std::collections::BTreeSet;

use super::Group;
use crate::{
    csi::v1::{self, VolumeGroupSnapshot},
    history::{Reply, Request},
    oracle::{
        operation::Operation,
        ruling::{Answer, Mark, advise, check},
        volume::{Existence, is_unusual},
    },
    rule,
    spec::RuleId,
};

/// What the answer tells of the group, and the marks.
pub(super) fn succeed<'a>(
    state: &Group,
    operation: &Operation,
    answer: Answer<'a>,
    mut marks: Vec<Mark>,
) -> (Option<&'a VolumeGroupSnapshot>, Vec<Mark>) {
    match (operation.request(), answer) {
        (Request::CreateVolumeGroupSnapshot(request), Answer::Ok(Reply::CreateVolumeGroupSnapshot(reply))) => {
            check(&mut marks, rule!("GROUP-CREATE-025"), reply.group_snapshot.is_some(), nothing);
            let Some(group) = &reply.group_snapshot else { return (None, marks) };
            if is_unusual(&request.name) {
                marks.push(Mark::Held(rule!("GROUP-CREATE-018")));
            }
            sources(request, group, &mut marks);
            described(group, &mut marks);
            if state.existence == Existence::Present && !state.lenient {
                described_again(state, group, &mut marks);
            }
            (Some(group), marks)
        }
        (Request::GetVolumeGroupSnapshot(request), Answer::Ok(Reply::GetVolumeGroupSnapshot(reply))) => {
            taken(state, &request.snapshot_ids, &[rule!("GROUP-GET-006")], &mut marks);
            let is_it =
                reply.group_snapshot.as_ref().is_some_and(|group| group.group_snapshot_id == request.group_snapshot_id);
            for rule in [rule!("GROUP-GET-010"), rule!("GROUP-GET-011")] {
                check(&mut marks, rule, is_it, || {
                    (
                        "the reply does not hold the group that was asked for".into(),
                        format!("group_snapshot_id {:?}", request.group_snapshot_id),
                        format!("{:?}", reply.group_snapshot.as_ref().map(|group| &group.group_snapshot_id)),
                    )
                });
            }
            let Some(group) = &reply.group_snapshot else { return (None, marks) };
            described(group, &mut marks);
            let is_known = state.existence == Existence::Present && !state.lenient;
            if is_known {
                described_again(state, group, &mut marks);
            }
            ((is_it && is_known).then_some(group), marks)
        }
        (Request::DeleteVolumeGroupSnapshot(request), _) => {
            let rules = [rule!("GROUP-DELETE-007"), rule!("GROUP-DELETE-008")];
            taken(state, &request.snapshot_ids, &rules, &mut marks);
            (None, marks)
        }
        _ => (None, marks),
    }
}

/// A list of members that is not that of the group should not have been taken.
fn taken(state: &Group, given: &[String], rules: &[RuleId], marks: &mut Vec<Mark>) {
    if state.has_members(given) != Some(false) || given.is_empty() {
        return;
    }
    for &rule in rules {
        advise(marks, rule, false, || {
            ("a list of other members was taken".into(), format!("{:?}", state.members), format!("{given:?}: OK"))
        });
    }
}

fn nothing() -> (String, String, String) {
    ("OK without a group snapshot".into(), "group_snapshot".into(), "none".into())
}

/// One member for each volume.
fn sources(request: &v1::CreateVolumeGroupSnapshotRequest, group: &VolumeGroupSnapshot, marks: &mut Vec<Mark>) {
    let asked: BTreeSet<&String> = request.source_volume_ids.iter().collect();
    let shown: BTreeSet<&String> = group.snapshots.iter().map(|member| &member.source_volume_id).collect();
    for rule in [rule!("GROUP-CREATE-030"), rule!("GROUP-CREATE-035")] {
        check(marks, rule, asked == shown && group.snapshots.len() == asked.len(), || {
            (
                "the members are not one for each source volume".into(),
                format!("{asked:?}"),
                format!("{} members of {shown:?}", group.snapshots.len()),
            )
        });
    }
}

/// What every description of a group has to be like.
fn described(group: &VolumeGroupSnapshot, marks: &mut Vec<Mark>) {
    let lacks = |what: &str| (format!("the group has no {what}"), what.to_owned(), "none".to_owned());
    check(marks, rule!("GROUP-CREATE-029"), !group.group_snapshot_id.is_empty(), || lacks("group_snapshot_id"));
    let whole = !group.group_snapshot_id.is_empty() && !group.snapshots.is_empty();
    check(marks, rule!("GROUP-CREATE-014"), whole, || lacks("id or no members"));
    check(marks, rule!("GROUP-CREATE-031"), group.creation_time.is_some(), || lacks("creation_time"));
    let all_ready = group.snapshots.iter().all(|member| member.ready_to_use);
    let told = |flag: bool| format!("ready_to_use {flag}");
    if all_ready {
        advise(marks, rule!("GROUP-CREATE-033"), group.ready_to_use, || {
            ("all members are ready and the group is not".into(), told(true), told(false))
        });
    } else {
        check(marks, rule!("GROUP-CREATE-032"), !group.ready_to_use, || {
            ("the group is ready before its members are".into(), told(false), told(true))
        });
    }
    if group.ready_to_use && all_ready {
        marks.push(Mark::Held(rule!("GROUP-CREATE-032")));
    }
    for member in &group.snapshots {
        let rule = rule!("CTRL-SNAPCREATE-045");
        let broken = || {
            (
                "a member names another group than its own".into(),
                format!("group_snapshot_id {:?}", group.group_snapshot_id),
                format!("group_snapshot_id {:?}", member.group_snapshot_id),
            )
        };
        // Members that can be deleted alone may leave it out (specification line 2013).
        if member.group_snapshot_id.is_empty() {
            advise(marks, rule, false, broken);
        } else {
            check(marks, rule, member.group_snapshot_id == group.group_snapshot_id, broken);
        }
        let whole =
            !member.snapshot_id.is_empty() && !member.source_volume_id.is_empty() && member.creation_time.is_some();
        check(marks, rule!("GROUP-CREATE-030"), whole, || {
            (
                "a member lacks a required field".into(),
                "snapshot_id, source_volume_id and creation_time".into(),
                format!("{member:?}"),
            )
        });
    }
}

/// A second description says the same as the first, apart from readiness.
fn described_again(state: &Group, group: &VolumeGroupSnapshot, marks: &mut Vec<Mark>) {
    let members: BTreeSet<&String> = group.snapshots.iter().map(|member| &member.snapshot_id).collect();
    let rules = [rule!("GROUP-CREATE-004"), rule!("GROUP-CREATE-005"), rule!("GROUP-GET-003"), rule!("GROUP-GET-007")];
    if let Some(id) = &state.id {
        for rule in [rules[0], rules[1]] {
            check(marks, rule, *id == group.group_snapshot_id, || {
                ("the group has got another id".into(), format!("{id:?}"), format!("{:?}", group.group_snapshot_id))
            });
        }
    }
    if let Some(known) = &state.members {
        for rule in rules {
            check(marks, rule, known.iter().collect::<BTreeSet<_>>() == members, || {
                ("the group has got other members".into(), format!("{known:?}"), format!("{members:?}"))
            });
        }
    }
    if let (Some(known), Some(time)) = (state.creation_time, group.creation_time) {
        for rule in [rule!("GROUP-CREATE-031"), rule!("GROUP-CREATE-004")] {
            check(marks, rule, known == (time.seconds, time.nanos), || {
                (
                    "the moment of the cut changed".into(),
                    format!("creation_time {}.{:09} s", known.0, known.1),
                    format!("creation_time {}.{:09} s", time.seconds, time.nanos),
                )
            });
        }
    }
    if state.ready {
        for rule in [rule!("GROUP-CREATE-009"), rule!("GROUP-CREATE-012")] {
            check(marks, rule, group.ready_to_use, || {
                (
                    "a group that was ready is not any more".into(),
                    "ready_to_use true".into(),
                    "ready_to_use false".into(),
                )
            });
        }
    }
}
