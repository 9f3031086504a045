//! Valid requests about volumes and snapshots, from which scenarios vary one thing at a time.

use std::collections::BTreeMap;

use super::{Bench, Facts, Stopped, facts::access_type, facts::capability, facts::mode};
use crate::{
    csi::v1::{self, VolumeCapability, volume_capability::access_mode::Mode},
    history::Request,
    spec::Rpc,
    sut::{AccessType, Profile},
};

/// A volume of a scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Volume {
    pub(super) id: String,
    pub(super) context: BTreeMap<String, String>,
    /// 0 where the driver does not say.
    pub(super) capacity: i64,
    /// The request that made it.
    pub(super) request: v1::CreateVolumeRequest,
}

impl Bench {
    /// The secrets of an RPC.
    pub(super) fn secrets(&self, rpc: Rpc) -> BTreeMap<String, String> {
        self.run.options.profile.secrets_of(rpc).clone()
    }

    /// The request with the secrets of its RPC, for the calls that remove things.
    pub(super) fn with_secrets(&self, request: Request) -> Request {
        with_secrets(&self.run.options.profile, request)
    }

    /// The plainest capability that the driver makes volumes for.
    pub(super) fn capability(&self) -> VolumeCapability {
        self.facts
            .supported
            .first()
            .cloned()
            .unwrap_or_else(|| capability(AccessType::Mount, Mode::SingleNodeWriter, &self.run.options.profile.fs_type))
    }

    /// A supported capability of that access type, with that mode if there is a choice.
    pub(super) fn capability_for(&self, wanted: AccessType, preferred: Mode) -> Result<VolumeCapability, Stopped> {
        let of_type = |it: &&VolumeCapability| access_type(it) == Some(wanted);
        let supported = &self.facts.supported;
        supported
            .iter()
            .filter(of_type)
            .find(|it| mode(it) == preferred)
            .or_else(|| supported.iter().find(of_type))
            .cloned()
            .ok_or_else(|| Stopped::because(format!("the driver makes no {wanted:?} volumes")))
    }

    /// The plainest supported capability of each access type.
    pub(super) fn one_of_each_type(&self) -> Vec<VolumeCapability> {
        let of_type = |access_type| self.capability_for(access_type, Mode::SingleNodeWriter);
        [AccessType::Mount, AccessType::Block].into_iter().filter_map(|it| of_type(it).ok()).collect()
    }

    /// A supported capability of that mode.
    pub(super) fn capability_of_mode(&self, wanted: Mode) -> Result<VolumeCapability, Stopped> {
        let found = self.facts.supported.iter().find(|it| mode(it) == wanted).cloned();
        found.ok_or_else(|| Stopped::because(format!("the driver does not support {}", wanted.as_str_name())))
    }

    /// A capability that the driver refuses.
    pub(super) fn unsupported(&self) -> Result<VolumeCapability, Stopped> {
        let found = self.facts.unsupported.first().cloned();
        found.ok_or_else(|| Stopped::because("no capability is known that the driver does not support"))
    }

    /// A request for a new volume.
    pub(super) fn create_volume(&self) -> v1::CreateVolumeRequest {
        let profile = &self.run.options.profile;
        let mutable = self.has("Controller.MODIFY_VOLUME");
        v1::CreateVolumeRequest {
            name: self.name(),
            capacity_range: Some(v1::CapacityRange { required_bytes: profile.capacity_bytes, limit_bytes: 0 }),
            volume_capabilities: vec![self.capability()],
            parameters: profile.parameters.clone(),
            secrets: self.secrets(Rpc::CreateVolume),
            volume_content_source: None,
            accessibility_requirements: self.topology_requirement(),
            mutable_parameters: if mutable { profile.mutable_parameters.clone() } else { BTreeMap::new() },
        }
    }

    /// The node's own place, where the driver cares about places.
    fn topology_requirement(&self) -> Option<v1::TopologyRequirement> {
        let segments = self.topology();
        let constrained = self.has("Plugin.VOLUME_ACCESSIBILITY_CONSTRAINTS") && !segments.is_empty();
        let topology = v1::Topology { segments };
        constrained.then(|| v1::TopologyRequirement { requisite: vec![topology.clone()], preferred: vec![topology] })
    }

    /// The segments from which new volumes have to be accessible.
    pub(super) fn topology(&self) -> BTreeMap<String, String> {
        let Facts { topology, .. } = &*self.facts;
        let profile = &self.run.options.profile.topology;
        if profile.is_empty() { topology.clone() } else { profile.clone() }
    }

    /// A new volume as most scenarios need one; an existing one where the driver cannot create any.
    pub(super) async fn volume(&self) -> Result<Volume, Stopped> {
        if self.has("Controller.CREATE_DELETE_VOLUME") {
            return self.volume_by(self.create_volume()).await;
        }
        let volumes = &self.run.options.profile.volumes;
        let id = volumes.get(self.next() as usize % volumes.len().max(1)).ok_or_else(|| {
            Stopped::because("the driver creates no volumes, and the profile's `volumes` names no existing ones")
        })?;
        let request = self.create_volume();
        Ok(Volume { id: id.clone(), context: self.run.options.profile.volume_context.clone(), capacity: 0, request })
    }

