//! Snapshots: CreateSnapshot, DeleteSnapshot, GetSnapshot.

use std::collections::BTreeSet;

use tonic::Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound};

use super::{
    configurations::{Applied, Branch},
    names::{Key, Names},
    objects::{Object, Subject},
    operation::Operation,
    ruling::{Answer, Expectation, Mark, Problem, Ruling, Strike, advise, check},
    volume::{Existence, is_unusual, missing, oversized, oversized_ids, unimplemented, unusual_name},
    world::World,
};
use crate::{
    csi::v1,
    history::{CallId, Reply, Request},
    rule,
    spec::RuleId,
};

/// A possible state of a snapshot.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Snapshot {
    /// Whether it exists.
    pub(crate) existence: Existence,
    /// Its id, once told.
    pub(crate) id: Option<String>,
    /// Ids that it had and that were deleted.
    pub(crate) dead_ids: BTreeSet<String>,
    /// The call that created it.
    pub(crate) created: Option<CallId>,
    /// The volume that it was cut from.
    pub(crate) source: Option<String>,
    /// Bytes; 0 when unknown.
    pub(crate) size: i64,
    /// Seconds and nanoseconds of the cut, once told.
    pub(crate) creation_time: Option<(i64, i32)>,
    /// Whether an answer said that it is ready to use.
    pub(crate) ready: bool,
    /// Refusals are not judged.
    pub(crate) lenient: bool,
}

impl Snapshot {
    /// A snapshot that does not exist yet.
    pub(crate) fn absent() -> Self {
        Self {
            existence: Existence::Absent,
            id: None,
            dead_ids: BTreeSet::new(),
            created: None,
            source: None,
            size: 0,
            creation_time: None,
            ready: false,
            lenient: false,
        }
    }

    /// A snapshot of which the history does not tell where it comes from.
    pub(crate) fn foreign() -> Self {
        Self { existence: Existence::Unknown, lenient: true, ..Self::absent() }
    }

    /// Whether the object that goes by this id exists.
    pub(crate) fn existence_of(&self, id: &str) -> Existence {
        if self.existence != Existence::Present {
            return self.existence;
        }
        match &self.id {
            Some(own) if own == id => Existence::Present,
            None if !self.dead_ids.contains(id) => Existence::Present,
            None => Existence::Unknown,
            Some(_) => Existence::Absent,
        }
    }

    fn told(mut self, snapshot: &v1::Snapshot) -> Self {
        self.existence = Existence::Present;
        if !snapshot.snapshot_id.is_empty() {
            self.id = Some(snapshot.snapshot_id.clone());
        }
        self.source = Some(snapshot.source_volume_id.clone());
        if snapshot.size_bytes > 0 {
            self.size = snapshot.size_bytes;
        }
        self.creation_time = snapshot.creation_time.map(|time| (time.seconds, time.nanos));
        self.ready |= snapshot.ready_to_use;
        self
    }

    fn deleted(mut self) -> Self {
        let mut dead_ids = std::mem::take(&mut self.dead_ids);
        dead_ids.extend(self.id.take());
        Self { dead_ids, ..Self::absent() }
    }
}

impl Subject for Snapshot {
    const KIND: &'static str = "snapshot";

    fn key(names: &Names, operation: &Operation) -> Option<Key> {
        names.snapshot_of(operation)
    }

    fn absent() -> Self {
        Self::absent()
    }

    fn foreign() -> Self {
        Self::foreign()
    }

    fn is_absent(&self) -> bool {
        self.existence == Existence::Absent
    }

    fn is_unknown(&self) -> bool {
        self.existence == Existence::Unknown && self.source.is_none()
    }

    fn texts(&self, each: &mut dyn FnMut(&str)) {
        self.id.iter().chain(&self.dead_ids).for_each(|id| each(id));
    }

    fn calls(&self) -> Vec<CallId> {
        self.created.into_iter().collect()
    }

    fn is_known_as(&self, id: &str) -> bool {
        self.existence_of(id) == Existence::Present && self.id.is_some()
    }

    fn apply(world: &World, state: &Self, operation: &Operation) -> Applied<Self> {
        apply(world, state, operation)
    }

    fn cut_off(self, _: &Operation) -> Self {
        self
    }

