//! Block metadata of snapshots: the shape of each stream, refusals, and streams of one snapshot held against each other.

use std::collections::HashMap;

use tonic::Code::{FailedPrecondition, InvalidArgument, NotFound, OutOfRange};

use super::{
    operation::Operation,
    ruling::{Answer, Expectation, Mark, Problem, Ruling, advise, check},
    volume::{Existence, missing, oversized_ids, unimplemented},
    world::World,
};
use crate::{
    csi::v1::{BlockMetadata, BlockMetadataType},
    history::{Reply, Request},
    rule,
    spec::RuleId,
};

/// What is known of the metadata of snapshots.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    /// By what was asked for: the capacity, and the full stream in the style in which it came.
    known: HashMap<Subject, (i64, HashMap<i32, Vec<Range>>)>,
}

/// A snapshot, or two that are compared.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Subject(Vec<String>);

type Range = (i64, i64);

/// A request and its rules, the same for both RPCs.
struct Asked<'a> {
    subject: Subject,
    starting_offset: i64,
    max_results: i32,
    rules: &'static Rules,
    fields: &'static [(&'static str, RuleId)],
    ids: Vec<&'a str>,
}

/// The rules of one of the RPCs.
struct Rules {
    served: RuleId,
    one_type: RuleId,
    one_size: RuleId,
    has_type: RuleId,
    one_capacity: RuleId,
    has_capacity: RuleId,
    at_most: RuleId,
    ascending: RuleId,
    apart: RuleId,
    across: RuleId,
    beyond_start: RuleId,
    start: RuleId,
    completed: RuleId,
    invalid: RuleId,
    not_found: RuleId,
    negative: RuleId,
    too_far: RuleId,
}

static ALLOCATED: Rules = Rules {
    served: rule!("META-ALLOCATED-001"),
    one_type: rule!("META-ALLOCATED-011"),
    one_size: rule!("META-ALLOCATED-012"),
    has_type: rule!("META-ALLOCATED-013"),
    one_capacity: rule!("META-ALLOCATED-014"),
    has_capacity: rule!("META-ALLOCATED-015"),
    at_most: rule!("META-ALLOCATED-016"),
    ascending: rule!("META-ALLOCATED-018"),
    apart: rule!("META-ALLOCATED-019"),
    across: rule!("META-ALLOCATED-020"),
    beyond_start: rule!("META-ALLOCATED-005"),
    start: rule!("META-ALLOCATED-017"),
    completed: rule!("META-ALLOCATED-022"),
    invalid: rule!("META-ALLOCATED-023"),
    not_found: rule!("META-ALLOCATED-025"),
    negative: rule!("META-ALLOCATED-027"),
    too_far: rule!("META-ALLOCATED-028"),
};

static DELTA: Rules = Rules {
    served: rule!("META-DELTA-001"),
    one_type: rule!("META-DELTA-013"),
    one_size: rule!("META-DELTA-014"),
    has_type: rule!("META-DELTA-015"),
    one_capacity: rule!("META-DELTA-016"),
    has_capacity: rule!("META-DELTA-017"),
    at_most: rule!("META-DELTA-018"),
    ascending: rule!("META-DELTA-020"),
    apart: rule!("META-DELTA-021"),
    across: rule!("META-DELTA-022"),
    beyond_start: rule!("META-DELTA-007"),
    start: rule!("META-DELTA-019"),
    completed: rule!("META-DELTA-024"),
    invalid: rule!("META-DELTA-025"),
    not_found: rule!("META-DELTA-027"),
    negative: rule!("META-DELTA-031"),
    too_far: rule!("META-DELTA-032"),
};

/// A message of either stream.
struct Message<'a> {
    style: i32,
    capacity: i64,
    tuples: &'a [BlockMetadata],
}

impl Metadata {
    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Forgets snapshots that nothing mentions any more.
    pub(super) fn forget_what_is_over(&mut self, is_mentioned: &dyn Fn(&str) -> bool) {
        self.known.retain(|subject, _| subject.0.iter().all(|id| id.is_empty() || is_mentioned(id)));
    }