    /// A new volume for a capability.
    pub(super) async fn volume_for(&self, capability: VolumeCapability) -> Result<Volume, Stopped> {
        if !self.has("Controller.CREATE_DELETE_VOLUME") {
            return self.volume().await;
        }
        let request = v1::CreateVolumeRequest { volume_capabilities: vec![capability], ..self.create_volume() };
        self.volume_by(request).await
    }

    /// The volume that a request makes.
    pub(super) async fn volume_by(&self, request: v1::CreateVolumeRequest) -> Result<Volume, Stopped> {
        let reply = self.need(request.clone()).await?;
        self.volume_in(request, reply)
    }

    /// The volume in a reply.
    pub(super) fn volume_in(
        &self,
        request: v1::CreateVolumeRequest,
        reply: v1::CreateVolumeResponse,
    ) -> Result<Volume, Stopped> {
        let volume = reply.volume.filter(|volume| !volume.volume_id.is_empty());
        let volume = volume.ok_or_else(|| Stopped::because("CreateVolume: OK without a volume or its id"))?;
        let mut context = volume.volume_context;
        context.extend(self.run.options.profile.volume_context.clone());
        Ok(Volume { id: volume.volume_id, context, capacity: volume.capacity_bytes, request })
    }

    /// A request that deletes a volume.
    pub(super) fn delete_volume(&self, id: &str) -> v1::DeleteVolumeRequest {
        v1::DeleteVolumeRequest { volume_id: id.to_owned(), secrets: self.secrets(Rpc::DeleteVolume) }
    }

    /// The id of a volume that this scenario has created and deleted: well-formed, and unknown for sure.
    pub(super) async fn dead_volume(&self) -> Result<String, Stopped> {
        if !self.has("Controller.CREATE_DELETE_VOLUME") {
            return Ok(self.made_up_id(""));
        }
        let volume = self.volume().await?;
        self.need(self.delete_volume(&volume.id)).await?;
        Ok(volume.id)
    }

    /// An id of the same shape that the driver never gave out: the last letters and digits are others.
    pub(super) fn made_up_id(&self, like: &str) -> String {
        let id = if like.is_empty() { format!("made-up-{}", self.name()) } else { altered(like) };
        self.run.recorder.invent(&id);
        id
    }

    /// A request that validates capabilities of a volume.
    pub(super) fn validate(
        &self,
        volume: &Volume,
        volume_capabilities: Vec<VolumeCapability>,
    ) -> v1::ValidateVolumeCapabilitiesRequest {
        v1::ValidateVolumeCapabilitiesRequest {
            volume_id: volume.id.clone(),
            volume_context: volume.context.clone(),
            volume_capabilities,
            parameters: volume.request.parameters.clone(),
            secrets: self.secrets(Rpc::ValidateVolumeCapabilities),
            mutable_parameters: volume.request.mutable_parameters.clone(),
        }
    }

    /// A request that expands a volume.
    pub(super) fn expand(&self, volume: &Volume, required_bytes: i64) -> v1::ControllerExpandVolumeRequest {
        v1::ControllerExpandVolumeRequest {
            volume_id: volume.id.clone(),
            capacity_range: Some(v1::CapacityRange { required_bytes, limit_bytes: 0 }),
            secrets: self.secrets(Rpc::ControllerExpandVolume),
            volume_capability: volume.request.volume_capabilities.first().cloned(),
        }
    }

    /// The size to which a volume is expanded: larger than it is for sure.
    pub(super) fn larger(&self, volume: &Volume) -> i64 {
        let profile = &self.run.options.profile;
        profile.expanded_bytes.max(volume.capacity + (profile.expanded_bytes - profile.capacity_bytes))
    }

    /// A request that snapshots a volume.
    pub(super) fn create_snapshot(&self, volume: &str) -> v1::CreateSnapshotRequest {
        v1::CreateSnapshotRequest {
            source_volume_id: volume.to_owned(),
            name: self.name(),
            secrets: self.secrets(Rpc::CreateSnapshot),
            parameters: self.run.options.profile.snapshot_parameters.clone(),
        }
    }

    /// A new snapshot of a volume, ready to use.
    pub(super) async fn snapshot(&self, volume: &str) -> Result<v1::Snapshot, Stopped> {
        self.snapshot_by(self.create_snapshot(volume)).await
    }

