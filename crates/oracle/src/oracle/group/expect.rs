//! What may be answered to calls on group snapshots (specification lines 2980–3186).

use std::collections::BTreeSet;

use tonic::Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound};

use super::Group;
use crate::{
    csi::v1,
    history::Request,
    oracle::{
        operation::Operation,
        ruling::{Expectation, Problem},
        volume::{Existence, missing, oversized, oversized_ids, unimplemented, unusual_name},
        world::World,
    },
    rule,
    spec::RuleId,
};

/// The answers that are permitted in a state.
pub(super) fn expect(world: &World, state: &Group, operation: &Operation) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    let own = match operation.request() {
        Request::CreateVolumeGroupSnapshot(request) => {
            create(world, state, operation, request, &mut expectation);
            rule!("GROUP-CREATE-001")
        }
        Request::DeleteVolumeGroupSnapshot(request) => {
            delete(world, state, operation, request, &mut expectation);
            rule!("GROUP-DELETE-001")
        }
        Request::GetVolumeGroupSnapshot(request) => {
            get(state, operation, request, &mut expectation);
            rule!("GROUP-GET-002")
        }
        _ => return Expectation { lenient: true, ..Expectation::default() },
    };
    oversized_ids(&mut expectation, operation.request());
    if world.has("GroupController.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT") {
        expectation.served.extend([own, rule!("GROUP-CAPS-003")]);
    } else {
        unimplemented(&mut expectation, "CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT");
    }
    expectation
}

fn create(
    world: &World,
    state: &Group,
    operation: &Operation,
    request: &v1::CreateVolumeGroupSnapshotRequest,
    expectation: &mut Expectation,
) {
    let sources: BTreeSet<String> = request.source_volume_ids.iter().cloned().collect();
    expectation.problem_if(request.name.is_empty(), || missing(rule!("GROUP-CREATE-017"), "name"));
    expectation.problem_if(sources.is_empty(), || missing(rule!("GROUP-CREATE-020"), "source_volume_ids"));
    oversized(expectation, "name", &request.name);
    unusual_name(expectation, rule!("GROUP-CREATE-018"), &request.name);
    let has_unknown_parameter = request.parameters.keys().any(|key| operation.invented(key));
    expectation.problem_if(has_unknown_parameter, || {
        Problem::new(rule!("GROUP-CREATE-024"), "parameters has a key that no plugin knows", &[InvalidArgument])
            .or(&[AlreadyExists])
            .ok_allowed()
    });
    let around = world.around(operation).source;
    let is_repeat = state.existence == Existence::Present && state.sources == sources;
    expectation.problem_if(around.existence == Existence::Absent && !is_repeat, || {
        // The error table has no row for it (specification line 2992 asks for a fitting code).
        Problem::new(
            rule!("GROUP-CREATE-015"),
            "a source volume does not exist",
            &[NotFound, InvalidArgument, FailedPrecondition],
        )
        .also(&[rule!("GROUP-CREATE-007"), rule!("GROUP-CREATE-035")])
    });
    if around.existence == Existence::Present {
        expectation.untrue.push((NotFound, rule!("GROUP-CREATE-036"), "the source volumes exist"));
    }
    match state.existence {
        Existence::Present => {
            expectation.problem_if(!state.lenient && state.sources != sources, || {
                Problem::new(rule!("GROUP-CREATE-038"), "a group of this name shows other volumes", &[AlreadyExists])
                    .also(&[rule!("GROUP-CREATE-036")])
            });
            let first = state.created.and_then(|call| world.operations.get(call)).map(Operation::request);
            match first {
                Some(Request::CreateVolumeGroupSnapshot(first)) if first.parameters != request.parameters => {
                    expectation.problems.push(
                        Problem::new(
                            rule!("GROUP-CREATE-039"),
                            "a group of this name was made with other parameters",
                            &[AlreadyExists],
                        )
                        .or(&[InvalidArgument])
                        .ok_allowed(),
                    );
                }
                Some(Request::CreateVolumeGroupSnapshot(first))
                    if state.sources == sources && first.secrets == request.secrets =>
                {
                    let processed = if state.ready { rule!("GROUP-CREATE-006") } else { rule!("GROUP-CREATE-008") };
                    expectation.must_succeed.extend([rule!("GROUP-CREATE-004"), processed, rule!("GEN-TIME-005")]);
                }
                _ => {}
            }
        }
        Existence::Absent => {
            expectation.untrue.push((AlreadyExists, rule!("GROUP-CREATE-036"), "no group of this name exists"));
        }
        Existence::Unknown => {}
    }
}

