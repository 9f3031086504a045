//! Volumes at the controller: what is told of them, and how they may be used.

use super::*;

#[test]
fn capacity_that_cannot_be_had() {
    let parameters = BTreeMap::from([("tier".to_owned(), "fast".to_owned())]);
    let plugin = Plugin::with(&[Controller::GetCapacity], &[]);
    let ask = v1::GetCapacityRequest {
        parameters: parameters.clone(),
        volume_capabilities: vec![capability(SingleNodeWriter)],
        ..Default::default()
    };
    plugin.ok(ask, v1::GetCapacityResponse { available_capacity: 100, ..Default::default() });
    let range = v1::CapacityRange { required_bytes: 100, limit_bytes: 0 };
    let request = v1::CreateVolumeRequest { parameters, capacity_range: Some(range), ..create("a", SingleNodeWriter) };
    plugin.refused(request, Code::OutOfRange, "no room");
    breaks(&["CTRL-CAPACITY-004", "CTRL-CAPACITY-014"], plugin);

    let plugin = Plugin::with(&[Controller::GetCapacity], &[]);
    plugin.refused(create("a", Mode::MultiNodeMultiWriter), Code::InvalidArgument, "one writer only");
    let ask = v1::GetCapacityRequest {
        volume_capabilities: vec![capability(Mode::MultiNodeMultiWriter)],
        ..Default::default()
    };
    let offer = v1::GetCapacityResponse {
        available_capacity: 100,
        maximum_volume_size: Some(50),
        minimum_volume_size: Some(1),
    };
    plugin.ok(ask, offer);
    breaks(&["CTRL-CAPACITY-002", "CTRL-CAPACITY-011", "CTRL-CAPACITY-016"], plugin);
}

#[test]
fn a_repeat_that_tells_another_context() {
    let plugin = Plugin::with(&[], &[]);
    plugin.created("a");
    let mut other = volume("a");
    other.volume.as_mut().unwrap().volume_context.insert("share".into(), "other".into());
    plugin.ok(create("a", SingleNodeWriter), other);
    breaks(&["CTRL-CREATE-097"], plugin);
}

#[test]
fn places() {
    let (one, two) = (segments(&[("zone", "1")]), segments(&[("zone", "2")]));
    let within = |place: v1::Topology| {
        let mut reply = volume("a");
        reply.volume.as_mut().unwrap().accessible_topology = vec![place];
        reply
    };
    let plugin = Plugin::with(&[], &[]);
    plugin.advertises(&[PLACES]);
    let requirements = v1::TopologyRequirement {
        requisite: vec![one.clone(), two.clone()],
        preferred: vec![two.clone(), one.clone()],
    };
    let request =
        v1::CreateVolumeRequest { accessibility_requirements: Some(requirements), ..create("a", SingleNodeWriter) };
    plugin.ok(request, within(one));
    breaks(&["CTRL-CREATE-121", "CTRL-CREATE-126"], plugin);

    for (place, rule) in
        [(segments(&[("zone", "1"), ("Zone", "1")]), "CTRL-CREATE-138"), (segments(&[("zone", "")]), "CTRL-CREATE-139")]
    {
        let plugin = Plugin::with(&[], &[]);
        plugin.advertises(&[PLACES]);
        plugin.ok(create("a", SingleNodeWriter), within(place));
        breaks(&[rule], plugin);
    }
}

#[test]
fn a_modification_that_cannot_be_repeated() {
    let plugin = Plugin::with(&[Controller::ModifyVolume], &[]);
    plugin.created("a");
    let modify = |tier: &str| v1::ControllerModifyVolumeRequest {
        volume_id: "a".into(),
        mutable_parameters: BTreeMap::from([("tier".to_owned(), tier.to_owned())]),
        ..Default::default()
    };
    plugin.ok(modify("fast"), v1::ControllerModifyVolumeResponse {});
    plugin.refused(modify("slow"), Code::InvalidArgument, "there is nothing slower");
    plugin.refused(modify("fast"), Code::InvalidArgument, "it is fast already");
    breaks(&["CTRL-MODIFY-002"], plugin);

    // Back again is another modification, and may be one too many; whether it is, after one without an answer, nobody knows.
    for is_lost in [false, true] {
        let plugin = Plugin::with(&[Controller::ModifyVolume], &[]);
        plugin.created("a");
        plugin.ok(modify("fast"), v1::ControllerModifyVolumeResponse {});
        if is_lost {
            let call = plugin.0.call("plugin", "", "scenario", &modify("slow").into());
            plugin.0.lost(call, Lost::Deadline);
        } else {
            plugin.ok(modify("slow"), v1::ControllerModifyVolumeResponse {});
        }
        plugin.refused(modify("fast"), Code::InvalidArgument, "once only");
        assert!(!plugin.broken().contains("CTRL-MODIFY-002"), "lost: {is_lost}");
    }
}