    /// Specification line 1988.
    fn given<'a>(answer: Answer<'a>) -> Option<(RuleId, &'a str)> {
        let Answer::Ok(Reply::CreateSnapshot(reply)) = answer else { return None };
        Some((rule!("CTRL-SNAPCREATE-034"), &reply.snapshot.as_ref()?.snapshot_id))
    }

    fn after_conviction(_: &Object<Self>, _: &Operation, answer: Answer<'_>) -> Self {
        let id = match answer {
            Answer::Ok(Reply::CreateSnapshot(reply)) => reply.snapshot.as_ref().map(|one| one.snapshot_id.clone()),
            _ => None,
        };
        Self { id, ..Self::foreign() }
    }
}

/// All ways in which the call takes effect in the state.
fn apply(world: &World, state: &Snapshot, operation: &Operation) -> Applied<Snapshot> {
    let Some(answer) = operation.answer() else {
        let after = effect(state, operation);
        return if after == *state {
            Err(Strike::new(rule!("GEN-TIME-005"), "the call would have changed nothing", "", ""))
        } else {
            Ok(vec![Branch { state: after, marks: Vec::new() }])
        };
    };
    match expect(world, state, operation).forgive(world.is_excessive(operation)).rule_on(answer) {
        Ruling::Struck(strike) => Err(strike),
        Ruling::Refused(marks) => Ok(vec![Branch { state: state.clone(), marks }]),
        Ruling::Open(marks) => {
            let after = effect(state, operation);
            let mut branches = vec![Branch { state: state.clone(), marks: marks.clone() }];
            if after != *state {
                branches.push(Branch { state: after, marks });
            }
            Ok(branches)
        }
        Ruling::Succeeded(marks) => Ok(vec![succeed(world, state, operation, answer, marks)]),
    }
}

fn expect(world: &World, state: &Snapshot, operation: &Operation) -> Expectation {
    let mut expectation = match operation.request() {
        Request::CreateSnapshot(request) => expect_create(world, state, operation, request),
        Request::DeleteSnapshot(request) => expect_delete(world, state, operation, request),
        Request::GetSnapshot(request) => expect_get(world, state, operation, request),
        _ => Expectation { lenient: true, ..Expectation::default() },
    };
    oversized_ids(&mut expectation, operation.request());
    expectation
}

fn expect_create(
    world: &World,
    state: &Snapshot,
    operation: &Operation,
    request: &v1::CreateSnapshotRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.CREATE_DELETE_SNAPSHOT") {
        expectation.served.push(rule!("CTRL-SNAPCREATE-001"));
    } else {
        unimplemented(&mut expectation, "CREATE_DELETE_SNAPSHOT");
    }
    let source = &request.source_volume_id;
    expectation.problem_if(source.is_empty(), || missing(rule!("CTRL-SNAPCREATE-022"), "source_volume_id"));
    expectation.problem_if(request.name.is_empty(), || missing(rule!("CTRL-SNAPCREATE-023"), "name"));
    oversized(&mut expectation, "name", &request.name);
    unusual_name(&mut expectation, rule!("CTRL-SNAPCREATE-024"), &request.name);
    expectation.problem_if(request.parameters.keys().any(|key| operation.invented(key)), || {
        Problem::new(rule!("CTRL-SNAPCREATE-028"), "parameters has a key that no plugin knows", &[InvalidArgument])
            .ok_allowed()
    });
    let around = world.around(operation).source;
    let repeat = state.existence == Existence::Present && state.source.as_ref() == Some(source);
    expectation.problem_if(!source.is_empty() && around.existence == Existence::Absent && !repeat, || {
        // The error table has no row for it (specification line 1901 asks for a fitting code).
        Problem::new(
            rule!("CTRL-SNAPCREATE-004"),
            "the source volume does not exist",
            &[NotFound, InvalidArgument, FailedPrecondition],
        )
        .also(&[rule!("CTRL-SNAPCREATE-046")])
        .ok_breaks(rule!("CTRL-SNAPCREATE-019"))
    });
    if around.existence == Existence::Present {
        expectation.untrue.push((NotFound, rule!("CTRL-SNAPCREATE-047"), "the source volume exists"));
    }
    match state.existence {
        Existence::Present => {
            expectation.problem_if(state.source.as_ref().is_some_and(|known| known != source), || {
                Problem::new(
                    rule!("CTRL-SNAPCREATE-049"),
                    "a snapshot of this name was cut from another volume",
                    &[AlreadyExists],
                )
                .also(&[rule!("CTRL-SNAPCREATE-047")])
            });
            let first = state.created.and_then(|call| world.operations.get(call)).map(Operation::request);
            if first == Some(operation.request()) {
                expectation.must_succeed.extend([
                    rule!("CTRL-SNAPCREATE-002"),
                    if state.ready { rule!("CTRL-SNAPCREATE-003") } else { rule!("CTRL-SNAPCREATE-005") },
                    rule!("GEN-TIME-005"),
                ]);
            }
        }
        Existence::Absent => {
            expectation.untrue.push((AlreadyExists, rule!("CTRL-SNAPCREATE-047"), "no snapshot of this name exists"))
        }
        Existence::Unknown => {}
    }
    expectation
}

