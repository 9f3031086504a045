//! The first calls of every run: who the driver is, what it advertises, where its node is, what volumes it makes.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Bench, Facts, Stopped,
    facts::{access_type, capability},
    volumes::Volume,
};
use crate::{
    csi::v1::{self, VolumeCapability, volume_capability::access_mode::Mode},
    history::Reply,
    spec::{Rpc, Service},
    sut::{AccessType, Answer, Code},
};

/// How often Probe is asked before the driver is taken as it is.
const PROBES: u32 = 40;

/// The modes that every orchestrator may ask for, the plainest first.
const MODES: [Mode; 5] = [
    Mode::SingleNodeWriter,
    Mode::SingleNodeReaderOnly,
    Mode::MultiNodeReaderOnly,
    Mode::MultiNodeSingleWriter,
    Mode::MultiNodeMultiWriter,
];

/// The modes that are for drivers with SINGLE_NODE_MULTI_WRITER.
const NEWER_MODES: [Mode; 2] = [Mode::SingleNodeSingleWriter, Mode::SingleNodeMultiWriter];

/// Asks every process of the driver who it is and what it advertises; `None` when it answers nothing at all.
pub(super) async fn greet(bench: &Bench) -> Option<Facts> {
    let mut facts = Facts::default();
    let mut answered = false;
    for instance in bench.run.driver.instances() {
        let answer = bench.exchange_on(&instance, v1::GetPluginInfoRequest {}).await;
        answered |= matches!(answer, Answer::Reply(_) | Answer::Status { .. });
        let answer = bench.exchange_on(&instance, v1::GetPluginCapabilitiesRequest {}).await;
        answered |= matches!(answer, Answer::Reply(_) | Answer::Status { .. });
        if let Answer::Reply(Reply::GetPluginCapabilities(reply)) = &answer {
            facts.learn_plugin(reply);
        }
        let mut pause = Duration::from_millis(5);
        for _ in 0..PROBES {
            let answer = bench.exchange_on(&instance, v1::ProbeRequest {}).await;
            if !is_starting(&answer) {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }
    if !answered {
        return None;
    }
    if bench.has_controller_endpoint()
        && facts.has("Plugin.CONTROLLER_SERVICE")
        && let Ok(reply) = bench.ask(v1::ControllerGetCapabilitiesRequest {}).await
    {
        facts.learn_controller(&reply);
    }
    if bench.has_controller_endpoint()
        && facts.has("Plugin.GROUP_CONTROLLER_SERVICE")
        && let Ok(reply) = bench.ask(v1::GroupControllerGetCapabilitiesRequest {}).await
    {
        facts.learn_group_controller(&reply);
    }
    if bench.serves(Service::Node) {
        if let Ok(reply) = bench.ask(v1::NodeGetCapabilitiesRequest {}).await {
            facts.learn_node(&reply);
        }
        if let Ok(reply) = bench.ask(v1::NodeGetInfoRequest {}).await {
            facts.learn_node_info(reply);
        }
    }
    Some(facts)
}

fn is_starting(answer: &Answer) -> bool {
    match answer {
        Answer::Reply(Reply::Probe(reply)) => reply.ready == Some(false),
        Answer::Status { code, .. } => Code(*code) == Code::UNAVAILABLE,
        _ => false,
    }
}

/// Finds out which access types and modes the driver makes volumes for.
pub(super) async fn discover(bench: &Bench) -> Result<Facts, Stopped> {
    let mut facts = Facts::clone(&bench.facts);
    let profile = &bench.run.options.profile;
    let newer = bench.has("Controller.SINGLE_NODE_MULTI_WRITER") || bench.has("Node.SINGLE_NODE_MULTI_WRITER");
    let modes: Vec<Mode> = MODES.into_iter().chain(NEWER_MODES.into_iter().filter(|_| newer)).collect();
    for access_type in [AccessType::Mount, AccessType::Block] {
        let all: Vec<VolumeCapability> =
            modes.iter().map(|&mode| capability(access_type, mode, &profile.fs_type)).collect();
        if let Some(types) = &profile.access_types
            && !types.contains(&access_type)
        {
            facts.unsupported.extend(all);
            continue;
        }
        if let Some(names) = &profile.access_modes {
            let named = |it: &VolumeCapability| {
                it.access_mode.as_ref().is_some_and(|mode| names.iter().any(|name| name == mode.mode().as_str_name()))
            };
            let (supported, unsupported): (Vec<_>, Vec<_>) = all.into_iter().partition(named);
            facts.supported.extend(supported);
            facts.unsupported.extend(unsupported);
            continue;
        }
        ask_for(bench, all, &mut facts).await?;
    }
    if facts.unsupported.is_empty() && facts.supported.iter().any(|it| access_type(it) == Some(AccessType::Mount)) {
        look_for_a_refusal(bench, &mut facts).await?;
    }
    Ok(facts)
}

/// A driver that takes every type and mode may still refuse a file system that does not exist.
async fn look_for_a_refusal(bench: &Bench, facts: &mut Facts) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let impossible = capability(AccessType::Mount, Mode::SingleNodeWriter, "csi-certify-fs");
    let validated = bench.ask(bench.validate(&volume, vec![impossible.clone()])).await;
    let confirmed = validated.is_ok_and(|reply| reply.confirmed.is_some());
    let refused = match bench.has("Controller.CREATE_DELETE_VOLUME") {
        true => bench.ask(plain(bench, &impossible)).await.is_err_and(|it| it.code() == Some(Code::INVALID_ARGUMENT)),
        false => true,
    };
    if refused && !confirmed {
        facts.unsupported.push(impossible);
    }
    Ok(())
}

/// A request in which nothing but the capability can be the reason of a refusal.
fn plain(bench: &Bench, capability: &VolumeCapability) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest {
        volume_capabilities: vec![capability.clone()],
        accessibility_requirements: None,
        ..bench.create_volume()
    }
}