#[test]
fn attachments() {
    let plugin = Plugin::with(&[Controller::PublishUnpublishVolume, Controller::PublishReadonly], &[]);
    plugin.created("a");
    let readonly = v1::ControllerPublishVolumeRequest { readonly: true, ..attach("node") };
    plugin.refused(readonly, Code::Unimplemented, "not read-only");
    breaks(&["CTRL-CAPS-007"], plugin);

    // The volume was attached to both nodes before, one after the other.
    for (again, expected) in [("node", true), ("new", false)] {
        let plugin = Plugin::with(&[Controller::PublishUnpublishVolume], &[]);
        plugin.created("a");
        for node in ["node", "other"] {
            plugin.attached(node);
            plugin.detached(node);
        }
        plugin.refused(attach(again), Code::FailedPrecondition, "published elsewhere");
        assert_eq!(plugin.broken().contains("CTRL-UNPUBLISH-003"), expected, "{again}");
    }
}

#[test]
fn a_single_writer_on_two_nodes() {
    let plugin = Plugin::with(&[Controller::PublishUnpublishVolume], &[]);
    plugin.created_for("a", SingleNodeSingleWriter);
    for node in ["node", "other"] {
        let volume_capability = Some(capability(SingleNodeSingleWriter));
        let request = v1::ControllerPublishVolumeRequest { volume_capability, ..attach(node) };
        plugin.ok(request, v1::ControllerPublishVolumeResponse::default());
    }
    breaks(&["CTRL-CREATE-070"], plugin);
}

#[test]
fn a_key_that_either_map_may_have_and_not_both() {
    let tier = |tier: &str| BTreeMap::from([("tier".to_owned(), tier.to_owned())]);
    let made_with = |parameters, mutable_parameters| v1::CreateVolumeRequest {
        parameters,
        mutable_parameters,
        ..create("", SingleNodeWriter)
    };
    for (fixed_is_fine, broken) in [(true, true), (false, false)] {
        let plugin = Plugin::with(&[Controller::ModifyVolume], &[]);
        let named = |name: &str, request| v1::CreateVolumeRequest { name: name.into(), ..request };
        plugin.ok(named("a", made_with(BTreeMap::new(), tier("fast"))), volume("a"));
        let fixed = named("b", made_with(tier("slow"), BTreeMap::new()));
        match fixed_is_fine {
            true => plugin.ok(fixed, volume("b")),
            false => plugin.refused(fixed, Code::InvalidArgument, "tier can be modified"),
        }
        plugin.refused(named("c", made_with(tier("slow"), tier("fast"))), Code::InvalidArgument, "tier is given twice");
        assert_eq!(plugin.broken().contains("CTRL-CREATE-009"), broken, "{fixed_is_fine}");
    }
}

#[test]
fn rpcs_without_a_handler() {
    let plugin = Plugin::with(&[], &[]);
    plugin.advertises(&[CONTROLLER]);
    plugin.refused(v1::ListVolumesRequest::default(), Code::Unimplemented, "unknown method ListVolumes");
    breaks(&["GEN-LIFE-003", "GEN-LIFE-004"], plugin);

    let plugin = Plugin::with(&[], &[]);
    let online = expansion(plugin::volume_expansion::Type::Online);
    plugin.advertises(&[CONTROLLER, online]);
    breaks(&["IDENT-CAPS-014"], plugin);
}

#[test]
fn what_is_told_or_refused_amiss() {
    let plugin = Plugin::with(&[], &[]);
    let mount = MountVolume { mount_flags: vec!["password=1234".into()], ..Default::default() };
    let flagged = v1::VolumeCapability { access_type: Some(AccessType::Mount(mount)), ..capability(SingleNodeWriter) };
    let request = v1::CreateVolumeRequest { volume_capabilities: vec![flagged], ..create("a", SingleNodeWriter) };
    plugin.refused(request, Code::InvalidArgument, "password=1234 is no flag");
    breaks(&["CTRL-CREATE-060"], plugin);

    let plugin = Plugin::with(&[], &[]);
    let secrets = BTreeMap::from([("token".to_owned(), "1234".to_owned())]);
    plugin.ok(v1::CreateVolumeRequest { secrets: secrets.clone(), ..create("a", SingleNodeWriter) }, volume("a"));
    let delete = v1::DeleteVolumeRequest { volume_id: "a".into(), secrets };
    plugin.refused(delete, Code::Unauthenticated, "no such user");
    breaks(&["GEN-SECRET-008"], plugin);

    let plugin = Plugin::with(&[], &[]);
    plugin.refused(v1::ProbeRequest {}, Code::Internal, "starting");
    plugin.ok(v1::ProbeRequest {}, v1::ProbeResponse::default());
    breaks(&["IDENT-PROBE-014"], plugin);
}

