//! GetCapacity (specification lines 1715–1790).

use std::collections::BTreeMap;

use super::ControllerService;
use crate::{
    csi::v1,
    driver::{Refusal, field, parameters::Properties, size::signed, topology::Topology, volume_use::VolumeUse},
};

impl ControllerService {
    /// What is left in the pools of the topologies that are asked for; nothing for a use that is not supported.
    pub(super) async fn capacity(&self, request: v1::GetCapacityRequest) -> Result<v1::GetCapacityResponse, Refusal> {
        field::map("parameters", &request.parameters)?;
        Properties::parse(&request.parameters, &BTreeMap::new())?;
        for capability in &request.volume_capabilities {
            let volume_use = VolumeUse::parse(Some(capability))?;
            if volume_use.supported_by(&self.state.capabilities).is_err() {
                return Ok(v1::GetCapacityResponse::default());
            }
        }
        let asked = request.accessible_topology.unwrap_or_default();
        self.state
            .blocking(move |state| {
                let configuration = &state.configuration;
                let mut available: u64 = 0;
                let in_question = |topology: &&Topology| topology.satisfies(&asked);
                for topology in configuration.topologies.iter().filter(in_question) {
                    let allocated = state.store.allocated(topology)?;
                    available = available.saturating_add(configuration.pool_capacity.saturating_sub(allocated));
                }
                let maximum = configuration.sizes.maximum.min(configuration.pool_capacity);
                Ok(v1::GetCapacityResponse {
                    available_capacity: signed(available),
                    maximum_volume_size: Some(signed(maximum)),
                    minimum_volume_size: Some(signed(configuration.sizes.minimum)),
                })
            })
            .await
    }
}
