//! ValidateVolumeCapabilities, ControllerGetVolume, ControllerModifyVolume and ControllerExpandVolume.

use tonic::Code::{FailedPrecondition, InvalidArgument, OutOfRange, ResourceExhausted};

use super::{
    fields,
    state::{Existence, Volume},
};
use crate::{
    csi::v1,
    oracle::{
        capability::{Access, Capability},
        configurations::Branch,
        operation::Operation,
        ruling::{Expectation, Mark, Problem, advise, check},
        world::World,
    },
    rule,
};

/// Sizes that no real pool has.
const ABSURD: i64 = 1 << 60;

/// What may be answered to ValidateVolumeCapabilities.
pub(super) fn expect_validate(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::ValidateVolumeCapabilitiesRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Plugin.CONTROLLER_SERVICE") {
        expectation.served.extend([rule!("CTRL-VALIDATE-001"), rule!("IDENT-CAPS-008")]);
    }
    let id = &request.volume_id;
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("CTRL-VALIDATE-006"), "volume_id"));
    expectation.problem_if(request.volume_capabilities.is_empty(), || {
        fields::missing(rule!("CTRL-VALIDATE-009"), "volume_capabilities").also(&[rule!("GEN-REQ-003")])
    });
    let odd = request
        .volume_capabilities
        .iter()
        .map(Capability::from)
        .any(|capability| capability.mode <= 0 || capability.access == Access::Unset);
    expectation.problem_if(odd, || {
        Problem::new(rule!("CTRL-VALIDATE-002"), "a capability lacks its access type or mode", &[InvalidArgument])
            .ok_allowed()
    });
    super::exists(&mut expectation, rule!("CTRL-VALIDATE-024"), rule!("CTRL-VALIDATE-022"), state, operation, id);
    if state.existence_of(id) == Existence::Absent
        && let Some(problem) = expectation.problems.last_mut()
    {
        problem.also.push(rule!("CTRL-VALIDATE-021"));
    }
    if state.existence_of(id) == Existence::Present {
        let own_context = request.volume_context.is_empty()
            || state.context.as_ref().is_some_and(|context| *context == request.volume_context);
        expectation.problem_if(!own_context, || {
            Problem::new(rule!("CTRL-VALIDATE-008"), "volume_context is not this volume's", &[InvalidArgument])
                .ok_allowed()
        });
        // What no volume was made for may be no valid file system, flag or group at all.
        let plain = Default::default();
        let mut asked = request.volume_capabilities.iter().map(Capability::from);
        let unknown = asked.any(|one| one.mount != plain && !world.knowledge.supported.contains(&one));
        expectation.problem_if(unknown, || {
            Problem::new(rule!("CTRL-VALIDATE-022"), "what is asked of the mount may be invalid", &[InvalidArgument])
                .ok_allowed()
        });
        if expectation.problems.is_empty() && request.parameters.is_empty() && request.mutable_parameters.is_empty() {
            expectation.must_succeed.push(rule!("CTRL-VALIDATE-003"));
            if request.volume_context.is_empty() {
                expectation.must_succeed.extend([rule!("CTRL-CREATE-096"), rule!("CTRL-CREATE-095")]);
            }
        }
        // Whether these fit is the plugin's to say, and INVALID_ARGUMENT one of the ways to say it.
        expectation.problem_if(!request.parameters.is_empty() || !request.mutable_parameters.is_empty(), || {
            Problem::new(rule!("CTRL-VALIDATE-022"), "the parameters may be invalid", &[InvalidArgument]).ok_allowed()
        });
    }
    expectation
}

/// Judges what was confirmed.
pub(super) fn validate_marks(
    world: &World,
    request: &v1::ValidateVolumeCapabilitiesRequest,
    reply: &v1::ValidateVolumeCapabilitiesResponse,
    marks: &mut Vec<Mark>,
) {
    let asked: Vec<Capability> = request.volume_capabilities.iter().map(Capability::from).collect();
    let invalid = |capability: &Capability| {
        capability.mode <= 0 || capability.access == Access::Unset || world.knowledge.unsupported.contains(capability)
    };
    let Some(confirmed) = &reply.confirmed else {
        if asked.iter().any(invalid) {
            marks.extend([Mark::Held(rule!("CTRL-VALIDATE-002")), Mark::Held(rule!("CTRL-VALIDATE-017"))]);
        }
        return;
    };
    for rule in [rule!("CTRL-VALIDATE-002"), rule!("CTRL-VALIDATE-017")] {
        check(marks, rule, !asked.iter().any(invalid), || {
            (
                "a capability that is not supported was confirmed".into(),
                "confirmed unset, or INVALID_ARGUMENT".into(),
                format!("confirmed {asked:?}"),
            )
        });
    }
    let listed: Vec<Capability> = confirmed.volume_capabilities.iter().map(Capability::from).collect();
    check(marks, rule!("CTRL-VALIDATE-014"), !listed.is_empty(), || {
        (
            "confirmed lists no capability".into(),
            "confirmed.volume_capabilities with the capabilities asked for".into(),
            "an empty list".into(),
        )
    });
}

