//! ControllerModifyVolume (specification lines 1672–1711).

use super::ControllerService;
use crate::{
    csi::v1,
    driver::{
        Refusal, field,
        lock::{Hold, Object},
        parameters::Properties,
        store::Change,
    },
};

impl ControllerService {
    /// Changes the given keys and no others; all of them or none.
    pub(super) async fn modify(
        &self,
        request: &v1::ControllerModifyVolumeRequest,
    ) -> Result<v1::ControllerModifyVolumeResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        field::map("secrets", &request.secrets)?;
        field::map("mutable_parameters", &request.mutable_parameters)?;
        if request.mutable_parameters.is_empty() {
            return Err(Refusal::Missing("mutable_parameters"));
        }
        // Whether the keys are good does not depend on the volume.
        Properties::default().modified(&request.mutable_parameters)?;
        let id = id.ok_or_else(|| Refusal::no_volume(&request.volume_id))?;
        let held = self.state.locks.hold(Object::Volume(id.clone()), Hold::Exclusive)?;
        let mutable = request.mutable_parameters.clone();
        self.state
            .blocking(move |state| {
                let _held = held;
                let mut volume = state.ready_volume(&id)?;
                let modified = volume.properties.clone().modified(&mutable)?;
                if modified != volume.properties {
                    volume.properties = modified;
                    state.store.commit(&[Change::PutVolume(volume)])?;
                }
                Ok(v1::ControllerModifyVolumeResponse {})
            })
            .await
    }
}
