//! NodePublishVolume and NodeUnpublishVolume: what may be answered, and what follows.

use std::collections::BTreeMap;

use tonic::Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound};

use super::{
    fields,
    inspect::is_of_other_type,
    stage::{absent_but_idempotent, missing_on_node},
    state::{Existence, Publication, Volume},
};
use crate::{
    csi::v1::{self, volume_capability::access_mode::Mode},
    history::Request,
    oracle::{
        capability::Capability,
        operation::Operation,
        ruling::{Expectation, Problem},
        world::World,
    },
    rule,
    spec::RuleId,
};

/// What may be answered to NodePublishVolume.
pub(super) fn expect_publish(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::NodePublishVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    expectation.served.push(rule!("GEN-RPC-009"));
    let (id, target) = (&request.volume_id, &request.target_path);
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("NODE-PUBLISH-037"), "volume_id"));
    expectation.problem_if(target.is_empty(), || fields::missing(rule!("NODE-PUBLISH-053"), "target_path"));
    fields::capability(&mut expectation, rule!("NODE-PUBLISH-058"), request.volume_capability.as_ref());
    fields::path(&mut expectation, "target_path", target);
    fields::path(&mut expectation, "staging_target_path", &request.staging_target_path);
    missing_on_node(&mut expectation, rule!("NODE-PUBLISH-067"), rule!("NODE-PUBLISH-065"), state, operation, id);
    let Some(capability) = request.volume_capability.as_ref().map(Capability::from) else { return expectation };
    if world.has("Node.STAGE_UNSTAGE_VOLUME") {
        staging(&mut expectation, state, operation, request, &capability);
    }
    if state.existence_of(id) != Existence::Present {
        return expectation;
    }
    if world.has("Controller.PUBLISH_UNPUBLISH_VOLUME") && state.attachments.is_empty() {
        // The orchestrator has to attach first (specification line 2449).
        expectation.lenient = true;
    }
    let other_type = is_of_other_type(world, state, &capability);
    expectation.problem_if(world.knowledge.unsupported.contains(&capability) || other_type, || {
        Problem::new(rule!("NODE-PUBLISH-071"), "the volume does not have this capability", &[FailedPrecondition])
            .also(&[rule!("NODE-PUBLISH-057"), rule!("NODE-PUBLISH-065")])
            .warn_on(&[InvalidArgument])
            .ok_allowed()
    });
    second_publish(world, &mut expectation, state, operation, request, &capability);
    if !world.has("Node.STAGE_UNSTAGE_VOLUME") {
        super::rules::attached_for(&mut expectation, state, &capability);
    }
    one_of_several(world, &mut expectation, state, &capability);
    expectation
}

/// A volume that was made for several capabilities can be used under each (specification lines 835–839).
fn one_of_several(world: &World, expectation: &mut Expectation, state: &Volume, capability: &Capability) {
    let Some(Request::CreateVolume(created)) =
        state.created.and_then(|call| world.operations.get(call)).map(Operation::request)
    else {
        return;
    };
    let made_for: Vec<Capability> = created.volume_capabilities.iter().map(Capability::from).collect();
    if made_for.len() < 2 || !made_for.contains(capability) || !state.publications.is_empty() {
        return;
    }
    expectation.must_succeed.push(rule!("CTRL-CREATE-032"));
    if made_for.iter().any(|other| other.mode != capability.mode) {
        expectation.must_succeed.push(rule!("CTRL-CREATE-034"));
    }
}

fn staging(
    expectation: &mut Expectation,
    state: &Volume,
    operation: &Operation,
    request: &v1::NodePublishVolumeRequest,
    _capability: &Capability,
) {
    let path = &request.staging_target_path;
    if path.is_empty() {
        expectation.problems.push(
            Problem::new(
                rule!("NODE-PUBLISH-073"),
                "staging_target_path is empty although the plugin has STAGE_UNSTAGE_VOLUME",
                &[FailedPrecondition],
            )
            .also(&[rule!("NODE-PUBLISH-065")]),
        );
    } else if !state.stagings.contains_key(&(operation.call.node.clone(), path.clone()))
        && state.existence == Existence::Present
    {
        // The orchestrator has to stage first (specification line 2452): any refusal will do.
        expectation.lenient = true;
    }
}

/// A row of the two tables on a second publish (specification lines 2473–2483): the rule for each cell.
struct Row {
    same_target_same_arguments: RuleId,
    same_target_other_arguments: RuleId,
    other_target_same_arguments: RuleId,
    other_target_other_arguments: RuleId,
    /// Whether a second target is to be accepted.
    second_target: bool,
}