fn expect_delete(
    world: &World,
    state: &Snapshot,
    operation: &Operation,
    request: &v1::DeleteSnapshotRequest,
) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.CREATE_DELETE_SNAPSHOT") {
        expectation.served.push(rule!("CTRL-SNAPDELETE-001"));
    } else {
        unimplemented(&mut expectation, "CREATE_DELETE_SNAPSHOT");
    }
    let id = &request.snapshot_id;
    if id.is_empty() {
        expectation.problems.push(missing(rule!("CTRL-SNAPDELETE-008"), "snapshot_id"));
        return expectation;
    }
    match state.existence_of(id) {
        Existence::Absent => {
            expectation.problem_if(operation.invented(id), || {
                Problem::new(rule!("CTRL-SNAPDELETE-003"), "a malformed id was refused instead of taken as absent", &[])
                    .warn_on(&[InvalidArgument])
                    .ok_allowed()
            });
            expectation.must_succeed.push(rule!("CTRL-SNAPDELETE-003"));
            if state.dead_ids.contains(id) {
                expectation.must_succeed.extend([rule!("CTRL-SNAPDELETE-002"), rule!("GEN-TIME-005")]);
            }
        }
        Existence::Present => {
            let restored = world.around(operation).restored;
            expectation.problem_if(restored != Existence::Absent, || {
                Problem::new(rule!("CTRL-SNAPDELETE-015"), "volumes were made from the snapshot", &[FailedPrecondition])
                    .also(&[rule!("CTRL-SNAPDELETE-011")])
                    .ok_allowed()
            });
            expectation.untrue.push((NotFound, rule!("CTRL-SNAPDELETE-011"), "the snapshot exists"));
            expectation.along.push(rule!("CTRL-INTERACT-007"));
        }
        Existence::Unknown => {}
    }
    expectation
}

fn expect_get(world: &World, state: &Snapshot, operation: &Operation, request: &v1::GetSnapshotRequest) -> Expectation {
    let mut expectation = Expectation { lenient: state.lenient, ..Expectation::default() };
    if world.has("Controller.GET_SNAPSHOT") {
        expectation.served.extend([rule!("CTRL-SNAPGET-002"), rule!("CTRL-CAPS-017")]);
    } else {
        unimplemented(&mut expectation, "GET_SNAPSHOT");
    }
    let id = &request.snapshot_id;
    if id.is_empty() {
        expectation.problems.push(missing(rule!("CTRL-SNAPGET-007"), "snapshot_id"));
        return expectation;
    }
    match state.existence_of(id) {
        Existence::Absent => {
            let problem = Problem::new(rule!("CTRL-SNAPGET-013"), "the snapshot does not exist", &[NotFound]).also(&[
                rule!("CTRL-SNAPGET-011"),
                rule!("CTRL-SNAPGET-005"),
                rule!("GEN-ERR-004"),
            ]);
            // A deletion that was answered OK has to have had its effect.
            let problem =
                if state.dead_ids.contains(id) { problem.also(&[rule!("CTRL-SNAPDELETE-010")]) } else { problem };
            expectation.problems.push(if operation.invented(id) { problem.or(&[InvalidArgument]) } else { problem });
        }
        Existence::Present => {
            expectation.untrue.push((NotFound, rule!("CTRL-SNAPGET-006"), "the snapshot exists"));
        }
        Existence::Unknown => {}
    }
    expectation
}

fn effect(state: &Snapshot, operation: &Operation) -> Snapshot {
    match operation.request() {
        Request::CreateSnapshot(request) if state.existence != Existence::Present => Snapshot {
            existence: Existence::Present,
            created: Some(operation.alike),
            source: Some(request.source_volume_id.clone()),
            ..state.clone()
        },
        Request::DeleteSnapshot(request) if state.existence_of(&request.snapshot_id) != Existence::Absent => {
            state.clone().deleted()
        }
        _ => state.clone(),
    }
}

