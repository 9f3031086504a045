//! What is wrong with the fields of a request, whatever the state of the world.

use std::collections::BTreeMap;

use tonic::Code::{InvalidArgument, NotFound, OutOfRange, PermissionDenied, Unauthenticated};

use crate::{
    csi::v1::{self, volume_content_source::Type as SourceType},
    history::{ALTERED, DENIED, Request},
    oracle::{
        capability::{Access, Capability},
        ruling::{Expectation, Problem},
    },
    rule,
    spec::RuleId,
};

/// A REQUIRED field that is not there: INVALID_ARGUMENT by the general error table (specification line 506).
pub(crate) fn missing(rule: RuleId, field: &str) -> Problem {
    Problem::new(rule, format!("the required field {field} is missing"), &[InvalidArgument]).also(&[
        rule!("GEN-ERR-006"),
        rule!("GEN-REQ-001"),
        rule!("GEN-ERR-005"),
    ])
}

/// What is wrong with one capability of a request; `lacking` is the rule on the field as a whole.
pub(crate) fn capability(expectation: &mut Expectation, lacking: RuleId, given: Option<&v1::VolumeCapability>) {
    let Some(given) = given else {
        expectation.problems.push(missing(lacking, "volume_capability"));
        return;
    };
    let capability = Capability::from(given);
    expectation.problem_if(capability.access == Access::Unset, || {
        missing(rule!("CTRL-CREATE-074"), "volume_capability.access_type").also(&[rule!("GEN-ERR-009")])
    });
    // Not by the number: an enumerator that this version does not know may be any, even -1.
    expectation.problem_if(given.access_mode.is_none(), || {
        missing(rule!("CTRL-CREATE-075"), "volume_capability.access_mode").also(&[rule!("GEN-ERR-009")])
    });
    expectation.problem_if(capability.mode == 0, || {
        missing(rule!("CTRL-CREATE-073"), "volume_capability.access_mode.mode").also(&[rule!("GEN-ERR-009")])
    });
}

/// What is wrong with a list of capabilities.
pub(crate) fn capabilities(expectation: &mut Expectation, lacking: RuleId, given: &[v1::VolumeCapability]) {
    expectation.problem_if(given.is_empty(), || missing(lacking, "volume_capabilities").also(&[rule!("GEN-REQ-003")]));
    for one in given {
        capability(expectation, lacking, Some(one));
    }
}

/// What is wrong with a capacity range in itself.
pub(crate) fn capacity_range(expectation: &mut Expectation, not_allowed: RuleId, range: &v1::CapacityRange) {
    let (required, limit) = (range.required_bytes, range.limit_bytes);
    expectation.problem_if(required == 0 && limit == 0, || {
        Problem::new(rule!("CTRL-CREATE-077"), "capacity_range sets neither of its fields", &[InvalidArgument])
            .or(&[OutOfRange])
            .ok_warns()
    });
    expectation.problem_if(required < 0, || {
        Problem::new(rule!("CTRL-CREATE-080"), "required_bytes is negative", &[InvalidArgument])
            .also(&[rule!("GEN-ERR-009")])
            .or(&[OutOfRange])
    });
    expectation.problem_if(limit < 0, || {
        Problem::new(rule!("CTRL-CREATE-083"), "limit_bytes is negative", &[InvalidArgument])
            .also(&[rule!("GEN-ERR-009")])
            .or(&[OutOfRange])
    });
    expectation.problem_if(limit > 0 && required > limit, || {
        Problem::new(not_allowed, "required_bytes exceeds limit_bytes", &[OutOfRange]).or(&[InvalidArgument])
    });
}

/// What is wrong with the content source in itself.
pub(crate) fn content_source(expectation: &mut Expectation, source: &v1::VolumeContentSource) {
    match &source.r#type {
        None => expectation.problems.push(missing(rule!("CTRL-CREATE-051"), "volume_content_source.type")),
        Some(SourceType::Snapshot(snapshot)) => expectation.problem_if(snapshot.snapshot_id.is_empty(), || {
            missing(rule!("CTRL-CREATE-052"), "volume_content_source.snapshot.snapshot_id").warn_on(&[NotFound])
        }),
        Some(SourceType::Volume(volume)) => expectation.problem_if(volume.volume_id.is_empty(), || {
            missing(rule!("CTRL-CREATE-054"), "volume_content_source.volume.volume_id").warn_on(&[NotFound])
        }),
    }
}

/// Secrets that were wrong on purpose (specification lines 508, 511).
pub(crate) fn secrets(expectation: &mut Expectation, secrets: &BTreeMap<String, String>) {
    expectation.problem_if(secrets.values().any(|value| value == DENIED), || {
        Problem::new(rule!("GEN-ERR-012"), "the secrets are of somebody without permission", &[PermissionDenied])
            .warn_on(&[Unauthenticated])
    });
    // A plugin that takes no secrets does not look at them.
    expectation.problem_if(secrets.values().any(|value| value == ALTERED), || {
        Problem::new(rule!("GEN-ERR-022"), "the secrets were altered", &[Unauthenticated])
            .or(&[InvalidArgument])
            .warn_on(&[PermissionDenied])
            .ok_allowed()
    });
}

