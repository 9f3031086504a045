//! The Node service: which RPC needs which capability, and where each is answered.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::NodeVolumes;
use crate::{
    csi::v1::{self, node_server::Node, node_service_capability::rpc::Type},
    driver::{
        Refusal,
        assembly::State,
        lock::{Held, Hold, Object},
        record::Volume,
        rpc::Rpc,
    },
    mountpod::VolumeId,
};

/// Volumes on this node.
pub struct NodeService {
    pub(super) state: Arc<State>,
    pub(super) volumes: Arc<dyn NodeVolumes>,
}

impl NodeService {
    pub(in crate::driver) fn new(state: Arc<State>, volumes: Arc<dyn NodeVolumes>) -> Self {
        Self { state, volumes }
    }

    fn rpc(&self, method: &'static str) -> Rpc {
        Rpc { service: "csi.v1.Node", method, patience: self.state.patience() }
    }

    /// Refuses what is not offered before it looks at anything else (specification line 510).
    fn offered(&self, rpc: &'static str, any_of: &[Type]) -> Result<(), Refusal> {
        if !any_of.iter().any(|&capability| self.state.capabilities.node(capability)) {
            return Err(Refusal::Unimplemented(rpc));
        }
        self.state.ready()
    }

    /// A volume, kept from being deleted, detached or resized while the node takes it up. What only looks at it, or
    /// lets go of it, needs no such protection.
    pub(super) fn hold(&self, id: Option<VolumeId>, text: &str) -> Result<(Volume, Held), Refusal> {
        let id = id.ok_or_else(|| Refusal::no_volume(text))?;
        let held = self.state.locks.hold(Object::Volume(id.clone()), Hold::Shared)?;
        Ok((self.find(Some(id), text)?, held))
    }

    /// A volume that has to exist.
    pub(super) fn find(&self, id: Option<VolumeId>, text: &str) -> Result<Volume, Refusal> {
        let id = id.ok_or_else(|| Refusal::no_volume(text))?;
        self.volumes.volume(&id)?.ok_or_else(|| Refusal::no_volume(text))
    }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_stage_volume(
        &self,
        request: Request<v1::NodeStageVolumeRequest>,
    ) -> Result<Response<v1::NodeStageVolumeResponse>, Status> {
        let rpc = self.rpc("NodeStageVolume");
        rpc.answer(request, |request, deadline| async move {
            self.offered(rpc.method, &[Type::StageUnstageVolume])?;
            self.stage(&request, deadline).await
        })
        .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<v1::NodeUnstageVolumeRequest>,
    ) -> Result<Response<v1::NodeUnstageVolumeResponse>, Status> {
        let rpc = self.rpc("NodeUnstageVolume");
        rpc.answer(request, |request, deadline| async move {
            self.offered(rpc.method, &[Type::StageUnstageVolume])?;
            self.unstage(&request, deadline).await
        })
        .await
    }

    async fn node_publish_volume(
        &self,
        request: Request<v1::NodePublishVolumeRequest>,
    ) -> Result<Response<v1::NodePublishVolumeResponse>, Status> {
        let rpc = self.rpc("NodePublishVolume");
        rpc.answer(request, |request, deadline| async move {
            self.state.ready()?;
            self.publish(&request, deadline).await
        })
        .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<v1::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<v1::NodeUnpublishVolumeResponse>, Status> {
        let rpc = self.rpc("NodeUnpublishVolume");
        rpc.answer(request, |request, deadline| async move {
            self.state.ready()?;
            self.unpublish(&request, deadline).await
        })
        .await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<v1::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<v1::NodeGetVolumeStatsResponse>, Status> {
        let rpc = self.rpc("NodeGetVolumeStats");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, &[Type::GetVolumeStats, Type::VolumeCondition])?;
            self.stats(&request).await
        })
        .await
    }

    async fn node_expand_volume(
        &self,
        request: Request<v1::NodeExpandVolumeRequest>,
    ) -> Result<Response<v1::NodeExpandVolumeResponse>, Status> {
        let rpc = self.rpc("NodeExpandVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, &[Type::ExpandVolume])?;
            self.expand(&request).await
        })
        .await
    }

    async fn node_get_capabilities(
        &self,
        request: Request<v1::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<v1::NodeGetCapabilitiesResponse>, Status> {
        let answer = self.advertised();
        self.rpc("NodeGetCapabilities").answer(request, |_, _| async { Ok(answer) }).await
    }

    async fn node_get_info(
        &self,
        request: Request<v1::NodeGetInfoRequest>,
    ) -> Result<Response<v1::NodeGetInfoResponse>, Status> {
        let answer = self.info();
        self.rpc("NodeGetInfo").answer(request, |_, _| async { Ok(answer) }).await
    }
}