    /// The snapshot that a request makes, ready to use.
    pub(super) async fn snapshot_by(&self, request: v1::CreateSnapshotRequest) -> Result<v1::Snapshot, Stopped> {
        let mut pause = std::time::Duration::from_millis(10);
        loop {
            let reply = self.need(request.clone()).await?;
            let snapshot = reply.snapshot.filter(|snapshot| !snapshot.snapshot_id.is_empty());
            let snapshot =
                snapshot.ok_or_else(|| Stopped::because("CreateSnapshot: OK without a snapshot or its id"))?;
            if snapshot.ready_to_use {
                return Ok(snapshot);
            }
            if pause > std::time::Duration::from_secs(20) {
                return Err(Stopped::because("the snapshot did not become ready to use"));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// A request that deletes a snapshot.
    pub(super) fn delete_snapshot(&self, id: &str) -> v1::DeleteSnapshotRequest {
        v1::DeleteSnapshotRequest { snapshot_id: id.to_owned(), secrets: self.secrets(Rpc::DeleteSnapshot) }
    }

    /// The id of a snapshot that this scenario has created and deleted.
    pub(super) async fn dead_snapshot(&self) -> Result<String, Stopped> {
        let volume = self.volume().await?;
        let snapshot = self.snapshot(&volume.id).await?;
        self.need(self.delete_snapshot(&snapshot.snapshot_id)).await?;
        Ok(snapshot.snapshot_id)
    }

    /// A request that lists snapshots without a filter.
    pub(super) fn list_snapshots(&self) -> v1::ListSnapshotsRequest {
        v1::ListSnapshotsRequest { secrets: self.secrets(Rpc::ListSnapshots), ..Default::default() }
    }

    /// A request that lists the snapshots of a volume.
    pub(super) fn list_snapshots_of(&self, volume: &str) -> v1::ListSnapshotsRequest {
        v1::ListSnapshotsRequest { source_volume_id: volume.to_owned(), ..self.list_snapshots() }
    }

    /// A request that lists one snapshot.
    pub(super) fn list_snapshot(&self, id: &str) -> v1::ListSnapshotsRequest {
        v1::ListSnapshotsRequest { snapshot_id: id.to_owned(), ..self.list_snapshots() }
    }

    /// A request that gets a snapshot.
    pub(super) fn get_snapshot(&self, id: &str) -> v1::GetSnapshotRequest {
        v1::GetSnapshotRequest { snapshot_id: id.to_owned(), secrets: self.secrets(Rpc::GetSnapshot) }
    }

    /// Capabilities that lack something: all of it, the access type, the access mode, a known mode.
    pub(super) fn broken_capabilities(&self) -> [Option<VolumeCapability>; 4] {
        let valid = self.capability();
        let unknown = v1::volume_capability::AccessMode { mode: Mode::Unknown.into() };
        [
            None,
            Some(VolumeCapability { access_type: None, ..valid.clone() }),
            Some(VolumeCapability { access_mode: None, ..valid.clone() }),
            Some(VolumeCapability { access_mode: Some(unknown), ..valid }),
        ]
    }

    /// A request for a volume of that content.
    pub(super) fn create_from(
        &self,
        source: v1::volume_content_source::Type,
        like: &Volume,
        required_bytes: i64,
    ) -> v1::CreateVolumeRequest {
        v1::CreateVolumeRequest {
            name: self.name(),
            capacity_range: Some(v1::CapacityRange { required_bytes, limit_bytes: 0 }),
            volume_content_source: Some(v1::VolumeContentSource { r#type: Some(source) }),
            ..like.request.clone()
        }
    }
}

/// A snapshot as the source of a volume.
pub(super) fn from_snapshot(id: &str) -> v1::volume_content_source::Type {
    v1::volume_content_source::Type::Snapshot(v1::volume_content_source::SnapshotSource { snapshot_id: id.to_owned() })
}

/// A volume as the source of a volume.
pub(super) fn from_volume(id: &str) -> v1::volume_content_source::Type {
    v1::volume_content_source::Type::Volume(v1::volume_content_source::VolumeSource { volume_id: id.to_owned() })
}

/// A request that lists a page of volumes.
pub(super) fn list_volumes(max_entries: i32, starting_token: &str) -> v1::ListVolumesRequest {
    v1::ListVolumesRequest { max_entries, starting_token: starting_token.to_owned() }
}

/// The text with its last letters and digits changed.
fn altered(like: &str) -> String {
    let mut left = 6;
    let changed: Vec<char> = like
        .chars()
        .rev()
        .map(|char| match char {
            '0'..='9' if left > 0 => {
                left -= 1;
                char::from(b'0' + (char as u8 - b'0' + 7) % 10)
            }
            'a'..='f' if left > 0 => {
                left -= 1;
                char::from(b'a' + (char as u8 - b'a' + 3) % 6)
            }
            other => other,
        })
        .collect();
    let made_up: String = changed.into_iter().rev().collect();
    if left == 6 { format!("{made_up}-0") } else { made_up }
}

/// The request with the secrets that the profile has for its RPC, where it is one that removes things.
pub(crate) fn with_secrets(profile: &Profile, request: Request) -> Request {
    let secrets = profile.secrets_of(request.rpc()).clone();
    match request {
        Request::DeleteVolume(request) => v1::DeleteVolumeRequest { secrets, ..request }.into(),
        Request::DeleteSnapshot(request) => v1::DeleteSnapshotRequest { secrets, ..request }.into(),
        Request::ControllerUnpublishVolume(request) => {
            v1::ControllerUnpublishVolumeRequest { secrets, ..request }.into()
        }
        Request::DeleteVolumeGroupSnapshot(request) => {
            v1::DeleteVolumeGroupSnapshotRequest { secrets, ..request }.into()
        }
        request => request,
    }
}
