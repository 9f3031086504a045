//! Rules that are judged on each reply alone, whatever asked for it: sizes, required fields, ranges.

use prost_reflect::{DynamicMessage, Kind, Value};

use super::{
    ruling::{Mark, Strike, advise, check},
    topology,
    world::World,
};
use crate::{
    csi::v1,
    history::{Reply, Request},
    rule,
    spec::RuleId,
};

/// The general limits of the specification, lines 470 and 471.
const LONGEST_STRING: usize = 128;
const LARGEST_MAP: usize = 4096;

/// Judges a reply by itself.
pub(super) fn marks(world: &World, request: &Request, reply: &Reply) -> Vec<Mark> {
    let mut marks = vec![Mark::Held(rule!("GEN-ERR-001")), Mark::Held(rule!("GEN-ERR-002"))];
    for message in reply.to_dynamic() {
        sizes(world, &message, &mut marks);
    }
    fields(world, request, reply, &mut marks);
    let required: Vec<RuleId> = marks
        .iter()
        .filter_map(|mark| match mark {
            Mark::Broken(strike) if strike.message.ends_with("is missing") => Some(strike.rule),
            _ => None,
        })
        .collect();
    if required.is_empty() {
        marks.extend([Mark::Held(rule!("GEN-REQ-001")), Mark::Held(rule!("GEN-FIELD-001"))]);
    }
    marks
}

/// Strings and maps keep the general limits, nested ones included, but for what repeats an excess of the caller.
fn sizes(world: &World, message: &DynamicMessage, marks: &mut Vec<Mark>) {
    let limits = [rule!("GEN-SIZE-004"), rule!("GEN-FIELD-001")];
    for (field, value) in message.fields() {
        // node_id has a limit of its own (line 2812).
        if field.name() == "node_id" {
            continue;
        }
        match value {
            Value::String(text) if field.kind() == Kind::String => {
                string(world, field.name(), text, &limits, marks);
            }
            Value::Message(inner) => sizes(world, inner, marks),
            Value::List(values) => {
                for value in values {
                    match value {
                        Value::Message(inner) => sizes(world, inner, marks),
                        Value::String(text) if field.name() != "published_node_ids" => {
                            string(world, field.name(), text, &limits, marks);
                        }
                        _ => {}
                    }
                }
            }
            Value::Map(entries) => {
                let bytes: usize = entries
                    .iter()
                    .map(|(key, value)| key.as_str().map_or(0, str::len) + value.as_str().map_or(0, str::len))
                    .sum();
                let echoes = |value: &Value| value.as_str().is_some_and(|text| world.excess.is_echoed_in(text));
                if bytes > LARGEST_MAP && entries.values().any(echoes) {
                    continue;
                }
                limit(field.name(), bytes, LARGEST_MAP, rule!("GEN-SIZE-003"), &limits, marks);
            }
            _ => {}
        }
    }
}

fn string(world: &World, field: &str, text: &str, also: &[RuleId], marks: &mut Vec<Mark>) {
    if text.len() > LONGEST_STRING && world.excess.is_echoed_in(text) {
        return;
    }
    limit(field, text.len(), LONGEST_STRING, rule!("GEN-SIZE-002"), also, marks);
}

fn limit(field: &str, bytes: usize, most: usize, rule: RuleId, also: &[RuleId], marks: &mut Vec<Mark>) {
    if bytes <= most {
        marks.push(Mark::Held(rule));
        marks.push(Mark::Held(also[0]));
        return;
    }
    let mut strike = Strike::new(
        rule,
        format!("{field} is larger than its limit"),
        format!("at most {most} bytes"),
        format!("{bytes} bytes"),
    );
    strike.also = also.to_vec();
    marks.push(Mark::Broken(strike));
}

/// A REQUIRED field of a reply.
fn required(marks: &mut Vec<Mark>, rule: RuleId, field: &str, present: bool) {
    if present {
        marks.push(Mark::Held(rule));
    } else {
        let mut strike = Strike::new(rule, format!("the required field {field} is missing"), "it is set", "it is not");
        strike.also = vec![rule!("GEN-REQ-001"), rule!("GEN-FIELD-001")];
        marks.push(Mark::Broken(strike));
    }
}

fn not_negative(marks: &mut Vec<Mark>, rule: RuleId, field: &str, number: i64) {
    check(marks, rule, number >= 0, || (format!("{field} is negative"), "0 or more".into(), number.to_string()));
}

