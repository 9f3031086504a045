//! The GroupController service: which RPC needs which capability, and where each is answered.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    csi::v1::{
        self, GroupControllerServiceCapability as Advertised, group_controller_server::GroupController,
        group_controller_service_capability as advertised, group_controller_service_capability::rpc::Type,
    },
    driver::{Refusal, assembly::State, capability::Plugin, rpc::Rpc},
};

/// Group snapshots.
pub struct GroupControllerService {
    pub(super) state: Arc<State>,
}

impl GroupControllerService {
    pub(in crate::driver) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn rpc(&self, method: &'static str) -> Rpc {
        Rpc { service: "csi.v1.GroupController", method, patience: self.state.patience() }
    }

    /// Refuses what is not offered before it looks at anything else (specification line 510).
    fn offered(&self, rpc: &'static str) -> Result<(), Refusal> {
        if !self.state.capabilities.group_controller(Type::CreateDeleteGetVolumeGroupSnapshot) {
            return Err(Refusal::Unimplemented(rpc));
        }
        self.state.ready()
    }

    fn advertised(&self, rpc: &'static str) -> Result<v1::GroupControllerGetCapabilitiesResponse, Refusal> {
        if !self.state.capabilities.plugin(Plugin::GroupControllerService) {
            return Err(Refusal::Unimplemented(rpc));
        }
        let advertise = |capability: Type| Advertised {
            r#type: Some(advertised::Type::Rpc(advertised::Rpc { r#type: capability.into() })),
        };
        let capabilities = self.state.capabilities.of_group_controller().map(advertise).collect();
        Ok(v1::GroupControllerGetCapabilitiesResponse { capabilities })
    }
}

#[tonic::async_trait]
impl GroupController for GroupControllerService {
    async fn group_controller_get_capabilities(
        &self,
        request: Request<v1::GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<v1::GroupControllerGetCapabilitiesResponse>, Status> {
        let rpc = self.rpc("GroupControllerGetCapabilities");
        rpc.answer(request, |_, _| async move { self.advertised(rpc.method) }).await
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<v1::CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::CreateVolumeGroupSnapshotResponse>, Status> {
        let rpc = self.rpc("CreateVolumeGroupSnapshot");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method)?;
            self.create(&request).await
        })
        .await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<v1::DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::DeleteVolumeGroupSnapshotResponse>, Status> {
        let rpc = self.rpc("DeleteVolumeGroupSnapshot");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method)?;
            self.delete(&request).await
        })
        .await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<v1::GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::GetVolumeGroupSnapshotResponse>, Status> {
        let rpc = self.rpc("GetVolumeGroupSnapshot");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method)?;
            self.one(request).await
        })
        .await
    }
}