fn row(world: &World, capability: &Capability) -> Row {
    let cells = |a, b, c, d, second_target| Row {
        same_target_same_arguments: a,
        same_target_other_arguments: b,
        other_target_same_arguments: c,
        other_target_other_arguments: d,
        second_target,
    };
    let multi = capability.is_multi_node();
    if !world.has("Node.SINGLE_NODE_MULTI_WRITER") {
        return if multi {
            cells(
                rule!("NODE-PUBLISH-011"),
                rule!("NODE-PUBLISH-012"),
                rule!("NODE-PUBLISH-013"),
                rule!("NODE-PUBLISH-014"),
                true,
            )
        } else {
            cells(
                rule!("NODE-PUBLISH-015"),
                rule!("NODE-PUBLISH-016"),
                rule!("NODE-PUBLISH-017"),
                rule!("NODE-PUBLISH-018"),
                false,
            )
        };
    }
    match capability.mode() {
        Some(Mode::SingleNodeSingleWriter) => cells(
            rule!("NODE-PUBLISH-020"),
            rule!("NODE-PUBLISH-021"),
            rule!("NODE-PUBLISH-022"),
            rule!("NODE-PUBLISH-023"),
            false,
        ),
        Some(Mode::SingleNodeMultiWriter) => cells(
            rule!("NODE-PUBLISH-024"),
            rule!("NODE-PUBLISH-025"),
            rule!("NODE-PUBLISH-026"),
            rule!("NODE-PUBLISH-027"),
            true,
        ),
        _ if multi => cells(
            rule!("NODE-PUBLISH-028"),
            rule!("NODE-PUBLISH-029"),
            rule!("NODE-PUBLISH-030"),
            rule!("NODE-PUBLISH-031"),
            true,
        ),
        _ => cells(
            rule!("NODE-PUBLISH-032"),
            rule!("NODE-PUBLISH-033"),
            rule!("NODE-PUBLISH-034"),
            rule!("NODE-PUBLISH-035"),
            false,
        ),
    }
}

fn second_publish(
    world: &World,
    expectation: &mut Expectation,
    state: &Volume,
    operation: &Operation,
    request: &v1::NodePublishVolumeRequest,
    capability: &Capability,
) {
    let node = &operation.call.node;
    let row = row(world, capability);
    let umbrella =
        if world.has("Node.SINGLE_NODE_MULTI_WRITER") { rule!("NODE-PUBLISH-019") } else { rule!("NODE-PUBLISH-010") };
    if let Some(held) = state.publications.get(&(node.clone(), request.target_path.clone())) {
        return same_target(world, state, expectation, (held, request), capability, &row, umbrella);
    }
    let others: Vec<&Publication> = state
        .publications
        .iter()
        .filter(|((other, path), _)| other == node && *path != request.target_path)
        .map(|(_, held)| held)
        .collect();
    let Some(first) = others.first() else {
        expectation.untrue.push((
            AlreadyExists,
            rule!("NODE-PUBLISH-065"),
            "the volume is not published at this target",
        ));
        return;
    };
    let equal = arguments(world, first).is_some_and(|earlier| same_arguments(earlier, request));
    let cell = if equal { row.other_target_same_arguments } else { row.other_target_other_arguments };
    if row.second_target {
        if first.capability != *capability {
            expectation.problems.push(
                Problem::new(
                    rule!("NODE-PUBLISH-009"),
                    "a second publish with another capability",
                    &[FailedPrecondition],
                )
                .ok_allowed(),
            );
        } else {
            expectation.must_succeed.extend([cell, umbrella]);
        }
    } else {
        let definition: &[RuleId] = match capability.mode() {
            Some(Mode::SingleNodeSingleWriter) => &[rule!("CTRL-CREATE-070")],
            _ => &[],
        };
        expectation.problems.push(
            Problem::new(
                cell,
                "the access mode allows one target on a node; the orchestrators of today rely on OK all the same",
                &[FailedPrecondition],
            )
            .also(&[umbrella])
            .also(definition)
            .ok_warns(),
        );
    }
}

