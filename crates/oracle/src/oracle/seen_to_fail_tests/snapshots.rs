//! Snapshots: their ids, their lives, and what is left of them.

use super::*;

#[test]
fn snapshots_that_go_with_their_volume() {
    let orphaned = || {
        let plugin = Plugin::with(SNAPSHOTS, &[]);
        plugin.created("a");
        plugin.cut("s", "a");
        plugin.deleted("a");
        plugin
    };
    let plugin = orphaned();
    plugin.refused(v1::GetSnapshotRequest { snapshot_id: "s".into(), ..Default::default() }, Code::NotFound, "gone");
    breaks(&["CTRL-DELETE-005", "CTRL-DELETE-006"], plugin);
    let plugin = orphaned();
    plugin.ok(v1::ListSnapshotsRequest::default(), v1::ListSnapshotsResponse::default());
    breaks(&["CTRL-DELETE-008"], plugin);
}

#[test]
fn ids_that_a_plugin_does_not_know_again() {
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.refused(
        v1::DeleteVolumeRequest { volume_id: "a".into(), ..Default::default() },
        Code::NotFound,
        "no such volume",
    );
    breaks(&["CTRL-INTERACT-001"], plugin);

    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.cut("s", "a");
    plugin.refused(
        v1::DeleteSnapshotRequest { snapshot_id: "s".into(), ..Default::default() },
        Code::NotFound,
        "no such snapshot",
    );
    breaks(&["CTRL-INTERACT-007"], plugin);

    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.cut("", "a");
    breaks(&["CTRL-INTERACT-008"], plugin);
}

#[test]
fn snapshots_that_are_listed_as_they_were_before() {
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    plugin.cut("s", "a");
    let entry = v1::list_snapshots_response::Entry {
        snapshot: Some(v1::Snapshot { ready_to_use: false, ..snapshot("s", "a") }),
    };
    let request = v1::ListSnapshotsRequest { snapshot_id: "s".into(), ..Default::default() };
    plugin.ok(request, v1::ListSnapshotsResponse { entries: vec![entry], ..Default::default() });
    breaks(&["CTRL-INTERACT-013", "CTRL-SNAPLIST-017"], plugin);
}

#[test]
fn a_snapshot_that_never_ripens() {
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.created("a");
    let unripe = || v1::Snapshot { ready_to_use: false, ..snapshot("s", "a") };
    plugin.ok(cut("s", "a"), v1::CreateSnapshotResponse { snapshot: Some(unripe()) });
    for look in 1..=10 {
        plugin.0.turn_to(look * 5_000_000);
        let request = v1::GetSnapshotRequest { snapshot_id: "s".into(), ..Default::default() };
        plugin.ok(request, v1::GetSnapshotResponse { snapshot: Some(unripe()) });
    }
    breaks(&["CTRL-SNAPCREATE-015"], plugin);
}

#[test]
fn a_snapshot_that_is_an_error_until_it_is_ripe() {
    for (again, expected) in [(Code::Internal, &["CTRL-SNAPCREATE-005"][..]), (Code::Aborted, &[])] {
        let plugin = Plugin::with(SNAPSHOTS, &[]);
        plugin.created("a");
        let unripe = v1::Snapshot { ready_to_use: false, ..snapshot("s", "a") };
        plugin.ok(cut("s", "a"), v1::CreateSnapshotResponse { snapshot: Some(unripe) });
        plugin.refused(cut("s", "a"), again, "the snapshot is still being uploaded");
        breaks_only(expected, &["CTRL-SNAPCREATE-005"], plugin);
    }
}

#[test]
fn a_volume_that_its_snapshots_keep() {
    // Whatever else went wrong may have gone wrong without snapshots as well: it is worth a warning by the other rule.
    for (code, snapshots, expected) in [
        (Code::InvalidArgument, true, &["CTRL-DELETE-010", "CTRL-DELETE-018"][..]),
        (Code::Internal, true, &["CTRL-DELETE-010"]),
        (Code::FailedPrecondition, true, &[]),
        (Code::Internal, false, &[]),
    ] {
        let plugin = Plugin::with(SNAPSHOTS, &[]);
        plugin.created("a");
        if snapshots {
            plugin.cut("s", "a");
        }
        let delete = v1::DeleteVolumeRequest { volume_id: "a".into(), ..Default::default() };
        plugin.refused(delete, code, "cannot be deleted");
        breaks_only(expected, &["CTRL-DELETE-010", "CTRL-DELETE-018"], plugin);
    }
}

#[test]
fn a_volume_that_a_refused_deletion_has_taken_half_away() {
    for (is_whole, expected) in [(false, &["CTRL-DELETE-009"][..]), (true, &[])] {
        let plugin = Plugin::with(SNAPSHOTS, &[]);
        plugin.created("a");
        plugin.cut("s", "a");
        let delete = v1::DeleteVolumeRequest { volume_id: "a".into(), ..Default::default() };
        plugin.refused(delete, Code::FailedPrecondition, "it has snapshots");
        let publish = publish("/a", SingleNodeWriter);
        match is_whole {
            true => plugin.ok(publish, v1::NodePublishVolumeResponse {}),
            false => plugin.refused(publish, Code::NotFound, "no such volume"),
        }
        breaks_only(expected, &["CTRL-DELETE-009"], plugin);
    }
}
