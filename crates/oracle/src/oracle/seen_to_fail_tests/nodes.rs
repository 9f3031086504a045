//! Volumes on nodes: modes, paths, and what clients keep.

use super::*;

#[test]
fn single_node_modes() {
    let both = (&[Controller::SingleNodeMultiWriter], &[Node::SingleNodeMultiWriter]);
    let plugin = Plugin::with(both.0, both.1);
    plugin.refused(create("a", SingleNodeSingleWriter), Code::InvalidArgument, "no such mode");
    plugin.refused(create("a", SingleNodeMultiWriter), Code::InvalidArgument, "no such mode");
    breaks(&["CTRL-CAPS-014", "NODE-CAPS-007"], plugin);

    let plugin = Plugin::with(both.0, both.1);
    plugin.created_for("a", SingleNodeSingleWriter);
    plugin.refused(create("b", SingleNodeWriter), Code::InvalidArgument, "no such mode");
    breaks(&["CTRL-CAPS-015"], plugin);

    for (readonly, rule) in [(false, "NODE-PUBLISH-026"), (true, "NODE-PUBLISH-027")] {
        let plugin = Plugin::with(both.0, both.1);
        plugin.created_for("a", SingleNodeMultiWriter);
        plugin.ok(publish("/1", SingleNodeMultiWriter), v1::NodePublishVolumeResponse {});
        let second = v1::NodePublishVolumeRequest { readonly, ..publish("/2", SingleNodeMultiWriter) };
        plugin.refused(second, Code::FailedPrecondition, "published already");
        breaks(&[rule], plugin);
    }
}

#[test]
fn what_clients_keep_over_a_restart() {
    let publish = Request::from(publish("/1", SingleNodeWriter));
    for (request, reply, node, rule) in [
        (publish, Reply::from(v1::NodePublishVolumeResponse {}), &[][..], "CTRL-CREATE-093"),
        (stage("/1").into(), v1::NodeStageVolumeResponse {}.into(), &[Node::StageUnstageVolume], "CTRL-PUBLISH-023"),
    ] {
        let plugin = Plugin::with(&[], node);
        plugin.created("a");
        plugin.ok(request.clone(), reply);
        plugin.restarted();
        plugin.refused(request, Code::InvalidArgument, "no such context");
        breaks(&[rule, "NODE-INFO-005"], plugin);
    }
    let plugin = Plugin::with(&[], &[]);
    plugin.advertises(&[PLACES]);
    plugin.restarted();
    plugin.advertises(&[]);
    breaks(&["IDENT-CAPS-002"], plugin);
}

#[test]
fn long_paths() {
    for (length, rules) in [
        (128, ["NODE-STAGE-023", "NODE-EXPAND-013", "NODE-EXPAND-021"]),
        (1000, ["NODE-STAGE-022", "NODE-EXPAND-012", "NODE-EXPAND-020"]),
    ] {
        let plugin = Plugin::with(&[], &[Node::StageUnstageVolume, Node::ExpandVolume]);
        plugin.created("a");
        plugin.refused(stage(&path(length)), Code::InvalidArgument, "too long");
        plugin.ok(stage(&path(length)), v1::NodeStageVolumeResponse {});
        let published = v1::NodePublishVolumeRequest {
            staging_target_path: path(length),
            ..publish(&path(length), SingleNodeWriter)
        };
        plugin.ok(published, v1::NodePublishVolumeResponse {});
        let expand = v1::NodeExpandVolumeRequest {
            volume_id: "a".into(),
            volume_path: path(length),
            staging_target_path: path(length),
            capacity_range: Some(v1::CapacityRange { required_bytes: 20, limit_bytes: 0 }),
            ..Default::default()
        };
        plugin.refused(expand, Code::InvalidArgument, "too long");
        breaks(&rules, plugin);
    }
}

#[test]
fn calls_without_a_capability() {
    let plugin = Plugin::with(&[], &[Node::StageUnstageVolume]);
    plugin.created("a");
    plugin.ok(v1::NodeStageVolumeRequest { volume_capability: None, ..stage("/s") }, v1::NodeStageVolumeResponse {});
    breaks(&["NODE-STAGE-026"], plugin);
    let plugin = Plugin::with(&[], &[]);
    plugin.created("a");
    let request = v1::NodePublishVolumeRequest { volume_capability: None, ..publish("/t", SingleNodeWriter) };
    plugin.ok(request, v1::NodePublishVolumeResponse {});
    breaks(&["NODE-PUBLISH-058"], plugin);
}