    /// Judges an answer to one of the two RPCs.
    pub(super) fn marks(&mut self, world: &World, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let Some(asked) = Asked::of(operation.request()) else { return Vec::new() };
        let capacity = self.known.get(&asked.subject).map(|(capacity, _)| *capacity);
        let mut marks =
            match asked.expect(world, operation, capacity).forgive(world.is_excessive(operation)).rule_on(answer) {
                Ruling::Succeeded(marks) | Ruling::Refused(marks) | Ruling::Open(marks) => marks,
                Ruling::Struck(strike) => return vec![Mark::Broken(strike)],
            };
        let messages: Vec<Message<'_>> = match answer {
            Answer::Ok(Reply::GetMetadataAllocated(messages)) => messages
                .iter()
                .map(|it| Message {
                    style: it.block_metadata_type,
                    capacity: it.volume_capacity_bytes,
                    tuples: &it.block_metadata,
                })
                .collect(),
            Answer::Ok(Reply::GetMetadataDelta(messages)) => messages
                .iter()
                .map(|it| Message {
                    style: it.block_metadata_type,
                    capacity: it.volume_capacity_bytes,
                    tuples: &it.block_metadata,
                })
                .collect(),
            _ => return marks,
        };
        asked.shape(&messages, &mut marks);
        self.compare(&asked, &messages, &mut marks);
        marks.push(Mark::Held(asked.rules.completed));
        marks
    }

    /// A snapshot never changes: two streams of one style tell the same bytes.
    fn compare(&mut self, asked: &Asked<'_>, messages: &[Message<'_>], marks: &mut Vec<Mark>) {
        let Some(first) = messages.first() else { return };
        let ranges = joined(messages.iter().flat_map(|message| message.tuples), asked.starting_offset);
        let (_, streams) = self.known.entry(asked.subject.clone()).or_insert((first.capacity, HashMap::new()));
        let Some(whole) = streams.get(&first.style) else {
            if asked.starting_offset == 0 {
                streams.insert(first.style, ranges);
            }
            return;
        };
        let tail = clipped(whole, asked.starting_offset);
        if tail.is_empty() && ranges.is_empty() {
            return;
        }
        let is_same = tail == ranges;
        let broken = || {
            (
                "two streams of the same snapshot do not tell the same bytes".to_owned(),
                format!("{} from {} on", shown(&tail), asked.starting_offset),
                shown(&ranges),
            )
        };
        let from_start: &[RuleId] = &[asked.rules.start, rule!("META-STREAM-005")];
        let whole_stream: &[RuleId] = &[rule!("META-STREAM-001")];
        for &rule in if asked.starting_offset == 0 { whole_stream } else { from_start } {
            advise(marks, rule, is_same, broken);
        }
    }
}

impl<'a> Asked<'a> {
    fn of(request: &'a Request) -> Option<Self> {
        match request {
            Request::GetMetadataAllocated(request) => Some(Self {
                subject: Subject(vec![request.snapshot_id.clone()]),
                starting_offset: request.starting_offset,
                max_results: request.max_results,
                rules: &ALLOCATED,
                fields: &[("snapshot_id", rule!("META-ALLOCATED-003"))],
                ids: vec![&request.snapshot_id],
            }),
            Request::GetMetadataDelta(request) => Some(Self {
                subject: Subject(vec![request.base_snapshot_id.clone(), request.target_snapshot_id.clone()]),
                starting_offset: request.starting_offset,
                max_results: request.max_results,
                rules: &DELTA,
                fields: &[
                    ("base_snapshot_id", rule!("META-DELTA-003")),
                    ("target_snapshot_id", rule!("META-DELTA-004")),
                ],
                ids: vec![&request.base_snapshot_id, &request.target_snapshot_id],
            }),
            _ => None,
        }
    }

