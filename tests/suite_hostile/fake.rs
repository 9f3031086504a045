//! A small honest driver that keeps its volumes in memory and mounts nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use csi_certify::{
    csi::v1::{
        self, controller_server::ControllerServer, controller_service_capability as controller,
        identity_server::IdentityServer, node_server::NodeServer, node_service_capability as node, plugin_capability,
        volume_capability::AccessType, volume_capability::access_mode::Mode, volume_content_source::Type,
    },
    sut::InProcess,
};
use tonic::{Request, Response, Status, service::Routes};

type Answer<T> = Result<Response<T>, Status>;

const NODE: &str = "fake-node-0001";

/// All that the driver knows; shared by the services, and kept over restarts.
#[derive(Default)]
pub(crate) struct World {
    counter: u64,
    volumes: BTreeMap<String, Volume>,
    snapshots: BTreeMap<String, (String, v1::Snapshot)>,
    staged: BTreeSet<(String, String)>,
    published: BTreeMap<(String, String), bool>,
    /// How many volumes and snapshots were ever created.
    pub(crate) created: u64,
}

#[derive(Clone)]
struct Volume {
    request: v1::CreateVolumeRequest,
    bytes: i64,
    attached: Option<bool>,
}

impl World {
    /// What is left of all that was created.
    pub(crate) fn left(&self) -> Vec<String> {
        let paths = self.staged.iter().map(|it| it.1.clone()).chain(self.published.keys().map(|it| it.1.clone()));
        self.volumes.keys().chain(self.snapshots.keys()).cloned().chain(paths).collect()
    }
}

/// The driver's services over one world.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    /// Where volumes really are, as directories that get mounted; without it nothing is mounted.
    store: Option<PathBuf>,
}

impl Fake {
    pub(crate) fn routes(&self) -> Routes {
        Routes::new(IdentityServer::new(self.clone()))
            .add_service(ControllerServer::new(self.clone()))
            .add_service(NodeServer::new(self.clone()))
    }

