//! ListVolumes, ListSnapshots, ControllerGetVolume and GetSnapshot: what there is, page by page.

use super::{ControllerService, create_volume::message, snapshot};
use crate::{
    csi::v1::{
        self, controller_get_volume_response, controller_service_capability::rpc::Type as Controller,
        list_snapshots_response, list_volumes_response,
    },
    driver::{
        Refusal,
        assembly::State,
        field,
        page::List,
        record::{Snapshot, Volume},
        store::StoreError,
    },
};

impl ControllerService {
    pub(super) async fn volumes(&self, request: v1::ListVolumesRequest) -> Result<v1::ListVolumesResponse, Refusal> {
        let most = field::max_entries(request.max_entries)?;
        self.state
            .blocking(move |state| {
                let list = List { kind: "volumes", filters: Vec::new() };
                let after = list.position(&request.starting_token)?;
                let fetch = |after: Option<&str>, limit| state.store.volumes_after(after, limit);
                let page = page(after, most, fetch, Volume::is_ready, |volume| volume.id.as_str())?;
                let next_token = page.next(&list, |volume| volume.id.as_str());
                let entries = page.objects.iter().map(|volume| state.entry(volume)).collect::<Result<_, _>>()?;
                Ok(v1::ListVolumesResponse { entries, next_token })
            })
            .await
    }

    pub(super) async fn one_volume(
        &self,
        request: &v1::ControllerGetVolumeRequest,
    ) -> Result<v1::ControllerGetVolumeResponse, Refusal> {
        let id = field::existing_volume_id("volume_id", &request.volume_id)?;
        self.state
            .blocking(move |state| {
                let volume = state.ready_volume(&id)?;
                let status = controller_get_volume_response::VolumeStatus {
                    published_node_ids: state.published_node_ids(&volume)?,
                    volume_condition: state.volume_condition(&volume),
                };
                let volume = message(&volume, &state.capabilities);
                Ok(v1::ControllerGetVolumeResponse { volume: Some(volume), status: Some(status) })
            })
            .await
    }

    pub(super) async fn snapshots(
        &self,
        request: v1::ListSnapshotsRequest,
    ) -> Result<v1::ListSnapshotsResponse, Refusal> {
        let most = field::max_entries(request.max_entries)?;
        field::map("secrets", &request.secrets)?;
        self.state
            .blocking(move |state| {
                let v1::ListSnapshotsRequest { source_volume_id, snapshot_id, starting_token, .. } = &request;
                let list = List { kind: "snapshots", filters: vec![source_volume_id, snapshot_id] };
                let after = list.position(starting_token)?;
                let wanted = |snapshot: &Snapshot| {
                    snapshot.is_ready()
                        && (source_volume_id.is_empty() || snapshot.source.as_str() == source_volume_id)
                        && (snapshot_id.is_empty() || snapshot.id.as_str() == snapshot_id)
                };
                let fetch = |after: Option<&str>, limit| state.store.snapshots_after(after, limit);
                let page = page(after, most, fetch, wanted, |snapshot| snapshot.id.as_str())?;
                let next_token = page.next(&list, |snapshot| snapshot.id.as_str());
                let entry = |it| list_snapshots_response::Entry { snapshot: Some(snapshot::message(it)) };
                Ok(v1::ListSnapshotsResponse { entries: page.objects.iter().map(entry).collect(), next_token })
            })
            .await
    }

    pub(super) async fn one_snapshot(
        &self,
        request: &v1::GetSnapshotRequest,
    ) -> Result<v1::GetSnapshotResponse, Refusal> {
        let id = field::snapshot_id("snapshot_id", &request.snapshot_id)?;
        field::map("secrets", &request.secrets)?;
        let id = id.ok_or_else(|| Refusal::no_snapshot(&request.snapshot_id))?;
        self.state
            .blocking(move |state| {
                let snapshot = state.store.snapshot(&id)?.filter(Snapshot::is_ready);
                let snapshot = snapshot.ok_or_else(|| Refusal::no_snapshot(&id))?;
                Ok(v1::GetSnapshotResponse { snapshot: Some(snapshot::message(&snapshot)) })
            })
            .await
    }
}

impl State {
    fn entry(&self, volume: &Volume) -> Result<list_volumes_response::Entry, Refusal> {
        let has_status = self.capabilities.controller(Controller::ListVolumesPublishedNodes)
            || self.capabilities.controller(Controller::VolumeCondition);
        let status = if has_status {
            Some(list_volumes_response::VolumeStatus {
                published_node_ids: self.published_node_ids(volume)?,
                volume_condition: self.volume_condition(volume),
            })
        } else {
            None
        };
        Ok(list_volumes_response::Entry { volume: Some(message(volume, &self.capabilities)), status })
    }

    fn published_node_ids(&self, volume: &Volume) -> Result<Vec<String>, Refusal> {
        if !self.capabilities.controller(Controller::ListVolumesPublishedNodes) {
            return Ok(Vec::new());
        }
        Ok(self.store.attachments_of(&volume.id)?.into_iter().map(|attachment| attachment.node).collect())
    }

    fn volume_condition(&self, volume: &Volume) -> Option<v1::VolumeCondition> {
        if !self.capabilities.controller(Controller::VolumeCondition) {
            return None;
        }
        Some(match self.content.condition(&volume.id, volume.access) {
            Ok(message) => v1::VolumeCondition { abnormal: false, message },
            Err(message) => v1::VolumeCondition { abnormal: true, message },
        })
    }
}

/// A page, and whether there is more.
struct Page<T> {
    objects: Vec<T>,
    is_last: bool,
}

impl<T> Page<T> {
    fn next(&self, list: &List<'_>, id: impl Fn(&T) -> &str) -> String {
        match self.objects.last() {
            Some(last) if !self.is_last => list.token(id(last)),
            _ => String::new(),
        }
    }
}

/// Gathers what is wanted after a position, and looks one further to know whether that was all.
fn page<T>(
    after: Option<String>,
    most: Option<usize>,
    fetch: impl Fn(Option<&str>, usize) -> Result<Vec<T>, StoreError>,
    wanted: impl Fn(&T) -> bool,
    id: impl Fn(&T) -> &str,
) -> Result<Page<T>, Refusal> {
    let mut objects = Vec::new();
    let mut after = after;
    loop {
        let fetched = fetch(after.as_deref(), CHUNK)?;
        let Some(last) = fetched.last() else { return Ok(Page { objects, is_last: true }) };
        after = Some(id(last).to_owned());
        for object in fetched.into_iter().filter(|object| wanted(object)) {
            if most.is_some_and(|most| objects.len() == most) {
                return Ok(Page { objects, is_last: false });
            }
            objects.push(object);
        }
    }
}

/// How many records are looked at in one go.
const CHUNK: usize = 64;
