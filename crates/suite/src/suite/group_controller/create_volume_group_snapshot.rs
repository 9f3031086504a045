//! CreateVolumeGroupSnapshot: repetitions, conflicts, sources that do not exist, and the order of writes.

use super::groups::{GROUP_SNAPSHOT, create, group, group_by, members};
use crate::{
    csi::v1::CreateVolumeGroupSnapshotRequest,
    suite::{Bench, Stopped, scenario::scenarios, volumes::from_snapshot},
};

scenarios! { "create_volume_group_snapshot":
    repeat_is_idempotent, "sends the same request three times, once with the sources in another order",
        [GROUP_SNAPSHOT], [
        "GROUP-CREATE-001", "GROUP-CREATE-004", "GROUP-CREATE-006", "GROUP-CREATE-008", "GROUP-CREATE-009",
        "GROUP-CREATE-012", "GROUP-CREATE-014", "GROUP-CREATE-025", "GROUP-CREATE-029", "GROUP-CREATE-030",
        "GROUP-CREATE-031", "GROUP-CREATE-032", "GROUP-CREATE-033", "GROUP-CREATE-035", "GROUP-CREATE-036",
        "CTRL-SNAPCREATE-045",
    ];
    members_can_be_used, "makes a volume from each member, and looks the members up", [GROUP_SNAPSHOT], [
        "GROUP-CREATE-009", "GROUP-CREATE-012", "CTRL-SNAPCREATE-041", "CTRL-SNAPLIST-003",
    ];
    missing_fields, "leaves out name and sources, one at a time", [GROUP_SNAPSHOT],
        ["GROUP-CREATE-017", "GROUP-CREATE-020", "GEN-ERR-006", "GEN-REQ-003", "GEN-ERR-025", "GEN-ERR-027"];
    unusual_names, "uses names of other scripts, with signs and blanks, and of 128 bytes", [GROUP_SNAPSHOT],
        ["GROUP-CREATE-018"];
    source_that_does_not_exist, "names a deleted volume among living ones, then looks for what is left",
        [GROUP_SNAPSHOT], ["GROUP-CREATE-007", "GROUP-CREATE-015", "GROUP-CREATE-016"];
    same_name_other_sources, "repeats a name with other volumes, and with fewer", [GROUP_SNAPSHOT],
        ["GROUP-CREATE-038"];
    same_name_other_parameters, "repeats a name with a parameter more", [GROUP_SNAPSHOT], ["GROUP-CREATE-039"];
    unknown_parameter, "adds a parameter that no driver knows", [GROUP_SNAPSHOT], ["GROUP-CREATE-024"];
    groups_are_different, "takes two groups of the same volumes, and one of a single volume", [GROUP_SNAPSHOT],
        ["GROUP-CREATE-026", "GROUP-CREATE-020"];
    overlapping_repeats_make_one_group, "sends the same request eight times at once, then again", [GROUP_SNAPSHOT],
        ["GROUP-CREATE-005"];
    order_of_writes, "writes to two volumes in turn, snapshots both, and looks into the copies", [GROUP_SNAPSHOT],
        ["GROUP-CREATE-002", "GROUP-CREATE-003"];
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let request = create(bench, &[&first.id, &second.id]);
    group_by(bench, request.clone()).await?;
    bench.provoke(request.clone()).await;
    let source_volume_ids = request.source_volume_ids.iter().rev().cloned().collect();
    bench.provoke(CreateVolumeGroupSnapshotRequest { source_volume_ids, ..request }).await;
    Ok(())
}

