//! DeleteVolume: what may be answered.

use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound};

use super::{
    fields,
    state::{Existence, Volume},
};
use crate::{
    csi::v1,
    oracle::{
        operation::Operation,
        ruling::{Answer, Expectation, Problem, is_definite},
        world::World,
    },
    rule,
};

/// What may be answered to DeleteVolume.
pub(super) fn expect(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::DeleteVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.CREATE_DELETE_VOLUME") {
        expectation.served.push(rule!("CTRL-DELETE-001"));
    } else {
        super::unimplemented(&mut expectation, "CREATE_DELETE_VOLUME");
    }
    let id = &request.volume_id;
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("CTRL-DELETE-012"), "volume_id"));
    match state.existence_of(id) {
        Existence::Absent if id.is_empty() => {}
        Existence::Absent if operation.invented(id) => {
            // A made-up id may look malformed to the plugin; OK is what the rule wants all the same.
            expectation.problems.push(
                Problem::new(rule!("CTRL-DELETE-003"), "a malformed id was refused instead of taken as absent", &[])
                    .warn_on(&[InvalidArgument])
                    .ok_allowed(),
            );
            expectation.must_succeed.push(rule!("CTRL-DELETE-003"));
        }
        Existence::Absent => {
            expectation.must_succeed.push(rule!("CTRL-DELETE-003"));
            if state.dead_ids.contains(id) {
                expectation.must_succeed.extend([rule!("CTRL-DELETE-002"), rule!("GEN-TIME-005")]);
            }
        }
        Existence::Present => present(world, &mut expectation, state, operation),
        Existence::Unknown => {}
    }
    expectation
}

fn present(world: &World, expectation: &mut Expectation, state: &Volume, operation: &Operation) {
    expectation.problem_if(state.is_in_use(), || {
        Problem::new(rule!("CTRL-DELETE-017"), "the volume is in use", &[FailedPrecondition])
            .also(&[rule!("CTRL-DELETE-015")])
            .ok_warns()
    });
    let snapshots = world.around(operation).snapshots;
    // A code that tells for certain what is wrong tells something else than the table does (line 1308); what broke on the way
    // may have broken without snapshots as well, and has only the lower case of line 1281 against it.
    let tells_a_reason = matches!(operation.answer(), Some(Answer::Status(status)) if is_definite(status.code.into()));
    expectation.problem_if(snapshots != Existence::Absent, || {
        let (row, other) = (rule!("CTRL-DELETE-018"), rule!("CTRL-DELETE-010"));
        let is_row = snapshots == Existence::Present && tells_a_reason;
        let (rule, also) = if is_row { (row, other) } else { (other, row) };
        Problem::new(rule, "the volume has snapshots", &[FailedPrecondition]).also(&[also]).ok_allowed()
    });
    expectation.untrue.push((NotFound, rule!("CTRL-DELETE-015"), "the volume exists"));
    expectation.along.push(rule!("CTRL-INTERACT-001"));
    if !state.foreign {
        expectation.untrue.push((
            FailedPrecondition,
            rule!("CTRL-DELETE-015"),
            "the volume is neither attached, staged or published, nor has it snapshots",
        ));
    }
}
