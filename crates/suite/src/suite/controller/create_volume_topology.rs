//! CreateVolume with requirements on where the volume is accessible from.

use std::collections::BTreeMap;

use super::gates::CREATE_DELETE_VOLUME;
use crate::{
    csi::v1::{CreateVolumeRequest, Topology, TopologyRequirement},
    suite::{Bench, Stopped, scenario::scenarios},
};

const CONSTRAINTS: &str = "Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS";

scenarios! { "create_volume_topology":
    requisite_and_preferred, "asks for the node's own place as requisite, as preferred, and as both",
        [CREATE_DELETE_VOLUME, CONSTRAINTS], [
        "CTRL-CREATE-042", "CTRL-CREATE-106", "CTRL-CREATE-109", "CTRL-CREATE-112", "CTRL-CREATE-117",
        "CTRL-CREATE-121", "CTRL-CREATE-126", "CTRL-CREATE-128", "CTRL-CREATE-129",
        "CTRL-CREATE-131", "CTRL-CREATE-132", "CTRL-CREATE-133", "CTRL-CREATE-134", "CTRL-CREATE-135",
        "CTRL-CREATE-136", "CTRL-CREATE-138", "CTRL-CREATE-139", "CTRL-CREATE-140", "CTRL-CREATE-141",
    ];
    accessible_volume_can_be_published, "publishes volumes on a node in their place, and one that may be anywhere",
        [CREATE_DELETE_VOLUME, CONSTRAINTS], ["CTRL-CREATE-111"];
    empty_requirement, "sends a requirement with neither requisite nor preferred",
        [CREATE_DELETE_VOLUME, CONSTRAINTS], ["CTRL-CREATE-108"];
    place_that_does_not_exist, "asks for one place, then two, that do not exist", [CREATE_DELETE_VOLUME, CONSTRAINTS],
        ["CTRL-CREATE-113", "CTRL-CREATE-115", "CTRL-CREATE-125", "CTRL-CREATE-159"];
    one_place_of_two_exists, "asks for the real place and one that does not exist", [CREATE_DELETE_VOLUME, CONSTRAINTS],
        ["CTRL-CREATE-114", "CTRL-CREATE-109"];
    preferred_outside_requisite, "prefers a place that is not among the requisite ones",
        [CREATE_DELETE_VOLUME, CONSTRAINTS], ["CTRL-CREATE-122"];
    preference_left_out, "repeats a name without the preferred place", [CREATE_DELETE_VOLUME, CONSTRAINTS],
        ["CTRL-CREATE-002", "CTRL-CREATE-042"];
    key_in_another_case, "writes the topology's keys in upper case", [CREATE_DELETE_VOLUME, CONSTRAINTS],
        ["CTRL-CREATE-137"];
    same_name_another_place, "repeats a name with a place where the volume is not", [CREATE_DELETE_VOLUME, CONSTRAINTS],
        ["CTRL-CREATE-156"];
}

/// The node's own place.
fn real(bench: &Bench) -> Result<Topology, Stopped> {
    let segments = bench.topology();
    match segments.is_empty() {
        true => Err(Stopped::because("the node has no topology, and the profile names none")),
        false => Ok(Topology { segments }),
    }
}

/// A well-formed place of the same keys that does not exist.
fn bogus(real: &Topology, number: u32) -> Topology {
    let elsewhere = |(key, _): (&String, &String)| (key.clone(), format!("csi-certify-nowhere-{number}"));
    Topology { segments: real.segments.iter().map(elsewhere).collect::<BTreeMap<_, _>>() }
}

fn ask_for(bench: &Bench, requisite: &[&Topology], preferred: &[&Topology]) -> CreateVolumeRequest {
    let cloned = |places: &[&Topology]| places.iter().map(|&place| place.clone()).collect();
    let requirement = TopologyRequirement { requisite: cloned(requisite), preferred: cloned(preferred) };
    CreateVolumeRequest { accessibility_requirements: Some(requirement), ..bench.create_volume() }
}

async fn requisite_and_preferred(bench: &Bench) -> Result<(), Stopped> {
    let place = real(bench)?;
    bench.provoke(ask_for(bench, &[&place], &[])).await;
    bench.provoke(ask_for(bench, &[], &[&place])).await;
    bench.provoke(ask_for(bench, &[&place], &[&place])).await;
    bench.provoke(CreateVolumeRequest { accessibility_requirements: None, ..bench.create_volume() }).await;
    Ok(())
}

async fn accessible_volume_can_be_published(bench: &Bench) -> Result<(), Stopped> {
    let place = real(bench)?;
    let anywhere = CreateVolumeRequest { accessibility_requirements: None, ..bench.create_volume() };
    let mut outcome = Ok(());
    for request in [anywhere, ask_for(bench, &[&place], &[&place]), ask_for(bench, &[], &[&place])] {
        // One that is refused may be an accident; the next one tells.
        let used = publish_once(bench, request).await;
        outcome = outcome.and(used);
    }
    outcome
}

async fn publish_once(bench: &Bench, request: CreateVolumeRequest) -> Result<(), Stopped> {
    let volume = bench.volume_by(request).await?;
    let prepared = bench.prepare(volume, bench.capability()).await?;
    let target = bench.published(&prepared).await?;
    bench.released(&prepared, &[&target]).await
}

async fn empty_requirement(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(ask_for(bench, &[], &[])).await;
    Ok(())
}

async fn place_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let place = real(bench)?;
    bench.provoke(ask_for(bench, &[&bogus(&place, 1)], &[])).await;
    bench.provoke(ask_for(bench, &[&bogus(&place, 1), &bogus(&place, 2)], &[])).await;
    Ok(())
}

async fn one_place_of_two_exists(bench: &Bench) -> Result<(), Stopped> {
    let place = real(bench)?;
    bench.provoke(ask_for(bench, &[&bogus(&place, 1), &place], &[])).await;
    bench.provoke(ask_for(bench, &[&place, &bogus(&place, 1)], &[&place])).await;
    Ok(())
}

async fn preferred_outside_requisite(bench: &Bench) -> Result<(), Stopped> {
    let place = real(bench)?;
    bench.provoke(ask_for(bench, &[&place], &[&bogus(&place, 1)])).await;
    Ok(())
}

async fn preference_left_out(bench: &Bench) -> Result<(), Stopped> {
    let place = real(bench)?;
    let volume = bench.volume_by(ask_for(bench, &[&place], &[&place])).await?;
    let anywhere = TopologyRequirement { requisite: vec![place], preferred: Vec::new() };
    bench.provoke(CreateVolumeRequest { accessibility_requirements: Some(anywhere), ..volume.request }).await;
    Ok(())
}

async fn key_in_another_case(bench: &Bench) -> Result<(), Stopped> {
    let mut place = real(bench)?;
    place.segments = place.segments.into_iter().map(|(key, value)| (key.to_uppercase(), value)).collect();
    bench.provoke(ask_for(bench, &[&place], &[])).await;
    Ok(())
}

async fn same_name_another_place(bench: &Bench) -> Result<(), Stopped> {
    let place = real(bench)?;
    let volume = bench.volume_by(ask_for(bench, &[&place], &[])).await?;
    let elsewhere = TopologyRequirement { requisite: vec![bogus(&place, 1)], preferred: Vec::new() };
    bench.provoke(CreateVolumeRequest { accessibility_requirements: Some(elsewhere), ..volume.request }).await;
    Ok(())
}
