//! A second publish on a node, where the plugin does not tell several writers on one node apart (specification lines
//! 2465–2474).

use super::*;

const TABLE: [&str; 8] = [
    "NODE-PUBLISH-009",
    "NODE-PUBLISH-010",
    "NODE-PUBLISH-011",
    "NODE-PUBLISH-012",
    "NODE-PUBLISH-013",
    "NODE-PUBLISH-014",
    "NODE-PUBLISH-015",
    "NODE-PUBLISH-016",
];

/// The volume is published at `/1`; then it is published again, with that answer.
#[track_caller]
fn published_again(first: Mode, second: v1::NodePublishVolumeRequest, answer: Code, expected: &[&str]) {
    let plugin = Plugin::with(&[], &[]);
    plugin.created_for("a", first);
    plugin.ok(publish("/1", first), v1::NodePublishVolumeResponse {});
    match answer {
        Code::Ok => plugin.ok(second, v1::NodePublishVolumeResponse {}),
        code => plugin.refused(second, code, "published already"),
    }
    breaks_only(expected, &TABLE, plugin);
}

#[test]
fn at_the_same_target() {
    for (mode, same, other) in [
        (Mode::MultiNodeMultiWriter, "NODE-PUBLISH-011", "NODE-PUBLISH-012"),
        (SingleNodeWriter, "NODE-PUBLISH-015", "NODE-PUBLISH-016"),
    ] {
        let again = publish("/1", mode);
        published_again(mode, again.clone(), Code::AlreadyExists, &["NODE-PUBLISH-010", same]);
        published_again(mode, again, Code::Ok, &[]);
        // The mount there can be written to.
        let read_only = v1::NodePublishVolumeRequest { readonly: true, ..publish("/1", mode) };
        published_again(mode, read_only.clone(), Code::Ok, &["NODE-PUBLISH-010", other]);
        published_again(mode, read_only, Code::AlreadyExists, &[]);
    }
}

#[test]
fn at_another_target() {
    let mode = Mode::MultiNodeMultiWriter;
    let second = publish("/2", mode);
    published_again(mode, second.clone(), Code::FailedPrecondition, &["NODE-PUBLISH-013"]);
    published_again(mode, second, Code::Ok, &[]);
    let read_only = v1::NodePublishVolumeRequest { readonly: true, ..publish("/2", mode) };
    published_again(mode, read_only.clone(), Code::FailedPrecondition, &["NODE-PUBLISH-014"]);
    published_again(mode, read_only, Code::Ok, &[]);
}

#[test]
fn with_another_capability() {
    let other = publish("/2", Mode::MultiNodeSingleWriter);
    published_again(Mode::MultiNodeMultiWriter, other.clone(), Code::Internal, &["NODE-PUBLISH-009"]);
    published_again(Mode::MultiNodeMultiWriter, other.clone(), Code::FailedPrecondition, &[]);
    published_again(Mode::MultiNodeMultiWriter, other, Code::Ok, &[]);
}
