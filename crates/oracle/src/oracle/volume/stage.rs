//! NodeStageVolume and NodeUnstageVolume: what may be answered, and what follows.

use tonic::Code::{AlreadyExists, FailedPrecondition, Internal, InvalidArgument, NotFound, Unknown};

use super::{
    fields,
    inspect::is_of_other_type,
    state::{Existence, Place, Volume},
};
use crate::{
    csi::v1,
    oracle::{
        capability::Capability,
        operation::Operation,
        ruling::{Expectation, Problem},
        world::World,
    },
    rule,
};

/// What may be answered to NodeStageVolume.
pub(super) fn expect_stage(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::NodeStageVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    served(world, &mut expectation, &[rule!("NODE-STAGE-001"), rule!("NODE-CAPS-003")]);
    let (id, path) = (&request.volume_id, &request.staging_target_path);
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("NODE-STAGE-010"), "volume_id"));
    expectation.problem_if(path.is_empty(), || fields::missing(rule!("NODE-STAGE-021"), "staging_target_path"));
    fields::capability(&mut expectation, rule!("NODE-STAGE-026"), request.volume_capability.as_ref());
    fields::path(&mut expectation, "staging_target_path", path);
    missing_on_node(&mut expectation, rule!("NODE-STAGE-033"), rule!("NODE-STAGE-031"), state, operation, id);
    let Some(capability) = request.volume_capability.as_ref().map(Capability::from) else { return expectation };
    if state.existence_of(id) != Existence::Present {
        return expectation;
    }
    if world.has("Controller.PUBLISH_UNPUBLISH_VOLUME") && state.attachments.is_empty() {
        // The orchestrator has to attach first (specification line 2319).
        expectation.lenient = true;
    }
    let other_type = is_of_other_type(world, state, &capability);
    expectation.problem_if(world.knowledge.unsupported.contains(&capability) || other_type, || {
        Problem::new(rule!("NODE-STAGE-037"), "the volume does not have this capability", &[FailedPrecondition])
            .also(&[rule!("NODE-STAGE-025"), rule!("NODE-STAGE-031")])
            .warn_on(&[InvalidArgument])
            .ok_allowed()
    });
    super::rules::attached_for(&mut expectation, state, &capability);
    let place = (operation.call.node.clone(), path.clone());
    match state.stagings.get(&place) {
        Some(held) if *held == capability => {
            expectation.must_succeed.extend([rule!("NODE-STAGE-007"), rule!("NODE-STAGE-006"), rule!("GEN-TIME-005")]);
        }
        Some(held) => {
            let problem = Problem::new(
                rule!("NODE-STAGE-035"),
                "the volume is staged at this path with another capability",
                &[AlreadyExists],
            )
            .also(&[rule!("NODE-STAGE-031")]);
            expectation.problems.push(if held.access == capability.access {
                problem.or(&[FailedPrecondition, InvalidArgument]).ok_allowed()
            } else {
                problem.or(if other_type { &[FailedPrecondition, InvalidArgument] } else { &[] })
            });
        }
        None if is_staged_elsewhere(state, &place) => {
            // The orchestrator erred first (line 2343): whatever the answer is, it is no breach.
            expectation.lenient = true;
            expectation.problems.push(
                Problem::new(
                    rule!("NODE-STAGE-031"),
                    "the volume is staged at another path of this node, as after a change of the orchestrator's paths; a \
                     refusal that does not say so is retried for ever",
                    &[AlreadyExists, FailedPrecondition],
                )
                .or(&[InvalidArgument])
                .warn_on(&[Internal, Unknown])
                .ok_allowed(),
            );
        }
        None => {
            expectation.untrue.push((AlreadyExists, rule!("NODE-STAGE-031"), "the volume is not staged at this path"));
        }
    }
    expectation
}

/// Whether the volume is staged on the node at another path than this one.
fn is_staged_elsewhere(state: &Volume, place: &Place) -> bool {
    state.stagings.keys().any(|other| other.0 == place.0 && other.1 != place.1)
}

/// The state after a stage that took effect.
pub(super) fn effect_stage(state: &Volume, operation: &Operation, request: &v1::NodeStageVolumeRequest) -> Volume {
    let mut after = state.clone();
    let Some(capability) = &request.volume_capability else { return after };
    let place = (operation.call.node.clone(), request.staging_target_path.clone());
    if is_staged_elsewhere(state, &place) && !state.stagings.contains_key(&place) {
        // What becomes of two staging paths is nobody's to say: nothing is held against the driver from here on.
        return Volume { id: state.id.clone(), ..Volume::foreign() };
    }
    after.existence = Existence::Present;
    after.unstaged.remove(&place);
    after.stagings.entry(place).or_insert_with(|| Capability::from(capability));
    after
}

