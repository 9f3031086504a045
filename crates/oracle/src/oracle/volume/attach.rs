//! ControllerPublishVolume and ControllerUnpublishVolume: what may be answered, and what follows.

use tonic::Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted};

use super::{
    fields,
    state::{Attachment, Existence, Volume},
};
use crate::{
    csi::v1::{self, volume_capability::access_mode::Mode},
    oracle::{
        capability::Capability,
        configurations::Branch,
        operation::Operation,
        ruling::{Answer, Expectation, Mark, Problem, advise, check},
        world::World,
    },
    rule,
};

/// What may be answered to ControllerPublishVolume.
pub(super) fn expect_publish(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::ControllerPublishVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
        expectation.served.push(rule!("CTRL-PUBLISH-001"));
    } else {
        super::unimplemented(&mut expectation, "PUBLISH_UNPUBLISH_VOLUME");
    }
    let (id, node) = (&request.volume_id, &request.node_id);
    expectation.problem_if(id.is_empty(), || fields::missing(rule!("CTRL-PUBLISH-008"), "volume_id"));
    expectation.problem_if(node.is_empty(), || fields::missing(rule!("CTRL-PUBLISH-009"), "node_id"));
    fields::capability(&mut expectation, rule!("CTRL-PUBLISH-013"), request.volume_capability.as_ref());
    if request.readonly {
        if !world.has("Controller.PUBLISH_READONLY") {
            // The orchestrator may not send it (specification line 1341): whatever follows is not the plugin's fault.
            expectation.lenient = true;
            return expectation;
        }
        expectation.served.push(rule!("CTRL-CAPS-007"));
    }
    super::exists(&mut expectation, rule!("CTRL-PUBLISH-032"), rule!("CTRL-PUBLISH-030"), state, operation, id);
    expectation.problem_if(operation.invented(node), || {
        Problem::new(rule!("CTRL-PUBLISH-034"), format!("the node {node:?} does not exist"), &[NotFound])
            .also(&[rule!("CTRL-PUBLISH-030")])
            .or(&[InvalidArgument])
    });
    if !world.knowledge.node_ids.contains(node) {
        nowhere_seen(&mut expectation);
    }
    if state.existence_of(id) != Existence::Present {
        return expectation;
    }
    let foreign = state.context.as_ref().is_some_and(|context| *context != request.volume_context);
    expectation.problem_if(foreign && !request.volume_context.is_empty(), || {
        // It need not be stored, so OK says nothing.
        Problem::new(rule!("CTRL-PUBLISH-019"), "volume_context is not this volume's", &[InvalidArgument])
            .or(&[NotFound, FailedPrecondition])
            .ok_allowed()
    });
    let Some(capability) = request.volume_capability.as_ref().map(Capability::from) else { return expectation };
    unsupported(world, &mut expectation, &capability);
    if let Some(held) = state.attachments.get(node) {
        held_already(world, &mut expectation, held, &capability, request.readonly);
    }
    elsewhere(&mut expectation, state, node, &capability);
    if state.attachments.is_empty() && !state.foreign && state.detached.iter().any(|other| other != node) {
        expectation.along.push(rule!("CTRL-UNPUBLISH-003"));
        // It could be attached here before, so nothing else can stand in the way.
        if state.detached.contains(node) && world.knowledge.supported.contains(&capability) {
            let truth = "the volume was detached from the node that held it";
            expectation.untrue.push((FailedPrecondition, rule!("CTRL-UNPUBLISH-003"), truth));
        }
    }
    let limit = world.knowledge.max_volumes.get(node).copied().unwrap_or(0);
    let full = limit > 0 && world.around(operation).attached >= usize::try_from(limit).unwrap_or(usize::MAX);
    expectation.problem_if(full && !state.attachments.contains_key(node), || {
        Problem::new(
            rule!("CTRL-PUBLISH-042"),
            format!("the node has its {limit} volumes already"),
            &[ResourceExhausted],
        )
        .also(&[rule!("CTRL-PUBLISH-030")])
    });
    expectation
}

/// Calls that may be under way beside one: a node may have room for so many more than is seen.
const UNDER_WAY: usize = 16;

/// A node is said to be full although far fewer volumes are attached to it than it takes by its own word.
pub(super) fn exhausted_marks(
    world: &World,
    operation: &Operation,
    request: &v1::ControllerPublishVolumeRequest,
    answer: Answer<'_>,
    marks: &mut Vec<Mark>,
) {
    let Answer::Status(status) = answer else { return };
    let limit = world.knowledge.max_volumes.get(&request.node_id).copied().unwrap_or(0);
    let attached = world.around(operation).attached;
    let has_room = usize::try_from(limit).is_ok_and(|limit| attached + UNDER_WAY < limit);
    if status.code == ResourceExhausted as i32 && has_room {
        advise(marks, rule!("CTRL-PUBLISH-042"), false, || {
            (
                "the node is said to be full, and takes more volumes by NodeGetInfo".into(),
                format!("room for {limit} volumes"),
                format!("{} with {attached} attached", answer.describe()),
            )
        });
    }
}

