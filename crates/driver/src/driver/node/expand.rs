//! NodeExpandVolume (specification lines 2852–2934).

use super::NodeService;
use crate::{
    csi::v1::{self, controller_service_capability::rpc::Type as Controller},
    driver::{
        Refusal, field, growth,
        lock::{Hold, Object},
        size::{SizeRange, signed},
        volume_use::VolumeUse,
    },
};

impl NodeService {
    /// Lets the daemons on this node see the size that the controller has set. Where the controller sets none, this does.
    pub(super) async fn expand(
        &self,
        request: &v1::NodeExpandVolumeRequest,
    ) -> Result<v1::NodeExpandVolumeResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let path = field::volume_path(&request.volume_path)?;
        field::optional_path("staging_target_path", &request.staging_target_path)?;
        let range = request.capacity_range.as_ref().map(SizeRange::parse).transpose()?;
        let volume_use = request.volume_capability.as_ref().map(|it| VolumeUse::parse(Some(it))).transpose()?;
        field::map("secrets", &request.secrets)?;
        // Where nobody else grows it, what the controller does elsewhere is done here, on what is known once it is locked.
        let held = match id.as_ref().filter(|_| range.is_some()) {
            Some(id) if !self.state.capabilities.controller(Controller::ExpandVolume) => {
                Some(self.state.locks.hold(Object::Volume(id.clone()), Hold::Exclusive)?)
            }
            _ => None,
        };
        let volume = self.find(id, &request.volume_id)?;
        if let Some(volume_use) = volume_use {
            let supported = volume_use.supported_for(&volume, &self.state.capabilities);
            supported.map_err(|why| Refusal::invalid("volume_capability", why))?;
        }
        let absent = || Refusal::NotAtPath { volume: volume.id.clone(), path: request.volume_path.clone() };
        let path = path.ok_or_else(absent)?;
        self.usage_at(&volume, &path).await?.ok_or_else(absent)?;
        let capacity = match range {
            None => volume.capacity,
            Some(range) => growth::target(&volume, range, &self.state)?,
        };
        match held {
            Some(held) => growth::grow(&self.state, held, volume.clone(), capacity).await?,
            None if capacity > volume.capacity => {
                let (id, size) = (&volume.id, volume.capacity);
                let why = format!("volume {id} has {size} bytes: grow it with ControllerExpandVolume first");
                return Err(Refusal::OutOfRange(why));
            }
            None => {}
        }
        self.state.mount_pods.resized(&volume.id).await?;
        Ok(v1::NodeExpandVolumeResponse { capacity_bytes: signed(capacity) })
    }
}