/// What may be answered to ControllerGetVolume.
pub(super) fn expect_get(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::ControllerGetVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.GET_VOLUME") {
        expectation.served.extend([rule!("CTRL-GET-002"), rule!("CTRL-CAPS-013")]);
    } else {
        super::unimplemented(&mut expectation, "GET_VOLUME");
    }
    let id = &request.volume_id;
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("CTRL-GET-006"), "volume_id"));
    super::exists(&mut expectation, rule!("CTRL-GET-017"), rule!("CTRL-GET-015"), state, operation, id);
    if state.existence_of(id) == Existence::Absent
        && let Some(problem) = expectation.problems.last_mut()
    {
        problem.also.push(rule!("CTRL-GET-005"));
    }
    expectation
}

/// Judges what ControllerGetVolume or a list says of a volume whose state is known.
pub(crate) fn description_marks(
    world: &World,
    state: &Volume,
    volume: &v1::Volume,
    published: Option<&[String]>,
    in_list: bool,
    marks: &mut Vec<Mark>,
) {
    if let Some(context) = &state.context {
        if in_list && volume.volume_context.is_empty() {
            advise(marks, rule!("CTRL-CREATE-092"), context.is_empty(), || {
                ("ListVolumes leaves volume_context out".into(), format!("{context:?}"), "an empty map".into())
            });
        } else {
            check(marks, rule!("CTRL-CREATE-092"), *context == volume.volume_context, || {
                ("volume_context changed".into(), format!("{context:?}"), format!("{:?}", volume.volume_context))
            });
        }
    }
    if state.capacity > 0 && volume.capacity_bytes > 0 && !state.lenient {
        if in_list {
            advise(marks, rule!("CTRL-EXPAND-012"), state.capacity == volume.capacity_bytes, || {
                (
                    "ListVolumes disagrees about the size".into(),
                    format!("capacity_bytes {}", state.capacity),
                    format!("capacity_bytes {}", volume.capacity_bytes),
                )
            });
        } else {
            advise(marks, rule!("CTRL-GET-004"), state.capacity == volume.capacity_bytes, || {
                (
                    "the size is not the current one".into(),
                    format!("capacity_bytes {}", state.capacity),
                    format!("capacity_bytes {}", volume.capacity_bytes),
                )
            });
        }
    }
    if let Some(published) = published
        && world.has("Controller.LIST_VOLUMES_PUBLISHED_NODES")
        && !state.lenient
    {
        let detached: Vec<&String> = state.detached.iter().filter(|node| published.contains(node)).collect();
        if !state.detached.is_empty() {
            // The list may name further nodes (contested point 8), so this only warns.
            for rule in [rule!("CTRL-UNPUBLISH-013"), rule!("CTRL-UNPUBLISH-017")] {
                advise(marks, rule, detached.is_empty(), || {
                    (
                        "published_node_ids holds a node that the volume was detached from".into(),
                        format!("without {detached:?}"),
                        format!("{published:?}"),
                    )
                });
            }
        }
        let missing: Vec<&String> = state.attachments.keys().filter(|node| !published.contains(node)).collect();
        if !state.attachments.is_empty() {
            let own = if in_list { rule!("CTRL-LIST-020") } else { rule!("CTRL-GET-008") };
            for rule in [own, rule!("CTRL-CAPS-008"), rule!("CTRL-PUBLISH-029")] {
                check(marks, rule, missing.is_empty(), || {
                    (
                        "published_node_ids leaves out a node that the volume is attached to".into(),
                        format!("{missing:?} among them"),
                        format!("{published:?}"),
                    )
                });
            }
        }
    }
}

