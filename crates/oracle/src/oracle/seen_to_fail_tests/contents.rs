//! What is read from a volume, how large it is, and whose its files are.

use super::*;

/// A volume `a` that is published and holds a file.
fn with_a_file(controller: &[Controller]) -> Plugin {
    let plugin = Plugin::with(controller, &[]);
    plugin.created("a");
    plugin.published("a", "/a");
    plugin.written("/a", "file", "1", "");
    plugin
}

#[test]
fn a_clone_without_the_data_of_its_source() {
    for (content, expected) in [("", &["CTRL-CREATE-040"][..]), ("1", &[])] {
        let plugin = with_a_file(&[Controller::CloneVolume]);
        let request =
            v1::CreateVolumeRequest { volume_content_source: from_volume("a"), ..create("copy", SingleNodeWriter) };
        let mut reply = volume("copy");
        reply.volume.as_mut().unwrap().content_source = from_volume("a");
        plugin.ok(request, reply);
        plugin.published("copy", "/copy");
        plugin.read("/copy", "file", content);
        breaks_only(expected, &["CTRL-CREATE-040"], plugin);
    }
}

#[test]
fn a_larger_copy_that_is_as_large_as_its_source() {
    // A file system needs some of the space for itself.
    for (bytes, expected) in [(1000, &["CTRL-CREATE-015", "CTRL-CREATE-017"][..]), (1900, &[])] {
        let plugin = Plugin::with(SNAPSHOTS, &[]);
        plugin.created("a");
        plugin.cut("s", "a");
        let request = v1::CreateVolumeRequest {
            volume_content_source: from_snapshot("s"),
            capacity_range: Some(v1::CapacityRange { required_bytes: 2000, limit_bytes: 0 }),
            ..create("copy", SingleNodeWriter)
        };
        let mut reply = volume("copy");
        let told = reply.volume.as_mut().unwrap();
        (told.capacity_bytes, told.content_source) = (2000, from_snapshot("s"));
        plugin.ok(request, reply);
        plugin.published("copy", "/copy");
        plugin.0.observed(Observation::Size { node: "node".into(), path: "/copy".into(), bytes });
        breaks_only(expected, &["CTRL-CREATE-015", "CTRL-CREATE-017"], plugin);
    }
}

#[test]
fn files_that_are_not_of_the_group_of_their_mount() {
    for (gid, expected) in [(0, &["CTRL-CREATE-063"][..]), (1000, &[])] {
        let plugin = Plugin::with(&[], &[Node::VolumeMountGroup]);
        let mount = MountVolume { volume_mount_group: "1000".into(), ..Default::default() };
        let capability =
            v1::VolumeCapability { access_type: Some(AccessType::Mount(mount)), ..capability(SingleNodeWriter) };
        let request =
            v1::CreateVolumeRequest { volume_capabilities: vec![capability.clone()], ..create("a", SingleNodeWriter) };
        plugin.ok(request, volume("a"));
        let request =
            v1::NodePublishVolumeRequest { volume_capability: Some(capability), ..publish("/a", SingleNodeWriter) };
        plugin.ok(request, v1::NodePublishVolumeResponse {});
        plugin.0.observed(Observation::Group { node: "node".into(), path: "/a".into(), gid });
        breaks_only(expected, &["CTRL-CREATE-063"], plugin);
    }
}
