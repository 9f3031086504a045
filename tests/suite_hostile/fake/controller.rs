//! Volumes and snapshots.

use csi_certify::csi::v1::controller_service_capability as capability;

use super::*;

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
        use capability::rpc::Type as T;
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
            r#type: Some(capability::Type::Rpc(capability::Rpc { r#type: it.into() })),
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
