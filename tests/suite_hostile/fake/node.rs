//! Staging and publishing.

use csi_certify::csi::v1::node_service_capability as capability;

use super::*;

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
            // A link that somebody put there stays, and what is gone need not be removed.
            if !Path::new(&path).is_symlink() && Path::new(&path).exists() {
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
        let stage = capability::Rpc { r#type: capability::rpc::Type::StageUnstageVolume.into() };
        let capabilities = vec![v1::NodeServiceCapability { r#type: Some(capability::Type::Rpc(stage)) }];
        Ok(Response::new(v1::NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<v1::NodeGetInfoRequest>) -> Answer<v1::NodeGetInfoResponse> {
        let node_id = NODE.to_owned();
        Ok(Response::new(v1::NodeGetInfoResponse { node_id, max_volumes_per_node: 0, accessible_topology: None }))
    }
}