/// What may be answered to NodeUnstageVolume.
pub(super) fn expect_unstage(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::NodeUnstageVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    served(world, &mut expectation, &[rule!("NODE-UNSTAGE-001"), rule!("NODE-CAPS-003")]);
    let (id, path) = (&request.volume_id, &request.staging_target_path);
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("NODE-UNSTAGE-011"), "volume_id"));
    expectation.problem_if(path.is_empty(), || fields::missing(rule!("NODE-UNSTAGE-013"), "staging_target_path"));
    fields::path(&mut expectation, "staging_target_path", path);
    if id.is_empty() || path.is_empty() {
        return expectation;
    }
    if state.publications.keys().any(|(node, _)| *node == operation.call.node) {
        // The orchestrator erred first: the volume is still published on this node (specification line 2400).
        expectation.lenient = true;
        return expectation;
    }
    match state.existence_of(id) {
        Existence::Absent => expectation.problems.push(absent_but_idempotent(
            rule!("NODE-UNSTAGE-019"),
            rule!("NODE-UNSTAGE-017"),
            operation.invented(id),
        )),
        Existence::Present if !state.stagings.contains_key(&(operation.call.node.clone(), path.clone())) => {
            expectation.must_succeed.push(rule!("NODE-UNSTAGE-009"));
            if state.unstaged.contains(&(operation.call.node.clone(), path.clone())) {
                expectation.must_succeed.extend([rule!("NODE-UNSTAGE-008"), rule!("GEN-TIME-005")]);
            }
        }
        Existence::Present => {
            expectation.untrue.push((NotFound, rule!("NODE-UNSTAGE-017"), "the volume exists and is staged"));
            if !state.foreign {
                let truth = "the volume is published nowhere on this node";
                expectation.untrue.push((FailedPrecondition, rule!("NODE-UNSTAGE-017"), truth));
            }
        }
        Existence::Unknown => {}
    }
    expectation
}

/// The state after an unstage that took effect.
pub(super) fn effect_unstage(state: &Volume, operation: &Operation, request: &v1::NodeUnstageVolumeRequest) -> Volume {
    let mut after = state.clone();
    let place = (operation.call.node.clone(), request.staging_target_path.clone());
    after.stagings.remove(&place);
    after.mounted.remove(&place);
    if operation.is_ok() {
        after.unstaged.insert(place);
    }
    after
}

fn served(world: &World, expectation: &mut Expectation, rules: &[crate::spec::RuleId]) {
    if world.has("Node.STAGE_UNSTAGE_VOLUME") {
        expectation.served.extend(rules);
    } else {
        super::unimplemented(expectation, "STAGE_UNSTAGE_VOLUME");
    }
}

/// A volume that does not exist, asked for on a node: NOT_FOUND, though a stateless node plugin may fail otherwise.
pub(super) fn missing_on_node(
    expectation: &mut Expectation,
    rule: crate::spec::RuleId,
    umbrella: crate::spec::RuleId,
    state: &Volume,
    operation: &Operation,
    id: &str,
) {
    match state.existence_of(id) {
        Existence::Absent if !id.is_empty() => {
            let problem = Problem::new(
                rule,
                "the volume does not exist (a node plugin without state may notice only when the use fails)",
                &[NotFound],
            )
            .also(&[umbrella, crate::rule!("GEN-ERR-004")])
            .warn_on(&[Internal, Unknown, FailedPrecondition]);
            expectation.problems.push(if operation.invented(id) { problem.or(&[InvalidArgument]) } else { problem });
        }
        Existence::Present => expectation.untrue.push((NotFound, umbrella, "the volume exists")),
        _ => {}
    }
}

/// A volume that does not exist, taken away from a node: OK or NOT_FOUND.
pub(super) fn absent_but_idempotent(
    rule: crate::spec::RuleId,
    umbrella: crate::spec::RuleId,
    invented: bool,
) -> Problem {
    let problem =
        Problem::new(rule, "the volume does not exist: OK or NOT_FOUND", &[NotFound]).also(&[umbrella]).ok_allowed();
    if invented { problem.or(&[InvalidArgument]) } else { problem }
}
