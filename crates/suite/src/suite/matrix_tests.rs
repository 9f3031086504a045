//! No field is forgotten, none is changed but the one, and each limit is met to the byte.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

use super::matrix::{Change, Variation, Varied, variations};
use crate::{
    csi::v1::volume_capability::AccessType,
    history::Request,
    spec::{Binds, Rpc, RuleId},
};

/// What no variation touches.
const LEFT_ALONE: [&str; 5] =
    ["volume_context", "publish_context", "accessibility_requirements", "accessible_topology", "secrets"];

/// Which branch of a oneof is set.
#[derive(Clone, Copy)]
enum Branch {
    First,
    Last,
}

/// Sets everything in a message.
fn fill(message: &mut DynamicMessage, branch: Branch) {
    let mut fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
    if let Branch::Last = branch {
        fields.reverse();
    }
    for field in fields {
        if field.containing_oneof().is_some_and(|oneof| oneof.fields().any(|branch| message.has_field(&branch))) {
            continue;
        }
        let value = match field.kind() {
            _ if field.is_map() => Value::Map([(MapKey::String("key".into()), Value::String("value".into()))].into()),
            Kind::Message(of) => {
                let mut inner = DynamicMessage::new(of);
                fill(&mut inner, branch);
                Value::Message(inner)
            }
            Kind::String => Value::String("some".into()),
            Kind::Int64 => Value::I64(7),
            Kind::Int32 => Value::I32(7),
            Kind::Bool => Value::Bool(true),
            Kind::Enum(_) => Value::EnumNumber(1),
            other => panic!("{other:?}"),
        };
        message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
    }
}

fn full(rpc: Rpc, branch: Branch) -> Request {
    let mut message = Request::empty(rpc).to_dynamic();
    fill(&mut message, branch);
    Request::from_dynamic(rpc, &message).unwrap()
}