/// What may be answered to ControllerModifyVolume.
pub(super) fn expect_modify(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::ControllerModifyVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.MODIFY_VOLUME") {
        expectation.served.extend([rule!("CTRL-MODIFY-001"), rule!("CTRL-CAPS-016")]);
    } else {
        super::unimplemented(&mut expectation, "MODIFY_VOLUME");
    }
    let id = &request.volume_id;
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("CTRL-MODIFY-004"), "volume_id"));
    expectation.problem_if(request.mutable_parameters.is_empty(), || {
        // REQUIRED in the message; drivers and testers disagree, so this draws a warning.
        fields::missing(rule!("CTRL-MODIFY-006"), "mutable_parameters").ok_warns()
    });
    let made_up = request.mutable_parameters.keys().any(|key| operation.invented(key));
    expectation.problem_if(made_up, || {
        Problem::new(rule!("CTRL-MODIFY-011"), "mutable_parameters has a key that no plugin knows", &[InvalidArgument])
            .also(&[rule!("CTRL-MODIFY-007")])
    });
    super::exists(&mut expectation, rule!("CTRL-MODIFY-015"), rule!("GEN-ERR-004"), state, operation, id);
    if state.existence_of(id) == Existence::Present && state.modified == Some(operation.alike) {
        expectation.must_succeed.extend([rule!("CTRL-MODIFY-002"), rule!("GEN-TIME-005")]);
    }
    if !request.mutable_parameters.is_empty() && state.existence_of(id) != Existence::Present && !made_up {
        // An unknown key may be seen before the volume is looked for.
        for problem in &mut expectation.problems {
            *problem = problem.clone().or(&[InvalidArgument]);
        }
    }
    expectation
}

/// What may be answered to ControllerExpandVolume.
pub(super) fn expect_expand(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::ControllerExpandVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.EXPAND_VOLUME") {
        expectation.served.push(rule!("CTRL-EXPAND-001"));
    } else {
        super::unimplemented(&mut expectation, "EXPAND_VOLUME");
    }
    let id = &request.volume_id;
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("CTRL-EXPAND-010"), "volume_id"));
    match &request.capacity_range {
        None => expectation.problems.push(fields::missing(rule!("CTRL-EXPAND-011"), "capacity_range")),
        Some(range) => expand_range(world, &mut expectation, state, range),
    }
    if let Some(capability) = request.volume_capability.as_ref().map(Capability::from) {
        expectation.problem_if(capability.mode <= 0 || capability.access == Access::Unset, || {
            Problem::new(rule!("GEN-ERR-009"), "the capability lacks its access type or mode", &[InvalidArgument])
                .ok_allowed()
        });
        let is_there = state.existence_of(id) == Existence::Present;
        expectation.problem_if(is_there && differs_in_its_mount(world, state, &capability), || {
            Problem::new(rule!("CTRL-EXPAND-019"), "the volume was created for other mounts", &[InvalidArgument])
                .ok_allowed()
        });
        expectation.problem_if(
            world.knowledge.unsupported.contains(&capability) || is_of_other_type(world, state, &capability),
            || {
                Problem::new(
                    rule!("CTRL-EXPAND-019"),
                    "the volume does not support this capability",
                    &[InvalidArgument],
                )
                .ok_warns()
            },
        );
    }
    super::exists(&mut expectation, rule!("CTRL-EXPAND-021"), rule!("GEN-ERR-004"), state, operation, id);
    if state.existence_of(id) == Existence::Present {
        let offline = world.has("VolumeExpansion.OFFLINE") && !world.has("VolumeExpansion.ONLINE");
        let published = !state.publications.is_empty() || !state.attachments.is_empty() || !state.stagings.is_empty();
        let wanted = request.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
        expectation.problem_if(offline && published, || {
            let problem = Problem::new(
                rule!("CTRL-EXPAND-023"),
                "the volume is published and the plugin expands offline only",
                &[FailedPrecondition],
            )
            .also(&[rule!("IDENT-CAPS-017")]);
            match () {
                // It has that size already: nothing has to grow.
                () if state.capacity == 0 || wanted <= state.capacity => problem.ok_allowed(),
                // Publishing may be invisible to the controller (specification line 683, note).
                () if state.attachments.is_empty() => problem.ok_warns(),
                () => problem,
            }
        });
        if expectation.problems.is_empty() {
            if state.capacity > 0 && wanted > 0 && wanted <= state.capacity {
                expectation.must_succeed.push(rule!("CTRL-EXPAND-003"));
                if wanted == state.capacity {
                    expectation.must_succeed.push(rule!("CTRL-EXPAND-002"));
                }
            }
            if published && world.has("VolumeExpansion.ONLINE") {
                expectation.untrue.push((FailedPrecondition, rule!("IDENT-CAPS-015"), "the plugin expands online"));
            }
        }
    }
    expectation
}

