//! NodeStageVolume and NodeUnstageVolume (specification lines 2315–2439).

use std::collections::BTreeMap;

use super::NodeService;
use crate::{
    csi::v1,
    driver::{
        Refusal, capability::Plugin, field, parameters, parameters::pod_settings, record::Volume, volume_use::VolumeUse,
    },
    mountpod::{Deadline, Publication, Role, TargetPath},
};

impl NodeService {
    pub(super) async fn stage(
        &self,
        request: &v1::NodeStageVolumeRequest,
        deadline: Deadline,
    ) -> Result<v1::NodeStageVolumeResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let target = field::path("staging_target_path", &request.staging_target_path)?;
        let volume_use = VolumeUse::parse(request.volume_capability.as_ref())?;
        field::map("secrets", &request.secrets)?;
        field::map("publish_context", &request.publish_context)?;
        field::map("volume_context", &request.volume_context)?;
        let (volume, _held) = self.hold(id, &request.volume_id)?;
        self.check_use(&volume, &volume_use, &request.volume_context)?;
        let read_only = parameters::is_read_only(&request.publish_context);
        let publication = self.publication(&volume, &volume_use, target, Role::Staging, read_only);
        self.state.mount_pods.publish(publication, deadline).await?;
        Ok(v1::NodeStageVolumeResponse {})
    }

    /// Takes the volume away from its staging path; a volume that is not there, or nowhere, is success (specification
    /// line 2407).
    pub(super) async fn unstage(
        &self,
        request: &v1::NodeUnstageVolumeRequest,
        deadline: Deadline,
    ) -> Result<v1::NodeUnstageVolumeResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let target = field::path("staging_target_path", &request.staging_target_path)?;
        if let Some(id) = id {
            self.state.mount_pods.unpublish(&id, &target, Role::Staging, deadline).await?;
        }
        Ok(v1::NodeUnstageVolumeResponse {})
    }

    /// Whether the volume can be used like that here; the code is that of the node's tables (specification lines 2389
    /// and 2568).
    pub(super) fn check_use(
        &self,
        volume: &Volume,
        volume_use: &VolumeUse,
        volume_context: &BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        volume_use.supported_for(volume, &self.state.capabilities).map_err(Refusal::FailedPrecondition)?;
        let here = self.state.configuration.topology_of(self.state.configuration.node_id());
        let is_bound = self.state.capabilities.plugin(Plugin::VolumeAccessibilityConstraints);
        if is_bound && here != Some(&volume.topology) {
            let why =
                format!("volume {} is in {}, this node is not: use it on a node there", volume.id, volume.topology);
            return Err(Refusal::FailedPrecondition(why));
        }
        if parameters::is_own_context(volume_context, &volume.created_with) {
            return Ok(());
        }
        Err(Refusal::invalid("volume_context", "is not that of the volume: send what CreateVolume gave"))
    }

    pub(super) fn publication(
        &self,
        volume: &Volume,
        volume_use: &VolumeUse,
        target: TargetPath,
        role: Role,
        read_only: bool,
    ) -> Publication {
        Publication {
            content: self.volumes.location(&volume.id, volume_use.access_type),
            volume: volume.id.clone(),
            target,
            role,
            fingerprint: volume_use.fingerprint(read_only),
            mount_group: volume_use.mount_group(),
            configuration: pod_settings(&volume.properties),
        }
    }
}
