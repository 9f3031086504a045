//! CreateVolume: what may be answered, and what follows.

use std::collections::BTreeMap;

use tonic::Code::{
    AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange, ResourceExhausted, Unimplemented,
};

use super::{
    fields, place,
    state::{Existence, Volume},
};
use crate::{
    csi::v1::{self, volume_content_source::Type as SourceType},
    history::{Reply, Request},
    oracle::{
        capability::{Access, Capability},
        configurations::Branch,
        operation::Operation,
        ruling::{Answer, Expectation, Mark, Problem, Strike, advise, check},
        world::World,
    },
    rule,
};

/// Sizes that no real pool has: 2^60 bytes and more.
const ABSURD: i64 = 1 << 60;

/// What may be answered to CreateVolume.
pub(super) fn expect(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::CreateVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.CREATE_DELETE_VOLUME") {
        expectation.served.push(rule!("CTRL-CREATE-001"));
    } else {
        super::unimplemented(&mut expectation, "CREATE_DELETE_VOLUME");
    }
    request_problems(world, &mut expectation, operation, request);
    source_problems(world, &mut expectation, operation, request);
    if state.existence == Existence::Present {
        existing_problems(world, &mut expectation, state, request);
    } else if state.existence == Existence::Absent {
        expectation.untrue.push((AlreadyExists, rule!("CTRL-CREATE-143"), "no volume of this name exists"));
    }
    expectation
}

fn request_problems(
    world: &World,
    expectation: &mut Expectation,
    operation: &Operation,
    request: &v1::CreateVolumeRequest,
) {
    fields::unusual_name(expectation, rule!("CTRL-CREATE-023"), &request.name);
    fields::secrets(expectation, &request.secrets);
    expectation.problem_if(request.parameters.keys().any(|key| operation.invented(key)), || {
        Problem::new(rule!("CTRL-CREATE-038"), "parameters has a key that no plugin knows", &[InvalidArgument])
            .ok_allowed()
    });
    expectation.problem_if(request.mutable_parameters.keys().any(|key| operation.invented(key)), || {
        Problem::new(rule!("CTRL-CREATE-049"), "mutable_parameters has a key that no plugin knows", &[InvalidArgument])
            .ok_warns()
    });
    expectation.problem_if(request.name.is_empty(), || fields::missing(rule!("CTRL-CREATE-018"), "name"));
    fields::capabilities(expectation, rule!("CTRL-CREATE-036"), &request.volume_capabilities);
    fields::oversized(expectation, "name", &request.name);
    if let Some(range) = &request.capacity_range {
        fields::capacity_range(expectation, rule!("CTRL-CREATE-162"), range);
        let beyond = world.knowledge.maximum_volume_size.is_some_and(|maximum| range.required_bytes > maximum);
        let below = world
            .knowledge
            .minimum_volume_size
            .is_some_and(|minimum| range.limit_bytes > 0 && range.limit_bytes < minimum);
        expectation.problem_if(range.required_bytes >= ABSURD || beyond || below, || {
            let problem =
                Problem::new(rule!("CTRL-CREATE-162"), "no volume of such a size can be had here", &[OutOfRange])
                    .or(&[ResourceExhausted])
                    .ok_allowed();
            match (beyond, below) {
                (true, _) => problem.also(&[rule!("CTRL-CAPACITY-014")]),
                (_, true) => problem.also(&[rule!("CTRL-CAPACITY-019")]),
                _ => problem,
            }
        });
    }
    let unsupported: Vec<&v1::VolumeCapability> = request
        .volume_capabilities
        .iter()
        .filter(|capability| world.knowledge.unsupported.contains(&Capability::from(*capability)))
        .collect();
    expectation.problem_if(!unsupported.is_empty(), || {
        let rule =
            if request.volume_capabilities.len() > 1 { rule!("CTRL-CREATE-035") } else { rule!("CTRL-CREATE-031") };
        Problem::new(rule, "the plugin refuses this capability when it stands alone", &[InvalidArgument])
            .warn_on(&[OutOfRange, FailedPrecondition])
    });
    if let Some(requirements) = &request.accessibility_requirements
        && world.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS")
    {
        place::problems(world, expectation, requirements);
    }
}