async fn members_can_be_used(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let group = group(bench, &[&volume.id]).await?;
    for snapshot in &group.snapshots {
        let size = volume.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
        bench.provoke(bench.create_from(from_snapshot(&snapshot.snapshot_id), &volume, size)).await;
        if bench.has("Controller.LIST_SNAPSHOTS") {
            bench.provoke(bench.list_snapshot(&snapshot.snapshot_id)).await;
        }
        if bench.has("Controller.GET_SNAPSHOT") {
            bench.provoke(bench.get_snapshot(&snapshot.snapshot_id)).await;
        }
    }
    if bench.has("Controller.LIST_SNAPSHOTS") {
        bench.provoke(bench.list_snapshots_of(&volume.id)).await;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let valid = create(bench, &[&volume.id]);
    bench.provoke(CreateVolumeGroupSnapshotRequest { name: String::new(), ..valid.clone() }).await;
    bench.provoke(CreateVolumeGroupSnapshotRequest { source_volume_ids: Vec::new(), ..valid }).await;
    Ok(())
}

async fn unusual_names(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    for name in ["{} with blanks", "{}/slash", "{}имя-名前", "{}🐙"].map(|it| it.replace("{}", &bench.name())) {
        bench.provoke(CreateVolumeGroupSnapshotRequest { name, ..create(bench, &[&volume.id]) }).await;
    }
    let name = format!("{:x<128}", bench.name());
    bench.provoke(CreateVolumeGroupSnapshotRequest { name, ..create(bench, &[&volume.id]) }).await;
    Ok(())
}

async fn source_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let dead = bench.dead_volume().await?;
    bench.provoke(create(bench, &[&volume.id, &dead])).await;
    if bench.has("Controller.LIST_SNAPSHOTS") {
        bench.provoke(bench.list_snapshots_of(&volume.id)).await;
    }
    Ok(())
}

async fn same_name_other_sources(bench: &Bench) -> Result<(), Stopped> {
    let (first, second, third) = (bench.volume().await?, bench.volume().await?, bench.volume().await?);
    let request = create(bench, &[&first.id, &second.id]);
    group_by(bench, request.clone()).await?;
    for source_volume_ids in [vec![first.id.clone(), third.id], vec![first.id]] {
        bench.provoke(CreateVolumeGroupSnapshotRequest { source_volume_ids, ..request.clone() }).await;
    }
    Ok(())
}

async fn same_name_other_parameters(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let mut request = create(bench, &[&volume.id]);
    group_by(bench, request.clone()).await?;
    request.parameters.insert("csi-certify-unknown".to_owned(), "x".to_owned());
    bench.provoke(request).await;
    Ok(())
}

async fn unknown_parameter(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let mut request = create(bench, &[&volume.id]);
    request.parameters.insert("csi-certify-unknown".to_owned(), "x".to_owned());
    bench.provoke(request).await;
    Ok(())
}

async fn groups_are_different(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    for _ in 0..2 {
        bench.provoke(create(bench, &[&first.id, &second.id])).await;
    }
    bench.provoke(create(bench, &[&first.id])).await;
    Ok(())
}

async fn overlapping_repeats_make_one_group(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.volume().await?, bench.volume().await?);
    let request = create(bench, &[&first.id, &second.id]);
    bench.together(vec![request.clone().into(); 8]).await;
    bench.provoke(request).await;
    if bench.has("Controller.LIST_SNAPSHOTS") {
        bench.provoke(bench.list_snapshots_of(&first.id)).await;
    }
    Ok(())
}

async fn order_of_writes(bench: &Bench) -> Result<(), Stopped> {
    bench.need_node_fs()?;
    let sources = [bench.prepared().await?, bench.prepared().await?];
    let targets = [bench.published(&sources[0]).await?, bench.published(&sources[1]).await?];
    for round in ["1", "2", "3"] {
        for (source, target) in sources.iter().zip(&targets) {
            bench.write(&source.capability, target, round).await;
        }
    }
    let group = group(bench, &[&sources[0].volume.id, &sources[1].volume.id]).await?;
    for (source, target) in sources.iter().zip(&targets) {
        bench.write(&source.capability, target, "4").await;
        bench.released(source, &[target]).await?;
    }
    for source in sources {
        let of_source = |it: &&crate::csi::v1::Snapshot| it.source_volume_id == source.volume.id;
        let Some(snapshot) = group.snapshots.iter().find(of_source) else { continue };
        let size = source.volume.capacity.max(snapshot.size_bytes).max(bench.run.options.profile.capacity_bytes);
        let request = bench.create_from(from_snapshot(&snapshot.snapshot_id), &source.volume, size);
        let copy = bench.prepare(bench.volume_by(request).await?, source.capability).await?;
        let target = bench.published(&copy).await?;
        bench.read(&copy.capability, &target).await;
        bench.released(&copy, &[&target]).await?;
    }
    bench.provoke(super::groups::get(bench, &group.group_snapshot_id, members(&group))).await;
    Ok(())
}