    fn expect(&self, world: &World, operation: &Operation, capacity: Option<i64>) -> Expectation {
        let mut expectation = Expectation::default();
        if world.has("Plugin.SNAPSHOT_METADATA_SERVICE") {
            expectation.served.push(self.rules.served);
        } else {
            unimplemented(&mut expectation, "SNAPSHOT_METADATA_SERVICE");
        }
        for (id, (field, rule)) in self.ids.iter().zip(self.fields) {
            expectation.problem_if(id.is_empty(), || missing(*rule, field).also(&[self.rules.invalid]));
        }
        expectation.problem_if(self.max_results < 0, || {
            Problem::new(self.rules.invalid, "max_results is negative", &[InvalidArgument]).ok_warns()
        });
        expectation.problem_if(self.starting_offset < 0, || {
            Problem::new(self.rules.negative, "starting_offset is negative", &[OutOfRange]).warn_on(&[InvalidArgument])
        });
        expectation.problem_if(
            capacity.is_some_and(|capacity| capacity > 0 && self.starting_offset > capacity),
            || {
                Problem::new(self.rules.too_far, "starting_offset lies beyond the end", &[OutOfRange])
                    .warn_on(&[InvalidArgument])
            },
        );
        let is_whole = self.ids.iter().all(|id| !id.is_empty());
        let around = world.around(operation).source;
        expectation.problem_if(is_whole && around.existence == Existence::Absent, || {
            let problem = Problem::new(self.rules.not_found, "a snapshot does not exist", &[NotFound]);
            let is_invented = self.ids.iter().any(|id| operation.invented(id));
            if is_invented { problem.warn_on(&[InvalidArgument]) } else { problem }
        });
        if is_whole && around.existence == Existence::Present {
            expectation.untrue.push((NotFound, self.rules.not_found, "the snapshots exist"));
        }
        oversized_ids(&mut expectation, operation.request());
        // A snapshot of a volume without blocks, or without change tracking, cannot be read this way at all, whatever else is
        // asked; nobody says which of two mistakes is seen first.
        let is_precondition =
            matches!(operation.answer(), Some(Answer::Status(status)) if status.code == FailedPrecondition as i32);
        let has_snapshot = self.ids.iter().any(|id| !id.is_empty() && !operation.invented(id));
        let is_flawed = !expectation.problems.is_empty();
        expectation.problem_if(capacity.is_none() && is_flawed && is_precondition && has_snapshot, || {
            Problem::new(self.rules.completed, "the snapshot may have no block metadata", &[FailedPrecondition])
        });
        expectation.problem_if(capacity.is_none() && expectation.problems.is_empty(), || {
            Problem::new(self.rules.completed, "the snapshot may have no block metadata", &[FailedPrecondition])
                .or(&[InvalidArgument, OutOfRange, tonic::Code::Internal, tonic::Code::Unknown])
                .ok_allowed()
        });
        expectation
    }