fn delete(
    world: &World,
    state: &Group,
    operation: &Operation,
    request: &v1::DeleteVolumeGroupSnapshotRequest,
    expectation: &mut Expectation,
) {
    let id = &request.group_snapshot_id;
    if id.is_empty() {
        expectation.problems.push(missing(rule!("GROUP-DELETE-006"), "group_snapshot_id"));
        return;
    }
    let existence = state.existence_of(id);
    members(
        Rules {
            missing: rule!("GROUP-DELETE-009"),
            mismatch: rule!("GROUP-DELETE-014"),
            // Which kind of plugin it is cannot be seen.
            checks: &[rule!("GROUP-DELETE-007"), rule!("GROUP-DELETE-008")],
        },
        state.has_members(&request.snapshot_ids).filter(|_| existence == Existence::Present),
        &request.snapshot_ids,
        expectation,
    );
    match existence {
        Existence::Absent => {
            expectation.problem_if(operation.invented(id), || {
                Problem::new(rule!("GROUP-DELETE-004"), "a malformed id was refused instead of taken as absent", &[])
                    .warn_on(&[InvalidArgument])
                    .ok_allowed()
            });
            expectation.must_succeed.push(rule!("GROUP-DELETE-004"));
            if state.is_dead(id) {
                expectation.must_succeed.extend([rule!("GROUP-DELETE-003"), rule!("GEN-TIME-005")]);
            }
        }
        Existence::Present => {
            expectation.problem_if(world.around(operation).restored != Existence::Absent, || {
                Problem::new(rule!("GROUP-DELETE-016"), "volumes were made from a member", &[FailedPrecondition])
                    .also(&[rule!("GROUP-DELETE-012")])
                    .ok_allowed()
            });
            expectation.untrue.push((NotFound, rule!("GROUP-DELETE-012"), "the group exists"));
        }
        Existence::Unknown => {}
    }
}

fn get(
    state: &Group,
    operation: &Operation,
    request: &v1::GetVolumeGroupSnapshotRequest,
    expectation: &mut Expectation,
) {
    let id = &request.group_snapshot_id;
    if id.is_empty() {
        expectation.problems.push(missing(rule!("GROUP-GET-005"), "group_snapshot_id"));
        return;
    }
    let existence = state.existence_of(id);
    members(
        Rules { missing: rule!("GROUP-GET-008"), mismatch: rule!("GROUP-GET-014"), checks: &[rule!("GROUP-GET-006")] },
        state.has_members(&request.snapshot_ids).filter(|_| existence == Existence::Present),
        &request.snapshot_ids,
        expectation,
    );
    match existence {
        Existence::Absent => {
            let problem = Problem::new(rule!("GROUP-GET-016"), "the group does not exist", &[NotFound]).also(&[
                rule!("GROUP-GET-004"),
                rule!("GROUP-GET-012"),
                rule!("GEN-ERR-004"),
            ]);
            let deleted = [rule!("GROUP-DELETE-011"), rule!("GROUP-DELETE-002")];
            let problem = if state.is_dead(id) { problem.also(&deleted) } else { problem };
            let is_invented = operation.invented(id);
            expectation.problems.push(if is_invented { problem.warn_on(&[InvalidArgument]) } else { problem });
        }
        Existence::Present => {
            expectation.untrue.push((NotFound, rule!("GROUP-GET-003"), "the group exists"));
        }
        Existence::Unknown => {}
    }
}

/// The rules on a list of members.
struct Rules {
    missing: RuleId,
    mismatch: RuleId,
    checks: &'static [RuleId],
}

/// `matches` says whether the list names the members of a group that exists, where that is known.
fn members(rules: Rules, matches: Option<bool>, given: &[String], expectation: &mut Expectation) {
    if given.is_empty() {
        // The general table demands a refusal; the interface's own example accepts it.
        let problem = missing(rules.missing, "snapshot_ids");
        expectation.problems.push(if matches.is_some() { problem.ok_warns() } else { problem.ok_allowed() });
    } else if matches == Some(false) {
        let what = "snapshot_ids does not name the members of the group";
        let problem = Problem::new(rules.mismatch, what, &[InvalidArgument]).also(rules.checks);
        expectation.problems.push(problem.warn_on(&[NotFound, FailedPrecondition]).ok_warns());
    }
}