/// The way to the field, `volume_capability.access_mode.mode`.
fn way(variation: &Variation) -> String {
    variation.path.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

fn text(length: usize) -> String {
    "y".repeat(length)
}

fn left_out(rpc: Rpc) -> BTreeSet<String> {
    let all = [Branch::First, Branch::Last].into_iter().flat_map(|branch| variations(&full(rpc, branch)));
    all.filter(|it| it.change == Change::LeftOut).map(|it| way(&it)).collect()
}

/// The request with that field changed like that; oneofs are set to their last branch.
fn varied(rpc: Rpc, field: &str, change: Change) -> Varied {
    let valid = full(rpc, Branch::Last);
    let found = variations(&valid).into_iter().find(|it| way(it) == field && it.change == change);
    found.unwrap_or_else(|| panic!("{field} of {rpc}: no {change:?}")).of(&valid, &text).unwrap()
}

/// The fields that the catalogue calls required, of requests, by the last part of their name.
fn required() -> Vec<(RuleId, Rpc, String)> {
    let of = |id: RuleId| {
        let rule = id.rule();
        let is_required = rule.code == "INVALID_ARGUMENT"
            && rule.binds == Binds::Both
            && rule.text.to_lowercase().contains(" is required");
        let field = rule.text.split(' ').next()?;
        let is_field = field.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        (is_required && is_field).then(|| Some((id, rule.rpc()?, field.to_owned()))).flatten()
    };
    RuleId::all().filter_map(of).collect()
}

#[test]
fn each_field_that_the_catalogue_requires_is_left_out_alone() {
    let required = required();
    assert!(required.len() >= 44, "only {}", required.len());
    for (id, rpc, field) in required {
        let left_out = left_out(rpc);
        let found = left_out.iter().any(|way| way.rsplit('.').next() == Some(&field));
        // To leave out the branch that is set is to leave out the oneof.
        let is_oneof = matches!(field.as_str(), "type" | "access_type");
        assert!(found || is_oneof, "{id}: {field} of {rpc} is never left out, only {left_out:?}");
    }
    for branch in ["volume_capabilities.block", "volume_capabilities.mount", "volume_content_source.snapshot"] {
        assert!(left_out(Rpc::CreateVolume).contains(branch), "{branch}");
    }
}

#[test]
fn each_field_of_the_interface_is_in_the_matrix_or_left_alone_for_a_reason() {
    for &rpc in Rpc::ALL {
        let found: BTreeSet<String> = variations(&full(rpc, Branch::First)).iter().map(way).collect();
        for field in Request::descriptor(rpc).fields() {
            let is_varied = found.contains(field.name());
            let is_left_alone = LEFT_ALONE.contains(&field.name());
            assert!(is_varied != is_left_alone, "{} of {rpc}: {found:?}", field.name());
        }
    }
}

#[test]
fn each_variation_changes_the_one_field_and_no_two_are_the_same() {
    for &rpc in Rpc::ALL {
        let valid = full(rpc, Branch::Last);
        let mut seen: Vec<Request> = Vec::new();
        for variation in variations(&valid) {
            let Some(Varied { request, .. }) = variation.of(&valid, &text) else { continue };
            assert!(!seen.contains(&request), "{rpc}: {} {:?} is there twice", way(&variation), variation.change);
            let (before, after) = (valid.to_dynamic(), request.to_dynamic());
            for field in before.descriptor().fields().filter(|field| !variation.is_within(field.name())) {
                assert_eq!(before.get_field(&field), after.get_field(&field), "{rpc}: {}", way(&variation));
            }
            seen.push(request);
        }
    }
}

#[test]
fn strings_are_taken_to_their_limits_and_far_beyond() {
    for (rpc, field, lengths) in [
        (Rpc::DeleteVolume, "volume_id", [1, 128, 129, 65_536]),
        (Rpc::ControllerUnpublishVolume, "node_id", [1, 256, 257, 65_536]),
        (Rpc::CreateVolumeGroupSnapshot, "source_volume_ids", [1, 128, 129, 65_536]),
        (Rpc::ListVolumes, "starting_token", [1, 128, 129, 65_536]),
    ] {
        for length in lengths {
            let Varied { made_up, .. } = varied(rpc, field, Change::Bytes(length));
            assert_eq!(made_up, Some(text(length)), "{field} of {rpc}");
        }
    }
    let of_names = variations(&full(Rpc::CreateVolume, Branch::Last)).into_iter().filter(|it| it.is_within("name"));
    let changes: Vec<Change> = of_names.map(|it| it.change).collect();
    assert_eq!(changes, [Change::LeftOut, Change::Bytes(128), Change::Bytes(129), Change::Bytes(65_536)]);
}

#[test]
fn maps_and_mount_flags_are_filled_to_the_byte() {
    for bytes in [4096, 4097, 65_536] {
        let Request::CreateVolume(request) = varied(Rpc::CreateVolume, "parameters", Change::Bytes(bytes)).request
        else {
            panic!()
        };
        let size: usize = request.parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!((size, request.parameters["key"].as_str()), (bytes, "value"));
    }
    for bytes in [4096, 4097, 65_536] {
        let field = "volume_capability.mount.mount_flags";
        let Request::NodeStageVolume(request) = varied(Rpc::NodeStageVolume, field, Change::Bytes(bytes)).request
        else {
            panic!()
        };
        let Some(AccessType::Mount(mount)) = request.volume_capability.unwrap().access_type else { panic!() };
        assert_eq!(mount.mount_flags.iter().map(String::len).sum::<usize>(), bytes);
        assert!(mount.mount_flags.iter().all(|flag| (1..=128).contains(&flag.len())));
    }
}

#[test]
fn lists_numbers_and_enumerators_are_taken_to_their_edges() {
    for count in [2, 100] {
        let Request::CreateVolume(request) =
            varied(Rpc::CreateVolume, "volume_capabilities", Change::Elements(count)).request
        else {
            panic!()
        };
        assert_eq!(request.volume_capabilities.len(), count);
    }
    for number in [i64::MIN, -1, 1, i64::MAX] {
        let field = "capacity_range.required_bytes";
        let Request::CreateVolume(request) = varied(Rpc::CreateVolume, field, Change::Number(number)).request else {
            panic!()
        };
        assert_eq!(request.capacity_range.unwrap().required_bytes, number);
    }
    for number in [99, -1] {
        let field = "volume_capability.access_mode.mode";
        let Request::NodePublishVolume(request) =
            varied(Rpc::NodePublishVolume, field, Change::Enumerator(number)).request
        else {
            panic!()
        };
        assert_eq!(request.volume_capability.unwrap().access_mode.unwrap().mode, number);
    }
    let Request::NodePublishVolume(request) =
        varied(Rpc::NodePublishVolume, "volume_capability.access_mode.mode", Change::LeftOut).request
    else {
        panic!()
    };
    assert_eq!(request.volume_capability.unwrap().access_mode.unwrap().mode, 0);
}
