//! Duties that one request shows by itself: required fields, absolute paths, and what is only for plugins that offer it.

use super::Broken;
use crate::{history::Request, oracle::knowledge::Knowledge, rule, spec::RuleId};

/// What the request breaks by itself.
pub(super) fn broken(knowledge: &Knowledge, request: &Request) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (rule, field) in missing(request) {
        broken.push(Broken::new(rule, format!("{} without {field}", request.rpc()), []));
    }
    for (rule, path) in paths(request) {
        if !path.is_empty() && !path.starts_with('/') {
            broken.push(Broken::new(rule, format!("{} with the relative path {path:?}", request.rpc()), []));
        }
    }
    for (rule, capability, what) in unoffered(request) {
        // A plugin of which the history tells nothing may offer anything.
        if knowledge.told(capability) && !knowledge.has(capability) {
            let message = format!("{} with {what} to a plugin without {capability}", request.rpc());
            broken.push(Broken::new(rule, message, []));
        }
    }
    broken
}

/// Required fields that are absent, with the rule that requires each.
fn missing(request: &Request) -> Vec<(RuleId, &'static str)> {
    let fields: Vec<(bool, RuleId, &'static str)> = match request {
        Request::CreateVolume(r) => vec![
            (r.name.is_empty(), rule!("CTRL-CREATE-018"), "name"),
            (r.volume_capabilities.is_empty(), rule!("CTRL-CREATE-036"), "volume_capabilities"),
        ],
        Request::DeleteVolume(r) => vec![(r.volume_id.is_empty(), rule!("CTRL-DELETE-012"), "volume_id")],
        Request::ControllerPublishVolume(r) => vec![
            (r.volume_id.is_empty(), rule!("CTRL-PUBLISH-008"), "volume_id"),
            (r.node_id.is_empty(), rule!("CTRL-PUBLISH-009"), "node_id"),
            (r.volume_capability.is_none(), rule!("CTRL-PUBLISH-013"), "volume_capability"),
        ],
        Request::ControllerUnpublishVolume(r) => {
            vec![(r.volume_id.is_empty(), rule!("CTRL-UNPUBLISH-010"), "volume_id")]
        }
        Request::ValidateVolumeCapabilities(r) => vec![
            (r.volume_id.is_empty(), rule!("CTRL-VALIDATE-006"), "volume_id"),
            (r.volume_capabilities.is_empty(), rule!("CTRL-VALIDATE-009"), "volume_capabilities"),
        ],
        Request::ControllerGetVolume(r) => vec![(r.volume_id.is_empty(), rule!("CTRL-GET-006"), "volume_id")],
        Request::ControllerModifyVolume(r) => vec![
            (r.volume_id.is_empty(), rule!("CTRL-MODIFY-004"), "volume_id"),
            (r.mutable_parameters.is_empty(), rule!("CTRL-MODIFY-006"), "mutable_parameters"),
        ],
        Request::CreateSnapshot(r) => vec![
            (r.source_volume_id.is_empty(), rule!("CTRL-SNAPCREATE-022"), "source_volume_id"),
            (r.name.is_empty(), rule!("CTRL-SNAPCREATE-023"), "name"),
        ],
        Request::DeleteSnapshot(r) => vec![(r.snapshot_id.is_empty(), rule!("CTRL-SNAPDELETE-008"), "snapshot_id")],
        Request::GetSnapshot(r) => vec![(r.snapshot_id.is_empty(), rule!("CTRL-SNAPGET-007"), "snapshot_id")],
        Request::ControllerExpandVolume(r) => vec![
            (r.volume_id.is_empty(), rule!("CTRL-EXPAND-010"), "volume_id"),
            (r.capacity_range.is_none(), rule!("CTRL-EXPAND-011"), "capacity_range"),
        ],
        Request::CreateVolumeGroupSnapshot(r) => vec![
            (r.name.is_empty(), rule!("GROUP-CREATE-017"), "name"),
            (r.source_volume_ids.is_empty(), rule!("GROUP-CREATE-020"), "source_volume_ids"),
        ],
        Request::DeleteVolumeGroupSnapshot(r) => vec![
            (r.group_snapshot_id.is_empty(), rule!("GROUP-DELETE-006"), "group_snapshot_id"),
            (r.snapshot_ids.is_empty(), rule!("GROUP-DELETE-009"), "snapshot_ids"),
        ],
        Request::GetVolumeGroupSnapshot(r) => vec![
            (r.group_snapshot_id.is_empty(), rule!("GROUP-GET-005"), "group_snapshot_id"),
            (r.snapshot_ids.is_empty(), rule!("GROUP-GET-008"), "snapshot_ids"),
        ],
        _ => Vec::new(),
    };
    fields.into_iter().filter(|(absent, ..)| *absent).map(|(_, rule, field)| (rule, field)).collect()
}

/// Paths as the process that serves the call sees them, with the rule that wants each absolute.
fn paths(request: &Request) -> Vec<(RuleId, &str)> {
    match request {
        Request::NodeStageVolume(r) => vec![(rule!("NODE-STAGE-015"), &r.staging_target_path)],
        Request::NodeUnstageVolume(r) => vec![(rule!("NODE-UNSTAGE-012"), &r.staging_target_path)],
        Request::NodePublishVolume(r) => {
            vec![(rule!("NODE-PUBLISH-041"), &r.staging_target_path), (rule!("NODE-PUBLISH-046"), &r.target_path)]
        }
        Request::NodeUnpublishVolume(r) => vec![(rule!("NODE-UNPUBLISH-009"), &r.target_path)],
        Request::NodeGetVolumeStats(r) => {
            vec![(rule!("NODE-STATS-008"), &r.volume_path), (rule!("NODE-STATS-013"), &r.staging_target_path)]
        }
        Request::NodeExpandVolume(r) => vec![(rule!("NODE-EXPAND-018"), &r.staging_target_path)],
        _ => Vec::new(),
    }
}

/// What only plugins with a capability may be sent.
fn unoffered(request: &Request) -> Vec<(RuleId, &'static str, &'static str)> {
    const TOPOLOGY: &str = "Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS";
    const STAGING: &str = "Node.STAGE_UNSTAGE_VOLUME";
    let sent: Vec<(bool, RuleId, &'static str, &'static str)> = match request {
        Request::CreateVolume(r) => vec![
            (r.accessibility_requirements.is_some(), rule!("CTRL-CREATE-046"), TOPOLOGY, "accessibility_requirements"),
            (
                !r.mutable_parameters.is_empty(),
                rule!("CTRL-CREATE-050"),
                "Controller.MODIFY_VOLUME",
                "mutable_parameters",
            ),
        ],
        Request::GetCapacity(r) => {
            vec![(r.accessible_topology.is_some(), rule!("CTRL-CAPACITY-008"), TOPOLOGY, "accessible_topology")]
        }
        Request::ControllerPublishVolume(r) => {
            vec![(r.readonly, rule!("CTRL-PUBLISH-015"), "Controller.PUBLISH_READONLY", "readonly")]
        }
        Request::NodeGetVolumeStats(r) => {
            vec![(!r.staging_target_path.is_empty(), rule!("NODE-STATS-012"), STAGING, "staging_target_path")]
        }
        Request::NodeExpandVolume(r) => {
            vec![(!r.staging_target_path.is_empty(), rule!("NODE-EXPAND-017"), STAGING, "staging_target_path")]
        }
        _ => Vec::new(),
    };
    sent.into_iter().filter(|(is_sent, ..)| *is_sent).map(|(_, rule, gate, what)| (rule, gate, what)).collect()
}
