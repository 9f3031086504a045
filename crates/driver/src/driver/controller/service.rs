//! The Controller service: which RPC needs which capability, and where each is answered.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::{
    csi::v1::{
        self, ControllerServiceCapability as Advertised, controller_server::Controller,
        controller_service_capability as advertised, controller_service_capability::rpc::Type,
    },
    driver::{Refusal, assembly::State, capability::Plugin, rpc::Rpc},
};

/// Volumes and snapshots, seen from outside the nodes.
pub struct ControllerService {
    pub(super) state: Arc<State>,
}

impl ControllerService {
    pub(in crate::driver) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn rpc(&self, method: &'static str) -> Rpc {
        Rpc { service: "csi.v1.Controller", method, patience: self.state.patience() }
    }

    /// Refuses what is not offered before it looks at anything else (specification line 510).
    fn offered(&self, rpc: &'static str, capability: Type) -> Result<(), Refusal> {
        if !self.state.capabilities.controller(capability) {
            return Err(Refusal::Unimplemented(rpc));
        }
        self.state.ready()
    }

    fn in_service(&self, rpc: &'static str) -> Result<(), Refusal> {
        if self.state.capabilities.plugin(Plugin::ControllerService) {
            Ok(())
        } else {
            Err(Refusal::Unimplemented(rpc))
        }
    }

    fn advertised(&self) -> v1::ControllerGetCapabilitiesResponse {
        let advertise = |capability: Type| Advertised {
            r#type: Some(advertised::Type::Rpc(advertised::Rpc { r#type: capability.into() })),
        };
        let capabilities = self.state.capabilities.of_controller().map(advertise).collect();
        v1::ControllerGetCapabilitiesResponse { capabilities }
    }
}

#[tonic::async_trait]
impl Controller for ControllerService {
    async fn create_volume(
        &self,
        request: Request<v1::CreateVolumeRequest>,
    ) -> Result<Response<v1::CreateVolumeResponse>, Status> {
        let rpc = self.rpc("CreateVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::CreateDeleteVolume)?;
            self.create(&request).await
        })
        .await
    }

    async fn delete_volume(
        &self,
        request: Request<v1::DeleteVolumeRequest>,
    ) -> Result<Response<v1::DeleteVolumeResponse>, Status> {
        let rpc = self.rpc("DeleteVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::CreateDeleteVolume)?;
            self.delete(&request).await
        })
        .await
    }

    async fn controller_publish_volume(
        &self,
        request: Request<v1::ControllerPublishVolumeRequest>,
    ) -> Result<Response<v1::ControllerPublishVolumeResponse>, Status> {
        let rpc = self.rpc("ControllerPublishVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::PublishUnpublishVolume)?;
            self.attach(&request).await
        })
        .await
    }

    async fn controller_unpublish_volume(
        &self,
        request: Request<v1::ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<v1::ControllerUnpublishVolumeResponse>, Status> {
        let rpc = self.rpc("ControllerUnpublishVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::PublishUnpublishVolume)?;
            self.detach(&request).await
        })
        .await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<v1::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<v1::ValidateVolumeCapabilitiesResponse>, Status> {
        let rpc = self.rpc("ValidateVolumeCapabilities");
        rpc.answer(request, |request, _| async move {
            self.in_service(rpc.method)?;
            self.state.ready()?;
            self.validate(request).await
        })
        .await
    }

    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        let rpc = self.rpc("ListVolumes");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::ListVolumes)?;
            self.volumes(request).await
        })
        .await
    }

    async fn get_capacity(
        &self,
        request: Request<v1::GetCapacityRequest>,
    ) -> Result<Response<v1::GetCapacityResponse>, Status> {
        let rpc = self.rpc("GetCapacity");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::GetCapacity)?;
            self.capacity(request).await
        })
        .await
    }

    async fn controller_get_capabilities(
        &self,
        request: Request<v1::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<v1::ControllerGetCapabilitiesResponse>, Status> {
        let rpc = self.rpc("ControllerGetCapabilities");
        rpc.answer(request, |_, _| async move {
            self.in_service(rpc.method)?;
            Ok(self.advertised())
        })
        .await
    }

    async fn create_snapshot(
        &self,
        request: Request<v1::CreateSnapshotRequest>,
    ) -> Result<Response<v1::CreateSnapshotResponse>, Status> {
        let rpc = self.rpc("CreateSnapshot");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::CreateDeleteSnapshot)?;
            self.snapshot(&request).await
        })
        .await
    }

    async fn delete_snapshot(
        &self,
        request: Request<v1::DeleteSnapshotRequest>,
    ) -> Result<Response<v1::DeleteSnapshotResponse>, Status> {
        let rpc = self.rpc("DeleteSnapshot");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::CreateDeleteSnapshot)?;
            self.remove_snapshot(&request).await
        })
        .await
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        let rpc = self.rpc("ListSnapshots");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::ListSnapshots)?;
            self.snapshots(request).await
        })
        .await
    }

    async fn get_snapshot(
        &self,
        request: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        let rpc = self.rpc("GetSnapshot");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::GetSnapshot)?;
            self.one_snapshot(&request).await
        })
        .await
    }

    async fn controller_expand_volume(
        &self,
        request: Request<v1::ControllerExpandVolumeRequest>,
    ) -> Result<Response<v1::ControllerExpandVolumeResponse>, Status> {
        let rpc = self.rpc("ControllerExpandVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::ExpandVolume)?;
            self.expand(&request).await
        })
        .await
    }

    async fn controller_get_volume(
        &self,
        request: Request<v1::ControllerGetVolumeRequest>,
    ) -> Result<Response<v1::ControllerGetVolumeResponse>, Status> {
        let rpc = self.rpc("ControllerGetVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::GetVolume)?;
            self.one_volume(&request).await
        })
        .await
    }

    async fn controller_modify_volume(
        &self,
        request: Request<v1::ControllerModifyVolumeRequest>,
    ) -> Result<Response<v1::ControllerModifyVolumeResponse>, Status> {
        let rpc = self.rpc("ControllerModifyVolume");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method, Type::ModifyVolume)?;
            self.modify(&request).await
        })
        .await
    }
}
