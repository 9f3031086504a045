//! ControllerExpandVolume (specification lines 2201–2281).

use super::{
    ControllerService,
    create_volume::{has_room, no_room},
};
use crate::{
    csi::v1::{self, node_service_capability::rpc::Type as Node},
    driver::{
        Expansion, Refusal,
        assembly::State,
        field,
        lock::{Hold, Object},
        record::Volume,
        size::{SizeRange, signed},
        store::Change,
        volume_use::VolumeUse,
    },
};

impl ControllerService {
    /// Grows a volume, never shrinks it. The store learns the size first and the content follows, also after a crash.
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
        let capacity = target(&volume, range, state)?;
        if capacity > volume.capacity
            && state.configuration.expansion == Expansion::Offline
            && let Some(user) = state.user_of(&id).await?
        {
            let why = format!("volume {id} is {user} and grows only while it is not: unpublish it first");
            return Err(Refusal::FailedPrecondition(why));
        }
        state
            .blocking(move |state| {
                // The lock goes with the work, also when the caller gives up.
                let _held = held;
                if capacity > volume.capacity {
                    let _reserving = state.reserving();
                    if !has_room(state, &volume.topology, capacity - volume.capacity)? {
                        return Err(no_room(&state.configuration, capacity));
                    }
                    state.store.commit(&[Change::PutVolume(Volume { capacity, ..volume.clone() })])?;
                }
                // Also when the size is there already: an earlier call may have ended between the two.
                let grown = state.content.grow(&volume.id, capacity);
                grown.map_err(|error| State::no_content("growing the content of the volume", &error))
            })
            .await?;
        let node_expansion_required = state.capabilities.node(Node::ExpandVolume);
        if !node_expansion_required {
            state.mount_pods.resized(&id).await?;
        }
        Ok(v1::ControllerExpandVolumeResponse { capacity_bytes: signed(capacity), node_expansion_required })
    }
}

/// The size that the volume will have: the present one where that is enough.
fn target(volume: &Volume, range: SizeRange, state: &State) -> Result<u64, Refusal> {
    let present = volume.capacity;
    match range.limit {
        Some(limit) if limit < present => Err(Refusal::OutOfRange(format!(
            "volume {} has {present} bytes and never shrinks: raise limit_bytes",
            volume.id
        ))),
        _ if range.required <= present => Ok(present),
        _ => state.configuration.sizes.choose(Some(range), present),
    }
}
