//! NodePublishVolume and NodeUnpublishVolume (specification lines 2443–2616).

use super::NodeService;
use crate::{
    csi::v1::{self, node_service_capability::rpc::Type},
    driver::{Refusal, field, parameters, volume_use::VolumeUse},
    mountpod::{Deadline, Fingerprint, Published, Role, TargetPath},
};

impl NodeService {
    pub(super) async fn publish(
        &self,
        request: &v1::NodePublishVolumeRequest,
        deadline: Deadline,
    ) -> Result<v1::NodePublishVolumeResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let target = field::path("target_path", &request.target_path)?;
        let staging = field::optional_path("staging_target_path", &request.staging_target_path)?;
        let volume_use = VolumeUse::parse(request.volume_capability.as_ref())?;
        field::map("secrets", &request.secrets)?;
        field::map("publish_context", &request.publish_context)?;
        field::map("volume_context", &request.volume_context)?;
        let (volume, _held) = self.hold(id, &request.volume_id)?;
        self.check_use(&volume, &volume_use, &request.volume_context)?;
        let read_only = request.readonly || parameters::is_read_only(&request.publish_context);
        if self.state.capabilities.node(Type::StageUnstageVolume) {
            let present = self.state.mount_pods.published(&volume.id).await?;
            is_staged(&present, staging.as_ref(), &target, &volume_use.fingerprint(read_only))?;
        }
        let publication = self.publication(&volume, &volume_use, target, Role::Target, read_only);
        self.state.mount_pods.publish(publication, deadline).await?;
        Ok(v1::NodePublishVolumeResponse {})
    }

    /// Takes the volume away from its target; a volume that is not there, or nowhere, is success (specification line
    /// 2584).
    pub(super) async fn unpublish(
        &self,
        request: &v1::NodeUnpublishVolumeRequest,
        deadline: Deadline,
    ) -> Result<v1::NodeUnpublishVolumeResponse, Refusal> {
        let id = field::volume_id("volume_id", &request.volume_id)?;
        let target = field::path("target_path", &request.target_path)?;
        if let Some(id) = id {
            self.state.mount_pods.unpublish(&id, &target, Role::Target, deadline).await?;
        }
        Ok(v1::NodeUnpublishVolumeResponse {})
    }
}

/// Whether the volume is staged where the request says, and in a way that can be published as it says (specification
/// line 2569).
fn is_staged(
    present: &[Published],
    staging: Option<&TargetPath>,
    target: &TargetPath,
    asked: &Fingerprint,
) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::FailedPrecondition(why));
    let Some(staging) = staging else {
        return refuse(
            "staging_target_path is required with STAGE_UNSTAGE_VOLUME: stage the volume, then set it".into(),
        );
    };
    let is_there = |reference: &&Published| reference.role == Role::Staging && reference.target == *staging;
    let Some(staged) = present.iter().find(is_there) else {
        return refuse(format!("the volume is not staged at {staging}: stage it there first"));
    };
    // A target that is there already is compared with the request by the mount pods.
    if present.iter().any(|reference| reference.role == Role::Target && reference.target == *target) {
        return Ok(());
    }
    if staged.fingerprint.access_type != asked.access_type {
        return refuse(format!(
            "the volume is staged at {staging} with another access type: stage it as it is published"
        ));
    }
    if staged.fingerprint.read_only && !asked.read_only {
        return refuse(format!("the volume is staged read-only at {staging}: publish it read-only"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountpod::{AccessMode, AccessType};

    fn published(target: &str, role: Role, access_type: AccessType) -> Published {
        Published { target: target.parse().unwrap(), role, fingerprint: fingerprint(access_type) }
    }

    fn fingerprint(access_type: AccessType) -> Fingerprint {
        Fingerprint {
            access_type,
            access_mode: AccessMode::SingleNodeWriter,
            read_only: false,
            fs_type: String::new(),
            mount_flags: String::new(),
            mount_group: String::new(),
        }
    }

    #[test]
    fn a_publish_needs_the_volume_staged_at_the_very_path() {
        let target: TargetPath = "/target".parse().unwrap();
        let staging: TargetPath = "/staging".parse().unwrap();
        let mount = fingerprint(AccessType::Mount);
        let staged = [published("/staging", Role::Staging, AccessType::Mount)];
        assert_eq!(is_staged(&staged, Some(&staging), &target, &mount), Ok(()));
        assert!(is_staged(&staged, None, &target, &mount).is_err());
        assert!(is_staged(&staged, Some(&"/elsewhere".parse().unwrap()), &target, &mount).is_err());
        assert!(
            is_staged(&[published("/staging", Role::Target, AccessType::Mount)], Some(&staging), &target, &mount)
                .is_err()
        );
        assert!(is_staged(&staged, Some(&staging), &target, &fingerprint(AccessType::Block)).is_err());
    }
}
