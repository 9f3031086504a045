//! The part of external-snapshotter that cuts several volumes at one moment.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    controller::Controller,
    csi_client::CsiClient,
    external_snapshotter::NAME,
    names,
    object::{Kind, ReclaimPolicy, VolumeGroupSnapshotContent},
    store::{Change, Store},
    timing::SNAPSHOTTER_LIMIT,
    work_queue::Next,
};
use crate::{
    csi::v1::{self, group_controller_service_capability},
    spec::Rpc,
};

/// The contents of group snapshots.
pub(super) struct GroupContents {
    client: CsiClient,
}

/// The capabilities of the group controller service; an error only means that there are none.
pub(super) async fn capabilities(client: &CsiClient) -> BTreeSet<i32> {
    let asked = client.call("group snapshots", v1::GroupControllerGetCapabilitiesRequest {}, SNAPSHOTTER_LIMIT).await;
    let rpc = |capability: v1::GroupControllerServiceCapability| {
        capability.r#type.map(|group_controller_service_capability::Type::Rpc(rpc)| rpc.r#type)
    };
    let Ok(reply) = asked else {
        client.context.troubles.over(NAME, "group snapshots");
        return BTreeSet::new();
    };
    reply.capabilities.into_iter().filter_map(rpc).collect()
}

/// What is to be done for a content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    /// Cut it, or ask for it again until it is ready.
    Create,
    /// It was there first: look at it until it is ready.
    Get,
    /// Delete the driver's snapshots.
    Delete,
    /// There is nothing to delete, or it is to stay.
    Release,
}

fn step(content: &VolumeGroupSnapshotContent) -> Step {
    let is_being_created = content.metadata.annotations.contains_key(names::SNAPSHOT_BEING_CREATED);
    let stays = content.handle.is_empty() || content.deletion_policy == ReclaimPolicy::Retain;
    match content.metadata.is_deleting() {
        true if !content.metadata.finalizers.contains(names::CONTENT_PROTECTION) => Step::Nothing,
        true if is_being_created => Step::Create,
        true if stays => Step::Release,
        true => Step::Delete,
        false if content.is_ready => Step::Nothing,
        false if content.source_handles.is_empty() => Step::Get,
        false => Step::Create,
    }
}

impl GroupContents {
    pub(super) const fn new(client: CsiClient) -> Self {
        Self { client }
    }

    fn store(&self) -> &Store {
        &self.client.context.store
    }

    async fn create(&self, content: &VolumeGroupSnapshotContent) -> Next {
        let name = &content.metadata.name;
        let begin = |content: &mut VolumeGroupSnapshotContent| {
            content.metadata.annotations.insert(names::SNAPSHOT_BEING_CREATED.to_owned(), "yes".to_owned());
        };
        // A content that is gone is not noted on.
        let _ = self.store().note(name, begin);
        let subject = self.subject(name);
        let asked = self.client.call(&subject, v1::GetPluginInfoRequest {}, SNAPSHOTTER_LIMIT).await;
        let created = match asked {
            Ok(_) => {
                let request = v1::CreateVolumeGroupSnapshotRequest {
                    name: names::group_snapshot(&content.group_snapshot_uid),
                    source_volume_ids: content.source_handles.clone(),
                    secrets: self.client.secrets(Rpc::CreateVolumeGroupSnapshot),
                    parameters: self.client.context.profile.snapshot_parameters.clone(),
                };
                self.client.call(&subject, request, SNAPSHOTTER_LIMIT).await
            }
            Err(error) => Err(error),
        };
        match created {
            Ok(reply) => self.seen(content, reply.group_snapshot.unwrap_or_default()),
            Err(error) => {
                let is_final = !error.is_uncertain();
                let failed = |content: &mut VolumeGroupSnapshotContent| {
                    content.error = Some(error.to_string());
                    if is_final {
                        content.metadata.annotations.remove(names::SNAPSHOT_BEING_CREATED);
                    }
                };
                let _ = self.store().note(name, failed);
                Next::Retry
            }
        }
    }

