//! Streams of block metadata that are misshapen, or leave out what was written.

use super::*;

const CAPACITY: i64 = 16384;

/// A plugin that tells the metadata of snapshots, with a device `a` that is published, and a snapshot `s` of it.
fn with_a_device() -> Plugin {
    use v1::volume_capability::BlockVolume;
    let plugin = Plugin::with(SNAPSHOTS, &[]);
    plugin.advertises(&[CONTROLLER, service(plugin::service::Type::SnapshotMetadataService)]);
    let block =
        v1::VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..capability(SingleNodeWriter) };
    let request = v1::CreateVolumeRequest { volume_capabilities: vec![block.clone()], ..create("a", SingleNodeWriter) };
    plugin.ok(request, volume("a"));
    let request = v1::NodePublishVolumeRequest { volume_capability: Some(block), ..publish("/a", SingleNodeWriter) };
    plugin.ok(request, v1::NodePublishVolumeResponse {});
    plugin.cut("s", "a");
    plugin
}

fn tuples(ranges: &[(i64, i64)]) -> Vec<v1::BlockMetadata> {
    ranges.iter().map(|&(byte_offset, size_bytes)| v1::BlockMetadata { byte_offset, size_bytes }).collect()
}

/// The plugin tells the ranges as those of a snapshot.
fn tells_allocated(plugin: &Plugin, style: v1::BlockMetadataType, ranges: &[(i64, i64)]) {
    let request = v1::GetMetadataAllocatedRequest { snapshot_id: "s".into(), ..Default::default() };
    let message = v1::GetMetadataAllocatedResponse {
        block_metadata_type: style.into(),
        volume_capacity_bytes: CAPACITY,
        block_metadata: tuples(ranges),
    };
    plugin.ok(request, vec![message]);
}

/// The plugin tells the ranges as those that differ between two snapshots.
fn tells_delta(plugin: &Plugin, style: v1::BlockMetadataType, ranges: &[(i64, i64)]) {
    let request = v1::GetMetadataDeltaRequest {
        base_snapshot_id: "s".into(),
        target_snapshot_id: "t".into(),
        ..Default::default()
    };
    let message = v1::GetMetadataDeltaResponse {
        block_metadata_type: style.into(),
        volume_capacity_bytes: CAPACITY,
        block_metadata: tuples(ranges),
    };
    plugin.ok(request, vec![message]);
}

#[test]
fn ranges_of_fixed_length_that_differ_in_length() {
    use v1::BlockMetadataType::{FixedLength, VariableLength};
    let ranges = [(0, 4096), (4096, 512), (8192, 4096)];
    let rules = ["META-ALLOCATED-012", "META-DELTA-014", "META-FORMAT-007"];
    for (style, in_allocated, in_delta) in [
        (FixedLength, &["META-ALLOCATED-012", "META-FORMAT-007"][..], &["META-DELTA-014", "META-FORMAT-007"][..]),
        (VariableLength, &[], &[]),
    ] {
        let plugin = with_a_device();
        tells_allocated(&plugin, style, &ranges);
        breaks_only(in_allocated, &rules, plugin);
        let plugin = with_a_device();
        plugin.cut("t", "a");
        tells_delta(&plugin, style, &ranges);
        breaks_only(in_delta, &rules, plugin);
    }
}

#[test]
fn ranges_that_overlap_or_lie_beside_the_volume() {
    let rules = ["META-DELTA-021", "META-FORMAT-003", "META-FORMAT-004"];
    for (ranges, expected) in [
        ([(0, 4096), (2048, 4096)], &["META-DELTA-021", "META-FORMAT-003"][..]),
        ([(-4096, 8192), (4096, 4096)], &["META-FORMAT-004"]),
        ([(0, 4096), (12288, 8192)], &["META-FORMAT-004"]),
        ([(0, 4096), (4096, 4096)], &[]),
    ] {
        let plugin = with_a_device();
        plugin.cut("t", "a");
        tells_delta(&plugin, v1::BlockMetadataType::VariableLength, &ranges);
        breaks_only(expected, &rules, plugin);
    }
}

#[test]
fn blocks_that_were_written_between_two_snapshots_and_are_not_told_of() {
    for (told, expected) in [((0, 4096), &["META-DELTA-002"][..]), ((0, 8192), &[])] {
        let plugin = with_a_device();
        plugin.0.observed(Observation::Blocks {
            node: "node".into(),
            path: "/a".into(),
            offsets: vec![4096],
            length: 4096,
            error: String::new(),
        });
        plugin.cut("t", "a");
        tells_delta(&plugin, v1::BlockMetadataType::VariableLength, &[told]);
        breaks_only(expected, &["META-DELTA-002"], plugin);
    }
}
