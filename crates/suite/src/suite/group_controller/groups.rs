//! Valid requests about group snapshots, from which scenarios vary one thing at a time.

use crate::{
    csi::v1::{
        CreateVolumeGroupSnapshotRequest, DeleteVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotRequest,
        VolumeGroupSnapshot,
    },
    spec::Rpc,
    suite::{Bench, Stopped},
};

/// The gate of all group snapshots.
pub(in crate::suite) const GROUP_SNAPSHOT: &str = "GroupController.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT";

/// How often a group snapshot is asked for before it is given up as never ready.
const TRIES: u32 = 60;

/// A request that snapshots several volumes together.
pub(in crate::suite) fn create(bench: &Bench, volumes: &[&str]) -> CreateVolumeGroupSnapshotRequest {
    CreateVolumeGroupSnapshotRequest {
        name: bench.name(),
        source_volume_ids: volumes.iter().map(|&id| id.to_owned()).collect(),
        secrets: bench.secrets(Rpc::CreateVolumeGroupSnapshot),
        parameters: bench.run.options.profile.snapshot_parameters.clone(),
    }
}

/// A new group snapshot, ready to use.
pub(in crate::suite) async fn group(bench: &Bench, volumes: &[&str]) -> Result<VolumeGroupSnapshot, Stopped> {
    group_by(bench, create(bench, volumes)).await
}

/// The group snapshot that a request makes, ready to use.
pub(in crate::suite) async fn group_by(
    bench: &Bench,
    request: CreateVolumeGroupSnapshotRequest,
) -> Result<VolumeGroupSnapshot, Stopped> {
    for _ in 0..TRIES {
        let group = bench.need(request.clone()).await?.group_snapshot.filter(|it| !it.group_snapshot_id.is_empty());
        let group = group.ok_or_else(|| Stopped::because("CreateVolumeGroupSnapshot: OK without a group or its id"))?;
        if group.ready_to_use {
            return Ok(group);
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Err(Stopped::because("the group snapshot did not become ready to use"))
}

pub(in crate::suite) fn members(group: &VolumeGroupSnapshot) -> Vec<String> {
    group.snapshots.iter().map(|it| it.snapshot_id.clone()).collect()
}

pub(in crate::suite) fn delete(
    bench: &Bench,
    group: &str,
    snapshot_ids: Vec<String>,
) -> DeleteVolumeGroupSnapshotRequest {
    let secrets = bench.secrets(Rpc::DeleteVolumeGroupSnapshot);
    DeleteVolumeGroupSnapshotRequest { group_snapshot_id: group.to_owned(), snapshot_ids, secrets }
}

pub(in crate::suite) fn get(bench: &Bench, group: &str, snapshot_ids: Vec<String>) -> GetVolumeGroupSnapshotRequest {
    let secrets = bench.secrets(Rpc::GetVolumeGroupSnapshot);
    GetVolumeGroupSnapshotRequest { group_snapshot_id: group.to_owned(), snapshot_ids, secrets }
}