fn unsupported(world: &World, expectation: &mut Expectation, capability: &Capability) {
    expectation.problem_if(world.knowledge.unsupported.contains(capability), || {
        Problem::new(
            rule!("CTRL-PUBLISH-012"),
            "the plugin does not support this capability",
            &[InvalidArgument, FailedPrecondition],
        )
        .ok_warns()
    });
}

fn held_already(
    world: &World,
    expectation: &mut Expectation,
    held: &Attachment,
    capability: &Capability,
    read_only: bool,
) {
    let other_flag = held.read_only != read_only;
    expectation.problem_if(other_flag && world.has("Controller.PUBLISH_READONLY"), || {
        Problem::new(
            rule!("CTRL-PUBLISH-037"),
            "the volume is attached to this node with another readonly flag",
            &[AlreadyExists],
        )
        .also(&[rule!("CTRL-PUBLISH-030")])
    });
    expectation.problem_if(held.capability != *capability, || {
        let problem = Problem::new(
            rule!("CTRL-PUBLISH-036"),
            "the volume is attached to this node with another capability",
            &[AlreadyExists],
        )
        .also(&[rule!("CTRL-PUBLISH-030")])
        .or(&[InvalidArgument, FailedPrecondition]);
        if held.capability.access == capability.access { problem.ok_allowed() } else { problem.ok_warns() }
    });
    if !other_flag && held.capability == *capability {
        expectation.must_succeed.extend([rule!("CTRL-PUBLISH-005"), rule!("CTRL-PUBLISH-004"), rule!("GEN-TIME-005")]);
    }
}

fn elsewhere(expectation: &mut Expectation, state: &Volume, node: &str, capability: &Capability) {
    let Some((holder, held)) = state.attachments.iter().find(|(holder, _)| *holder != node) else { return };
    if capability.is_multi_node() && held.capability.is_multi_node() {
        return;
    }
    let definition = match capability.mode() {
        Some(Mode::SingleNodeReaderOnly) => rule!("CTRL-CREATE-066"),
        Some(Mode::SingleNodeSingleWriter) => rule!("CTRL-CREATE-070"),
        _ => rule!("CTRL-CREATE-065"),
    };
    expectation.problems.push(
        Problem::new(
            rule!("CTRL-PUBLISH-039"),
            format!("the volume is attached to node {holder:?} and its access mode allows one node only"),
            &[FailedPrecondition],
        )
        .also(&[definition, rule!("CTRL-PUBLISH-030")])
        .or(if held.capability == *capability { &[] } else { &[AlreadyExists, InvalidArgument] }),
    );
}

/// What a refusal says beside its code: the holder is named where another node holds the volume (line 1388).
pub(super) fn refusal_marks(
    state: &Volume,
    request: &v1::ControllerPublishVolumeRequest,
    answer: Answer<'_>,
    marks: &mut Vec<Mark>,
) {
    let Answer::Status(status) = answer else { return };
    let held = marks.contains(&Mark::Held(rule!("CTRL-PUBLISH-039")));
    let Some((holder, _)) = state.attachments.iter().find(|(holder, _)| **holder != request.node_id) else { return };
    if held {
        advise(marks, rule!("CTRL-PUBLISH-040"), status.message.contains(holder.as_str()), || {
            (
                "the refusal does not name the node that holds the volume".into(),
                format!("a message with {holder:?}"),
                answer.describe(),
            )
        });
    }
}

/// The state after a controller publish that took effect.
pub(super) fn effect_publish(state: &Volume, request: &v1::ControllerPublishVolumeRequest) -> Volume {
    let mut after = state.clone();
    let Some(capability) = &request.volume_capability else { return after };
    after.existence = Existence::Present;
    after.detached.remove(&request.node_id);
    after.attachments.entry(request.node_id.clone()).or_insert_with(|| Attachment {
        capability: Capability::from(capability),
        read_only: request.readonly,
        context: None,
    });
    after
}

/// Judges the reply and says what follows.
pub(super) fn succeed_publish(
    state: &Volume,
    request: &v1::ControllerPublishVolumeRequest,
    reply: &v1::ControllerPublishVolumeResponse,
    mut marks: Vec<Mark>,
) -> Branch<Volume> {
    if let Some(known) = state.attachments.get(&request.node_id).and_then(|held| held.context.as_ref()) {
        check(&mut marks, rule!("CTRL-PUBLISH-022"), *known == reply.publish_context, || {
            (
                "publish_context changed while the volume stayed attached".into(),
                format!("{known:?}"),
                format!("{:?}", reply.publish_context),
            )
        });
    }
    let mut after = effect_publish(state, request);
    if let Some(held) = after.attachments.get_mut(&request.node_id) {
        held.context = Some(reply.publish_context.clone());
    }
    Branch { state: after, marks }
}

