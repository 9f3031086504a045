//! NodeExpandVolume (specification lines 2852–2934).

use super::NodeService;
use crate::{
    csi::v1,
    driver::{
        Refusal, field,
        size::{SizeRange, signed},
        volume_use::VolumeUse,
    },
};

impl NodeService {
    /// Lets the daemons on this node see the size that the controller has set.
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
        let volume = self.find(id, &request.volume_id)?;
        if let Some(volume_use) = volume_use {
            let supported = volume_use.supported_for(&volume, &self.state.capabilities);
            supported.map_err(|why| Refusal::invalid("volume_capability", why))?;
        }
        let absent = || Refusal::NotAtPath { volume: volume.id.clone(), path: request.volume_path.clone() };
        let path = path.ok_or_else(absent)?;
        self.usage_at(&volume, &path).await?.ok_or_else(absent)?;
        let capacity = volume.capacity;
        match range {
            Some(range) if range.required > capacity => {
                let why =
                    format!("volume {} has {capacity} bytes: grow it with ControllerExpandVolume first", volume.id);
                return Err(Refusal::OutOfRange(why));
            }
            Some(range) if range.limit.is_some_and(|limit| limit < capacity) => {
                let why = format!("volume {} has {capacity} bytes and never shrinks: raise limit_bytes", volume.id);
                return Err(Refusal::OutOfRange(why));
            }
            _ => {}
        }
        self.state.mount_pods.resized(&volume.id).await?;
        Ok(v1::NodeExpandVolumeResponse { capacity_bytes: signed(capacity) })
    }
}