fn source_problems(
    world: &World,
    expectation: &mut Expectation,
    operation: &Operation,
    request: &v1::CreateVolumeRequest,
) {
    let Some(source) = &request.volume_content_source else { return };
    fields::content_source(expectation, source);
    let (id, supported) = match &source.r#type {
        Some(SourceType::Snapshot(snapshot)) => (&snapshot.snapshot_id, world.has("Controller.CREATE_DELETE_SNAPSHOT")),
        Some(SourceType::Volume(volume)) => (&volume.volume_id, world.has("Controller.CLONE_VOLUME")),
        None => return,
    };
    if id.is_empty() {
        return;
    }
    let around = world.around(operation);
    expectation.problem_if(!supported, || {
        Problem::new(rule!("CTRL-CREATE-145"), "the plugin does not advertise this kind of source", &[InvalidArgument])
            .or(&[NotFound])
            .warn_on(&[Unimplemented])
            .ok_allowed()
    });
    expectation.problem_if(supported && around.source.existence == Existence::Absent, || {
        let problem = Problem::new(rule!("CTRL-CREATE-151"), format!("the source {id:?} does not exist"), &[NotFound]);
        if operation.invented(id) { problem.or(&[InvalidArgument]) } else { problem }
    });
    expectation.problem_if(
        around.source.access.is_some_and(|access| {
            !request.volume_capabilities.is_empty()
                && request.volume_capabilities.iter().all(|one| Capability::from(one).access != access)
        }),
        || {
            Problem::new(rule!("CTRL-CREATE-146"), "the source is of the other access type", &[InvalidArgument])
                .warn_on(&[FailedPrecondition, OutOfRange])
                .ok_allowed()
        },
    );
    if supported && around.source.existence == Existence::Present {
        let size = around.source.size;
        let (required, limit) =
            request.capacity_range.as_ref().map_or((0, 0), |range| (range.required_bytes, range.limit_bytes));
        expectation.problem_if(size > 0 && limit > 0 && limit < size, || {
            Problem::new(rule!("CTRL-CREATE-163"), "the limit is below the size of the source", &[OutOfRange])
                .also(&[rule!("CTRL-SNAPCREATE-030")])
                .warn_on(&[InvalidArgument])
        });
        expectation.problem_if(size > 0 && required > size, || {
            Problem::new(rule!("CTRL-CREATE-164"), "the volume is to be larger than its source", &[OutOfRange])
                .or(&[ResourceExhausted])
                .ok_allowed()
        });
        expectation.untrue.push((NotFound, rule!("CTRL-CREATE-143"), "the source exists"));
        let (supports, same) = match &source.r#type {
            Some(SourceType::Snapshot(_)) => {
                ([rule!("CTRL-CREATE-053"), rule!("CTRL-CAPS-003")].as_slice(), required <= size || required == 0)
            }
            _ => ([rule!("CTRL-CREATE-055")].as_slice(), required <= size || required == 0),
        };
        if same && expectation.problems.is_empty() && known_to_work(world, request) {
            expectation.must_succeed.extend(supports);
        }
    }
}

/// Whether capabilities and parameters are those with which other volumes were created.
fn known_to_work(world: &World, request: &v1::CreateVolumeRequest) -> bool {
    request.accessibility_requirements.is_none()
        && request.mutable_parameters.is_empty()
        && world.knowledge.accepted_parameters.contains(&request.parameters)
        && request.volume_capabilities.len() == 1
        && request.volume_capabilities.iter().all(|one| world.knowledge.supported.contains(&Capability::from(one)))
}

