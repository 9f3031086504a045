//! CreateVolume: names, repetitions, and requests that conflict with a volume that exists.

use super::gates::{CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME};
use crate::{
    csi::v1::{self, CapacityRange, CreateVolumeRequest, volume_capability::access_mode::Mode},
    suite::{Bench, Stopped, facts::access_type, scenario::scenarios, volumes::from_snapshot},
    sut::AccessType,
};

scenarios! { "create_volume":
    repeat_is_idempotent, "sends the same request three times, and one of an odd size twice", [CREATE_DELETE_VOLUME], [
        "CTRL-CREATE-001", "CTRL-CREATE-002", "CTRL-CREATE-003", "CTRL-CREATE-004", "CTRL-CREATE-056",
        "CTRL-CREATE-085", "CTRL-CREATE-086", "CTRL-CREATE-142", "CTRL-CREATE-143", "CTRL-CREATE-027",
        "CTRL-CREATE-078", "CTRL-CREATE-101", "GEN-SIZE-002", "GEN-SIZE-003", "GEN-FIELD-001", "GEN-ERR-001",
        "GEN-ERR-002", "GEN-SECRET-008",
    ];
    repeat_that_is_satisfied_finds_the_volume, "asks for half the size under the name of a larger volume",
        [CREATE_DELETE_VOLUME], ["CTRL-CREATE-005", "CTRL-CREATE-097"];
    missing_name, "leaves the name empty", [CREATE_DELETE_VOLUME], [
        "CTRL-CREATE-018", "GEN-REQ-001", "GEN-ERR-006", "GEN-ERR-005", "GEN-ERR-025", "GEN-ERR-027",
    ];
    missing_capabilities, "leaves the list of capabilities empty", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-036", "GEN-REQ-003", "GEN-ERR-006", "GEN-ERR-025", "GEN-ERR-027"];
    unusual_names, "uses names of other scripts, with signs and blanks, and of 128 bytes", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-023", "GEN-SIZE-004", "CTRL-CREATE-087"];
    similar_names_are_different_volumes, "creates volumes whose names differ in case, blanks or their last letter",
        [CREATE_DELETE_VOLUME], ["CTRL-CREATE-087"];
    same_name_other_capacity, "asks for exactly S, then for exactly 2 S under the same name", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-153", "CTRL-CREATE-143", "GEN-ERR-004"];
    same_name_other_access_type, "asks for a directory, then for a device under the same name", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-154", "GEN-ERR-004"];
    same_name_other_parameters, "repeats a name with parameters that do not go with the first",
        [CREATE_DELETE_VOLUME], ["CTRL-CREATE-155"];
    same_name_other_source, "repeats the name of an empty volume with a snapshot as its source, and the reverse",
        [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT], ["CTRL-CREATE-157"];
    the_id_is_all_it_takes, "finds a volume by its id, with its context and without", [CREATE_DELETE_VOLUME], [
        "CTRL-CREATE-092", "CTRL-CREATE-094", "CTRL-CREATE-095", "CTRL-CREATE-096", "CTRL-CREATE-097",
    ];
    overlapping_repeats_make_one_volume, "sends the same request eight times at once, then again", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-019", "GEN-CONC-003", "GEN-ERR-016"];
    a_name_is_free_again_after_deletion, "creates, deletes and creates under the same name", [CREATE_DELETE_VOLUME],
        ["CTRL-CREATE-142", "CTRL-DELETE-014"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let request = bench.create_volume();
    bench.need(request.clone()).await?;
    for _ in 0..2 {
        bench.provoke(request.clone()).await;
    }
    let odd = bench.run.options.profile.capacity_bytes + 1;
    let request = CreateVolumeRequest {
        capacity_range: Some(CapacityRange { required_bytes: odd, limit_bytes: 0 }),
        ..bench.create_volume()
    };
    for _ in 0..2 {
        bench.provoke(request.clone()).await;
    }
    Ok(())
}

async fn repeat_that_is_satisfied_finds_the_volume(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let required_bytes = bench.run.options.profile.capacity_bytes / 2;
    let limit_bytes = volume.capacity.max(bench.run.options.profile.expanded_bytes);
    for range in [CapacityRange { required_bytes, limit_bytes }, CapacityRange { required_bytes, limit_bytes: 0 }] {
        bench.provoke(CreateVolumeRequest { capacity_range: Some(range), ..volume.request.clone() }).await;
    }
    bench.provoke(CreateVolumeRequest { capacity_range: None, ..volume.request.clone() }).await;
    Ok(())
}

async fn missing_name(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(CreateVolumeRequest { name: String::new(), ..bench.create_volume() }).await;
    Ok(())
}

async fn missing_capabilities(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(CreateVolumeRequest { volume_capabilities: Vec::new(), ..bench.create_volume() }).await;
    Ok(())
}

async fn unusual_names(bench: &Bench) -> Result<(), Stopped> {
    for suffix in [" with blanks", "/slash", ".dots..", "UPPER", "имя-名前", "🐙", "../../x", "%2e%2e", "$(id)`id`'\""]
    {
        let name = format!("{}{suffix}", bench.name());
        bench.provoke(CreateVolumeRequest { name, ..bench.create_volume() }).await;
    }
    let name = format!("{:x<128}", bench.name());
    bench.provoke(CreateVolumeRequest { name, ..bench.create_volume() }).await;
    Ok(())
}

async fn similar_names_are_different_volumes(bench: &Bench) -> Result<(), Stopped> {
    let base = format!("{:y<126}", bench.name());
    let upper = base.to_uppercase();
    for name in [format!("{base}a"), format!("{base}b"), base.clone(), upper, format!("{base} ")] {
        bench.provoke(CreateVolumeRequest { name, ..bench.create_volume() }).await;
    }
    Ok(())
}

async fn same_name_other_capacity(bench: &Bench) -> Result<(), Stopped> {
    let (small, large) = (bench.run.options.profile.capacity_bytes, bench.run.options.profile.expanded_bytes);
    let exactly = |bytes| Some(CapacityRange { required_bytes: bytes, limit_bytes: bytes });
    let request = CreateVolumeRequest { capacity_range: exactly(small), ..bench.create_volume() };
    bench.need(request.clone()).await?;
    // Whether the larger size is possible at all is to be seen from another name.
    bench.provoke(CreateVolumeRequest { capacity_range: exactly(large), ..bench.create_volume() }).await;
    bench.provoke(CreateVolumeRequest { capacity_range: exactly(large), ..request }).await;
    Ok(())
}

async fn same_name_other_access_type(bench: &Bench) -> Result<(), Stopped> {
    let mount = bench.capability_for(AccessType::Mount, Mode::SingleNodeWriter)?;
    let block = bench.capability_for(AccessType::Block, Mode::SingleNodeWriter)?;
    for (first, second) in [(mount.clone(), block.clone()), (block, mount)] {
        let request = CreateVolumeRequest { volume_capabilities: vec![first], ..bench.create_volume() };
        bench.need(request.clone()).await?;
        bench.provoke(CreateVolumeRequest { volume_capabilities: vec![second], ..request }).await;
    }
    Ok(())
}

async fn same_name_other_parameters(bench: &Bench) -> Result<(), Stopped> {
    let parameters = bench.run.options.profile.incompatible_parameters.clone();
    if parameters.is_empty() {
        return Err(Stopped::because("the profile has no `incompatible_parameters`"));
    }
    let volume = bench.volume().await?;
    bench.provoke(CreateVolumeRequest { parameters, ..volume.request }).await;
    Ok(())
}

async fn same_name_other_source(bench: &Bench) -> Result<(), Stopped> {
    let source = bench.volume().await?;
    let snapshot = bench.snapshot(&source.id).await?;
    let another = bench.snapshot(&source.id).await?;
    let size = bench.run.options.profile.capacity_bytes.max(snapshot.size_bytes).max(source.capacity);
    let empty = bench.volume().await?;
    let content = bench.create_from(from_snapshot(&snapshot.snapshot_id), &source, size);
    bench
        .provoke(CreateVolumeRequest { volume_content_source: content.volume_content_source.clone(), ..empty.request })
        .await;
    bench.need(content.clone()).await?;
    bench.provoke(content.clone()).await;
    bench.provoke(CreateVolumeRequest { volume_content_source: None, ..content.clone() }).await;
    let other = v1::VolumeContentSource { r#type: Some(from_snapshot(&another.snapshot_id)) };
    bench.provoke(CreateVolumeRequest { volume_content_source: Some(other), ..content }).await;
    Ok(())
}

async fn the_id_is_all_it_takes(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let capability = volume.request.volume_capabilities.clone();
    bench.provoke(bench.validate(&volume, capability.clone())).await;
    let without = v1::ValidateVolumeCapabilitiesRequest {
        volume_context: Default::default(),
        ..bench.validate(&volume, capability)
    };
    bench.provoke(without).await;
    bench.provoke(volume.request.clone()).await;
    if bench.has("Controller.GET_VOLUME") {
        bench.provoke(v1::ControllerGetVolumeRequest { volume_id: volume.id.clone() }).await;
    }
    if bench.has("Controller.EXPAND_VOLUME") {
        bench.provoke(bench.expand(&volume, bench.larger(&volume))).await;
    }
    if bench.has("Controller.GET_VOLUME") {
        bench.provoke(v1::ControllerGetVolumeRequest { volume_id: volume.id.clone() }).await;
    }
    bench.provoke(bench.delete_volume(&volume.id)).await;
    Ok(())
}

async fn overlapping_repeats_make_one_volume(bench: &Bench) -> Result<(), Stopped> {
    let request = bench.create_volume();
    bench.together(vec![request.clone().into(); 8]).await;
    // Twice: what the first repetition is told may be gone by the second.
    for _ in 0..2 {
        bench.need(request.clone()).await?;
    }
    if bench.has("Controller.LIST_VOLUMES") {
        bench.provoke(v1::ListVolumesRequest::default()).await;
    }
    Ok(())
}

async fn a_name_is_free_again_after_deletion(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.need(bench.delete_volume(&volume.id)).await?;
    let again = bench.volume_by(volume.request).await?;
    let capabilities: Vec<_> =
        again.request.volume_capabilities.iter().filter(|it| access_type(it).is_some()).cloned().collect();
    bench.provoke(bench.validate(&again, capabilities)).await;
    Ok(())
}
