//! NodePublishVolume: what stands at the target, repetitions, read-only, missing fields, long paths.

use super::bounds::{PATH_LENGTHS, STAGE_UNSTAGE_VOLUME};
use crate::{
    csi::v1::{
        NodePublishVolumeRequest, VolumeCapability,
        volume_capability::{AccessType as Kind, MountVolume, access_mode::Mode},
    },
    suite::{
        Bench, Stopped,
        facts::{is_multi_node, may_write, mode},
        node_use::marker,
        scenario::scenarios,
    },
    sut::{AccessType, Answer},
};

scenarios! { "node_publish_volume":
    repeat_is_idempotent, "publishes a volume three times at the same target", [], [
        "NODE-PUBLISH-003", "NODE-PUBLISH-004", "NODE-PUBLISH-064", "NODE-PUBLISH-065", "NODE-UNPUBLISH-002",
        "GEN-RPC-003", "GEN-RPC-009",
    ];
    directory_at_the_target, "publishes a directory for each supported mode, writes and reads", [],
        ["NODE-PUBLISH-051", "NODE-PUBLISH-052", "NODE-PUBLISH-056", "NODE-PUBLISH-064", "GEN-RPC-003", "CTRL-CREATE-030"];
    device_at_the_target, "publishes a block device for each supported mode, writes and reads", [],
        ["NODE-PUBLISH-050", "NODE-PUBLISH-052", "NODE-PUBLISH-056", "NODE-PUBLISH-064", "CTRL-CREATE-030"];
    read_only, "publishes read-only, twice, and tries to write", [], ["NODE-PUBLISH-003", "NODE-PUBLISH-059"];
    read_only_beside_writable, "publishes for writing and read-only at two targets where the mode allows", [],
        ["NODE-PUBLISH-059", "GEN-ERR-016"];
    other_readonly_flag, "publishes again at the same target with the other readonly flag", [],
        ["NODE-PUBLISH-069", "NODE-UNSTAGE-017"];
    other_capability, "publishes again with another capability, at the same target and at another", [],
        ["NODE-PUBLISH-009", "NODE-PUBLISH-069"];
    missing_fields, "leaves out volume, target and capability, one at a time", [], [
        "NODE-PUBLISH-037", "NODE-PUBLISH-053", "NODE-PUBLISH-058", "GEN-ERR-006", "GEN-REQ-001", "GEN-ERR-025",
        "GEN-ERR-027",
    ];
    missing_staging_path, "publishes a staged volume without its staging path", [STAGE_UNSTAGE_VOLUME],
        ["NODE-PUBLISH-073"];
    long_paths, "publishes at paths of 128 bytes up to the kernel's bound", [], [
        "NODE-PUBLISH-054", "NODE-PUBLISH-055", "NODE-UNPUBLISH-012", "NODE-UNPUBLISH-013",
    ];
    relative_path, "publishes at a relative path", [], ["GEN-ERR-009"];
    volume_that_does_not_exist, "publishes a deleted volume, and one that never was, and looks for what is left", [],
        ["NODE-PUBLISH-067", "NODE-PUBLISH-052"];
    unsupported_capability, "publishes a volume with a capability that the driver refuses", [],
        ["NODE-PUBLISH-057", "NODE-PUBLISH-071"];
    mount_group, "publishes for a group and looks at the group of a new file", ["Node.VOLUME_MOUNT_GROUP"],
        ["NODE-CAPS-009", "CTRL-CREATE-062", "CTRL-CREATE-063", "NODE-PUBLISH-003", "NODE-PUBLISH-056"];
    older_mode, "runs SINGLE_NODE_WRITER through the whole life on the node", ["Node.SINGLE_NODE_MULTI_WRITER"],
        ["NODE-PUBLISH-036", "NODE-CAPS-007", "NODE-CAPS-008", "CTRL-CREATE-030"];
    target_of_another_volume, "publishes a volume where another one is published; if that is OK, it has to be there", [],
        ["NODE-PUBLISH-052", "NODE-PUBLISH-056", "NODE-UNPUBLISH-002"];
    overlapping_calls, "publishes eight times at once at one target, then publishes and unpublishes at once", [],
        ["GEN-CONC-003", "GEN-ERR-016", "NODE-PUBLISH-003", "NODE-UNPUBLISH-002", "NODE-UNSTAGE-017"];
    beside_an_unpublish, "publishes at one target while another target is unpublished, several times", [],
        ["GEN-CONC-003", "NODE-PUBLISH-051", "NODE-PUBLISH-056"];
    overlapping_targets, "publishes at eight targets at once", [], ["GEN-CONC-003"];
    every_capability_in_turn, "uses a volume that was created for several capabilities under each of them", [],
        ["CTRL-CREATE-032", "CTRL-CREATE-034"];
}

