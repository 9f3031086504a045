//! CreateVolume: one field at a time, at and beyond its limits.

use super::gates::{CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME};
use crate::{
    csi::v1::{
        CapacityRange, CreateVolumeRequest, VolumeCapability, VolumeContentSource,
        volume_capability::{AccessMode, AccessType as Kind, MountVolume, access_mode::Mode},
    },
    suite::{
        Bench, Stopped,
        bench::{MADE_UP_KEY, TELLING_FLAG},
        scenario::scenarios,
        volumes::{from_snapshot, from_volume},
    },
    sut::AccessType,
};

scenarios! { "create_volume_fields":
    capacity_is_honoured, "asks for an exact size, an odd one, a tiny one, one below a limit, and none",
        [CREATE_DELETE_VOLUME], [
        "CTRL-CREATE-027", "CTRL-CREATE-076", "CTRL-CREATE-078", "CTRL-CREATE-081", "CTRL-CREATE-085",
        "CTRL-CREATE-162",
    ];
    capacity_that_makes_no_sense, "sends negative sizes, an empty range, and a limit below what is required",
        [CREATE_DELETE_VOLUME], [
        "CTRL-CREATE-077", "CTRL-CREATE-080", "CTRL-CREATE-083", "CTRL-CREATE-162", "GEN-ERR-009", "GEN-ERR-005",
        "GEN-ERR-025", "GEN-ERR-027",
    ];
    capacity_beyond_all_bounds, "asks for 4 EiB, and for at most one byte", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-162", "CTRL-CREATE-081", "CTRL-CREATE-078"];
    capability_without_access_type, "names an access mode only", [CREATE_DELETE_VOLUME], ["CTRL-CREATE-074", "GEN-ERR-006"];
    capability_without_access_mode, "names an access type only", [CREATE_DELETE_VOLUME], ["CTRL-CREATE-075", "GEN-ERR-006"];
    capability_of_unknown_mode, "sends mode UNKNOWN, and a mode that no version of CSI has", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-073", "GEN-ERR-009", "GEN-ERR-001"];
    unsupported_capability, "asks for a capability that the driver refuses, alone and beside a supported one",
        [CREATE_DELETE_VOLUME], ["CTRL-CREATE-031", "CTRL-CREATE-035"];
    several_capabilities, "asks for several supported capabilities in one volume", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-034", "CTRL-CREATE-032"];
    every_supported_capability, "creates a volume for each capability that the driver supports", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-030"];
    mount_flags, "sends a mount flag that is easily found again, to CreateVolume and ValidateVolumeCapabilities",
        [CREATE_DELETE_VOLUME], ["CTRL-CREATE-060"];
    unknown_parameter, "adds a parameter that no driver knows", [CREATE_DELETE_VOLUME], ["CTRL-CREATE-038"];
    unknown_mutable_parameter, "adds a mutable parameter that no driver knows",
        [CREATE_DELETE_VOLUME, "Controller.MODIFY_VOLUME"], ["CTRL-CREATE-049"];
    key_in_both_maps, "sends one key among parameters and mutable parameters",
        [CREATE_DELETE_VOLUME, "Controller.MODIFY_VOLUME"], ["CTRL-CREATE-009"];
    source_of_no_kind, "sends a content source that names neither snapshot nor volume", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-051", "GEN-ERR-006"];
    source_without_snapshot_id, "sends a snapshot source with an empty id",
        [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT], ["CTRL-CREATE-052"];
    source_without_volume_id, "sends a volume source with an empty id",
        [CREATE_DELETE_VOLUME, "Controller.CLONE_VOLUME"], ["CTRL-CREATE-054"];
    long_strings, "sends a name and parameters far beyond the limits of size", [CREATE_DELETE_VOLUME],
        ["GEN-SIZE-002", "GEN-ERR-001"];
}

fn range(required_bytes: i64, limit_bytes: i64) -> Option<CapacityRange> {
    Some(CapacityRange { required_bytes, limit_bytes })
}

async fn capacity_is_honoured(bench: &Bench) -> Result<(), Stopped> {
    let size = bench.run.options.profile.capacity_bytes;
    let large = bench.run.options.profile.expanded_bytes;
    let odd = [range(size + 1, 0), range(size + 1, size + 1), range(1, 0)];
    for capacity_range in [range(size, size)].into_iter().chain(odd).chain([range(1, large), None]) {
        bench.provoke(CreateVolumeRequest { capacity_range, ..bench.create_volume() }).await;
    }
    bench.provoke(CreateVolumeRequest { capacity_range: range(0, large), ..bench.create_volume() }).await;
    Ok(())
}

async fn capacity_that_makes_no_sense(bench: &Bench) -> Result<(), Stopped> {
    let size = bench.run.options.profile.capacity_bytes;
    for capacity_range in [range(0, 0), range(-1, 0), range(size, -1), range(2 * size, size), range(i64::MIN, 0)] {
        bench.provoke(CreateVolumeRequest { capacity_range, ..bench.create_volume() }).await;
    }
    Ok(())
}

async fn capacity_beyond_all_bounds(bench: &Bench) -> Result<(), Stopped> {
    for capacity_range in [range(1 << 62, 0), range(i64::MAX, 0), range(0, 1), range(1, 1)] {
        bench.provoke(CreateVolumeRequest { capacity_range, ..bench.create_volume() }).await;
    }
    Ok(())
}

async fn capability_without_access_type(bench: &Bench) -> Result<(), Stopped> {
    with_capabilities(bench, vec![VolumeCapability { access_type: None, ..bench.capability() }]).await;
    Ok(())
}