/// Makes a volume of that access type and validates every mode on it.
async fn ask_for(bench: &Bench, all: Vec<VolumeCapability>, facts: &mut Facts) -> Result<(), Stopped> {
    let Some(volume) = trial(bench, &all, facts).await? else { return Ok(()) };
    for capability in all {
        if facts.unsupported.contains(&capability) {
            continue;
        }
        match bench.ask(bench.validate(&volume, vec![capability.clone()])).await {
            Ok(reply) if reply.confirmed.is_some() => facts.supported.push(capability),
            // Without an answer that counts, the volume that was made for it speaks.
            Err(_) if volume.request.volume_capabilities.contains(&capability) => facts.supported.push(capability),
            Ok(_) => facts.unsupported.push(capability),
            Err(_) => {}
        }
    }
    Ok(())
}

/// A volume for the first mode that the driver accepts; `None` when it accepts none.
async fn trial(bench: &Bench, all: &[VolumeCapability], facts: &mut Facts) -> Result<Option<Volume>, Stopped> {
    if !bench.has("Controller.CREATE_DELETE_VOLUME") {
        return Ok(bench.volume().await.ok().filter(|_| bench.serves(Service::Controller)));
    }
    for capability in all {
        let request = plain(bench, capability);
        match bench.ask(request.clone()).await {
            Ok(reply) => return bench.volume_in(request, reply).map(Some),
            Err(answer) if answer.code().is_some_and(|code| !code.leaves_open()) => {
                facts.unsupported.push(capability.clone());
            }
            // A driver that cannot make the plainest volume is not asked again and again.
            Err(_) if access_type(capability) == Some(AccessType::Mount) => return Ok(None),
            Err(answer) => return Err(Stopped::because(format!("{}: {answer}", Rpc::CreateVolume))),
        }
    }
    Ok(None)
}