/// How often two calls are sent at once whose order is left to chance.
const ROUNDS: u32 = 4;

/// A group that hardly any system has.
const GROUP: &str = "54321";

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    for _ in 0..2 {
        bench.provoke(bench.publish(&prepared, &target)).await;
    }
    // One mount must be enough to take away.
    bench.released(&prepared, &[&target]).await
}

async fn use_each_mode(bench: &Bench, access_type: AccessType) -> Result<(), Stopped> {
    let wanted = |it: &&VolumeCapability| crate::suite::facts::access_type(it) == Some(access_type);
    let capabilities: Vec<VolumeCapability> = bench.facts.supported.iter().filter(wanted).cloned().collect();
    if capabilities.is_empty() {
        return Err(Stopped::because(format!("the driver makes no {access_type:?} volumes")));
    }
    for capability in capabilities {
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.published(&prepared).await?;
        bench.write(&prepared.capability, &target, "hello").await;
        bench.read(&prepared.capability, &target).await;
        bench.measure(&target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn directory_at_the_target(bench: &Bench) -> Result<(), Stopped> {
    use_each_mode(bench, AccessType::Mount).await
}

async fn device_at_the_target(bench: &Bench) -> Result<(), Stopped> {
    use_each_mode(bench, AccessType::Block).await
}

async fn read_only(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.one_of_each_type() {
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.target().await?;
        let request = NodePublishVolumeRequest { readonly: true, ..bench.publish(&prepared, &target) };
        bench.need(request.clone()).await?;
        bench.write(&prepared.capability, &target, "must not be").await;
        bench.provoke(request).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn read_only_beside_writable(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench
        .facts
        .supported
        .iter()
        .find(|it| may_write(mode(it)) && (is_multi_node(mode(it)) || mode(it) == Mode::SingleNodeMultiWriter))
        .cloned()
        .ok_or_else(|| Stopped::because("no supported mode has several targets and writers"))?;
    let prepared = bench.prepared_for(capability).await?;
    let writable = bench.published(&prepared).await?;
    let read_only = bench.target().await?;
    let request = NodePublishVolumeRequest { readonly: true, ..bench.publish(&prepared, &read_only) };
    if bench.ask(request).await.is_ok() {
        bench.write(&prepared.capability, &read_only, "must not be").await;
        bench.write(&prepared.capability, &writable, "shared").await;
        bench.read(&prepared.capability, &read_only).await;
        bench.provoke(bench.unpublish(&prepared, &read_only)).await;
        bench.write(&prepared.capability, &writable, "still writable").await;
        bench.read(&prepared.capability, &writable).await;
    }
    bench.released(&prepared, &[&writable]).await
}

async fn other_readonly_flag(bench: &Bench) -> Result<(), Stopped> {
    for readonly in [false, true] {
        let prepared = bench.prepared().await?;
        let target = bench.target().await?;
        let first = NodePublishVolumeRequest { readonly, ..bench.publish(&prepared, &target) };
        bench.need(first.clone()).await?;
        bench.provoke(NodePublishVolumeRequest { readonly: !readonly, ..first }).await;
        bench.look(&target).await;
        bench.write(&prepared.capability, &target, "flag").await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn other_capability(bench: &Bench) -> Result<(), Stopped> {
    let others: Vec<VolumeCapability> =
        bench.facts.supported.iter().filter(|&it| *it != bench.capability()).cloned().collect();
    let other_type = others.iter().find(|it| it.access_type != bench.capability().access_type);
    let other_mode = others.iter().find(|it| it.access_type == bench.capability().access_type);
    for other in [other_type, other_mode].into_iter().flatten() {
        let prepared = bench.prepared().await?;
        let target = bench.published(&prepared).await?;
        let changed =
            NodePublishVolumeRequest { volume_capability: Some(other.clone()), ..bench.publish(&prepared, &target) };
        bench.provoke(changed.clone()).await;
        let elsewhere = bench.target().await?;
        bench.provoke(NodePublishVolumeRequest { target_path: elsewhere.clone(), ..changed }).await;
        bench.provoke(bench.unpublish(&prepared, &elsewhere)).await;
        bench.read(&prepared.capability, &target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    let valid = bench.publish(&prepared, &target);
    bench.provoke(NodePublishVolumeRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(NodePublishVolumeRequest { target_path: String::new(), ..valid.clone() }).await;
    for volume_capability in bench.broken_capabilities() {
        bench.provoke(NodePublishVolumeRequest { volume_capability, ..valid.clone() }).await;
    }
    bench.provoke(bench.unpublish(&prepared, &target)).await;
    bench.released(&prepared, &[]).await
}

async fn missing_staging_path(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    let staging_target_path = String::new();
    bench.provoke(NodePublishVolumeRequest { staging_target_path, ..bench.publish(&prepared, &target) }).await;
    bench.released(&prepared, &[&target]).await
}

async fn long_paths(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    for length in PATH_LENGTHS {
        let target = bench.path_of_length(length).await?;
        bench.provoke(bench.publish(&prepared, &target)).await;
        bench.provoke(bench.unpublish(&prepared, &target)).await;
    }
    bench.released(&prepared, &[]).await
}

async fn relative_path(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    bench.provoke(bench.publish(&prepared, "relative/target")).await;
    bench.released(&prepared, &[]).await
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let made_up = bench.made_up_id(&prepared.volume.id);
    for volume_id in [bench.dead_volume().await?, made_up] {
        let target = bench.target().await?;
        bench.look(&target).await;
        bench.provoke(NodePublishVolumeRequest { volume_id, ..bench.publish(&prepared, &target) }).await;
        bench.look(&target).await;
    }
    bench.released(&prepared, &[]).await
}

async fn unsupported_capability(bench: &Bench) -> Result<(), Stopped> {
    let unsupported = bench.unsupported()?;
    let prepared = bench.prepared().await?;
    bench.provoke(bench.validate(&prepared.volume, vec![unsupported.clone()])).await;
    let target = bench.target().await?;
    let request = bench.publish(&prepared, &target);
    bench.look(&target).await;
    bench.provoke(NodePublishVolumeRequest { volume_capability: Some(unsupported), ..request }).await;
    bench.look(&target).await;
    bench.provoke(bench.unpublish(&prepared, &target)).await;
    bench.released(&prepared, &[]).await
}

async fn mount_group(bench: &Bench) -> Result<(), Stopped> {
    let plain = bench.capability_for(AccessType::Mount, Mode::SingleNodeWriter)?;
    let wish = MountVolume {
        fs_type: bench.run.options.profile.fs_type.clone(),
        volume_mount_group: GROUP.to_owned(),
        ..Default::default()
    };
    let capability = VolumeCapability { access_type: Some(Kind::Mount(wish)), ..plain };
    let prepared = bench.prepared_for(capability).await?;
    let mut target = String::new();
    // The second time there are files of the first.
    for _ in 0..2 {
        target = bench.published(&prepared).await?;
        if let Some(node_fs) = bench.node_fs()
            && let Some(observation) = node_fs.group(&target, marker(&prepared.capability)).await
        {
            bench.observed(observation);
        }
        bench.need(bench.unpublish(&prepared, &target)).await?;
    }
    bench.released(&prepared, &[&target]).await
}

async fn older_mode(bench: &Bench) -> Result<(), Stopped> {
    for wanted in [Mode::SingleNodeWriter, Mode::SingleNodeSingleWriter, Mode::SingleNodeMultiWriter] {
        let Ok(capability) = bench.capability_of_mode(wanted) else { continue };
        let prepared = bench.prepared_for(capability).await?;
        let target = bench.published(&prepared).await?;
        bench.write(&prepared.capability, &target, "older").await;
        bench.read(&prepared.capability, &target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}

async fn target_of_another_volume(bench: &Bench) -> Result<(), Stopped> {
    let (first, second) = (bench.prepared().await?, bench.prepared().await?);
    let target = bench.published(&first).await?;
    bench.write(&first.capability, &target, "of the first").await;
    if let Answer::Reply(_) = bench.exchange(bench.publish(&second, &target)).await {
        bench.write(&second.capability, &target, "of the second").await;
        bench.provoke(bench.unpublish(&second, &target)).await;
        let elsewhere = bench.published(&second).await?;
        bench.read(&second.capability, &elsewhere).await;
        bench.released(&second, &[&elsewhere]).await?;
    } else {
        bench.released(&second, &[]).await?;
    }
    bench.released(&first, &[&target]).await
}

async fn overlapping_calls(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    let publish = bench.publish(&prepared, &target);
    bench.together(vec![publish.clone().into(); 8]).await;
    // Before another call mends what these have done to each other.
    bench.look(&target).await;
    bench.provoke(publish.clone()).await;
    let unpublish = bench.unpublish(&prepared, &target);
    for _ in 0..ROUNDS {
        let both = (0..8).map(|at| if at % 2 == 0 { publish.clone().into() } else { unpublish.clone().into() });
        bench.together(both.collect()).await;
        bench.provoke(publish.clone()).await;
        bench.read(&prepared.capability, &target).await;
        bench.together(vec![unpublish.clone().into(); 8]).await;
        bench.look(&target).await;
    }
    bench.released(&prepared, &[&target]).await
}

async fn overlapping_targets(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.facts.supported.iter().find(|it| is_multi_node(mode(it))).cloned();
    let prepared = bench.prepared_for(capability.unwrap_or_else(|| bench.capability())).await?;
    let mut targets = Vec::new();
    for _ in 0..8 {
        targets.push(bench.target().await?);
    }
    bench.together(targets.iter().map(|target| bench.publish(&prepared, target).into()).collect()).await;
    for target in &targets {
        bench.look(target).await;
        bench.read(&prepared.capability, target).await;
    }
    bench.together(targets.iter().map(|target| bench.unpublish(&prepared, target).into()).collect()).await;
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    bench.released(&prepared, &targets).await
}

async fn beside_an_unpublish(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.facts.supported.iter().find(|it| is_multi_node(mode(it))).cloned();
    let prepared = bench.prepared_for(capability.unwrap_or_else(|| bench.capability())).await?;
    let mut old = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &old, "beside").await;
    for _ in 0..ROUNDS {
        let new = bench.target().await?;
        let both = vec![bench.unpublish(&prepared, &old).into(), bench.publish(&prepared, &new).into()];
        let answers = bench.together(both).await;
        if let Some(Answer::Reply(_)) = answers.get(1) {
            // Before another call mends what these have done to each other.
            bench.look(&new).await;
            bench.read(&prepared.capability, &new).await;
        }
        // A mode with one target only may refuse, and so may a driver that is busy.
        if bench.ask(bench.publish(&prepared, &new)).await.is_ok() {
            bench.look(&new).await;
            bench.read(&prepared.capability, &new).await;
        }
        bench.need(bench.unpublish(&prepared, &old)).await?;
        old = new;
    }
    bench.released(&prepared, &[&old]).await
}

async fn every_capability_in_turn(bench: &Bench) -> Result<(), Stopped> {
    let first = bench.capability();
    let same_type: Vec<VolumeCapability> =
        bench.facts.supported.iter().filter(|it| it.access_type == first.access_type).cloned().collect();
    let mut request = bench.create_volume();
    request.volume_capabilities = same_type.clone();
    let Ok(reply) = bench.ask(request.clone()).await else { return Ok(()) };
    let volume = bench.volume_in(request, reply)?;
    for capability in same_type {
        let prepared = bench.prepare(volume.clone(), capability).await?;
        let target = bench.published(&prepared).await?;
        bench.write(&prepared.capability, &target, "in turn").await;
        bench.read(&prepared.capability, &target).await;
        bench.released(&prepared, &[&target]).await?;
    }
    Ok(())
}