fn same_target(
    world: &World,
    state: &Volume,
    expectation: &mut Expectation,
    (held, request): (&Publication, &v1::NodePublishVolumeRequest),
    capability: &Capability,
    row: &Row,
    umbrella: RuleId,
) {
    let Some(first) = arguments(world, held) else { return };
    if same_arguments(first, request) {
        expectation.must_succeed.extend([
            rule!("NODE-PUBLISH-004"),
            rule!("NODE-PUBLISH-003"),
            rule!("GEN-TIME-005"),
            row.same_target_same_arguments,
            umbrella,
        ]);
        return;
    }
    let other_capability = held.capability != *capability;
    let effective = |flag: bool, capability: &Capability| flag || capability.is_reader_only();
    let other_flag = effective(held.read_only, &held.capability) != effective(request.readonly, capability);
    if other_flag || held.capability.access != capability.access {
        let problem = Problem::new(
            rule!("NODE-PUBLISH-069"),
            "the target holds the volume with another readonly flag or access type",
            &[AlreadyExists],
        )
        .also(&[row.same_target_other_arguments, umbrella, rule!("NODE-PUBLISH-065")]);
        let problem = if other_capability { problem.or(&[FailedPrecondition, InvalidArgument]) } else { problem };
        // A mount that its attachment makes read-only is compatible with either flag, so OK is what line 2458 wants.
        let fits_either = held.capability.access == capability.access && is_attached_read_only(state, request);
        expectation.problems.push(if fits_either { problem.ok_allowed() } else { problem });
    } else if other_capability {
        expectation.problems.push(
            Problem::new(
                row.same_target_other_arguments,
                "the target holds the volume with another capability",
                &[AlreadyExists, FailedPrecondition],
            )
            .also(&[umbrella, rule!("NODE-PUBLISH-009")])
            .ok_warns(),
        );
    } else {
        // Contexts may be ignored by the plugin, and a changed staging path be none of its business.
        expectation.problems.push(
            Problem::new(
                row.same_target_other_arguments,
                "the target holds the volume with other contexts",
                &[AlreadyExists, FailedPrecondition],
            )
            .or(&[InvalidArgument])
            .ok_allowed(),
        );
    }
}

/// Whether the attachment that the publish context belongs to is, or may be, a read-only one.
fn is_attached_read_only(state: &Volume, request: &v1::NodePublishVolumeRequest) -> bool {
    let is_its = |context: &BTreeMap<String, String>| *context == request.publish_context;
    state.attachments.values().any(|one| one.read_only && one.context.as_ref().is_none_or(is_its))
}

fn arguments<'w>(world: &'w World, held: &Publication) -> Option<&'w v1::NodePublishVolumeRequest> {
    match world.operations.get(held.by)?.request() {
        Request::NodePublishVolume(request) => Some(request),
        _ => None,
    }
}

/// Whether all arguments but target and secrets are equal (specification line 2469).
fn same_arguments(a: &v1::NodePublishVolumeRequest, b: &v1::NodePublishVolumeRequest) -> bool {
    a.volume_capability == b.volume_capability
        && a.readonly == b.readonly
        && a.publish_context == b.publish_context
        && a.volume_context == b.volume_context
        && a.staging_target_path == b.staging_target_path
}

/// The state after a publish that took effect.
pub(super) fn effect_publish(state: &Volume, operation: &Operation, request: &v1::NodePublishVolumeRequest) -> Volume {
    let mut after = state.clone();
    let Some(capability) = &request.volume_capability else { return after };
    let place = (operation.call.node.clone(), request.target_path.clone());
    after.existence = Existence::Present;
    after.withdrawn.remove(&place);
    after.publications.entry(place).or_insert_with(|| Publication {
        capability: Capability::from(capability),
        read_only: request.readonly,
        by: operation.alike,
    });
    after
}

/// What may be answered to NodeUnpublishVolume.
pub(super) fn expect_unpublish(
    state: &Volume,
    operation: &Operation,
    request: &v1::NodeUnpublishVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    expectation.served.extend([rule!("NODE-UNPUBLISH-001"), rule!("GEN-RPC-009")]);
    let (id, target) = (&request.volume_id, &request.target_path);
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("NODE-UNPUBLISH-008"), "volume_id"));
    expectation.problem_if(target.is_empty(), || fields::missing(rule!("NODE-UNPUBLISH-011"), "target_path"));
    fields::path(&mut expectation, "target_path", target);
    if id.is_empty() || target.is_empty() {
        return expectation;
    }
    match state.existence_of(id) {
        Existence::Absent => expectation.problems.push(absent_but_idempotent(
            rule!("NODE-UNPUBLISH-017"),
            rule!("NODE-UNPUBLISH-015"),
            operation.invented(id),
        )),
        Existence::Present => {
            let place = (operation.call.node.clone(), target.clone());
            if state.publications.contains_key(&place) {
                expectation.untrue.push((NotFound, rule!("NODE-UNPUBLISH-015"), "the volume is published there"));
            } else if !state.foreign {
                expectation.must_succeed.push(rule!("NODE-UNPUBLISH-006"));
                if state.withdrawn.contains(&place) {
                    expectation.must_succeed.push(rule!("GEN-TIME-005"));
                }
            }
        }
        Existence::Unknown => {}
    }
    expectation
}

/// The state after an unpublish that took effect.
pub(super) fn effect_unpublish(
    state: &Volume,
    operation: &Operation,
    request: &v1::NodeUnpublishVolumeRequest,
) -> Volume {
    let mut after = state.clone();
    let place = (operation.call.node.clone(), request.target_path.clone());
    after.publications.remove(&place);
    if operation.is_ok() {
        after.withdrawn.insert(place);
    }
    after
}
