//! ValidateVolumeCapabilities (specification lines 1445–1527).

use std::collections::BTreeMap;

use super::ControllerService;
use crate::{
    csi::v1::{self, validate_volume_capabilities_response::Confirmed},
    driver::{
        Refusal, field,
        parameters::{self, Properties},
        record::Volume,
        volume_use::VolumeUse,
    },
};

impl ControllerService {
    pub(super) async fn validate(
        &self,
        request: v1::ValidateVolumeCapabilitiesRequest,
    ) -> Result<v1::ValidateVolumeCapabilitiesResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let uses = VolumeUse::parse_all(&request.volume_capabilities)?;
        field::map("secrets", &request.secrets)?;
        field::map("volume_context", &request.volume_context)?;
        field::map("parameters", &request.parameters)?;
        field::map("mutable_parameters", &request.mutable_parameters)?;
        let id = id.ok_or_else(|| Refusal::no_volume(&request.volume_id))?;
        let volume = self.state.blocking(move |state| state.ready_volume(&id)).await?;
        // Confirmed as a whole or not at all (specification line 1447).
        Ok(match self.objection(&volume, &uses, &request) {
            Some(message) => v1::ValidateVolumeCapabilitiesResponse { confirmed: None, message },
            None => v1::ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                    mutable_parameters: request.mutable_parameters,
                }),
                message: String::new(),
            },
        })
    }

    fn objection(
        &self,
        volume: &Volume,
        uses: &[VolumeUse],
        request: &v1::ValidateVolumeCapabilitiesRequest,
    ) -> Option<String> {
        let unsupported = uses.iter().find_map(|it| it.supported_for(volume, &self.state.capabilities).err());
        if let Some(why) = unsupported {
            return Some(why);
        }
        if !parameters::is_own_context(&request.volume_context, &volume.created_with) {
            return Some("volume_context is not that of the volume".into());
        }
        let no_parameters = BTreeMap::new();
        let created = Properties::parse(&request.parameters, &no_parameters);
        if !request.parameters.is_empty() && created != Ok(volume.created_with.clone()) {
            // Mutable values of the same keys won at creation, so only what cannot be changed has to agree.
            match created {
                Ok(created) if created.directory_mode == volume.created_with.directory_mode => {}
                _ => return Some("the volume was not created with these parameters".into()),
            }
        }
        let modified = volume.properties.clone().modified(&request.mutable_parameters);
        (modified != Ok(volume.properties.clone())).then(|| "the volume has other mutable parameters".into())
    }
}
