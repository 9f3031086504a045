//! NodeGetVolumeStats and NodeExpandVolume: what may be answered.

use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound, OutOfRange, ResourceExhausted};

use super::{
    fields,
    inspect::is_of_other_type,
    state::{Existence, Volume},
};
use crate::{
    csi::v1,
    history::Reply,
    oracle::{
        capability::{Access, Capability},
        operation::Operation,
        ruling::{Answer, Expectation, Mark, Problem, advise, check, is_transient},
        world::World,
    },
    rule,
};

/// Sizes that no real volume has.
const ABSURD: i64 = 1 << 60;

/// Whether the volume is staged or published at the path.
fn is_at(state: &Volume, operation: &Operation, path: &str) -> bool {
    let place = (operation.call.node.clone(), path.to_owned());
    state.publications.contains_key(&place) || state.stagings.contains_key(&place)
}

/// What may be answered to NodeGetVolumeStats.
pub(super) fn expect_stats(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::NodeGetVolumeStatsRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Node.GET_VOLUME_STATS") {
        expectation.served.extend([rule!("NODE-STATS-001"), rule!("NODE-CAPS-003")]);
    }
    if world.has("Node.VOLUME_CONDITION") {
        expectation.served.push(rule!("NODE-STATS-002"));
    }
    if expectation.served.is_empty() {
        super::unimplemented(&mut expectation, "GET_VOLUME_STATS");
    }
    let (id, path) = (&request.volume_id, &request.volume_path);
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("NODE-STATS-006"), "volume_id"));
    expectation.problem_if(path.is_empty(), || fields::missing(rule!("NODE-STATS-009"), "volume_path"));
    fields::path(&mut expectation, "volume_path", path);
    if id.is_empty() || path.is_empty() {
        return expectation;
    }
    match state.existence_of(id) {
        Existence::Absent => {
            let problem = Problem::new(
                rule!("NODE-STATS-032"),
                "the volume does not exist (a plugin without state may answer from the path alone)",
                &[NotFound],
            )
            .also(&[rule!("NODE-STATS-030")])
            .ok_warns();
            expectation.problems.push(if operation.invented(id) { problem.or(&[InvalidArgument]) } else { problem });
        }
        Existence::Present if !is_at(state, operation, path) && !state.foreign => {
            expectation.problems.push(
                Problem::new(rule!("NODE-STATS-032"), "the volume is not at this path", &[NotFound])
                    .also(&[rule!("NODE-STATS-030"), rule!("NODE-STATS-029")]),
            );
        }
        Existence::Present if !state.foreign => {
            expectation.untrue.push((NotFound, rule!("NODE-STATS-030"), "the volume is at this path"));
        }
        _ => {}
    }
    expectation
}

/// Judges the reply of NodeGetVolumeStats for a volume that is there.
pub(super) fn stats_marks(world: &World, reply: &v1::NodeGetVolumeStatsResponse, marks: &mut Vec<Mark>) {
    if world.has("Node.VOLUME_CONDITION") {
        check(marks, rule!("NODE-STATS-019"), reply.volume_condition.is_some(), || {
            (
                "the plugin has VOLUME_CONDITION and the reply has no volume_condition".into(),
                "volume_condition set".into(),
                "unset".into(),
            )
        });
    }
}