/// Whether the mount of a capability is none of those that the volume was created for: another file system, other flags, or
/// another group.
fn differs_in_its_mount(world: &World, state: &Volume, capability: &Capability) -> bool {
    let created = state.created.and_then(|call| world.operations.get(call));
    match created.map(Operation::request) {
        Some(crate::history::Request::CreateVolume(request)) => {
            !request.volume_capabilities.iter().any(|one| Capability::from(one).mount == capability.mount)
        }
        _ => true,
    }
}

/// Whether the volume was created for the other access type alone.
pub(super) fn is_of_other_type(world: &World, state: &Volume, capability: &Capability) -> bool {
    let created = state.created.and_then(|call| world.operations.get(call));
    match created.map(Operation::request) {
        Some(crate::history::Request::CreateVolume(request)) => {
            !request.volume_capabilities.iter().any(|one| Capability::from(one).access == capability.access)
        }
        _ => false,
    }
}

fn expand_range(world: &World, expectation: &mut Expectation, state: &Volume, range: &v1::CapacityRange) {
    fields::capacity_range(expectation, rule!("CTRL-EXPAND-025"), range);
    let limit = range.limit_bytes;
    expectation.problem_if(limit > 0 && range.required_bytes <= limit && state.capacity > limit, || {
        Problem::new(rule!("CTRL-EXPAND-025"), "the limit is below the present size", &[OutOfRange])
            .or(&[InvalidArgument])
    });
    let beyond = world.knowledge.maximum_volume_size.is_some_and(|maximum| range.required_bytes > maximum);
    expectation.problem_if(range.required_bytes >= ABSURD || beyond, || {
        Problem::new(rule!("CTRL-EXPAND-025"), "no volume of such a size can be had here", &[OutOfRange])
            .or(&[ResourceExhausted])
            .ok_allowed()
    });
}

/// Judges the reply to an expansion and says what follows.
pub(super) fn succeed_expand(
    world: &World,
    state: &Volume,
    request: &v1::ControllerExpandVolumeRequest,
    reply: &v1::ControllerExpandVolumeResponse,
    mut marks: Vec<Mark>,
) -> Branch<Volume> {
    let bytes = reply.capacity_bytes;
    check(&mut marks, rule!("CTRL-EXPAND-016"), bytes > 0, || {
        (
            "the reply does not give the size after expansion".into(),
            "capacity_bytes above 0".into(),
            format!("capacity_bytes {bytes}"),
        )
    });
    let mut after = state.clone();
    if bytes > 0 {
        let range = request.capacity_range.unwrap_or_default();
        let (required, limit) = (range.required_bytes, range.limit_bytes);
        let inside = bytes >= required && (limit <= 0 || bytes <= limit);
        check(&mut marks, rule!("CTRL-EXPAND-012"), inside, || {
            (
                "the size after expansion lies outside the range asked for".into(),
                format!("between {required} and {}", if limit > 0 { limit.to_string() } else { "any size".into() }),
                format!("capacity_bytes {bytes}"),
            )
        });
        if state.capacity > 0 && !state.lenient {
            advise(&mut marks, rule!("CTRL-EXPAND-003"), bytes >= state.capacity, || {
                (
                    "an expansion made the volume smaller".into(),
                    format!("at least {} bytes", state.capacity),
                    format!("{bytes} bytes"),
                )
            });
        }
        after.capacity = bytes;
    }
    if reply.node_expansion_required {
        advise(&mut marks, rule!("CTRL-EXPAND-018"), world.has("Node.EXPAND_VOLUME"), || {
            (
                "node_expansion_required is set and the node plugin does not expand volumes".into(),
                "the node capability EXPAND_VOLUME".into(),
                "not advertised".into(),
            )
        });
    }
    if !state.publications.is_empty() && world.has("VolumeExpansion.ONLINE") {
        marks.push(Mark::Held(rule!("IDENT-CAPS-015")));
    }
    Branch { state: after, marks }
}