/// Whether nothing is new about the parameters but that the same keys are in both maps.
fn only_together(world: &World, request: &v1::CreateVolumeRequest) -> bool {
    let without = |map: &BTreeMap<String, String>, other: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        map.iter()
            .filter(|(key, _)| !other.contains_key(*key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let (fixed, mutable) = (&request.parameters, &request.mutable_parameters);
    let (fixed_only, mutable_only) = (without(fixed, mutable), without(mutable, fixed));
    let accepted = &world.knowledge.accepted_together;
    fixed_only != *fixed
        && accepted.contains(&(fixed.clone(), mutable_only))
        && accepted.contains(&(fixed_only, mutable.clone()))
}

/// A volume of that name exists: does it satisfy the request?
fn existing_problems(world: &World, expectation: &mut Expectation, state: &Volume, request: &v1::CreateVolumeRequest) {
    let Some(Request::CreateVolume(first)) =
        state.created.and_then(|call| world.operations.get(call)).map(Operation::request)
    else {
        return;
    };
    if first == request {
        expectation.must_succeed.extend([rule!("CTRL-CREATE-003"), rule!("CTRL-CREATE-002"), rule!("GEN-TIME-005")]);
        return;
    }
    let mut differs = false;
    let range = request.capacity_range.unwrap_or_default();
    let (required, limit) = (range.required_bytes, range.limit_bytes);
    if state.capacity > 0 && (state.capacity < required || (limit > 0 && state.capacity > limit)) {
        expectation.problems.push(
            Problem::new(
                rule!("CTRL-CREATE-153"),
                format!("the volume of this name has {} bytes, outside the range of the request", state.capacity),
                &[AlreadyExists],
            )
            .or(&[OutOfRange]),
        );
    }
    differs |= state.capacity == 0 && first.capacity_range != request.capacity_range;
    if first.volume_content_source != request.volume_content_source {
        expectation.problems.push(
            Problem::new(
                rule!("CTRL-CREATE-157"),
                "the volume of this name has another content source",
                &[AlreadyExists],
            )
            .or(&[NotFound]),
        );
    }
    let kind = |list: &[v1::VolumeCapability]| -> Vec<Access> {
        let mut kinds: Vec<Access> = list.iter().map(|one| Capability::from(one).access).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    };
    if kind(&first.volume_capabilities) != kind(&request.volume_capabilities) {
        expectation.problems.push(
            Problem::new(
                rule!("CTRL-CREATE-154"),
                "the volume of this name was made for another access type",
                &[AlreadyExists],
            )
            .or(&[InvalidArgument])
            .ok_allowed(),
        );
    }
    differs |= first.volume_capabilities != request.volume_capabilities;
    if first.parameters != request.parameters {
        expectation.problems.push(
            Problem::new(
                rule!("CTRL-CREATE-155"),
                "the volume of this name was made with other parameters",
                &[AlreadyExists],
            )
            .or(&[InvalidArgument])
            .ok_allowed(),
        );
    }
    differs |= first.mutable_parameters != request.mutable_parameters;
    place::existing(expectation, state, request);
    differs |= first.accessibility_requirements != request.accessibility_requirements;
    // What is compatible is the plugin's to say where nothing tells, and so is what a lost answer would have told.
    let untold = state.topology.is_none() && first.accessibility_requirements != request.accessibility_requirements;
    let other = (differs || untold) && !expectation.problems.is_empty();
    expectation.problem_if(other, || {
        Problem::new(rule!("CTRL-CREATE-143"), "a volume of this name was asked for in another way", &[AlreadyExists])
            .ok_allowed()
    });
    if expectation.problems.is_empty() && !differs && state.capacity > 0 {
        expectation.must_succeed.push(rule!("CTRL-CREATE-005"));
    }
}

/// What a refusal says beside its code: that the source is at fault, where it is (specification line 1262).
pub(super) fn refusal_marks(
    world: &World,
    operation: &Operation,
    request: &v1::CreateVolumeRequest,
    answer: Answer<'_>,
    flawless: bool,
    marks: &mut Vec<Mark>,
) {
    let mut at_fault = Expectation::default();
    source_problems(world, &mut at_fault, operation, request);
    let Answer::Status(status) = answer else { return };
    if flawless && status.code == InvalidArgument as i32 && only_together(world, request) {
        marks.push(Mark::Broken(Strike::new(
            rule!("CTRL-CREATE-009"),
            "a key that is in both maps is refused, although either map is accepted without it in the other",
            "OK: the value from mutable_parameters wins",
            answer.describe(),
        )));
    }
    let by_the_source = at_fault
        .problems
        .iter()
        .any(|problem| marks.iter().any(|mark| matches!(mark, Mark::Held(rule) if *rule == problem.rule)));
    if by_the_source {
        advise(marks, rule!("CTRL-CREATE-149"), !status.message.trim().is_empty(), || {
            (
                "the refusal does not say that the source is at fault".into(),
                "a message that says so".into(),
                answer.describe(),
            )
        });
    }
}

/// The state after a create that took effect.
pub(super) fn effect(state: &Volume, operation: &Operation) -> Volume {
    if state.existence == Existence::Present {
        return state.clone();
    }
    let mut after = state.clone();
    after.existence = Existence::Present;
    after.created = Some(operation.alike);
    after.id = None;
    after
}

/// Judges the reply and says what follows.
pub(super) fn succeed(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::CreateVolumeRequest,
    reply: &v1::CreateVolumeResponse,
    mut marks: Vec<Mark>,
) -> Branch<Volume> {
    let Some(volume) = &reply.volume else {
        // The stateless pass convicts the empty reply.
        return Branch { state: effect(state, operation), marks };
    };
    let again = state.existence == Existence::Present;
    if again {
        compare(world, &mut marks, state, volume);
    }
    if fields::is_unusual(&request.name) {
        marks.push(Mark::Held(rule!("CTRL-CREATE-023")));
    }
    if request.parameters.keys().any(|key| request.mutable_parameters.contains_key(key)) {
        marks.push(Mark::Held(rule!("CTRL-CREATE-009")));
    }
    let source = request.volume_content_source.is_some();
    capacity(&mut marks, request.capacity_range.as_ref(), volume.capacity_bytes, source);
    if let Some(requirements) = &request.accessibility_requirements
        && world.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS")
    {
        place::marks(world, &mut marks, requirements, &volume.accessible_topology);
    }
    let around = world.around(operation);
    if let Some(SourceType::Snapshot(_)) =
        request.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref())
        && around.source.size > 0
        && volume.capacity_bytes > 0
    {
        check(&mut marks, rule!("CTRL-SNAPCREATE-030"), volume.capacity_bytes >= around.source.size, || {
            (
                "the volume is smaller than the snapshot that it was made from".into(),
                format!("at least {} bytes", around.source.size),
                format!("{} bytes", volume.capacity_bytes),
            )
        });
    }
    if let Some(SourceType::Volume(_)) | Some(SourceType::Snapshot(_)) =
        request.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref())
    {
        let kept = volume.content_source == request.volume_content_source;
        let advertised = match request.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref()) {
            Some(SourceType::Snapshot(_)) => world.has("Controller.CREATE_DELETE_SNAPSHOT"),
            _ => world.has("Controller.CLONE_VOLUME"),
        };
        if !advertised {
            check(&mut marks, rule!("CTRL-CREATE-145"), kept, || {
                (
                    "a volume was made without the content asked for".into(),
                    "INVALID_ARGUMENT, or a volume with that content_source".into(),
                    "OK without content_source".into(),
                )
            });
        }
    }
    let next = if again { state.clone() } else { effect(state, operation) };
    Branch { state: next.told(volume), marks }
}