#[test]
fn a_volume_that_is_not_found_by_its_id_alone() {
    let plugin = Plugin::with(&[], &[]);
    let mut told = volume("a");
    told.volume.as_mut().unwrap().volume_context.insert("share".into(), "one".into());
    plugin.ok(create("a", SingleNodeWriter), told);
    let request = v1::ValidateVolumeCapabilitiesRequest {
        volume_id: "a".into(),
        volume_capabilities: vec![capability(SingleNodeWriter)],
        ..Default::default()
    };
    plugin.refused(request, Code::InvalidArgument, "volume_context has no share");
    breaks(&["CTRL-CREATE-095", "CTRL-CREATE-096", "CTRL-VALIDATE-003"], plugin);
}

#[test]
fn more_places_than_were_required_without_one_that_was() {
    let zone = |name: &str| segments(&[("zone", name)]);
    for (served, expected) in [(["1", "3", "4"], true), (["1", "2", "3"], false)] {
        let plugin = Plugin::with(&[], &[]);
        plugin.advertises(&[CONTROLLER, PLACES]);
        let requirements = v1::TopologyRequirement { requisite: vec![zone("1"), zone("2")], preferred: vec![] };
        let request =
            v1::CreateVolumeRequest { accessibility_requirements: Some(requirements), ..create("a", SingleNodeWriter) };
        let mut reply = volume("a");
        reply.volume.as_mut().unwrap().accessible_topology = served.map(zone).to_vec();
        plugin.ok(request, reply);
        assert_eq!(plugin.broken().contains("CTRL-CREATE-117"), expected, "{served:?}");
    }
}

#[test]
fn a_node_that_stays_full() {
    for (again, expected) in [(Code::ResourceExhausted, &["CTRL-PUBLISH-043"][..]), (Code::Ok, &[])] {
        let plugin = Plugin::with(&[Controller::PublishUnpublishVolume], &[]);
        let info = v1::NodeGetInfoResponse { node_id: "node".into(), max_volumes_per_node: 1, ..Default::default() };
        plugin.ok(v1::NodeGetInfoRequest {}, info);
        plugin.created("a");
        plugin.created("b");
        plugin.attached("node");
        let other = v1::ControllerPublishVolumeRequest { volume_id: "b".into(), ..attach("node") };
        plugin.refused(other.clone(), Code::ResourceExhausted, "one volume at most");
        plugin.detached("node");
        match again {
            Code::Ok => plugin.ok(other, v1::ControllerPublishVolumeResponse::default()),
            code => plugin.refused(other, code, "one volume at most"),
        }
        breaks_only(expected, &["CTRL-PUBLISH-043"], plugin);
    }
}

#[test]
fn a_volume_for_somebody_without_permission() {
    for (is_made, expected) in [(true, &["GEN-ERR-012"][..]), (false, &[])] {
        let plugin = Plugin::with(&[], &[]);
        let secrets = BTreeMap::from([("password".to_owned(), "of-a-guest".to_owned())]);
        plugin.0.mark(&secrets, DENIED);
        let request = v1::CreateVolumeRequest { secrets, ..create("a", SingleNodeWriter) };
        match is_made {
            true => plugin.ok(request, volume("a")),
            false => plugin.refused(request, Code::PermissionDenied, "guests make no volumes"),
        }
        breaks_only(expected, &["GEN-ERR-012"], plugin);
    }
}

#[test]
fn instances_of_one_plugin_that_advertise_by_their_mode() {
    let of_controller = [CONTROLLER];
    for (of_node, expected) in [(&[][..], &["IDENT-CAPS-003"][..]), (&of_controller, &[])] {
        let plugin = Plugin::with(&[], &[]);
        plugin.advertises(&of_controller);
        let capabilities = of_node.iter().map(|kind| v1::PluginCapability { r#type: Some(*kind) }).collect();
        let call = plugin.0.call("node plugin", "node", "scenario", &v1::GetPluginCapabilitiesRequest {}.into());
        plugin.0.reply(call, v1::GetPluginCapabilitiesResponse { capabilities }.into());
        breaks_only(expected, &["IDENT-CAPS-003"], plugin);
    }
}