    pub(crate) fn in_process(&self) -> InProcess {
        InProcess::new(self.routes())
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A driver that keeps volumes as directories below `store`, and mounts them.
    pub(crate) fn mounting(store: PathBuf) -> Self {
        Self { store: Some(store), ..Self::default() }
    }

    fn content(&self, id: &str) -> Option<PathBuf> {
        self.store.as_ref().map(|store| store.join(id))
    }

    fn copy(&self, from: &str, to: &str) {
        let (Some(from), Some(to)) = (self.content(from), self.content(to)) else { return };
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap().flatten() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    fn mount(&self, from: &Path, to: &str, readonly: bool) {
        use rustix::mount::{MountFlags, mount_bind, mount_remount};
        if self.store.is_none() {
            return;
        }
        fs::create_dir_all(to).unwrap();
        mount_bind(from, to).unwrap();
        if readonly {
            mount_remount(to, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
        }
    }

    fn unmount(&self, path: &str) {
        if self.store.is_none() {
            return;
        }
        // A process that another test is about to start holds our open files until it has begun its program.
        while let Err(error) = rustix::mount::unmount(path, rustix::mount::UnmountFlags::empty()) {
            assert_eq!(error, rustix::io::Errno::BUSY, "umount {path}");
            std::thread::yield_now();
        }
    }
}

fn required(text: &str, field: &str) -> Result<(), Status> {
    match text.is_empty() {
        true => Err(Status::invalid_argument(format!("{field} is required"))),
        false => Ok(()),
    }
}

fn absolute(path: &str, field: &str) -> Result<(), Status> {
    required(path, field)?;
    match path.starts_with('/') {
        true => Ok(()),
        false => Err(Status::invalid_argument(format!("{field} is not absolute"))),
    }
}

/// Checks a capability; block devices are not supported.
fn usable(capability: Option<&v1::VolumeCapability>, unsupported: fn(String) -> Status) -> Result<(), Status> {
    let capability = capability.ok_or_else(|| Status::invalid_argument("volume_capability is required"))?;
    let mode = capability.access_mode.as_ref().map_or(Ok(Mode::Unknown), |it| Mode::try_from(it.mode));
    if matches!(mode, Err(_) | Ok(Mode::Unknown)) {
        return Err(Status::invalid_argument("access_mode is required"));
    }
    match capability.access_type {
        None => Err(Status::invalid_argument("access_type is required")),
        Some(AccessType::Block(_)) => Err(unsupported("block devices are not supported".to_owned())),
        Some(AccessType::Mount(_)) => Ok(()),
    }
}

fn sized(range: Option<&v1::CapacityRange>) -> Result<i64, Status> {
    let Some(range) = range else { return Ok(1 << 20) };
    let (required, limit) = (range.required_bytes, range.limit_bytes);
    if required < 0 || limit < 0 || (required == 0 && limit == 0) || (limit != 0 && limit < required) {
        return Err(Status::invalid_argument("capacity_range makes no sense"));
    }
    let bytes = if required == 0 { limit.min(1 << 20) } else { required };
    match (4096..=1 << 40).contains(&bytes) {
        true => Ok(bytes),
        false => Err(Status::out_of_range("volumes have 4 KiB to 1 TiB")),
    }
}

fn page<T: Clone>(all: Vec<T>, max_entries: i32, token: &str) -> Result<(Vec<T>, String), Status> {
    if max_entries < 0 {
        return Err(Status::invalid_argument("max_entries is negative"));
    }
    let start = match token.strip_prefix("from-").and_then(|it| it.parse::<usize>().ok()) {
        Some(start) => start,
        None if token.is_empty() => 0,
        None => return Err(Status::aborted("starting_token is not valid")),
    };
    let end = if max_entries == 0 { all.len() } else { all.len().min(start + max_entries as usize) };
    let next = if end < all.len() { format!("from-{end}") } else { String::new() };
    Ok((all.get(start..end).unwrap_or_default().to_vec(), next))
}

#[tonic::async_trait]
impl v1::identity_server::Identity for Fake {
    async fn get_plugin_info(&self, _: Request<v1::GetPluginInfoRequest>) -> Answer<v1::GetPluginInfoResponse> {
        let (name, vendor_version) = ("fake.example.com".to_owned(), "1".to_owned());
        Ok(Response::new(v1::GetPluginInfoResponse { name, vendor_version, manifest: BTreeMap::new() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<v1::GetPluginCapabilitiesRequest>,
    ) -> Answer<v1::GetPluginCapabilitiesResponse> {
        let service = plugin_capability::Service { r#type: plugin_capability::service::Type::ControllerService.into() };
        let online =
            plugin_capability::VolumeExpansion { r#type: plugin_capability::volume_expansion::Type::Online.into() };
        let capabilities =
            [plugin_capability::Type::Service(service), plugin_capability::Type::VolumeExpansion(online)]
                .map(|it| v1::PluginCapability { r#type: Some(it) });
        Ok(Response::new(v1::GetPluginCapabilitiesResponse { capabilities: capabilities.into() }))
    }

    async fn probe(&self, _: Request<v1::ProbeRequest>) -> Answer<v1::ProbeResponse> {
        Ok(Response::new(v1::ProbeResponse { ready: Some(true) }))
    }
}

#[tonic::async_trait]
impl v1::controller_server::Controller for Fake {
    async fn create_volume(&self, request: Request<v1::CreateVolumeRequest>) -> Answer<v1::CreateVolumeResponse> {
        let request = request.into_inner();
        required(&request.name, "name")?;
        if request.volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("volume_capabilities is required"));
        }
        for capability in &request.volume_capabilities {
            usable(Some(capability), Status::invalid_argument)?;
        }
        let bytes = sized(request.capacity_range.as_ref())?;
        let mut world = self.world();
        match request.volume_content_source.as_ref().map(|it| &it.r#type) {
            None => {}
            Some(Some(Type::Snapshot(it))) => {
                required(&it.snapshot_id, "snapshot_id")?;
                let source = world.snapshots.get(&it.snapshot_id).ok_or_else(|| Status::not_found("no snapshot"))?;
                if bytes < source.1.size_bytes {
                    return Err(Status::out_of_range("smaller than the snapshot"));
                }
            }
            Some(_) => return Err(Status::invalid_argument("the source has to be a snapshot")),
        }
        let found = world.volumes.iter().find(|(_, it)| it.request.name == request.name);
        let (id, volume) = match found.map(|(id, it)| (id.clone(), it.clone())) {
            Some((id, volume)) => {
                let limit = request.capacity_range.as_ref().map_or(0, |it| it.limit_bytes);
                let small = request.capacity_range.is_some() && volume.bytes < bytes;
                let large = limit != 0 && volume.bytes > limit;
                let other = volume.request.volume_content_source != request.volume_content_source;
                if small || large || other {
                    return Err(Status::already_exists("another volume of this name exists"));
                }
                (id, volume)
            }
            None => {
                world.counter += 1;
                world.created += 1;
                let id = format!("vol-{:06}", world.counter);
                match request.volume_content_source.as_ref().and_then(|it| it.r#type.as_ref()) {
                    Some(Type::Snapshot(source)) => self.copy(&source.snapshot_id, &id),
                    _ => {
                        if let Some(content) = self.content(&id) {
                            fs::create_dir_all(content).unwrap();
                        }
                    }
                }
                let volume = Volume { request, bytes, attached: None };
                world.volumes.insert(id.clone(), volume.clone());
                (id, volume)
            }
        };
        Ok(Response::new(v1::CreateVolumeResponse { volume: Some(volume.message(&id)) }))
    }

    async fn delete_volume(&self, request: Request<v1::DeleteVolumeRequest>) -> Answer<v1::DeleteVolumeResponse> {
        let id = request.into_inner().volume_id;
        required(&id, "volume_id")?;
        let mut world = self.world();
        let used = world.staged.iter().any(|it| it.0 == id) || world.published.keys().any(|it| it.0 == id);
        if used || world.volumes.get(&id).is_some_and(|it| it.attached.is_some()) {
            return Err(Status::failed_precondition("the volume is in use"));
        }
        world.volumes.remove(&id);
        Ok(Response::new(v1::DeleteVolumeResponse {}))
    }

    async fn controller_publish_volume(
        &self,
        request: Request<v1::ControllerPublishVolumeRequest>,
    ) -> Answer<v1::ControllerPublishVolumeResponse> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        required(&request.node_id, "node_id")?;
        usable(request.volume_capability.as_ref(), Status::invalid_argument)?;
        let mut world = self.world();
        let volume = world.volumes.get_mut(&request.volume_id).ok_or_else(|| Status::not_found("no such volume"))?;
        if request.node_id != NODE {
            return Err(Status::not_found("no such node"));
        }
        if volume.attached.is_some_and(|readonly| readonly != request.readonly) {
            return Err(Status::already_exists("attached with another readonly flag"));
        }
        volume.attached = Some(request.readonly);
        let publish_context = BTreeMap::from([("device".to_owned(), request.volume_id)]);
        Ok(Response::new(v1::ControllerPublishVolumeResponse { publish_context }))
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<v1::ControllerUnpublishVolumeRequest>,
    ) -> Answer<v1::ControllerUnpublishVolumeResponse> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        if let Some(volume) = self.world().volumes.get_mut(&request.volume_id)
            && (request.node_id.is_empty() || request.node_id == NODE)
        {
            volume.attached = None;
        }
        Ok(Response::new(v1::ControllerUnpublishVolumeResponse {}))
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<v1::ValidateVolumeCapabilitiesRequest>,
    ) -> Answer<v1::ValidateVolumeCapabilitiesResponse> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        if request.volume_capabilities.is_empty() {
            return Err(Status::invalid_argument("volume_capabilities is required"));
        }
        if !self.world().volumes.contains_key(&request.volume_id) {
            return Err(Status::not_found("no such volume"));
        }
        let all = request.volume_capabilities.iter().all(|it| usable(Some(it), Status::invalid_argument).is_ok());
        let volume_capabilities = request.volume_capabilities;
        let confirmed = all.then(|| v1::validate_volume_capabilities_response::Confirmed {
            volume_capabilities,
            ..Default::default()
        });
        Ok(Response::new(v1::ValidateVolumeCapabilitiesResponse { confirmed, message: String::new() }))
    }

    async fn list_volumes(&self, request: Request<v1::ListVolumesRequest>) -> Answer<v1::ListVolumesResponse> {
        let request = request.into_inner();
        let world = self.world();
        let all = world
            .volumes
            .iter()
            .map(|(id, volume)| v1::list_volumes_response::Entry { volume: Some(volume.message(id)), status: None });
        let (entries, next_token) = page(all.collect(), request.max_entries, &request.starting_token)?;
        Ok(Response::new(v1::ListVolumesResponse { entries, next_token }))
    }

    async fn get_capacity(&self, _: Request<v1::GetCapacityRequest>) -> Answer<v1::GetCapacityResponse> {
        Err(Status::unimplemented("not served"))
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<v1::ControllerGetCapabilitiesRequest>,
    ) -> Answer<v1::ControllerGetCapabilitiesResponse> {
        use controller::rpc::Type as T;
        let capabilities = [
            T::CreateDeleteVolume,
            T::PublishUnpublishVolume,
            T::PublishReadonly,
            T::ListVolumes,
            T::CreateDeleteSnapshot,
            T::ListSnapshots,
            T::ExpandVolume,
        ]
        .map(|it| v1::ControllerServiceCapability {
            r#type: Some(controller::Type::Rpc(controller::Rpc { r#type: it.into() })),
        });
        Ok(Response::new(v1::ControllerGetCapabilitiesResponse { capabilities: capabilities.into() }))
    }

    async fn create_snapshot(&self, request: Request<v1::CreateSnapshotRequest>) -> Answer<v1::CreateSnapshotResponse> {
        let request = request.into_inner();
        required(&request.name, "name")?;
        required(&request.source_volume_id, "source_volume_id")?;
        let mut world = self.world();
        if let Some((_, snapshot)) = world.snapshots.values().find(|(name, _)| *name == request.name) {
            return match snapshot.source_volume_id == request.source_volume_id {
                true => Ok(Response::new(v1::CreateSnapshotResponse { snapshot: Some(snapshot.clone()) })),
                false => Err(Status::already_exists("a snapshot of another volume has this name")),
            };
        }
        let volume = world.volumes.get(&request.source_volume_id).ok_or_else(|| Status::not_found("no such volume"))?;
        let snapshot = v1::Snapshot {
            size_bytes: volume.bytes,
            snapshot_id: format!("snap-{:06}", world.counter + 1),
            source_volume_id: request.source_volume_id,
            creation_time: Some(std::time::SystemTime::now().into()),
            ready_to_use: true,
            group_snapshot_id: String::new(),
        };
        self.copy(&snapshot.source_volume_id, &snapshot.snapshot_id);
        world.counter += 1;
        world.created += 1;
        world.snapshots.insert(snapshot.snapshot_id.clone(), (request.name, snapshot.clone()));
        Ok(Response::new(v1::CreateSnapshotResponse { snapshot: Some(snapshot) }))
    }

    async fn delete_snapshot(&self, request: Request<v1::DeleteSnapshotRequest>) -> Answer<v1::DeleteSnapshotResponse> {
        let id = request.into_inner().snapshot_id;
        required(&id, "snapshot_id")?;
        self.world().snapshots.remove(&id);
        Ok(Response::new(v1::DeleteSnapshotResponse {}))
    }

    async fn list_snapshots(&self, request: Request<v1::ListSnapshotsRequest>) -> Answer<v1::ListSnapshotsResponse> {
        let request = request.into_inner();
        let wanted = |it: &v1::Snapshot| {
            (request.snapshot_id.is_empty() || it.snapshot_id == request.snapshot_id)
                && (request.source_volume_id.is_empty() || it.source_volume_id == request.source_volume_id)
        };
        let world = self.world();
        let all = world.snapshots.values().map(|it| it.1.clone()).filter(wanted);
        let all = all.map(|it| v1::list_snapshots_response::Entry { snapshot: Some(it) }).collect();
        let (entries, next_token) = page(all, request.max_entries, &request.starting_token)?;
        Ok(Response::new(v1::ListSnapshotsResponse { entries, next_token }))
    }

    async fn get_snapshot(&self, _: Request<v1::GetSnapshotRequest>) -> Answer<v1::GetSnapshotResponse> {
        Err(Status::unimplemented("not served"))
    }

    async fn controller_expand_volume(
        &self,
        request: Request<v1::ControllerExpandVolumeRequest>,
    ) -> Answer<v1::ControllerExpandVolumeResponse> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        if request.capacity_range.is_none() {
            return Err(Status::invalid_argument("capacity_range is required"));
        }
        if request.volume_capability.is_some() {
            usable(request.volume_capability.as_ref(), Status::invalid_argument)?;
        }
        let bytes = sized(request.capacity_range.as_ref())?;
        let mut world = self.world();
        let volume = world.volumes.get_mut(&request.volume_id).ok_or_else(|| Status::not_found("no such volume"))?;
        volume.bytes = volume.bytes.max(bytes);
        let capacity_bytes = volume.bytes;
        Ok(Response::new(v1::ControllerExpandVolumeResponse { capacity_bytes, node_expansion_required: false }))
    }

    async fn controller_get_volume(
        &self,
        _: Request<v1::ControllerGetVolumeRequest>,
    ) -> Answer<v1::ControllerGetVolumeResponse> {
        Err(Status::unimplemented("not served"))
    }

    async fn controller_modify_volume(
        &self,
        _: Request<v1::ControllerModifyVolumeRequest>,
    ) -> Answer<v1::ControllerModifyVolumeResponse> {
        Err(Status::unimplemented("not served"))
    }
}

impl Volume {
    fn message(&self, id: &str) -> v1::Volume {
        v1::Volume {
            capacity_bytes: self.bytes,
            volume_id: id.to_owned(),
            content_source: self.request.volume_content_source.clone(),
            ..Default::default()
        }
    }
}

impl Fake {
    fn exists(&self, id: &str) -> Result<(), Status> {
        required(id, "volume_id")?;
        match self.world().volumes.contains_key(id) {
            true => Ok(()),
            false => Err(Status::not_found("no such volume")),
        }
    }
}

#[tonic::async_trait]
impl v1::node_server::Node for Fake {
    async fn node_stage_volume(
        &self,
        request: Request<v1::NodeStageVolumeRequest>,
    ) -> Answer<v1::NodeStageVolumeResponse> {
        let request = request.into_inner();
        absolute(&request.staging_target_path, "staging_target_path")?;
        usable(request.volume_capability.as_ref(), Status::failed_precondition)?;
        self.exists(&request.volume_id)?;
        let mut world = self.world();
        let (id, path) = (request.volume_id, request.staging_target_path);
        if world.staged.insert((id.clone(), path.clone())) {
            self.mount(&self.content(&id).unwrap_or_default(), &path, false);
        }
        Ok(Response::new(v1::NodeStageVolumeResponse {}))
    }

    async fn node_unstage_volume(
        &self,
        request: Request<v1::NodeUnstageVolumeRequest>,
    ) -> Answer<v1::NodeUnstageVolumeResponse> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        absolute(&request.staging_target_path, "staging_target_path")?;
        let path = request.staging_target_path;
        let mut world = self.world();
        if world.staged.remove(&(request.volume_id, path.clone())) {
            self.unmount(&path);
        }
        Ok(Response::new(v1::NodeUnstageVolumeResponse {}))
    }

    async fn node_publish_volume(
        &self,
        request: Request<v1::NodePublishVolumeRequest>,
    ) -> Answer<v1::NodePublishVolumeResponse> {
        let request = request.into_inner();
        absolute(&request.target_path, "target_path")?;
        usable(request.volume_capability.as_ref(), Status::failed_precondition)?;
        self.exists(&request.volume_id)?;
        let mut world = self.world();
        if !world.staged.contains(&(request.volume_id.clone(), request.staging_target_path.clone())) {
            return Err(Status::failed_precondition("the volume is not staged"));
        }
        if world.published.keys().any(|(id, path)| *path == request.target_path && *id != request.volume_id) {
            return Err(Status::already_exists("another volume is published there"));
        }
        match world.published.get(&(request.volume_id.clone(), request.target_path.clone())) {
            Some(&readonly) if readonly != request.readonly => {
                return Err(Status::already_exists("published with another readonly flag"));
            }
            Some(_) => {}
            None => {
                self.mount(Path::new(&request.staging_target_path), &request.target_path, request.readonly);
                world.published.insert((request.volume_id, request.target_path), request.readonly);
            }
        }
        Ok(Response::new(v1::NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<v1::NodeUnpublishVolumeRequest>,
    ) -> Answer<v1::NodeUnpublishVolumeResponse> {
        let request = request.into_inner();
        required(&request.volume_id, "volume_id")?;
        absolute(&request.target_path, "target_path")?;
        let path = request.target_path;
        // Held until the directory is gone: a call that publishes it again meanwhile would mount on what we remove.
        let mut world = self.world();
        if world.published.remove(&(request.volume_id, path.clone())).is_some() && self.store.is_some() {
            self.unmount(&path);
            // A link that somebody put there stays.
            if !Path::new(&path).is_symlink() {
                fs::remove_dir(path).unwrap();
            }
        }
        Ok(Response::new(v1::NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<v1::NodeGetVolumeStatsRequest>,
    ) -> Answer<v1::NodeGetVolumeStatsResponse> {
        Err(Status::unimplemented("not served"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<v1::NodeExpandVolumeRequest>,
    ) -> Answer<v1::NodeExpandVolumeResponse> {
        Err(Status::unimplemented("not served"))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<v1::NodeGetCapabilitiesRequest>,
    ) -> Answer<v1::NodeGetCapabilitiesResponse> {
        let stage = node::Rpc { r#type: node::rpc::Type::StageUnstageVolume.into() };
        let capabilities = vec![v1::NodeServiceCapability { r#type: Some(node::Type::Rpc(stage)) }];
        Ok(Response::new(v1::NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<v1::NodeGetInfoRequest>) -> Answer<v1::NodeGetInfoResponse> {
        let node_id = NODE.to_owned();
        Ok(Response::new(v1::NodeGetInfoResponse { node_id, max_volumes_per_node: 0, accessible_topology: None }))
    }
}