/// A repeat describes the volume that is there already.
fn compare(world: &World, marks: &mut Vec<Mark>, state: &Volume, volume: &v1::Volume) {
    if let Some(id) = &state.id {
        check(marks, rule!("CTRL-CREATE-002"), *id == volume.volume_id, || {
            (
                "a repeated CreateVolume gave another volume: the first one is lost to the caller".into(),
                format!("volume_id {id:?}"),
                format!("volume_id {:?}", volume.volume_id),
            )
        });
        if *id == volume.volume_id
            && let Some(context) = &state.context
        {
            let kept = *context == volume.volume_context;
            check(marks, rule!("CTRL-CREATE-092"), kept, || {
                ("volume_context changed".into(), format!("{context:?}"), format!("{:?}", volume.volume_context))
            });
            check(marks, rule!("CTRL-CREATE-097"), kept, || {
                (
                    "one volume_id came with two volume_contexts".into(),
                    format!("{context:?}"),
                    format!("{:?}", volume.volume_context),
                )
            });
        }
    }
    if state.capacity > 0 && volume.capacity_bytes > 0 {
        advise(marks, rule!("CTRL-CREATE-004"), state.capacity == volume.capacity_bytes, || {
            (
                "a repeated CreateVolume describes the volume with another size".into(),
                format!("capacity_bytes {}", state.capacity),
                format!("capacity_bytes {}", volume.capacity_bytes),
            )
        });
    }
    // It may be absent (specification line 1056), but who was told of it takes a volume without it for another one.
    let created = state.created.and_then(|call| world.operations.get(call)).and_then(Operation::answer);
    if let Some(Answer::Ok(Reply::CreateVolume(first))) = created
        && let Some(source) = first.volume.as_ref().and_then(|first| first.content_source.as_ref())
    {
        advise(marks, rule!("CTRL-CREATE-004"), volume.content_source.as_ref() == Some(source), || {
            (
                "a repeated CreateVolume describes the volume with another content_source".into(),
                format!("{source:?}"),
                format!("{:?}", volume.content_source),
            )
        });
    }
}

/// The size lies within the range (specification lines 825, 1006–1015).
pub(super) fn capacity(marks: &mut Vec<Mark>, range: Option<&v1::CapacityRange>, bytes: i64, source: bool) {
    let Some(range) = range else { return };
    if bytes == 0 {
        return;
    }
    let (required, limit) = (range.required_bytes, range.limit_bytes);
    if required > 0 {
        let rules = [rule!("CTRL-CREATE-078"), rule!("CTRL-CREATE-027")].into_iter();
        for rule in rules.chain(source.then_some(rule!("CTRL-CREATE-028"))) {
            check(marks, rule, bytes >= required, || {
                ("the volume is too small".into(), format!("at least {required} bytes"), format!("{bytes} bytes"))
            });
        }
    }
    if limit > 0 && limit >= required {
        check(marks, rule!("CTRL-CREATE-081"), bytes <= limit, || {
            ("the volume is too large".into(), format!("at most {limit} bytes"), format!("{bytes} bytes"))
        });
    }
    if limit > 0 && limit == required {
        check(marks, rule!("CTRL-CREATE-076"), bytes == limit, || {
            ("required_bytes equals limit_bytes".into(), format!("exactly {limit} bytes"), format!("{bytes} bytes"))
        });
    }
}
