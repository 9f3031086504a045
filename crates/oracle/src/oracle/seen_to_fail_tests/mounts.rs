//! What the mount table and a write show beside the answers of the node plugin.

use super::*;

const TARGET: &str = "/target";
const STAGING: &str = "/staging";

#[test]
fn a_target_without_its_volume() {
    let rules = ["CTRL-PUBLISH-011", "GEN-RPC-003", "NODE-PUBLISH-064"];
    for (attaches, kind, mounts, expected) in [
        // Nothing at all, and never: the plugin answers from some other machine.
        (true, PathKind::Absent, 0, &rules[..]),
        // A directory shows that it was here.
        (true, PathKind::Directory, 0, &["CTRL-PUBLISH-011", "NODE-PUBLISH-064"]),
        (false, PathKind::Directory, 0, &["NODE-PUBLISH-064"]),
        (true, PathKind::Directory, 1, &[]),
    ] {
        let plugin = Plugin::with(if attaches { &[Controller::PublishUnpublishVolume] } else { &[] }, &[]);
        plugin.created("a");
        if attaches {
            plugin.attached("node");
        }
        plugin.published("a", TARGET);
        plugin.seen(TARGET, kind, mounts);
        breaks_only(expected, &rules, plugin);
    }
}

#[test]
fn a_node_plugin_that_was_seen_on_the_node_is_not_elsewhere() {
    for (kind, mounts) in [(PathKind::Directory, 0), (PathKind::Directory, 1)] {
        let plugin = Plugin::with(&[], &[]);
        for (volume, kind, mounts) in [("a", PathKind::Absent, 0), ("b", kind, mounts)] {
            let target = format!("/{volume}");
            plugin.created(volume);
            plugin.published(volume, &target);
            plugin.seen(&target, kind, mounts);
        }
        breaks_only(&["NODE-PUBLISH-064"], &["GEN-RPC-003", "NODE-PUBLISH-064"], plugin);
    }
}

#[test]
fn a_target_that_keeps_its_mount() {
    for (kind, mounts, expected) in [(PathKind::Directory, 1, &["NODE-UNPUBLISH-014"][..]), (PathKind::Absent, 0, &[])]
    {
        let plugin = Plugin::with(&[], &[]);
        plugin.created("a");
        plugin.published("a", TARGET);
        let request = v1::NodeUnpublishVolumeRequest { volume_id: "a".into(), target_path: TARGET.into() };
        plugin.ok(request, v1::NodeUnpublishVolumeResponse {});
        plugin.seen(TARGET, kind, mounts);
        breaks_only(expected, &["NODE-UNPUBLISH-014"], plugin);
    }
}

#[test]
fn a_staging_path_that_keeps_its_mount() {
    for (mounts, expected) in [(1, &["NODE-UNSTAGE-016"][..]), (0, &[])] {
        let plugin = Plugin::with(&[], &[Node::StageUnstageVolume]);
        plugin.created("a");
        plugin.ok(stage(STAGING), v1::NodeStageVolumeResponse {});
        let request = v1::NodeUnstageVolumeRequest { volume_id: "a".into(), staging_target_path: STAGING.into() };
        plugin.ok(request, v1::NodeUnstageVolumeResponse {});
        plugin.seen(STAGING, PathKind::Directory, mounts);
        breaks_only(expected, &["NODE-UNSTAGE-016"], plugin);
    }
}

#[test]
fn a_staging_path_that_loses_its_mount() {
    for (mounts, expected) in [(0, &["NODE-STAGE-030"][..]), (1, &[])] {
        let plugin = Plugin::with(&[], &[Node::StageUnstageVolume]);
        plugin.created("a");
        plugin.ok(stage(STAGING), v1::NodeStageVolumeResponse {});
        plugin.seen(STAGING, PathKind::Directory, 1);
        plugin.ok(stage(STAGING), v1::NodeStageVolumeResponse {});
        plugin.seen(STAGING, PathKind::Directory, mounts);
        breaks_only(expected, &["NODE-STAGE-030"], plugin);
    }
}

#[test]
fn a_volume_that_is_staged_for_writing_and_takes_no_write() {
    let rules = ["NODE-PUBLISH-056", "NODE-STAGE-024"];
    for (stages, readonly, error, expected) in [
        (true, false, "EROFS", &rules[..]),
        (false, false, "EROFS", &["NODE-PUBLISH-056"]),
        // A full disk is no fault of the mount, and a read-only target takes no write at all.
        (true, false, "ENOSPC", &[]),
        (true, true, "EROFS", &[]),
        (true, false, "", &[]),
    ] {
        let plugin = Plugin::with(&[], if stages { &[Node::StageUnstageVolume] } else { &[] });
        plugin.created("a");
        let mut request = v1::NodePublishVolumeRequest { readonly, ..publish(TARGET, SingleNodeWriter) };
        if stages {
            plugin.ok(stage(STAGING), v1::NodeStageVolumeResponse {});
            request.staging_target_path = STAGING.into();
        }
        plugin.ok(request, v1::NodePublishVolumeResponse {});
        plugin.written(TARGET, "file", "1", error);
        breaks_only(expected, &rules, plugin);
    }
    // Where the publication before was read-only and is there still, staging has done its part.
    let plugin = Plugin::with(&[], &[Node::StageUnstageVolume]);
    plugin.created("a");
    plugin.ok(stage(STAGING), v1::NodeStageVolumeResponse {});
    for readonly in [true, false] {
        let staging_target_path = STAGING.into();
        let request =
            v1::NodePublishVolumeRequest { readonly, staging_target_path, ..publish(TARGET, SingleNodeWriter) };
        plugin.ok(request, v1::NodePublishVolumeResponse {});
    }
    plugin.written(TARGET, "file", "1", "EROFS");
    let broken = plugin.broken();
    assert!(broken.contains("NODE-PUBLISH-056") && !broken.contains("NODE-STAGE-024"), "{broken:?}");
}
