//! Lets a call on a volume take effect in a state, with the answer that it got.

use tonic::Code::{InvalidArgument, NotFound, Unimplemented};

use super::{
    attach, create, delete, inspect, measure, paths, publish, stage,
    state::{Existence, Volume},
};
use crate::{
    history::{Reply, Request},
    oracle::{
        capability::Capability,
        configurations::{Applied, Branch},
        operation::Operation,
        ruling::{Answer, Expectation, Mark, Problem, Ruling, Strike},
        world::World,
    },
    rule,
    spec::RuleId,
};

/// All ways in which the call takes effect in the state.
pub(crate) fn apply(world: &World, state: &Volume, operation: &Operation) -> Applied<Volume> {
    let Some(answer) = operation.answer() else {
        // Lost: it took effect, whatever it would have said. Where nothing changes there is nothing to assume.
        let after = effect(world, state, operation);
        return if after == *state { Err(nothing()) } else { Ok(vec![Branch { state: after, marks: Vec::new() }]) };
    };
    let expectation = expect(world, state, operation).forgive(world.is_excessive(operation));
    let flawless = expectation.problems.is_empty() && !expectation.lenient;
    match expectation.rule_on(answer) {
        Ruling::Struck(strike) => Err(strike),
        Ruling::Refused(mut marks) => {
            refusal_marks(world, state, operation, answer, flawless, &mut marks);
            Ok(vec![Branch { state: state.clone(), marks }])
        }
        Ruling::Open(mut marks) => {
            if let Request::NodeExpandVolume(r) = operation.request() {
                measure::refusal_marks(state, operation, r, answer, &mut marks);
            }
            if let Request::ControllerPublishVolume(request) = operation.request() {
                attach::exhausted_marks(world, operation, request, answer, &mut marks);
            }
            let after = effect(world, state, operation);
            let mut branches = vec![Branch { state: state.clone(), marks: marks.clone() }];
            if after != *state {
                branches.push(Branch { state: after, marks });
            }
            Ok(branches)
        }
        Ruling::Succeeded(mut marks) => {
            paths::marks(operation.request(), answer, flawless, &mut marks);
            Ok(vec![succeed(world, state, operation, answer, marks)])
        }
    }
}

/// What may be answered to the call in the state.
fn expect(world: &World, state: &Volume, operation: &Operation) -> Expectation {
    let mut expectation = match operation.request() {
        Request::CreateVolume(r) => create::expect(world, state, operation, r),
        Request::DeleteVolume(r) => delete::expect(world, state, operation, r),
        Request::ControllerPublishVolume(r) => attach::expect_publish(world, state, operation, r),
        Request::ControllerUnpublishVolume(r) => attach::expect_unpublish(world, state, operation, r),
        Request::ValidateVolumeCapabilities(r) => inspect::expect_validate(world, state, operation, r),
        Request::ControllerGetVolume(r) => inspect::expect_get(world, state, operation, r),
        Request::ControllerModifyVolume(r) => inspect::expect_modify(world, state, operation, r),
        Request::ControllerExpandVolume(r) => inspect::expect_expand(world, state, operation, r),
        Request::NodeStageVolume(r) => stage::expect_stage(world, state, operation, r),
        Request::NodeUnstageVolume(r) => stage::expect_unstage(world, state, operation, r),
        Request::NodePublishVolume(r) => publish::expect_publish(world, state, operation, r),
        Request::NodeUnpublishVolume(r) => publish::expect_unpublish(state, operation, r),
        Request::NodeGetVolumeStats(r) => measure::expect_stats(world, state, operation, r),
        Request::NodeExpandVolume(r) => measure::expect_expand(world, state, operation, r),
        _ => Expectation { lenient: true, ..Expectation::default() },
    };
    super::oversized_ids(&mut expectation, operation.request());
    expectation
}

/// The state after the call, when it took effect and nothing else is known.
fn effect(world: &World, state: &Volume, operation: &Operation) -> Volume {
    match operation.request() {
        Request::CreateVolume(_) => create::effect(state, operation),
        Request::DeleteVolume(r) if state.existence_of(&r.volume_id) != Existence::Absent => state.clone().deleted(),
        Request::ControllerPublishVolume(r) => attach::effect_publish(state, r),
        Request::ControllerUnpublishVolume(r) => attach::effect_unpublish(state, r),
        Request::ControllerExpandVolume(_) => Volume { capacity: 0, ..state.clone() },
        // What one did that was not answered OK, or did half, another need not be able to undo.
        Request::ControllerModifyVolume(_) => {
            Volume { modified: operation.is_ok().then_some(operation.alike), ..state.clone() }
        }
        Request::NodeExpandVolume(_) if grows_on_nodes(world) => Volume { capacity: 0, ..state.clone() },
        Request::NodeStageVolume(r) => stage::effect_stage(state, operation, r),
        Request::NodeUnstageVolume(r) => stage::effect_unstage(state, operation, r),
        Request::NodePublishVolume(r) => publish::effect_publish(state, operation, r),
        Request::NodeUnpublishVolume(r) => publish::effect_unpublish(state, operation, r),
        _ => state.clone(),
    }
}

/// Whether the node grows volumes of which the controller knows nothing: elsewhere it only follows.
fn grows_on_nodes(world: &World) -> bool {
    !world.has("Controller.EXPAND_VOLUME")
}