    fn shape(&self, messages: &[Message<'_>], marks: &mut Vec<Mark>) {
        let rules = self.rules;
        let Some(first) = messages.first() else { return };
        let most = usize::try_from(self.max_results).unwrap_or(0);
        let mut last: Option<Range> = None;
        for message in messages {
            for rule in [rules.one_type, rule!("META-FORMAT-010")] {
                check(marks, rule, message.style == first.style, || {
                    differs("block_metadata_type", first.style, message.style)
                });
            }
            check(marks, rules.has_type, message.style != 0, || {
                ("a message names no style".into(), "a block_metadata_type".into(), "UNKNOWN".into())
            });
            check(marks, rules.one_capacity, message.capacity == first.capacity, || {
                differs("volume_capacity_bytes", first.capacity, message.capacity)
            });
            check(marks, rules.has_capacity, message.capacity > 0, || {
                ("a message has no capacity".into(), "more than 0".into(), message.capacity.to_string())
            });
            if most > 0 {
                check(marks, rules.at_most, message.tuples.len() <= most, || {
                    (
                        "a message holds more ranges than max_results".into(),
                        format!("at most {most}"),
                        message.tuples.len().to_string(),
                    )
                });
            }
            let mut before: Option<Range> = None;
            for tuple in message.tuples {
                let range = (tuple.byte_offset, tuple.size_bytes);
                self.tuple(range, first, marks);
                if let Some(before) = before {
                    ordered(before, range, [rules.ascending, rules.apart], marks);
                }
                if let Some(last) = last {
                    ordered(last, range, [rules.across, rules.across], marks);
                    ordered(last, range, [rule!("META-FORMAT-002"), rule!("META-FORMAT-003")], marks);
                }
                before = Some(range);
                last = Some(range);
            }
        }
    }

    fn tuple(&self, range: Range, first: &Message<'_>, marks: &mut Vec<Mark>) {
        let rules = self.rules;
        let (offset, size) = range;
        let told = || format!("{offset}+{size}");
        check(marks, rule!("META-FORMAT-004"), offset >= 0, || {
            ("a range begins before the volume".into(), "byte_offset from 0 on".into(), told())
        });
        advise(marks, rule!("META-FORMAT-004"), offset.saturating_add(size) <= first.capacity, || {
            ("a range reaches beyond the volume".into(), format!("up to {}", first.capacity), told())
        });
        for rule in [rule!("META-FORMAT-005"), rule!("META-FORMAT-006")] {
            check(marks, rule, size > 0, || ("a range is empty".into(), "size_bytes above 0".into(), told()));
        }
        for rule in [rules.beyond_start, rules.start, rule!("META-STREAM-005")] {
            check(marks, rule, offset.saturating_add(size) > self.starting_offset, || {
                ("a range ends before starting_offset".into(), format!("beyond {}", self.starting_offset), told())
            });
        }
        let fixed = first.tuples.first().filter(|_| first.style == BlockMetadataType::FixedLength as i32);
        if let Some(fixed) = fixed {
            let is_last = offset.saturating_add(size) >= first.capacity;
            for rule in [rules.one_size, rule!("META-FORMAT-007")] {
                let broken =
                    || ("ranges of fixed length have different sizes".into(), fixed.size_bytes.to_string(), told());
                if is_last {
                    advise(marks, rule, size == fixed.size_bytes, broken);
                } else {
                    check(marks, rule, size == fixed.size_bytes, broken);
                }
            }
        }
    }
}

fn ordered(before: Range, range: Range, [ascending, apart]: [RuleId; 2], marks: &mut Vec<Mark>) {
    let told = || format!("{}+{}, then {}+{}", before.0, before.1, range.0, range.1);
    check(marks, ascending, range.0 > before.0, || {
        ("ranges do not ascend".into(), "greater byte_offset from range to range".into(), told())
    });
    check(marks, apart, before.0.saturating_add(before.1) <= range.0 || range.0 <= before.0, || {
        ("ranges overlap".into(), "each range after the end of the one before".into(), told())
    });
}

fn differs(what: &str, first: impl ToString, other: impl ToString) -> (String, String, String) {
    (format!("{what} changes within a stream"), first.to_string(), other.to_string())
}

/// The bytes of the tuples from an offset on, touching ranges made one.
fn joined<'a>(tuples: impl Iterator<Item = &'a BlockMetadata>, start: i64) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for tuple in tuples {
        let (from, to) = (tuple.byte_offset, tuple.byte_offset.saturating_add(tuple.size_bytes));
        match ranges.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => ranges.push((from, to)),
        }
    }
    clipped(&ranges, start)
}

fn clipped(ranges: &[Range], start: i64) -> Vec<Range> {
    ranges.iter().filter(|range| range.1 > start).map(|&(from, to)| (from.max(start), to)).collect()
}

fn shown(ranges: &[Range]) -> String {
    let some: Vec<String> = ranges.iter().take(8).map(|(from, to)| format!("{from}–{to}")).collect();
    let more = if ranges.len() > some.len() { ", …" } else { "" };
    format!("{} ranges: {}{more}", ranges.len(), some.join(", "))
}