/// A path that is not absolute: legitimately INVALID_ARGUMENT, whatever else was wanted (specification line 507).
pub(crate) fn path(expectation: &mut Expectation, field: &str, path: &str) {
    expectation.problem_if(!path.is_empty() && !path.starts_with('/'), || {
        Problem::new(rule!("GEN-ERR-009"), format!("{field} is a relative path"), &[InvalidArgument])
            .or(&[NotFound])
            .ok_allowed()
    });
}

/// The longest string (specification line 470).
const LONGEST: usize = 128;

/// The longest id of a node (specification line 2812).
const LONGEST_NODE_ID: usize = 256;

/// Strings over the general limit may be refused, and need not be (specification line 470).
pub(crate) fn oversized(expectation: &mut Expectation, field: &str, text: &str) {
    longer(expectation, field, text, LONGEST);
}

/// A field with an id, the id, and its limit in bytes.
type Id<'r> = (&'static str, &'r str, usize);

/// The ids that a request names.
fn ids(request: &Request) -> Vec<Id<'_>> {
    const fn id<'r>(field: &'static str, id: &'r str) -> Id<'r> {
        (field, id, LONGEST)
    }
    let mut found: Vec<Id<'_>> = request.volume_id().map(|volume| id("volume_id", volume)).into_iter().collect();
    match request {
        Request::ControllerPublishVolume(r) => found.push(("node_id", &r.node_id, LONGEST_NODE_ID)),
        Request::ControllerUnpublishVolume(r) => found.push(("node_id", &r.node_id, LONGEST_NODE_ID)),
        Request::CreateSnapshot(r) => found.push(id("source_volume_id", &r.source_volume_id)),
        Request::DeleteSnapshot(r) => found.push(id("snapshot_id", &r.snapshot_id)),
        Request::GetSnapshot(r) => found.push(id("snapshot_id", &r.snapshot_id)),
        Request::CreateVolumeGroupSnapshot(r) => {
            found.extend(r.source_volume_ids.iter().map(|one| id("source_volume_ids", one)));
        }
        Request::GetVolumeGroupSnapshot(r) => {
            found.push(id("group_snapshot_id", &r.group_snapshot_id));
            found.extend(r.snapshot_ids.iter().map(|one| id("snapshot_ids", one)));
        }
        Request::DeleteVolumeGroupSnapshot(r) => {
            found.push(id("group_snapshot_id", &r.group_snapshot_id));
            found.extend(r.snapshot_ids.iter().map(|one| id("snapshot_ids", one)));
        }
        Request::GetMetadataAllocated(r) => found.push(id("snapshot_id", &r.snapshot_id)),
        Request::GetMetadataDelta(r) => {
            found.push(id("base_snapshot_id", &r.base_snapshot_id));
            found.push(id("target_snapshot_id", &r.target_snapshot_id));
        }
        _ => {}
    }
    found
}

/// Ids over their limit may be refused, whether or not anything has them.
pub(crate) fn oversized_ids(expectation: &mut Expectation, request: &Request) {
    ids(request).into_iter().for_each(|(field, id, longest)| longer(expectation, field, id, longest));
}

/// Whether one of the request's ids is longer than it may be.
pub(crate) fn has_oversized_id(request: &Request) -> bool {
    ids(request).into_iter().any(|(_, id, longest)| id.len() > longest)
}

fn longer(expectation: &mut Expectation, field: &str, text: &str, longest: usize) {
    expectation.problem_if(text.len() > longest, || {
        Problem::new(rule!("GEN-ERR-009"), format!("{field} is longer than {longest} bytes"), &[InvalidArgument])
            .or(&[NotFound, OutOfRange])
            .ok_allowed()
    });
}

/// Whether a name has more than letters, digits and dashes, or is as long as it may be.
pub(crate) fn is_unusual(name: &str) -> bool {
    let banned = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !name.is_empty() && name.len() <= 128 && !name.contains(banned) && (name.len() == 128 || !name.chars().all(plain))
}

/// Any Unicode string within the limit is a name, but for control characters (specification lines 813–817).
pub(crate) fn unusual_name(expectation: &mut Expectation, rule: RuleId, name: &str) {
    expectation.problem_if(is_unusual(name), || {
        Problem::new(rule, "the name is unusual, and legal", &[]).warn_on(&[InvalidArgument]).ok_allowed()
    });
    let banned = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    expectation.problem_if(name.contains(banned), || {
        Problem::new(rule!("GEN-ERR-009"), "the name has control characters", &[InvalidArgument]).ok_allowed()
    });
}