fn fields(world: &World, request: &Request, reply: &Reply, marks: &mut Vec<Mark>) {
    match reply {
        Reply::CreateVolume(reply) => {
            required(marks, rule!("CTRL-CREATE-056"), "volume", reply.volume.is_some());
            required(marks, rule!("CTRL-CREATE-142"), "volume", reply.volume.is_some());
            if let Some(one) = &reply.volume {
                volume(world, one, marks);
            }
        }
        Reply::ListVolumes(reply) => {
            for entry in &reply.entries {
                let listed = entry.volume.as_ref();
                required(
                    marks,
                    rule!("CTRL-LIST-018"),
                    "entries.volume",
                    listed.is_some_and(|volume| !volume.volume_id.is_empty()),
                );
                if let Some(one) = listed {
                    volume(world, one, marks);
                }
                condition(entry.status.as_ref().and_then(|status| status.volume_condition.as_ref()), marks);
            }
        }
        Reply::ControllerGetVolume(reply) => {
            let asked = match request {
                Request::ControllerGetVolume(request) => &request.volume_id,
                _ => "",
            };
            let given = reply.volume.as_ref().map(|volume| volume.volume_id.as_str());
            required(marks, rule!("CTRL-GET-012"), "volume", given.is_some_and(|id| !id.is_empty()));
            required(marks, rule!("CTRL-GET-014"), "volume", given.is_some());
            if let Some(id) = given {
                check(marks, rule!("CTRL-GET-012"), id == asked, || {
                    ("another volume than was asked for".into(), format!("volume_id {asked:?}"), format!("{id:?}"))
                });
            }
            required(marks, rule!("CTRL-GET-013"), "status", reply.status.is_some());
            if let Some(one) = &reply.volume {
                volume(world, one, marks);
            }
            let shown = reply.status.as_ref().and_then(|status| status.volume_condition.as_ref());
            if world.has("Controller.VOLUME_CONDITION") {
                required(marks, rule!("CTRL-GET-003"), "status.volume_condition", shown.is_some());
            }
            condition(shown, marks);
        }
        Reply::CreateSnapshot(reply) => {
            required(marks, rule!("CTRL-SNAPCREATE-029"), "snapshot", reply.snapshot.is_some());
            required(marks, rule!("CTRL-SNAPCREATE-046"), "snapshot", reply.snapshot.is_some());
            let id = reply.snapshot.as_ref().map_or("", |one| &one.snapshot_id);
            required(marks, rule!("CTRL-INTERACT-008"), "snapshot_id", !id.is_empty());
            reply.snapshot.iter().for_each(|one| snapshot(one, marks));
        }
        Reply::ListSnapshots(reply) => {
            for entry in &reply.entries {
                required(marks, rule!("CTRL-SNAPCREATE-033"), "entries.snapshot", entry.snapshot.is_some());
                entry.snapshot.iter().for_each(|one| snapshot(one, marks));
            }
        }
        Reply::GetSnapshot(reply) => {
            required(marks, rule!("CTRL-SNAPGET-009"), "snapshot", reply.snapshot.is_some());
            required(marks, rule!("CTRL-SNAPGET-010"), "snapshot", reply.snapshot.is_some());
            reply.snapshot.iter().for_each(|one| snapshot(one, marks));
        }
        Reply::GetCapacity(reply) => capacity(reply, marks),
        Reply::NodeGetVolumeStats(reply) => {
            marks.push(Mark::Held(rule!("NODE-STATS-029")));
            reply.usage.iter().for_each(|one| usage(one, marks));
            condition(reply.volume_condition.as_ref(), marks);
        }
        Reply::NodeGetInfo(reply) => node_info(world, reply, marks),
        Reply::GetPluginInfo(reply) => super::plugin::info(reply, marks),
        _ => {}
    }
}

fn volume(world: &World, volume: &v1::Volume, marks: &mut Vec<Mark>) {
    required(marks, rule!("CTRL-CREATE-086"), "volume_id", !volume.volume_id.is_empty());
    not_negative(marks, rule!("CTRL-CREATE-085"), "capacity_bytes", volume.capacity_bytes);
    if volume.accessible_topology.iter().any(|topology| !topology.segments.is_empty()) {
        let advertised = world.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS");
        check(marks, rule!("CTRL-CREATE-101"), advertised, || {
            (
                "accessible_topology is given without VOLUME_ACCESSIBILITY_CONSTRAINTS".into(),
                "no accessible_topology, or the capability".into(),
                format!("{:?}", volume.accessible_topology),
            )
        });
    }
    volume.accessible_topology.iter().for_each(|one| topology::marks(world, &one.segments, marks));
}