async fn capability_without_access_mode(bench: &Bench) -> Result<(), Stopped> {
    with_capabilities(bench, vec![VolumeCapability { access_mode: None, ..bench.capability() }]).await;
    Ok(())
}

async fn capability_of_unknown_mode(bench: &Bench) -> Result<(), Stopped> {
    for mode in [0, 99, -1] {
        let capability = VolumeCapability { access_mode: Some(AccessMode { mode }), ..bench.capability() };
        with_capabilities(bench, vec![capability]).await;
    }
    Ok(())
}

async fn unsupported_capability(bench: &Bench) -> Result<(), Stopped> {
    let unsupported = bench.unsupported()?;
    with_capabilities(bench, vec![unsupported.clone()]).await;
    with_capabilities(bench, vec![bench.capability(), unsupported]).await;
    Ok(())
}

async fn several_capabilities(bench: &Bench) -> Result<(), Stopped> {
    let mount = bench.capability_for(AccessType::Mount, Mode::MultiNodeReaderOnly);
    let several: Vec<VolumeCapability> = [Ok(bench.capability()), mount].into_iter().flatten().collect();
    let request = CreateVolumeRequest { volume_capabilities: several, ..bench.create_volume() };
    let Ok(reply) = bench.ask(request.clone()).await else { return Ok(()) };
    let volume = bench.volume_in(request, reply)?;
    for capability in volume.request.volume_capabilities.clone() {
        bench.provoke(bench.validate(&volume, vec![capability.clone()])).await;
        let prepared = bench.prepare(volume.clone(), capability).await?;
        let target = bench.published(&prepared).await?;
        bench.read(&prepared.capability, &target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn every_supported_capability(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.facts.supported.clone() {
        with_capabilities(bench, vec![capability]).await;
    }
    Ok(())
}

async fn mount_flags(bench: &Bench) -> Result<(), Stopped> {
    let plain = bench.capability_for(AccessType::Mount, Mode::SingleNodeWriter)?;
    let mut capability = plain.clone();
    if let Some(Kind::Mount(mount)) = &mut capability.access_type {
        mount.mount_flags = vec![TELLING_FLAG.to_owned()];
    }
    let volume = bench.volume_for(plain).await?;
    bench.provoke(bench.validate(&volume, vec![capability.clone()])).await;
    with_capabilities(bench, vec![capability]).await;
    Ok(())
}

async fn unknown_parameter(bench: &Bench) -> Result<(), Stopped> {
    let mut request = bench.create_volume();
    request.parameters.insert(MADE_UP_KEY.to_owned(), "x".to_owned());
    bench.provoke(request).await;
    Ok(())
}

async fn unknown_mutable_parameter(bench: &Bench) -> Result<(), Stopped> {
    let mut request = bench.create_volume();
    request.mutable_parameters.insert(MADE_UP_KEY.to_owned(), "x".to_owned());
    bench.provoke(request).await;
    Ok(())
}

async fn key_in_both_maps(bench: &Bench) -> Result<(), Stopped> {
    let profile = &bench.run.options.profile;
    let (key, value) = profile
        .mutable_parameters
        .iter()
        .next()
        .ok_or_else(|| Stopped::because("the profile has no `mutable_parameters`"))?;
    let other = profile.modified_parameters.get(key).unwrap_or(value);
    bench.provoke(bench.create_volume()).await;
    // Where either map may hold the key, both may.
    for alone in [true, false] {
        let mut request = bench.create_volume();
        request.parameters.insert(key.clone(), other.clone());
        if alone {
            request.mutable_parameters.remove(key);
        }
        bench.provoke(request).await;
    }
    Ok(())
}

async fn source_of_no_kind(bench: &Bench) -> Result<(), Stopped> {
    let volume_content_source = Some(VolumeContentSource { r#type: None });
    bench.provoke(CreateVolumeRequest { volume_content_source, ..bench.create_volume() }).await;
    Ok(())
}

async fn source_without_snapshot_id(bench: &Bench) -> Result<(), Stopped> {
    let volume_content_source = Some(VolumeContentSource { r#type: Some(from_snapshot("")) });
    bench.provoke(CreateVolumeRequest { volume_content_source, ..bench.create_volume() }).await;
    Ok(())
}

async fn source_without_volume_id(bench: &Bench) -> Result<(), Stopped> {
    let volume_content_source = Some(VolumeContentSource { r#type: Some(from_volume("")) });
    bench.provoke(CreateVolumeRequest { volume_content_source, ..bench.create_volume() }).await;
    Ok(())
}

async fn long_strings(bench: &Bench) -> Result<(), Stopped> {
    let name = format!("{:z<4000}", bench.name());
    bench.provoke(CreateVolumeRequest { name, ..bench.create_volume() }).await;
    let mut request = bench.create_volume();
    request.parameters.insert("csi-certify-long".to_owned(), "z".repeat(64 * 1024));
    bench.provoke(request).await;
    let mut capability = bench.capability();
    if let Some(Kind::Mount(MountVolume { fs_type, .. })) = &mut capability.access_type {
        *fs_type = "z".repeat(1000);
        with_capabilities(bench, vec![capability]).await;
    }
    Ok(())
}

async fn with_capabilities(bench: &Bench, volume_capabilities: Vec<VolumeCapability>) {
    bench.provoke(CreateVolumeRequest { volume_capabilities, ..bench.create_volume() }).await;
}
