//! ControllerExpandVolume (specification lines 2201–2281).

use super::ControllerService;
use crate::{
    csi::v1::{self, node_service_capability::rpc::Type as Node},
    driver::{
        Expansion, Refusal, field, growth,
        lock::{Hold, Object},
        size::{SizeRange, signed},
        volume_use::VolumeUse,
    },
};

impl ControllerService {
    /// Grows a volume, never shrinks it.
    pub(super) async fn expand(
        &self,
        request: &v1::ControllerExpandVolumeRequest,
    ) -> Result<v1::ControllerExpandVolumeResponse, Refusal> {
        let state = &self.state;
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let range = request.capacity_range.as_ref().ok_or(Refusal::Missing("capacity_range"))?;
        let range = SizeRange::parse(range)?;
        let volume_use = request.volume_capability.as_ref().map(|it| VolumeUse::parse(Some(it))).transpose()?;
        field::map("secrets", &request.secrets)?;
        let id = id.ok_or_else(|| Refusal::no_volume(&request.volume_id))?;
        let held = state.locks.hold(Object::Volume(id.clone()), Hold::Exclusive)?;
        let volume = state.ready_volume(&id)?;
        if let Some(volume_use) = volume_use {
            let supported = volume_use.supported_for(&volume, &state.capabilities);
            supported.map_err(|why| Refusal::invalid("volume_capability", why))?;
        }
        let capacity = growth::target(&volume, range, state)?;
        if capacity > volume.capacity
            && state.configuration.expansion == Expansion::Offline
            && let Some(user) = state.user_of(&id).await?
        {
            let why = format!("volume {id} is {user} and grows only while it is not: unpublish it first");
            return Err(Refusal::FailedPrecondition(why));
        }
        growth::grow(state, held, volume, capacity).await?;
        let node_expansion_required = state.capabilities.node(Node::ExpandVolume);
        if !node_expansion_required {
            state.mount_pods.resized(&id).await?;
        }
        Ok(v1::ControllerExpandVolumeResponse { capacity_bytes: signed(capacity), node_expansion_required })
    }
}