fn snapshot(snapshot: &v1::Snapshot, marks: &mut Vec<Mark>) {
    required(marks, rule!("CTRL-SNAPCREATE-033"), "snapshot_id", !snapshot.snapshot_id.is_empty());
    required(marks, rule!("CTRL-SNAPCREATE-037"), "source_volume_id", !snapshot.source_volume_id.is_empty());
    not_negative(marks, rule!("CTRL-SNAPCREATE-032"), "size_bytes", snapshot.size_bytes);
    // 0 is permitted and reads as unknown; a snapshot that is still being cut may not know it yet.
    if snapshot.ready_to_use && snapshot.size_bytes == 0 {
        advise(marks, rule!("CTRL-SNAPCREATE-031"), false, || {
            (
                "the size of a snapshot is not told, so nobody knows how large a volume has to be that is made of it"
                    .into(),
                "the size of the volume that it was cut from (0 is permitted)".into(),
                "size_bytes 0, ready_to_use true".into(),
            )
        });
    }
    let time = snapshot.creation_time.as_ref().is_some_and(|time| time.seconds > 0);
    required(marks, rule!("CTRL-SNAPCREATE-038"), "creation_time", time);
}

fn usage(usage: &v1::VolumeUsage, marks: &mut Vec<Mark>) {
    not_negative(marks, rule!("NODE-STATS-021"), "usage.available", usage.available);
    not_negative(marks, rule!("NODE-STATS-023"), "usage.total", usage.total);
    not_negative(marks, rule!("NODE-STATS-025"), "usage.used", usage.used);
    required(marks, rule!("NODE-STATS-026"), "usage.unit", usage.unit != 0);
    let bytes = usage.unit == v1::volume_usage::Unit::Bytes as i32;
    let kept = usage.total != 0;
    if bytes {
        required(marks, rule!("NODE-STATS-022"), "usage.total", kept);
    } else {
        advise(marks, rule!("NODE-STATS-022"), kept, || {
            ("usage.total of inodes is 0, which reads as unset".into(), "the number of inodes".into(), "0".into())
        });
    }
}

fn condition(condition: Option<&v1::VolumeCondition>, marks: &mut Vec<Mark>) {
    if let Some(condition) = condition {
        required(marks, rule!("NODE-STATS-028"), "volume_condition.message", !condition.message.is_empty());
    }
}

fn capacity(capacity: &v1::GetCapacityResponse, marks: &mut Vec<Mark>) {
    not_negative(marks, rule!("CTRL-CAPACITY-010"), "available_capacity", capacity.available_capacity);
    not_negative(marks, rule!("CTRL-CAPACITY-021"), "available_capacity", capacity.available_capacity);
    if let Some(maximum) = capacity.maximum_volume_size {
        not_negative(marks, rule!("CTRL-CAPACITY-013"), "maximum_volume_size", maximum);
    }
    if let Some(minimum) = capacity.minimum_volume_size {
        not_negative(marks, rule!("CTRL-CAPACITY-018"), "minimum_volume_size", minimum);
    }
}

fn node_info(world: &World, info: &v1::NodeGetInfoResponse, marks: &mut Vec<Mark>) {
    required(marks, rule!("NODE-INFO-006"), "node_id", !info.node_id.is_empty());
    required(marks, rule!("NODE-INFO-020"), "node_id", !info.node_id.is_empty());
    let bytes = info.node_id.len();
    check(marks, rule!("NODE-INFO-010"), bytes <= 256, || {
        ("node_id is too long".into(), "at most 256 bytes".into(), format!("{bytes} bytes"))
    });
    advise(marks, rule!("NODE-INFO-011"), bytes <= LONGEST_STRING, || {
        ("node_id is long for older orchestrators".into(), "at most 128 bytes".into(), format!("{bytes} bytes"))
    });
    not_negative(marks, rule!("NODE-INFO-013"), "max_volumes_per_node", info.max_volumes_per_node);
    if let Some(topology) = &info.accessible_topology
        && !topology.segments.is_empty()
    {
        check(marks, rule!("NODE-INFO-015"), world.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS"), || {
            (
                "accessible_topology is given without VOLUME_ACCESSIBILITY_CONSTRAINTS".into(),
                "no accessible_topology, or the capability".into(),
                format!("{:?}", topology.segments),
            )
        });
        topology::marks(world, &topology.segments, marks);
    } else if world.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS") {
        // Nothing demands it; an orchestrator that asks for places has none to name on this node.
        advise(marks, rule!("NODE-INFO-017"), false, || {
            (
                "VOLUME_ACCESSIBILITY_CONSTRAINTS is advertised and the node does not say where it is: no volume can be placed for it"
                    .into(),
                "accessible_topology with a segment at least (it may be absent)".into(),
                "none".into(),
            )
        });
    }
}