    async fn get(&self, content: &VolumeGroupSnapshotContent) -> Next {
        let name = &content.metadata.name;
        let request = v1::GetVolumeGroupSnapshotRequest {
            group_snapshot_id: content.handle.clone(),
            snapshot_ids: snapshot_ids(content),
            secrets: self.client.secrets(Rpc::GetVolumeGroupSnapshot),
        };
        match self.client.call(&self.subject(name), request, SNAPSHOTTER_LIMIT).await {
            Ok(reply) => self.seen(content, reply.group_snapshot.unwrap_or_default()),
            Err(error) => {
                let failed = |content: &mut VolumeGroupSnapshotContent| content.error = Some(error.to_string());
                let _ = self.store().note(name, failed);
                Next::Retry
            }
        }
    }

    fn seen(&self, content: &VolumeGroupSnapshotContent, group: v1::VolumeGroupSnapshot) -> Next {
        let is_ready = group.ready_to_use;
        let member = |snapshot: v1::Snapshot| (snapshot.source_volume_id, snapshot.snapshot_id);
        let seen = |content: &mut VolumeGroupSnapshotContent| {
            content.metadata.annotations.remove(names::SNAPSHOT_BEING_CREATED);
            content.handle = group.group_snapshot_id;
            content.members = group.snapshots.into_iter().map(member).collect();
            content.is_ready = is_ready;
            content.error = None;
        };
        let _ = self.store().modify(&content.metadata.name, seen);
        match is_ready {
            true => Next::Settled,
            false => Next::Retry,
        }
    }

    async fn delete(&self, content: &VolumeGroupSnapshotContent) -> Next {
        let name = &content.metadata.name;
        let request = v1::DeleteVolumeGroupSnapshotRequest {
            group_snapshot_id: content.handle.clone(),
            snapshot_ids: snapshot_ids(content),
            secrets: self.client.secrets(Rpc::DeleteVolumeGroupSnapshot),
        };
        match self.client.call(&self.subject(name), request, SNAPSHOTTER_LIMIT).await {
            Ok(_) => self.release(name),
            Err(_) => Next::Retry,
        }
    }

    fn release(&self, name: &str) -> Next {
        let release = |content: &mut VolumeGroupSnapshotContent| {
            content.metadata.finalizers.remove(names::CONTENT_PROTECTION);
        };
        let _ = self.store().modify(name, release);
        self.client.context.troubles.over(NAME, &self.subject(name));
        Next::Settled
    }
}

fn snapshot_ids(content: &VolumeGroupSnapshotContent) -> Vec<String> {
    content.members.iter().map(|(_, snapshot)| snapshot.clone()).collect()
}

#[async_trait]
impl Controller for GroupContents {
    fn name(&self) -> &str {
        NAME
    }

    fn concerns(&self, change: &Change) -> Vec<String> {
        match change.kind {
            Kind::VolumeGroupSnapshotContent if !change.is_quiet => vec![change.name.clone()],
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<String> {
        self.store().read(|tables| tables.group_snapshot_contents.keys().cloned().collect())
    }

    fn subject(&self, key: &str) -> String {
        format!("group snapshot content {key}")
    }

    async fn reconcile(&self, key: &str) -> Next {
        let Some(content) = self.store().get::<VolumeGroupSnapshotContent>(key) else { return Next::Settled };
        if content.driver != self.client.context.csi_driver.name {
            return Next::Settled;
        }
        match step(&content) {
            Step::Nothing => Next::Settled,
            Step::Create => self.create(&content).await,
            Step::Get => self.get(&content).await,
            Step::Delete => self.delete(&content).await,
            Step::Release => self.release(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_cut_or_looked_at_until_it_is_ready_and_deleted_as_a_whole() {
        let mut content =
            VolumeGroupSnapshotContent { source_handles: vec!["v".into()], ..VolumeGroupSnapshotContent::default() };
        assert_eq!(step(&content), Step::Create);
        content.source_handles.clear();
        content.handle = "g".into();
        assert_eq!(step(&content), Step::Get);
        content.is_ready = true;
        assert_eq!(step(&content), Step::Nothing);
        content.metadata.finalizers.insert(names::CONTENT_PROTECTION.into());
        content.metadata.deletion_timestamp = Some(1);
        assert_eq!(step(&content), Step::Delete);
        content.deletion_policy = ReclaimPolicy::Retain;
        assert_eq!(step(&content), Step::Release);
    }
}
