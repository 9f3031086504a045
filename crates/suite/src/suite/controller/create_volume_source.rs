//! CreateVolume from a snapshot or from another volume: size, content, and sources that do not exist or do not fit.

use super::gates::{CREATE_DELETE_SNAPSHOT, CREATE_DELETE_VOLUME};
use crate::{
    csi::v1::{CapacityRange, CreateVolumeRequest, volume_capability::access_mode::Mode, volume_content_source::Type},
    suite::{
        Bench, Stopped,
        node_use::Prepared,
        scenario::scenarios,
        volumes::{Volume, from_snapshot, from_volume},
    },
    sut::AccessType,
};

const CLONE_VOLUME: &str = "Controller.CLONE_VOLUME";

scenarios! { "create_volume_source":
    from_a_snapshot, "makes a volume of a snapshot's size", [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT],
        ["CTRL-CREATE-053", "CTRL-CAPS-003", "CTRL-SNAPCREATE-016", "CTRL-SNAPCREATE-030", "CTRL-CREATE-028"];
    from_a_volume, "clones a volume", [CREATE_DELETE_VOLUME, CLONE_VOLUME], ["CTRL-CREATE-055", "CTRL-CREATE-028"];
    snapshot_content, "writes before and after the cut, and looks into a volume made from the snapshot",
        [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT],
        ["CTRL-CREATE-040", "CTRL-SNAPCREATE-021", "CTRL-SNAPCREATE-016"];
    clone_content, "writes to a volume, clones it, writes again, and looks into the clone",
        [CREATE_DELETE_VOLUME, CLONE_VOLUME], ["CTRL-CREATE-040"];
    larger_than_the_snapshot, "makes a larger volume of a snapshot, looks at its content and size",
        [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT],
        [
        "CTRL-CREATE-015", "CTRL-CREATE-016", "CTRL-CREATE-017", "CTRL-CREATE-028", "CTRL-CREATE-164", "NODE-STAGE-006",
    ];
    larger_than_the_volume, "clones to a larger size, looks at its content and size",
        [CREATE_DELETE_VOLUME, CLONE_VOLUME],
        ["CTRL-CREATE-015", "CTRL-CREATE-016", "CTRL-CREATE-017", "CTRL-CREATE-028", "CTRL-CREATE-164"];
    smaller_than_the_snapshot, "asks for half the snapshot's size", [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT],
        ["CTRL-CREATE-163", "CTRL-SNAPCREATE-030"];
    snapshot_that_does_not_exist, "names a deleted snapshot, and one that never was",
        [CREATE_DELETE_VOLUME, CREATE_DELETE_SNAPSHOT], ["CTRL-CREATE-151", "CTRL-CREATE-149"];
    volume_that_does_not_exist, "names a deleted volume, and one that never was", [CREATE_DELETE_VOLUME, CLONE_VOLUME],
        ["CTRL-CREATE-151", "CTRL-CREATE-149"];
    clone_without_the_capability, "names a volume as source though the driver does not clone",
        [CREATE_DELETE_VOLUME, "!Controller.CLONE_VOLUME"], ["CTRL-CREATE-145", "CTRL-CREATE-149"];
    snapshot_without_the_capability, "names a snapshot as source though the driver has none",
        [CREATE_DELETE_VOLUME, "!Controller.CREATE_DELETE_SNAPSHOT"], ["CTRL-CREATE-145"];
    source_of_another_kind, "asks for a device with the content of a directory, and the reverse",
        [CREATE_DELETE_VOLUME, "Controller.CREATE_DELETE_SNAPSHOT|Controller.CLONE_VOLUME"],
        ["CTRL-CREATE-146"];
}

fn size_for(bench: &Bench, source: &Volume, at_least: i64) -> i64 {
    bench.run.options.profile.capacity_bytes.max(source.capacity).max(at_least)
}

async fn from_a_snapshot(bench: &Bench) -> Result<(), Stopped> {
    let source = bench.volume().await?;
    let snapshot = bench.snapshot(&source.id).await?;
    let size = size_for(bench, &source, snapshot.size_bytes);
    let request = anywhere(bench.create_from(from_snapshot(&snapshot.snapshot_id), &source, size));
    bench.provoke(request.clone()).await;
    bench.provoke(request).await;
    let without_range = CreateVolumeRequest {
        capacity_range: None,
        ..bench.create_from(from_snapshot(&snapshot.snapshot_id), &source, size)
    };
    bench.provoke(without_range).await;
    Ok(())
}

async fn from_a_volume(bench: &Bench) -> Result<(), Stopped> {
    let source = bench.volume().await?;
    let request = anywhere(bench.create_from(from_volume(&source.id), &source, size_for(bench, &source, 0)));
    bench.provoke(request.clone()).await;
    bench.provoke(request).await;
    Ok(())
}

/// The request without wishes that could be a reason to refuse it.
fn anywhere(request: CreateVolumeRequest) -> CreateVolumeRequest {
    CreateVolumeRequest { accessibility_requirements: None, mutable_parameters: Default::default(), ..request }
}

