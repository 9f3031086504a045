//! Volumes that grow while they may not, or cannot.

use super::*;

const OFFLINE: plugin::Type = expansion(plugin::volume_expansion::Type::Offline);
const ONLINE: plugin::Type = expansion(plugin::volume_expansion::Type::Online);

#[test]
fn a_volume_in_use_that_grows_although_the_plugin_expands_offline() {
    for (also_online, attached, expected) in
        [(false, true, &["IDENT-CAPS-017"][..]), (false, false, &[]), (true, true, &[])]
    {
        let plugin = Plugin::with(&[Controller::PublishUnpublishVolume, Controller::ExpandVolume], &[]);
        plugin.advertises(&[CONTROLLER, OFFLINE, ONLINE][..if also_online { 3 } else { 2 }]);
        plugin.created("a");
        if attached {
            plugin.attached("node");
        }
        let request = v1::ControllerExpandVolumeRequest {
            volume_id: "a".into(),
            capacity_range: Some(v1::CapacityRange { required_bytes: 20, limit_bytes: 0 }),
            ..Default::default()
        };
        plugin.ok(request, v1::ControllerExpandVolumeResponse { capacity_bytes: 20, node_expansion_required: false });
        breaks_only(expected, &["IDENT-CAPS-017"], plugin);
    }
}

#[test]
fn offline_expansion_without_the_controller() {
    for (controller, expected) in [(&[][..], &["IDENT-CAPS-018"][..]), (&[Controller::ExpandVolume], &[])] {
        let plugin = Plugin::with(controller, &[Node::ExpandVolume]);
        plugin.advertises(&[CONTROLLER, OFFLINE]);
        breaks_only(expected, &["IDENT-CAPS-018"], plugin);
    }
}

#[test]
fn a_file_system_that_cannot_grow_while_it_is_mounted() {
    for (code, message, expected) in [
        (Code::Internal, "the file system is mounted", &["NODE-EXPAND-031"][..]),
        (Code::FailedPrecondition, "the file system is mounted", &[]),
        (Code::Internal, "no route to host", &[]),
    ] {
        let plugin = Plugin::with(&[Controller::ExpandVolume], &[Node::ExpandVolume]);
        plugin.created("a");
        plugin.published("a", "/a");
        let capacity_range = Some(v1::CapacityRange { required_bytes: 20, limit_bytes: 0 });
        let request = v1::ControllerExpandVolumeRequest { volume_id: "a".into(), capacity_range, ..Default::default() };
        plugin.ok(request, v1::ControllerExpandVolumeResponse { capacity_bytes: 20, node_expansion_required: true });
        let request = v1::NodeExpandVolumeRequest {
            volume_id: "a".into(),
            volume_path: "/a".into(),
            capacity_range: Some(v1::CapacityRange { required_bytes: 30, limit_bytes: 0 }),
            ..Default::default()
        };
        plugin.refused(request, code, message);
        breaks_only(expected, &["NODE-EXPAND-031"], plugin);
    }
}
