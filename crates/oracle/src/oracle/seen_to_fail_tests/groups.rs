//! Group snapshots: one moment for all members, and one answer for each name.

use super::*;

/// A plugin with group snapshots and volumes `a` and `b`, each published and with a file.
fn with_two_volumes() -> Plugin {
    use v1::group_controller_service_capability::{Rpc, Type, rpc};
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.advertises(&[CONTROLLER, service(plugin::service::Type::GroupControllerService)]);
    let kind = rpc::Type::CreateDeleteGetVolumeGroupSnapshot.into();
    let capability = v1::GroupControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind })) };
    let reply = v1::GroupControllerGetCapabilitiesResponse { capabilities: vec![capability] };
    plugin.ok(v1::GroupControllerGetCapabilitiesRequest {}, reply);
    for volume in ["a", "b"] {
        plugin.created(volume);
        plugin.published(volume, &format!("/{volume}"));
        plugin.written(&format!("/{volume}"), "first", "1", "");
    }
    plugin
}

fn cut_both() -> v1::CreateVolumeGroupSnapshotRequest {
    let source_volume_ids = ["a", "b"].map(String::from).to_vec();
    v1::CreateVolumeGroupSnapshotRequest { name: "group".into(), source_volume_ids, ..Default::default() }
}

fn both(ready_to_use: bool) -> v1::CreateVolumeGroupSnapshotResponse {
    let creation_time = Some(Timestamp { seconds: 1, nanos: 0 });
    let member = |volume: &str| v1::Snapshot {
        ready_to_use,
        group_snapshot_id: "group".into(),
        ..snapshot(&format!("of-{volume}"), volume)
    };
    let snapshots = ["a", "b"].map(member).to_vec();
    let group = v1::VolumeGroupSnapshot { group_snapshot_id: "group".into(), snapshots, creation_time, ready_to_use };
    v1::CreateVolumeGroupSnapshotResponse { group_snapshot: Some(group) }
}

#[test]
fn members_that_are_cut_at_different_moments() {
    for (late, expected) in [("2", &["GROUP-CREATE-002", "GROUP-CREATE-003"][..]), ("", &[])] {
        let plugin = with_two_volumes();
        plugin.ok(cut_both(), both(true));
        plugin.written("/b", "second", "2", "");
        let request = v1::CreateVolumeRequest {
            volume_content_source: from_snapshot("of-b"),
            ..create("copy", SingleNodeWriter)
        };
        let mut reply = volume("copy");
        reply.volume.as_mut().unwrap().content_source = from_snapshot("of-b");
        plugin.ok(request, reply);
        plugin.published("copy", "/copy");
        plugin.read("/copy", "first", "1");
        plugin.read("/copy", "second", late);
        breaks_only(expected, &["GROUP-CREATE-002", "GROUP-CREATE-003"], plugin);
    }
}

#[test]
fn a_group_that_is_an_error_until_it_is_ripe() {
    for (again, expected) in [(Code::Internal, &["GROUP-CREATE-008"][..]), (Code::Aborted, &[])] {
        let plugin = with_two_volumes();
        plugin.ok(cut_both(), both(false));
        plugin.refused(cut_both(), again, "the group is still being uploaded");
        breaks_only(expected, &["GROUP-CREATE-008"], plugin);
    }
}

#[test]
fn a_name_that_was_given_to_a_group_with_other_parameters() {
    for (code, expected) in [(Code::Internal, &["GROUP-CREATE-039"][..]), (Code::AlreadyExists, &[])] {
        let plugin = with_two_volumes();
        plugin.ok(cut_both(), both(true));
        let parameters = BTreeMap::from([("tier".to_owned(), "fast".to_owned())]);
        plugin.refused(
            v1::CreateVolumeGroupSnapshotRequest { parameters, ..cut_both() },
            code,
            "duplicate key value violates unique constraint",
        );
        breaks_only(expected, &["GROUP-CREATE-039"], plugin);
    }
}