/// A source that holds `before` when the cut is made, and `after` later on.
async fn cut(bench: &Bench, clones: bool, grown: bool) -> Result<(), Stopped> {
    if !grown {
        // Nothing but the content is of interest then.
        bench.need_node_fs()?;
    }
    let capability = bench.capability_for(AccessType::Mount, Mode::SingleNodeWriter);
    let source = bench.prepared_for(capability.unwrap_or_else(|_| bench.capability())).await?;
    let target = bench.published(&source).await?;
    bench.write(&source.capability, &target, "before the cut").await;
    bench.read(&source.capability, &target).await;
    let (content, at_least): (Type, i64) = if clones {
        (from_volume(&source.volume.id), 0)
    } else {
        let snapshot = bench.snapshot(&source.volume.id).await?;
        bench.write(&source.capability, &target, "after the cut").await;
        (from_snapshot(&snapshot.snapshot_id), snapshot.size_bytes)
    };
    let size = if grown { bench.larger(&source.volume) } else { size_for(bench, &source.volume, at_least) };
    let request = bench.create_from(content, &source.volume, size);
    let reply = match bench.ask(request.clone()).await {
        Ok(reply) => reply,
        // A driver that cannot enlarge says so; another refusal is judged by the oracle all the same.
        Err(_) => return bench.released(&source, &[&target]).await,
    };
    let copy = bench.volume_in(request, reply)?;
    if clones {
        bench.write(&source.capability, &target, "after the cut").await;
    }
    look_into(bench, &source, copy).await?;
    bench.read(&source.capability, &target).await;
    bench.released(&source, &[&target]).await
}

async fn look_into(bench: &Bench, source: &Prepared, copy: Volume) -> Result<(), Stopped> {
    let copy = bench.prepare(copy, source.capability.clone()).await?;
    let target = bench.published(&copy).await?;
    bench.read(&copy.capability, &target).await;
    bench.measure(&target).await;
    // What is written to the copy must not show in the source.
    bench.write(&copy.capability, &target, "in the copy").await;
    bench.read(&copy.capability, &target).await;
    bench.released(&copy, &[&target]).await
}

async fn snapshot_content(bench: &Bench) -> Result<(), Stopped> {
    cut(bench, false, false).await
}

async fn clone_content(bench: &Bench) -> Result<(), Stopped> {
    cut(bench, true, false).await
}

async fn larger_than_the_snapshot(bench: &Bench) -> Result<(), Stopped> {
    cut(bench, false, true).await
}

async fn larger_than_the_volume(bench: &Bench) -> Result<(), Stopped> {
    cut(bench, true, true).await
}

async fn smaller_than_the_snapshot(bench: &Bench) -> Result<(), Stopped> {
    let source = bench.volume().await?;
    let snapshot = bench.snapshot(&source.id).await?;
    let half = snapshot.size_bytes / 2;
    if half == 0 {
        return Err(Stopped::because("the driver does not tell the snapshot's size"));
    }
    let content = from_snapshot(&snapshot.snapshot_id);
    for (required_bytes, limit_bytes) in [(half, half), (0, half)] {
        let capacity_range = Some(CapacityRange { required_bytes, limit_bytes });
        let request = bench.create_from(content.clone(), &source, half);
        bench.provoke(CreateVolumeRequest { capacity_range, ..request }).await;
    }
    Ok(())
}

async fn snapshot_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_snapshot().await?;
    let like = bench.volume().await?;
    for id in [bench.made_up_id(&dead), dead] {
        bench.provoke(bench.create_from(from_snapshot(&id), &like, size_for(bench, &like, 0))).await;
    }
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let dead = bench.dead_volume().await?;
    let like = bench.volume().await?;
    for id in [bench.made_up_id(&dead), dead] {
        bench.provoke(bench.create_from(from_volume(&id), &like, size_for(bench, &like, 0))).await;
    }
    Ok(())
}

async fn clone_without_the_capability(bench: &Bench) -> Result<(), Stopped> {
    let source = bench.volume().await?;
    bench.provoke(bench.create_from(from_volume(&source.id), &source, size_for(bench, &source, 0))).await;
    Ok(())
}

async fn snapshot_without_the_capability(bench: &Bench) -> Result<(), Stopped> {
    let like = bench.volume().await?;
    let id = bench.made_up_id(&like.id);
    bench.provoke(bench.create_from(from_snapshot(&id), &like, size_for(bench, &like, 0))).await;
    Ok(())
}

async fn source_of_another_kind(bench: &Bench) -> Result<(), Stopped> {
    let mount = bench.capability_for(AccessType::Mount, Mode::SingleNodeWriter)?;
    let block = bench.capability_for(AccessType::Block, Mode::SingleNodeWriter)?;
    for (first, second) in [(mount.clone(), block.clone()), (block, mount)] {
        let source = bench.volume_for(first).await?;
        let content = match bench.has(CLONE_VOLUME) {
            true => from_volume(&source.id),
            false => from_snapshot(&bench.snapshot(&source.id).await?.snapshot_id),
        };
        let request = bench.create_from(content, &source, size_for(bench, &source, 0));
        bench.provoke(CreateVolumeRequest { volume_capabilities: vec![second], ..request }).await;
    }
    Ok(())
}
