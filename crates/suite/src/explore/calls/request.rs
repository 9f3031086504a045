//! The request that a call of a program becomes.

use std::collections::BTreeMap;

use super::{
    Bindings, Surroundings,
    course::VOLUMES,
    step::{Call, Environment, Use, Variation},
};
use crate::{
    csi::v1::{self, VolumeCapability, volume_capability::access_mode::Mode, volume_content_source},
    history::Request,
    spec::{Rpc, Service},
};

/// The request, or nothing while a handle of it stands for nothing.
pub fn request(
    call: Call,
    environment: &Environment,
    bindings: &Bindings,
    surroundings: &Surroundings,
) -> Option<Request> {
    let asked = Asked { call, environment, bindings, surroundings };
    match call.rpc.service() {
        Service::Identity => Some(Request::empty(call.rpc)),
        Service::Controller => asked.controller(),
        Service::GroupController => asked.group_controller(),
        Service::SnapshotMetadata => asked.snapshot_metadata(),
        Service::Node => asked.node(),
    }
}

struct Asked<'a> {
    call: Call,
    environment: &'a Environment,
    bindings: &'a Bindings,
    surroundings: &'a Surroundings,
}

impl Asked<'_> {
    fn controller(&self) -> Option<Request> {
        let secrets = self.secrets();
        Some(match self.call.rpc {
            Rpc::CreateVolume => self.create_volume()?.into(),
            Rpc::DeleteVolume => v1::DeleteVolumeRequest { volume_id: self.volume_id()?, secrets }.into(),
            Rpc::ControllerPublishVolume => v1::ControllerPublishVolumeRequest {
                volume_id: self.volume_id()?,
                node_id: self.node_id()?,
                volume_capability: self.capability(),
                readonly: false,
                secrets,
                volume_context: self.volume_context(),
            }
            .into(),
            Rpc::ControllerUnpublishVolume => {
                let (volume_id, node_id) = (self.volume_id_or_none()?, self.node_id()?);
                v1::ControllerUnpublishVolumeRequest { volume_id, node_id, secrets }.into()
            }
            Rpc::ValidateVolumeCapabilities => v1::ValidateVolumeCapabilitiesRequest {
                volume_id: self.volume_id()?,
                volume_context: self.volume_context(),
                volume_capabilities: self.capability().into_iter().collect(),
                secrets,
                ..Default::default()
            }
            .into(),
            Rpc::ListVolumes => v1::ListVolumesRequest { max_entries: self.page(), ..Default::default() }.into(),
            Rpc::ListSnapshots => {
                v1::ListSnapshotsRequest { max_entries: self.page(), secrets, ..Default::default() }.into()
            }
            Rpc::CreateSnapshot => v1::CreateSnapshotRequest {
                source_volume_id: self.volume_id()?,
                name: self.unless_incomplete(format!("{}-s{}", self.surroundings.prefix, self.call.snapshot)),
                secrets,
                parameters: self.surroundings.profile.snapshot_parameters.clone(),
            }
            .into(),
            Rpc::DeleteSnapshot => v1::DeleteSnapshotRequest { snapshot_id: self.snapshot_id()?, secrets }.into(),
            Rpc::GetSnapshot => v1::GetSnapshotRequest { snapshot_id: self.snapshot_id()?, secrets }.into(),
            Rpc::ControllerExpandVolume => v1::ControllerExpandVolumeRequest {
                volume_id: self.volume_id()?,
                capacity_range: self.capacity_range(),
                secrets,
                ..Default::default()
            }
            .into(),
            Rpc::ControllerGetVolume => v1::ControllerGetVolumeRequest { volume_id: self.volume_id_or_none()? }.into(),
            Rpc::ControllerModifyVolume => v1::ControllerModifyVolumeRequest {
                volume_id: self.volume_id_or_none()?,
                secrets,
                mutable_parameters: self.surroundings.profile.modified_parameters.clone(),
            }
            .into(),
            rpc => Request::empty(rpc),
        })
    }

    fn create_volume(&self) -> Option<v1::CreateVolumeRequest> {
        let source = match self.call.variation {
            Variation::FromSnapshot => {
                let snapshot_id = self.bindings.snapshots.get(&self.call.snapshot)?.clone();
                Some(volume_content_source::Type::Snapshot(volume_content_source::SnapshotSource { snapshot_id }))
            }
            Variation::FromVolume => {
                let volume_id = self.bindings.volumes.get(&((self.call.volume + 1) % VOLUMES))?.volume_id.clone();
                Some(volume_content_source::Type::Volume(volume_content_source::VolumeSource { volume_id }))
            }
            _ => None,
        };
        let name = self.unless_incomplete(format!("{}-v{}", self.surroundings.prefix, self.call.volume));
        // A volume without capabilities would be wrong in a second way.
        let capability = self.capability().unwrap_or_else(|| self.surroundings.capability(self.environment.usage));
        Some(v1::CreateVolumeRequest {
            volume_capabilities: vec![capability],
            capacity_range: self.capacity_range().or_else(|| self.range(false)),
            volume_content_source: source.map(|source| v1::VolumeContentSource { r#type: Some(source) }),
            ..self.surroundings.create_volume(name)
        })
    }

    fn group_controller(&self) -> Option<Request> {
        let secrets = self.secrets();
        let group = || self.bindings.groups.get(&self.call.snapshot).cloned();
        Some(match self.call.rpc {
            Rpc::CreateVolumeGroupSnapshot => {
                let sources = self.bindings.volumes.values().map(|volume| volume.volume_id.clone());
                v1::CreateVolumeGroupSnapshotRequest {
                    name: format!("{}-g{}", self.surroundings.prefix, self.call.snapshot),
                    source_volume_ids: sources.collect(),
                    secrets,
                    parameters: BTreeMap::new(),
                }
                .into()
            }
            Rpc::DeleteVolumeGroupSnapshot => {
                let (group_snapshot_id, snapshot_ids) = group()?;
                v1::DeleteVolumeGroupSnapshotRequest { group_snapshot_id, snapshot_ids, secrets }.into()
            }
            Rpc::GetVolumeGroupSnapshot => {
                let (group_snapshot_id, snapshot_ids) = group()?;
                v1::GetVolumeGroupSnapshotRequest { group_snapshot_id, snapshot_ids, secrets }.into()
            }
            rpc => Request::empty(rpc),
        })
    }

    fn snapshot_metadata(&self) -> Option<Request> {
        let secrets = self.secrets();
        let snapshot = self.snapshot_id()?;
        Some(match self.call.rpc {
            Rpc::GetMetadataDelta => v1::GetMetadataDeltaRequest {
                base_snapshot_id: self.bindings.snapshots.values().next()?.clone(),
                target_snapshot_id: snapshot,
                secrets,
                ..Default::default()
            }
            .into(),
            _ => v1::GetMetadataAllocatedRequest { snapshot_id: snapshot, secrets, ..Default::default() }.into(),
        })
    }

    fn node(&self) -> Option<Request> {
        let secrets = self.secrets();
        let volume_context = self.volume_context();
        let volume_capability = self.capability();
        let publish_context = self.bindings.publish_contexts.get(&self.call.volume).cloned().unwrap_or_default();
        let staging_target_path = self.surroundings.staging(self.call.volume);
        let path = self.surroundings.target(self.call.volume, self.call.target);
        Some(match self.call.rpc {
            Rpc::NodeStageVolume => v1::NodeStageVolumeRequest {
                volume_id: self.volume_id()?,
                publish_context,
                staging_target_path: self.staging_path(),
                volume_capability,
                secrets,
                volume_context,
            }
            .into(),
            Rpc::NodeUnstageVolume => v1::NodeUnstageVolumeRequest {
                volume_id: self.volume_id_or_none()?,
                staging_target_path: self.staging_path(),
            }
            .into(),
            Rpc::NodePublishVolume => v1::NodePublishVolumeRequest {
                volume_id: self.volume_id()?,
                publish_context,
                staging_target_path,
                target_path: path,
                volume_capability,
                readonly: self.is(Variation::ReadOnly),
                secrets,
                volume_context,
            }
            .into(),
            Rpc::NodeUnpublishVolume => {
                v1::NodeUnpublishVolumeRequest { volume_id: self.volume_id_or_none()?, target_path: path }.into()
            }
            Rpc::NodeGetVolumeStats => v1::NodeGetVolumeStatsRequest {
                volume_id: self.volume_id()?,
                volume_path: self.unless_incomplete(path),
                staging_target_path,
            }
            .into(),
            Rpc::NodeExpandVolume => v1::NodeExpandVolumeRequest {
                volume_id: self.volume_id()?,
                volume_path: self.unless_incomplete(path),
                capacity_range: None,
                staging_target_path,
                volume_capability: None,
                secrets,
            }
            .into(),
            rpc => Request::empty(rpc),
        })
    }

    fn is(&self, variation: Variation) -> bool {
        self.call.variation == variation
    }

    /// The id of the volume, or one that nobody gave out.
    fn volume_id(&self) -> Option<String> {
        match self.call.variation {
            Variation::Absent => Some(self.surroundings.absent.clone()),
            _ => self.bindings.volumes.get(&self.call.volume).map(|volume| volume.volume_id.clone()),
        }
    }

    /// The same, and nothing at all where something required has to be missing.
    fn volume_id_or_none(&self) -> Option<String> {
        self.volume_id().map(|id| self.unless_incomplete(id))
    }

    fn snapshot_id(&self) -> Option<String> {
        match self.call.variation {
            Variation::Absent => Some(self.surroundings.absent.clone()),
            _ => self.bindings.snapshots.get(&self.call.snapshot).map(|id| self.unless_incomplete(id.clone())),
        }
    }

    fn unless_incomplete(&self, text: String) -> String {
        if self.is(Variation::Incomplete) { String::new() } else { text }
    }

    /// Where a volume is staged; a driver that does not stage is asked with a path all the same.
    fn staging_path(&self) -> String {
        let path = self.surroundings.staging(self.call.volume);
        if path.is_empty() { format!("{}/staging", self.surroundings.directory.display()) } else { path }
    }

    fn node_id(&self) -> Option<String> {
        match self.call.variation {
            Variation::OtherNode => self.surroundings.profile.other_nodes.first().cloned(),
            _ => Some(self.surroundings.facts.node_id.clone()),
        }
    }

    fn volume_context(&self) -> BTreeMap<String, String> {
        let given = self.bindings.volumes.get(&self.call.volume).map(|volume| volume.volume_context.clone());
        let mut context = given.unwrap_or_default();
        context.extend(self.surroundings.profile.volume_context.clone());
        context
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        self.surroundings.profile.secrets_of(self.call.rpc).clone()
    }

    fn page(&self) -> i32 {
        i32::from(self.is(Variation::ReadOnly))
    }

    fn capacity_range(&self) -> Option<v1::CapacityRange> {
        match self.call.variation {
            Variation::Incomplete => None,
            Variation::Larger => self.range(true),
            _ => self.range(false),
        }
    }

    fn range(&self, larger: bool) -> Option<v1::CapacityRange> {
        let profile = &self.surroundings.profile;
        let required_bytes = if larger { profile.expanded_bytes } else { profile.capacity_bytes };
        Some(v1::CapacityRange { required_bytes, limit_bytes: 0 })
    }

    fn capability(&self) -> Option<VolumeCapability> {
        let usage = self.environment.usage;
        match self.call.variation {
            Variation::Incomplete => None,
            Variation::OtherType => {
                let other = if usage == Use::Block { Use::Shared } else { Use::Block };
                Some(self.surroundings.capability(other))
            }
            Variation::OtherMode => {
                let mut capability = self.surroundings.capability(usage);
                if let Some(mode) = &mut capability.access_mode {
                    let other = if mode.mode() == Mode::SingleNodeWriter {
                        Mode::SingleNodeReaderOnly
                    } else {
                        Mode::SingleNodeWriter
                    };
                    mode.mode = other.into();
                }
                Some(capability)
            }
            _ => Some(self.surroundings.capability(usage)),
        }
    }
}