/// What may be answered to NodeExpandVolume.
pub(super) fn expect_expand(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::NodeExpandVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Node.EXPAND_VOLUME") {
        expectation.served.extend([rule!("NODE-EXPAND-001"), rule!("NODE-CAPS-003")]);
    } else {
        super::unimplemented(&mut expectation, "EXPAND_VOLUME");
    }
    let (id, path) = (&request.volume_id, &request.volume_path);
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("NODE-EXPAND-010"), "volume_id"));
    expectation.problem_if(path.is_empty(), || fields::missing(rule!("NODE-EXPAND-011"), "volume_path"));
    fields::path(&mut expectation, "volume_path", path);
    if id.is_empty() || path.is_empty() {
        return expectation;
    }
    super::exists(&mut expectation, rule!("NODE-EXPAND-029"), rule!("GEN-ERR-004"), state, operation, id);
    let range = request.capacity_range.unwrap_or_default();
    let (required, limit) = (range.required_bytes, range.limit_bytes);
    expectation.problem_if(request.capacity_range.is_some() && required == 0 && limit == 0, || {
        Problem::new(rule!("CTRL-CREATE-077"), "capacity_range sets neither of its fields", &[InvalidArgument])
            .or(&[OutOfRange])
            .ok_allowed()
    });
    let senseless = required < 0 || limit < 0 || (limit > 0 && required > limit);
    let below = limit > 0 && state.capacity > limit;
    expectation.problem_if(senseless || below || required >= ABSURD, || {
        Problem::new(rule!("NODE-EXPAND-033"), "no volume here can have such a size", &[OutOfRange])
            .or(&[InvalidArgument, ResourceExhausted])
            .ok_warns()
    });
    if let Some(capability) = request.volume_capability.as_ref().map(Capability::from) {
        let wrong = world.knowledge.unsupported.contains(&capability) || is_of_other_type(world, state, &capability);
        expectation.problem_if(wrong, || {
            let problem =
                Problem::new(rule!("NODE-EXPAND-027"), "the volume does not have this capability", &[InvalidArgument]);
            // Whoever sets no access type asks for none that the volume could lack.
            if capability.access == Access::Unset { problem.ok_allowed() } else { problem.ok_warns() }
        });
    }
    // Another capability than the one that it is published with is only a hint, but may be looked at.
    let published = state.publications.get(&(operation.call.node.clone(), path.clone()));
    if let (Some(published), Some(asked)) = (published, request.volume_capability.as_ref().map(Capability::from)) {
        expectation.problem_if(published.capability != asked, || {
            Problem::new(
                rule!("NODE-EXPAND-027"),
                "the volume is published with another capability",
                &[InvalidArgument],
            )
            .ok_allowed()
        });
    }
    // What the controller has grown may be unable to follow while it is in use (line 2933); it says so with this code.
    let in_use = matches!(operation.answer(), Some(Answer::Status(status)) if status.code == FailedPrecondition as i32);
    expectation.problem_if(in_use && is_at(state, operation, path) && was_expanded(world, state), || {
        Problem::new(
            rule!("NODE-EXPAND-031"),
            "the file system may be unable to grow while the volume is in use",
            &[FailedPrecondition],
        )
        .ok_allowed()
    });
    if state.existence_of(id) == Existence::Present {
        if !is_at(state, operation, path) {
            expectation.problems.push(
                Problem::new(rule!("NODE-EXPAND-029"), "the volume is not at this path", &[NotFound])
                    .or(&[FailedPrecondition, InvalidArgument])
                    .ok_allowed(),
            );
        } else if expectation.problems.is_empty() && state.capacity > 0 && required <= state.capacity {
            expectation.must_succeed.extend([rule!("NODE-EXPAND-003"), rule!("NODE-EXPAND-002")]);
        }
    }
    expectation
}

/// Whether the volume has become larger than it was made.
fn was_expanded(world: &World, state: &Volume) -> bool {
    let created = state.created.and_then(|call| world.operations.get(call)).and_then(Operation::answer);
    match created {
        Some(Answer::Ok(Reply::CreateVolume(reply))) => {
            reply.volume.as_ref().is_some_and(|volume| volume.capacity_bytes < state.capacity)
        }
        _ => state.created.is_some(),
    }
}

/// Words with which a plugin says that a volume cannot grow because it is in use.
const IN_USE: [&str; 6] = ["in use", "online", "mounted", "busy", "published", "staged"];

/// A volume that cannot grow because it is in use is refused with one code (specification line 2933).
pub(super) fn refusal_marks(
    state: &Volume,
    operation: &Operation,
    request: &v1::NodeExpandVolumeRequest,
    answer: Answer<'_>,
    marks: &mut Vec<Mark>,
) {
    let Answer::Status(status) = answer else { return };
    let code = tonic::Code::from(status.code);
    let text = status.message.to_lowercase();
    if !is_at(state, operation, &request.volume_path)
        || is_transient(code)
        || !(code == FailedPrecondition || IN_USE.iter().any(|word| text.contains(word)))
    {
        return;
    }
    // The message is for people, so what it seems to say only warns.
    advise(marks, rule!("NODE-EXPAND-031"), code == FailedPrecondition, || {
        (
            "the volume cannot grow while it is in use, it seems, and the code is another".into(),
            "FAILED_PRECONDITION".into(),
            answer.describe(),
        )
    });
}
