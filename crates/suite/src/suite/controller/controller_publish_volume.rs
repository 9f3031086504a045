//! ControllerPublishVolume: repetitions, refusals, read-only, several nodes, and the limit of a node.

use super::gates::PUBLISH_UNPUBLISH_VOLUME;
use crate::{
    csi::v1::{ControllerPublishVolumeRequest, NodeGetInfoRequest, volume_capability::access_mode::Mode},
    suite::{
        Bench, Stopped,
        facts::{is_multi_node, mode},
        scenario::scenarios,
    },
};

scenarios! { "controller_publish_volume":
    repeat_is_idempotent, "attaches a volume to the node three times", [PUBLISH_UNPUBLISH_VOLUME], [
        "CTRL-PUBLISH-001", "CTRL-PUBLISH-004", "CTRL-PUBLISH-005", "CTRL-PUBLISH-022", "CTRL-PUBLISH-024",
        "CTRL-PUBLISH-026", "CTRL-PUBLISH-029", "CTRL-PUBLISH-030", "GEN-SIZE-003",
    ];
    attached_volume_can_be_used, "attaches a volume and uses it on the node", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-002", "CTRL-PUBLISH-011", "CTRL-PUBLISH-029"];
    missing_fields, "leaves out volume, node and capability, one at a time", [PUBLISH_UNPUBLISH_VOLUME], [
        "CTRL-PUBLISH-008", "CTRL-PUBLISH-009", "CTRL-PUBLISH-013", "GEN-ERR-006", "GEN-REQ-001", "GEN-ERR-016",
        "GEN-ERR-025", "GEN-ERR-027", "CTRL-CREATE-073", "CTRL-CREATE-074", "CTRL-CREATE-075",
    ];
    volume_that_does_not_exist, "attaches a deleted volume, and one that never was", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-032"];
    node_that_does_not_exist, "attaches a volume to a node that never was", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-034"];
    unsupported_capability, "attaches a volume with a capability that the driver refuses", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-012"];
    other_capability, "attaches again with another access type or mode", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-036"];
    other_readonly_flag, "attaches for writing, then read-only, and the reverse",
        [PUBLISH_UNPUBLISH_VOLUME, "Controller.PUBLISH_READONLY"], ["CTRL-PUBLISH-037", "CTRL-CAPS-007"];
    read_only_volume_refuses_writes, "attaches read-only and tries to write on the node",
        [PUBLISH_UNPUBLISH_VOLUME, "Controller.PUBLISH_READONLY"], ["CTRL-PUBLISH-014", "CTRL-CAPS-007"];
    wrong_context, "attaches with a volume context that is not the volume's", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-019"];
    second_node, "attaches a volume of a single node to a second one", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-039", "CTRL-PUBLISH-040", "CTRL-CREATE-065", "CTRL-CREATE-066"];
    overlapping_calls, "attaches eight times at once, then again", [PUBLISH_UNPUBLISH_VOLUME],
        ["GEN-CONC-003", "GEN-ERR-016", "CTRL-PUBLISH-005"];
    @exclusive full_node, "attaches one volume more than the node takes", [PUBLISH_UNPUBLISH_VOLUME],
        ["CTRL-PUBLISH-042", "CTRL-PUBLISH-043"];
}

/// The largest limit of a node that is worth filling up.
const MANY: i64 = 32;

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let capability = bench.capability();
    bench.attached(&volume, &capability).await?;
    for _ in 0..2 {
        bench.provoke(bench.attach(&volume, &capability)).await;
    }
    bench.provoke(bench.detach(&volume.id, &bench.facts.node_id)).await;
    Ok(())
}

async fn attached_volume_can_be_used(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.write(&prepared.capability, &target, "attached").await;
    bench.read(&prepared.capability, &target).await;
    bench.released(&prepared, &[&target]).await
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let valid = bench.attach(&volume, &bench.capability());
    bench.provoke(ControllerPublishVolumeRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(ControllerPublishVolumeRequest { node_id: String::new(), ..valid.clone() }).await;
    for volume_capability in bench.broken_capabilities() {
        bench.provoke(ControllerPublishVolumeRequest { volume_capability, ..valid.clone() }).await;
    }
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let mut volume = bench.volume().await?;
    let made_up = bench.made_up_id(&volume.id);
    for id in [bench.dead_volume().await?, made_up] {
        volume.id = id;
        bench.provoke(bench.attach(&volume, &bench.capability())).await;
    }
    Ok(())
}

async fn node_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let node_id = bench.made_up_id(&bench.facts.node_id);
    bench.provoke(ControllerPublishVolumeRequest { node_id, ..bench.attach(&volume, &bench.capability()) }).await;
    Ok(())
}

async fn unsupported_capability(bench: &Bench) -> Result<(), Stopped> {
    let unsupported = bench.unsupported()?;
    let volume = bench.volume().await?;
    bench.provoke(bench.validate(&volume, vec![unsupported.clone()])).await;
    bench.provoke(bench.attach(&volume, &unsupported)).await;
    Ok(())
}

