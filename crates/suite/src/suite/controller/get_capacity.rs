//! GetCapacity: with and without filters, and the sizes that it promises.

use std::collections::BTreeMap;

use super::gates::CREATE_DELETE_VOLUME;
use crate::{
    csi::v1::{CapacityRange, CreateVolumeRequest, GetCapacityRequest, Topology},
    suite::{Bench, Stopped, bench::MADE_UP_KEY, scenario::scenarios},
};

const GET_CAPACITY: &str = "Controller.GET_CAPACITY";

/// Sizes up to this are worth creating for a test.
const REASONABLE: i64 = 1 << 30;

/// An offer like this means that there is no bound.
const BOUNDLESS: i64 = 1 << 60;

scenarios! { "get_capacity":
    with_every_filter, "asks without a filter, by capabilities, by parameters", [GET_CAPACITY], [
        "CTRL-CAPACITY-001", "CTRL-CAPACITY-002", "CTRL-CAPACITY-004", "CTRL-CAPACITY-009", "CTRL-CAPACITY-010",
        "CTRL-CAPACITY-011", "CTRL-CAPACITY-013", "CTRL-CAPACITY-016", "CTRL-CAPACITY-018", "CTRL-CAPACITY-021",
    ];
    of_places, "asks for the node's own place, and for one that does not exist",
        [GET_CAPACITY, "Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS"], ["CTRL-CAPACITY-006"];
    @exclusive after_creating, "asks before and after creating volumes", [GET_CAPACITY, CREATE_DELETE_VOLUME],
        ["CTRL-CAPACITY-010", "CTRL-CAPACITY-009"];
    sizes_at_the_bounds, "creates volumes at and beyond the greatest and least size", [GET_CAPACITY, CREATE_DELETE_VOLUME],
        ["CTRL-CAPACITY-014", "CTRL-CAPACITY-019", "CTRL-CREATE-162"];
    @exclusive all_that_is_offered, "creates a volume of all the capacity that is offered, where no greatest size is told",
        [GET_CAPACITY, CREATE_DELETE_VOLUME], ["CTRL-CAPACITY-014"];
}

async fn with_every_filter(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(GetCapacityRequest::default()).await;
    let parameters = bench.run.options.profile.parameters.clone();
    bench.provoke(GetCapacityRequest { parameters: parameters.clone(), ..Default::default() }).await;
    for capability in bench.facts.supported.iter().take(2).chain(bench.facts.unsupported.iter().take(1)) {
        let volume_capabilities = vec![capability.clone()];
        let parameters = parameters.clone();
        bench.provoke(GetCapacityRequest { volume_capabilities, parameters, accessible_topology: None }).await;
    }
    let bogus = BTreeMap::from([(MADE_UP_KEY.to_owned(), "x".to_owned())]);
    bench.provoke(GetCapacityRequest { parameters: bogus, ..Default::default() }).await;
    Ok(())
}

async fn of_places(bench: &Bench) -> Result<(), Stopped> {
    let segments = bench.topology();
    if segments.is_empty() {
        return Err(Stopped::because("the node has no topology, and the profile names none"));
    }
    let nowhere = segments.keys().map(|key| (key.clone(), "csi-certify-nowhere".to_owned())).collect();
    bench.provoke(GetCapacityRequest::default()).await;
    for segments in [segments, nowhere] {
        let accessible_topology = Some(Topology { segments });
        bench.provoke(GetCapacityRequest { accessible_topology, ..Default::default() }).await;
    }
    Ok(())
}

async fn after_creating(bench: &Bench) -> Result<(), Stopped> {
    bench.provoke(GetCapacityRequest::default()).await;
    for _ in 0..3 {
        bench.volume().await?;
    }
    bench.provoke(GetCapacityRequest::default()).await;
    Ok(())
}

async fn sizes_at_the_bounds(bench: &Bench) -> Result<(), Stopped> {
    let request = GetCapacityRequest {
        volume_capabilities: vec![bench.capability()],
        parameters: bench.run.options.profile.parameters.clone(),
        accessible_topology: None,
    };
    let reply = bench.need(request).await?;
    let ask_for = |required_bytes, limit_bytes| CreateVolumeRequest {
        capacity_range: Some(CapacityRange { required_bytes, limit_bytes }),
        ..bench.create_volume()
    };
    if let Some(maximum) = reply.maximum_volume_size.filter(|&maximum| maximum > 0) {
        bench.provoke(ask_for(maximum.saturating_add(1 << 30), 0)).await;
        if maximum <= REASONABLE && maximum <= reply.available_capacity {
            bench.provoke(ask_for(maximum, maximum)).await;
        }
    }
    if let Some(minimum) = reply.minimum_volume_size.filter(|&minimum| minimum > 1) {
        bench.provoke(ask_for(0, minimum - 1)).await;
        bench.provoke(ask_for(0, minimum)).await;
    }
    Ok(())
}

async fn all_that_is_offered(bench: &Bench) -> Result<(), Stopped> {
    if !bench.run.options.profile.take_all_capacity {
        return Err(Stopped::because("the profile does not say `take_all_capacity = true`"));
    }
    let create = bench.create_volume();
    // Capacity without a place is the sum of all places, which no volume can have.
    let place = create.accessibility_requirements.iter().flat_map(|it| &it.requisite).next().cloned();
    let request = GetCapacityRequest {
        volume_capabilities: create.volume_capabilities.clone(),
        parameters: create.parameters.clone(),
        accessible_topology: place,
    };
    let reply = bench.need(request).await?;
    if reply.maximum_volume_size.is_some() || !(1..BOUNDLESS).contains(&reply.available_capacity) {
        return Ok(());
    }
    let capacity_range = Some(CapacityRange { required_bytes: reply.available_capacity, limit_bytes: 0 });
    bench.provoke(CreateVolumeRequest { capacity_range, ..create }).await;
    Ok(())
}