/// What may be answered to ControllerUnpublishVolume.
pub(super) fn expect_unpublish(
    world: &World,
    state: &Volume,
    operation: &Operation,
    request: &v1::ControllerUnpublishVolumeRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.PUBLISH_UNPUBLISH_VOLUME") {
        expectation.served.push(rule!("CTRL-UNPUBLISH-001"));
    } else {
        super::unimplemented(&mut expectation, "PUBLISH_UNPUBLISH_VOLUME");
    }
    let (id, node) = (&request.volume_id, &request.node_id);
    if id.is_empty() {
        expectation.problems.push(fields::missing(rule!("CTRL-UNPUBLISH-010"), "volume_id"));
        return expectation;
    }
    if !state.stagings.is_empty() || !state.publications.is_empty() {
        // The orchestrator erred first: a volume that is staged or published on the node is not to be detached.
        expectation.lenient = true;
        return expectation;
    }
    if operation.invented(node) {
        expectation.problems.push(
            // That OK is the better answer is said by `unpublish_marks`.
            Problem::new(rule!("CTRL-UNPUBLISH-022"), "the node cannot be found", &[NotFound])
                .warn_on(&[InvalidArgument])
                .ok_allowed(),
        );
        expectation.must_succeed.extend([rule!("CTRL-UNPUBLISH-022"), rule!("CTRL-UNPUBLISH-018")]);
        return expectation;
    }
    let seen = node.is_empty() || world.knowledge.node_ids.contains(node);
    match state.existence_of(id) {
        Existence::Absent => {
            let problem = Problem::new(rule!("CTRL-UNPUBLISH-020"), "the volume cannot be found", &[NotFound])
                .also(&[rule!("CTRL-UNPUBLISH-018")])
                .ok_allowed();
            expectation.problems.push(if operation.invented(id) { problem.or(&[InvalidArgument]) } else { problem });
        }
        Existence::Present => {
            expectation.untrue.push((NotFound, rule!("CTRL-UNPUBLISH-018"), "volume and node exist"));
            if node.is_empty() {
                expectation.must_succeed.push(rule!("CTRL-UNPUBLISH-014"));
            } else if state.attachments.contains_key(node) {
                expectation.must_succeed.extend([rule!("CTRL-UNPUBLISH-013"), rule!("CTRL-PUBLISH-026")]);
            } else if !state.foreign {
                expectation.must_succeed.extend([rule!("CTRL-UNPUBLISH-006"), rule!("CTRL-UNPUBLISH-005")]);
            }
        }
        Existence::Unknown => {}
    }
    if !seen {
        nowhere_seen(&mut expectation);
    }
    expectation
}

/// A node that nothing in the history shows may be none: then it is what cannot be found.
fn nowhere_seen(expectation: &mut Expectation) {
    expectation.lenient = true;
    expectation.untrue.retain(|(code, ..)| *code != NotFound);
}

/// What an OK about something that cannot be found says.
pub(super) fn unpublish_marks(
    state: &Volume,
    operation: &Operation,
    request: &v1::ControllerUnpublishVolumeRequest,
    succeeded: bool,
    answer: Answer<'_>,
    marks: &mut Vec<Mark>,
) {
    if request.volume_id.is_empty() || state.lenient || fields::has_oversized_id(operation.request()) {
        return;
    }
    let rules = if operation.invented(&request.node_id) {
        [rule!("CTRL-UNPUBLISH-008"), rule!("CTRL-UNPUBLISH-022")]
    } else if state.existence_of(&request.volume_id) == Existence::Absent {
        [rule!("CTRL-UNPUBLISH-007"), rule!("CTRL-UNPUBLISH-020")]
    } else {
        return;
    };
    advise(marks, rules[0], succeeded, || {
        ("what cannot be attached was not taken as detached".into(), "OK".into(), answer.describe())
    });
    if succeeded {
        marks.push(Mark::Held(rules[1]));
    }
}

/// The state after a controller unpublish that took effect.
pub(super) fn effect_unpublish(state: &Volume, request: &v1::ControllerUnpublishVolumeRequest) -> Volume {
    let mut after = state.clone();
    let nodes: Vec<String> = match request.node_id.as_str() {
        "" => after.attachments.keys().cloned().collect(),
        node => after.attachments.keys().filter(|held| *held == node).cloned().collect(),
    };
    for node in nodes {
        after.attachments.remove(&node);
        after.detached.insert(node);
    }
    after
}