fn succeed(
    _world: &World,
    state: &Snapshot,
    operation: &Operation,
    answer: Answer<'_>,
    mut marks: Vec<Mark>,
) -> Branch<Snapshot> {
    match (operation.request(), answer) {
        (Request::CreateSnapshot(request), Answer::Ok(Reply::CreateSnapshot(reply))) => {
            let Some(snapshot) = &reply.snapshot else {
                return Branch { state: effect(state, operation), marks };
            };
            if is_unusual(&request.name) {
                marks.push(Mark::Held(rule!("CTRL-SNAPCREATE-024")));
            }
            check(
                &mut marks,
                rule!("CTRL-SNAPCREATE-037"),
                snapshot.source_volume_id == request.source_volume_id,
                || {
                    (
                        "the snapshot has another source than was asked for".into(),
                        format!("source_volume_id {:?}", request.source_volume_id),
                        format!("source_volume_id {:?}", snapshot.source_volume_id),
                    )
                },
            );
            if state.existence == Existence::Present {
                describe_again(state, snapshot, rule!("CTRL-SNAPCREATE-002"), &mut marks);
            }
            Branch { state: effect(state, operation).told(snapshot), marks }
        }
        (Request::GetSnapshot(request), Answer::Ok(Reply::GetSnapshot(reply))) => {
            if let Some(snapshot) = &reply.snapshot {
                check(&mut marks, rule!("CTRL-SNAPGET-009"), snapshot.snapshot_id == request.snapshot_id, || {
                    (
                        "another snapshot than was asked for".into(),
                        format!("snapshot_id {:?}", request.snapshot_id),
                        format!("snapshot_id {:?}", snapshot.snapshot_id),
                    )
                });
                if state.existence == Existence::Present && !state.lenient {
                    marks.push(Mark::Held(rule!("CTRL-SNAPGET-006")));
                    describe_again(state, snapshot, rule!("CTRL-SNAPGET-004"), &mut marks);
                }
            }
            Branch { state: state.clone(), marks }
        }
        (Request::DeleteSnapshot(_), _) => Branch { state: effect(state, operation), marks },
        _ => Branch { state: state.clone(), marks },
    }
}

/// A snapshot is described a second time: id, source, time and size are the same; only readiness may change.
pub(crate) fn describe_again(
    state: &Snapshot,
    snapshot: &v1::Snapshot,
    rule: crate::spec::RuleId,
    marks: &mut Vec<Mark>,
) {
    if let Some(id) = &state.id {
        check(marks, rule, *id == snapshot.snapshot_id, || {
            (
                "the snapshot has got another id".into(),
                format!("snapshot_id {id:?}"),
                format!("snapshot_id {:?}", snapshot.snapshot_id),
            )
        });
    }
    if let (Some(known), Some(time)) = (state.creation_time, snapshot.creation_time) {
        check(marks, rule!("CTRL-SNAPCREATE-038"), known == (time.seconds, time.nanos), || {
            (
                "the moment of the cut changed: it is not that of the cut".into(),
                format!("creation_time {}.{:09} s", known.0, known.1),
                format!("creation_time {}.{:09} s", time.seconds, time.nanos),
            )
        });
    }
    if let Some(source) = &state.source {
        check(marks, rule!("CTRL-SNAPCREATE-037"), *source == snapshot.source_volume_id, || {
            (
                "the snapshot has got another source".into(),
                format!("source_volume_id {source:?}"),
                format!("source_volume_id {:?}", snapshot.source_volume_id),
            )
        });
    }
    if state.size > 0 && snapshot.size_bytes > 0 {
        advise(marks, rule, state.size == snapshot.size_bytes, || {
            (
                "the size of the snapshot changed".into(),
                format!("size_bytes {}", state.size),
                format!("size_bytes {}", snapshot.size_bytes),
            )
        });
    }
    if state.ready {
        for rule in [rule!("CTRL-SNAPCREATE-039"), rule!("CTRL-SNAPCREATE-016"), rule!("CTRL-SNAPCREATE-014")] {
            check(marks, rule, snapshot.ready_to_use, || {
                (
                    "a snapshot that was ready is not any more".into(),
                    "ready_to_use true".into(),
                    "ready_to_use false".into(),
                )
            });
        }
    }
}
