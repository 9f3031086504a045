//! GetMetadataAllocated and GetMetadataDelta (specification lines 3192–3438).

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use tonic::{Request, Response, Status};

use super::stream::messages;
use crate::{
    csi::v1::{self, BlockMetadataType, snapshot_metadata_server::SnapshotMetadata},
    driver::{Refusal, assembly::State, capability::Plugin, field, record::Snapshot, rpc::Rpc, size::signed},
};

/// Block metadata of snapshots.
pub struct SnapshotMetadataService {
    state: Arc<State>,
}

/// Messages, each made when it is asked for.
type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl SnapshotMetadataService {
    pub(in crate::driver) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    fn rpc(&self, method: &'static str) -> Rpc {
        Rpc { service: "csi.v1.SnapshotMetadata", method, patience: self.state.patience() }
    }

    fn offered(&self, rpc: &'static str) -> Result<(), Refusal> {
        if !self.state.capabilities.plugin(Plugin::SnapshotMetadataService) {
            return Err(Refusal::Unimplemented(rpc));
        }
        self.state.ready()
    }

    async fn allocated(
        &self,
        request: v1::GetMetadataAllocatedRequest,
    ) -> Result<Messages<v1::GetMetadataAllocatedResponse>, Refusal> {
        let id = field::snapshot_id("snapshot_id", &request.snapshot_id)?;
        let most = most(request.max_results)?;
        field::map("secrets", &request.secrets)?;
        let id = id.ok_or_else(|| Refusal::no_snapshot(&request.snapshot_id))?;
        self.state
            .blocking(move |state| {
                let snapshot = state.block_snapshot(&id)?;
                let start = start(request.starting_offset, &snapshot)?;
                // Open from here on: a snapshot that is deleted meanwhile is still read to its end.
                let ranges = state.content.allocated(&id, start).map_err(unreadable)?;
                let volume_capacity_bytes = signed(snapshot.size);
                Ok(messages(ranges, most, move |block_metadata| v1::GetMetadataAllocatedResponse {
                    block_metadata_type: BlockMetadataType::VariableLength.into(),
                    volume_capacity_bytes,
                    block_metadata,
                }))
            })
            .await
    }

    async fn delta(
        &self,
        request: v1::GetMetadataDeltaRequest,
    ) -> Result<Messages<v1::GetMetadataDeltaResponse>, Refusal> {
        let base = field::snapshot_id("base_snapshot_id", &request.base_snapshot_id)?;
        let target = field::snapshot_id("target_snapshot_id", &request.target_snapshot_id)?;
        let most = most(request.max_results)?;
        field::map("secrets", &request.secrets)?;
        let base = base.ok_or_else(|| Refusal::no_snapshot(&request.base_snapshot_id))?;
        let target = target.ok_or_else(|| Refusal::no_snapshot(&request.target_snapshot_id))?;
        self.state
            .blocking(move |state| {
                let (base, target) = (state.block_snapshot(&base)?, state.block_snapshot(&target)?);
                if base.source != target.source {
                    let problem = "shows another volume than base_snapshot_id: give two snapshots of one volume";
                    return Err(Refusal::invalid("target_snapshot_id", problem));
                }
                let start = start(request.starting_offset, &target)?;
                let ranges = state.content.changed(&base.id, &target.id, start).map_err(unreadable)?;
                let volume_capacity_bytes = signed(target.size);
                Ok(messages(ranges, most, move |block_metadata| v1::GetMetadataDeltaResponse {
                    block_metadata_type: BlockMetadataType::VariableLength.into(),
                    volume_capacity_bytes,
                    block_metadata,
                }))
            })
            .await
    }
}

impl State {
    fn block_snapshot(&self, id: &crate::driver::SnapshotId) -> Result<Snapshot, Refusal> {
        let snapshot = self.store.snapshot(id)?.filter(Snapshot::is_ready);
        let snapshot = snapshot.ok_or_else(|| Refusal::no_snapshot(id))?;
        if snapshot.access.block {
            return Ok(snapshot);
        }
        let why = format!("snapshot {id} shows a volume without block access: only block volumes have block metadata");
        Err(Refusal::FailedPrecondition(why))
    }
}

fn start(offset: i64, snapshot: &Snapshot) -> Result<u64, Refusal> {
    u64::try_from(offset).ok().filter(|&start| start <= snapshot.size).ok_or_else(|| {
        let size = snapshot.size;
        Refusal::OutOfRange(format!("starting_offset {offset} lies outside of the snapshot: give 0 to {size}"))
    })
}

/// How many ranges a message may hold.
fn most(max_results: i32) -> Result<usize, Refusal> {
    match usize::try_from(max_results) {
        Ok(0) => Ok(RANGES_IN_A_MESSAGE),
        Ok(most) => Ok(most.min(RANGES_IN_A_MESSAGE)),
        Err(_) => Err(Refusal::invalid("max_results", "is negative: give 0 for no limit")),
    }
}

fn unreadable(error: std::io::Error) -> Refusal {
    Refusal::internal("reading the content of a snapshot", error)
}

/// Keeps messages well below the limit of gRPC.
const RANGES_IN_A_MESSAGE: usize = 1024;

#[tonic::async_trait]
impl SnapshotMetadata for SnapshotMetadataService {
    type GetMetadataAllocatedStream = Messages<v1::GetMetadataAllocatedResponse>;
    type GetMetadataDeltaStream = Messages<v1::GetMetadataDeltaResponse>;

    async fn get_metadata_allocated(
        &self,
        request: Request<v1::GetMetadataAllocatedRequest>,
    ) -> Result<Response<Self::GetMetadataAllocatedStream>, Status> {
        let rpc = self.rpc("GetMetadataAllocated");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method)?;
            self.allocated(request).await
        })
        .await
    }

    async fn get_metadata_delta(
        &self,
        request: Request<v1::GetMetadataDeltaRequest>,
    ) -> Result<Response<Self::GetMetadataDeltaStream>, Status> {
        let rpc = self.rpc("GetMetadataDelta");
        rpc.answer(request, |request, _| async move {
            self.offered(rpc.method)?;
            self.delta(request).await
        })
        .await
    }
}
