//! The services that the driver does not offer: group snapshots and snapshot metadata say so in words.
//!
//! Without a handler the answer would come from the gRPC runtime, with an empty message.

use futures_util::stream::Empty;
use tonic::{Request, Response, Status};

use super::Refusal;
use crate::csi::v1::{self, group_controller_server::GroupController, snapshot_metadata_server::SnapshotMetadata};

/// A service that is not offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unoffered;

fn refused<T>(rpc: &'static str) -> Result<Response<T>, Status> {
    Err(Refusal::Unimplemented(rpc).into())
}

#[tonic::async_trait]
impl GroupController for Unoffered {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<v1::GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<v1::GroupControllerGetCapabilitiesResponse>, Status> {
        refused("GroupControllerGetCapabilities")
    }

    async fn create_volume_group_snapshot(
        &self,
        _: Request<v1::CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::CreateVolumeGroupSnapshotResponse>, Status> {
        refused("CreateVolumeGroupSnapshot")
    }

    async fn delete_volume_group_snapshot(
        &self,
        _: Request<v1::DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::DeleteVolumeGroupSnapshotResponse>, Status> {
        refused("DeleteVolumeGroupSnapshot")
    }

    async fn get_volume_group_snapshot(
        &self,
        _: Request<v1::GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::GetVolumeGroupSnapshotResponse>, Status> {
        refused("GetVolumeGroupSnapshot")
    }
}

#[tonic::async_trait]
impl SnapshotMetadata for Unoffered {
    type GetMetadataAllocatedStream = Empty<Result<v1::GetMetadataAllocatedResponse, Status>>;
    type GetMetadataDeltaStream = Empty<Result<v1::GetMetadataDeltaResponse, Status>>;

    async fn get_metadata_allocated(
        &self,
        _: Request<v1::GetMetadataAllocatedRequest>,
    ) -> Result<Response<Self::GetMetadataAllocatedStream>, Status> {
        refused("GetMetadataAllocated")
    }

    async fn get_metadata_delta(
        &self,
        _: Request<v1::GetMetadataDeltaRequest>,
    ) -> Result<Response<Self::GetMetadataDeltaStream>, Status> {
        refused("GetMetadataDelta")
    }
}