async fn other_capability(bench: &Bench) -> Result<(), Stopped> {
    let capability = bench.capability();
    let volume = bench.volume().await?;
    bench.attached(&volume, &capability).await?;
    let others: Vec<_> = bench.facts.supported.iter().filter(|&other| *other != capability).cloned().collect();
    let other_type = others.iter().find(|other| other.access_type != capability.access_type);
    let other_mode = others.iter().find(|other| other.access_type == capability.access_type);
    for other in [other_type, other_mode].into_iter().flatten() {
        bench.provoke(bench.validate(&volume, vec![other.clone()])).await;
        bench.provoke(bench.attach(&volume, other)).await;
    }
    bench.provoke(bench.attach(&volume, &capability)).await;
    Ok(())
}

async fn other_readonly_flag(bench: &Bench) -> Result<(), Stopped> {
    for readonly in [false, true] {
        let volume = bench.volume().await?;
        let first = ControllerPublishVolumeRequest { readonly, ..bench.attach(&volume, &bench.capability()) };
        bench.provoke(first.clone()).await;
        bench.provoke(ControllerPublishVolumeRequest { readonly: !readonly, ..first }).await;
    }
    Ok(())
}

async fn read_only_volume_refuses_writes(bench: &Bench) -> Result<(), Stopped> {
    bench.need_node_fs()?;
    for capability in bench.one_of_each_type() {
        let volume = bench.volume_for(capability.clone()).await?;
        let attach = ControllerPublishVolumeRequest { readonly: true, ..bench.attach(&volume, &capability) };
        let publish_context = bench.need(attach).await?.publish_context;
        let prepared = bench.unpublished(volume, capability, publish_context).await?;
        if !prepared.staging.is_empty() && bench.ask(bench.stage(&prepared)).await.is_err() {
            continue;
        }
        let target = bench.target().await?;
        if bench.ask(bench.publish(&prepared, &target)).await.is_ok() {
            bench.write(&prepared.capability, &target, "must not be").await;
            bench.released(&prepared, &[&target]).await?;
        }
    }
    Ok(())
}

async fn wrong_context(bench: &Bench) -> Result<(), Stopped> {
    let mut volume = bench.volume().await?;
    volume.context.insert("csi-certify-wrong".to_owned(), "x".to_owned());
    bench.provoke(bench.attach(&volume, &bench.capability())).await;
    Ok(())
}

async fn second_node(bench: &Bench) -> Result<(), Stopped> {
    let [second, ..] = &*bench.run.options.profile.other_nodes else {
        return Err(Stopped::because("the profile's `other_nodes` names no second node"));
    };
    for wanted in [Mode::SingleNodeWriter, Mode::SingleNodeReaderOnly] {
        let Ok(capability) = bench.capability_of_mode(wanted) else { continue };
        let volume = bench.volume_for(capability.clone()).await?;
        bench.attached(&volume, &capability).await?;
        let elsewhere =
            ControllerPublishVolumeRequest { node_id: second.clone(), ..bench.attach(&volume, &capability) };
        bench.provoke(elsewhere.clone()).await;
        bench.need(bench.detach(&volume.id, &bench.facts.node_id)).await?;
        bench.provoke(elsewhere).await;
    }
    if let Some(capability) = bench.facts.supported.iter().find(|it| is_multi_node(mode(it))) {
        let volume = bench.volume_for(capability.clone()).await?;
        bench.attached(&volume, capability).await?;
        let elsewhere = ControllerPublishVolumeRequest { node_id: second.clone(), ..bench.attach(&volume, capability) };
        bench.provoke(elsewhere).await;
    }
    Ok(())
}

async fn overlapping_calls(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let attach = bench.attach(&volume, &bench.capability());
    bench.together(vec![attach.clone().into(); 8]).await;
    bench.provoke(attach.clone()).await;
    let detach = bench.detach(&volume.id, &bench.facts.node_id);
    let both = (0..8).map(|at| if at % 2 == 0 { attach.clone().into() } else { detach.clone().into() });
    bench.together(both.collect()).await;
    bench.provoke(detach).await;
    Ok(())
}

async fn full_node(bench: &Bench) -> Result<(), Stopped> {
    let limit = bench.facts.max_volumes;
    if !(1..=MANY).contains(&limit) {
        return Err(Stopped::because(format!("the node's limit is {limit}, only limits from 1 to {MANY} are tried")));
    }
    let capability = bench.capability();
    let mut last: Option<String> = None;
    for _ in 0..=limit {
        let volume = bench.volume().await?;
        let attach = bench.attach(&volume, &capability);
        if bench.ask(attach.clone()).await.is_err() {
            // Full: once another volume is gone there is room again.
            if let Some(former) = last {
                bench.need(bench.detach(&former, &bench.facts.node_id)).await?;
                bench.provoke(attach).await;
            }
            break;
        }
        last = Some(volume.id);
        // What the node takes is no matter of what it holds.
        bench.provoke(NodeGetInfoRequest {}).await;
    }
    Ok(())
}