fn succeed(
    world: &World,
    state: &Volume,
    operation: &Operation,
    answer: Answer<'_>,
    mut marks: Vec<Mark>,
) -> Branch<Volume> {
    let Answer::Ok(reply) = answer else { return Branch { state: state.clone(), marks } };
    modes(world, operation, &mut marks);
    let known = state.existence == Existence::Present && !state.lenient;
    match (operation.request(), reply) {
        (Request::CreateVolume(r), Reply::CreateVolume(reply)) => {
            return create::succeed(world, state, operation, r, reply, marks);
        }
        (Request::ControllerPublishVolume(r), Reply::ControllerPublishVolume(reply)) => {
            return attach::succeed_publish(state, r, reply, marks);
        }
        (Request::ControllerExpandVolume(r), Reply::ControllerExpandVolume(reply)) => {
            return inspect::succeed_expand(world, state, r, reply, marks);
        }
        (Request::ControllerUnpublishVolume(r), _) => {
            attach::unpublish_marks(state, operation, r, true, answer, &mut marks);
        }
        (Request::ValidateVolumeCapabilities(r), Reply::ValidateVolumeCapabilities(reply)) => {
            inspect::validate_marks(world, r, reply, &mut marks);
        }
        (Request::ControllerGetVolume(_), Reply::ControllerGetVolume(reply)) if known => {
            if let Some(volume) = &reply.volume {
                let published = reply.status.as_ref().map(|status| status.published_node_ids.as_slice());
                inspect::description_marks(world, state, volume, published, false, &mut marks);
            }
        }
        (Request::NodeGetVolumeStats(_), Reply::NodeGetVolumeStats(reply)) => {
            measure::stats_marks(world, reply, &mut marks);
        }
        (Request::NodeExpandVolume(_), Reply::NodeExpandVolume(reply)) if grows_on_nodes(world) => {
            let capacity = reply.capacity_bytes.max(0);
            return Branch { state: Volume { capacity, ..state.clone() }, marks };
        }
        (Request::NodePublishVolume(_), _) if state.topology.as_ref().is_some_and(|known| !known.is_empty()) => {
            marks.push(Mark::Held(rule!("CTRL-CREATE-111")));
        }
        (Request::DeleteVolume(_), _) if known && world.around(operation).snapshots == Existence::Present => {
            marks.push(Mark::Held(rule!("CTRL-DELETE-005")));
        }
        _ => {}
    }
    Branch { state: effect(world, state, operation), marks }
}

/// A refusal may say more than its code.
fn refusal_marks(
    world: &World,
    state: &Volume,
    operation: &Operation,
    answer: Answer<'_>,
    flawless: bool,
    marks: &mut Vec<Mark>,
) {
    paths::marks(operation.request(), answer, flawless, marks);
    match operation.request() {
        Request::CreateVolume(r) => create::refusal_marks(world, operation, r, answer, flawless, marks),
        Request::NodeExpandVolume(r) => measure::refusal_marks(state, operation, r, answer, marks),
        Request::ControllerPublishVolume(r) => attach::refusal_marks(state, r, answer, marks),
        Request::ControllerUnpublishVolume(r) => {
            attach::unpublish_marks(state, operation, r, false, answer, marks);
        }
        _ => {}
    }
}

/// The older single-node mode stays accepted beside the newer ones (specification lines 2486, 2762).
fn modes(world: &World, operation: &Operation, marks: &mut Vec<Mark>) {
    let Request::NodePublishVolume(request) = operation.request() else { return };
    let mode = request.volume_capability.as_ref().and_then(|capability| capability.access_mode.as_ref());
    if world.has("Node.SINGLE_NODE_MULTI_WRITER") && mode.is_some_and(|mode| mode.mode == 1) {
        marks.extend([Mark::Held(rule!("NODE-PUBLISH-036")), Mark::Held(rule!("NODE-CAPS-008"))]);
    }
}

/// A volume that has to exist: NOT_FOUND where it does not, and a false claim where it does.
pub(crate) fn exists(
    expectation: &mut Expectation,
    rule: RuleId,
    umbrella: RuleId,
    state: &Volume,
    operation: &Operation,
    id: &str,
) {
    match state.existence_of(id) {
        Existence::Absent if !id.is_empty() => {
            let what = if operation.invented(id) {
                "no volume has this id".to_owned()
            } else {
                "the volume was deleted".to_owned()
            };
            let deleted = (!operation.invented(id)).then_some(rule!("CTRL-DELETE-014"));
            let problem =
                Problem::new(rule, what, &[NotFound]).also(&[umbrella, rule!("GEN-ERR-004")]).also(deleted.as_slice());
            // A made-up id may be malformed for this plugin (contested point 1).
            expectation.problems.push(if operation.invented(id) { problem.or(&[InvalidArgument]) } else { problem });
        }
        Existence::Present => expectation.untrue.push((NotFound, umbrella, "the volume exists")),
        _ => {}
    }
}

/// The plugin does not advertise the RPC: UNIMPLEMENTED, though it may serve it all the same.
pub(crate) fn unimplemented(expectation: &mut Expectation, capability: &str) {
    expectation.problems.push(
        Problem::new(rule!("GEN-ERR-019"), format!("the plugin does not advertise {capability}"), &[Unimplemented])
            .also(&[rule!("GEN-LIFE-005")])
            .or(&[InvalidArgument, NotFound])
            .ok_allowed(),
    );
}

/// A lost call that changes nothing need not be followed.
fn nothing() -> Strike {
    Strike::new(rule!("GEN-TIME-005"), "the call would have changed nothing", "", "")
}

/// What is attached for a capability can be staged or published with it (specification line 1315).
pub(super) fn attached_for(expectation: &mut Expectation, state: &Volume, capability: &Capability) {
    if state.attachments.values().any(|held| held.capability == *capability) {
        expectation.must_succeed.push(rule!("CTRL-PUBLISH-002"));
    }
}
