//! external-snapshotter: CreateSnapshot and DeleteSnapshot for the contents of snapshots.

use std::{future::pending, sync::Arc};

use async_trait::async_trait;

use super::{
    capabilities::{self, Exit},
    context::Context,
    controller::{self, Controller},
    csi_client::CsiClient,
    names,
    object::{Kind, ReclaimPolicy, VolumeSnapshotContent},
    store::{Change, Store},
    timing::{PROVISIONER_RESYNC, SNAPSHOTTER_LIMIT},
    work_queue::Next,
};
use crate::{
    csi::v1::{self, controller_service_capability::rpc::Type},
    spec::Rpc,
};

/// The name in histories.
pub(super) const NAME: &str = "external-snapshotter";

/// How many contents are worked on side by side.
const WORKERS: usize = 10;

/// How the start of the snapshotter names itself in its troubles.
const START: &str = "start-up";

struct Contents {
    client: CsiClient,
}

/// Runs it until its process would end.
pub(super) async fn run(client: CsiClient) -> Exit {
    let (context, disconnected) = (client.context.clone(), client.disconnected.clone());
    tokio::select! {
        exit = work(client, &context) => exit,
        () = disconnected.notified() => "lost connection to CSI driver".to_owned(),
    }
}

async fn work(client: CsiClient, context: &Context) -> Exit {
    let started = async {
        // This one asks for the name before it knows that the driver is ready.
        capabilities::driver_name(&client, SNAPSHOTTER_LIMIT).await?;
        capabilities::probe(&client, SNAPSHOTTER_LIMIT).await?;
        let asked = capabilities::controller(&client, START, SNAPSHOTTER_LIMIT).await;
        asked.map_err(|error| error.to_string())
    };
    match started.await {
        Ok(capabilities) if capabilities.contains(&Type::CreateDeleteSnapshot.into()) => {}
        // Nobody deploys a snapshotter beside a driver without snapshots: it would end at once, again and again.
        Ok(_) => return pending().await,
        Err(exit) => return exit,
    }
    match controller::run(Arc::new(Contents { client }), context, WORKERS, PROVISIONER_RESYNC).await {}
}

/// What is to be done for a content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    /// Cut it, or ask for it again until it is ready.
    Create,
    /// Delete the driver's snapshot.
    Delete,
    /// There is nothing to delete, or it is to stay.
    Release,
}

fn step(content: &VolumeSnapshotContent) -> Step {
    let is_being_created = content.metadata.annotations.contains_key(names::SNAPSHOT_BEING_CREATED);
    let stays = content.handle.is_empty() || content.deletion_policy == ReclaimPolicy::Retain;
    match content.metadata.is_deleting() {
        true if !content.metadata.finalizers.contains(names::CONTENT_PROTECTION) => Step::Nothing,
        // Whether there is a snapshot is open: it is asked for again, and deleted then.
        true if is_being_created => Step::Create,
        true if stays => Step::Release,
        true => Step::Delete,
        false if content.is_ready => Step::Nothing,
        false => Step::Create,
    }
}

impl Contents {
    fn store(&self) -> &Store {
        &self.client.context.store
    }

    async fn create(&self, content: &VolumeSnapshotContent) -> Next {
        let name = &content.metadata.name;
        let begin = |content: &mut VolumeSnapshotContent| {
            content.metadata.annotations.insert(names::SNAPSHOT_BEING_CREATED.to_owned(), "yes".to_owned());
        };
        // A content that is gone is not noted on.
        let _ = self.store().note(name, begin);
        let subject = self.subject(name);
        let asked = self.client.call(&subject, v1::GetPluginInfoRequest {}, SNAPSHOTTER_LIMIT).await;
        let created = match asked {
            Ok(_) => {
                let request = v1::CreateSnapshotRequest {
                    source_volume_id: content.source_handle.clone(),
                    name: names::snapshot(&content.snapshot_uid),
                    secrets: self.client.secrets(Rpc::CreateSnapshot),
                    parameters: self.client.context.profile.snapshot_parameters.clone(),
                };
                self.client.call(&subject, request, SNAPSHOTTER_LIMIT).await
            }
            Err(error) => Err(error),
        };
        match created {
            Ok(reply) => {
                let snapshot = reply.snapshot.unwrap_or_default();
                let is_ready = snapshot.ready_to_use;
                let created = |content: &mut VolumeSnapshotContent| {
                    content.metadata.annotations.remove(names::SNAPSHOT_BEING_CREATED);
                    content.handle = snapshot.snapshot_id;
                    content.size = snapshot.size_bytes;
                    content.is_ready = is_ready;
                    content.error = None;
                };
                let _ = self.store().note(name, created);
                if content.metadata.is_deleting() {
                    return Next::After(std::time::Duration::ZERO);
                }
                if is_ready { Next::Settled } else { Next::Retry }
            }
            Err(error) => {
                let is_final = !error.is_uncertain();
                let failed = |content: &mut VolumeSnapshotContent| {
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

    async fn delete(&self, content: &VolumeSnapshotContent) -> Next {
        let name = &content.metadata.name;
        let request = v1::DeleteSnapshotRequest {
            snapshot_id: content.handle.clone(),
            secrets: self.client.secrets(Rpc::DeleteSnapshot),
        };
        match self.client.call(&self.subject(name), request, SNAPSHOTTER_LIMIT).await {
            Ok(_) => self.release(name),
            Err(_) => Next::Retry,
        }
    }

    fn release(&self, name: &str) -> Next {
        let release = |content: &mut VolumeSnapshotContent| {
            content.metadata.finalizers.remove(names::CONTENT_PROTECTION);
        };
        let _ = self.store().modify(name, release);
        self.client.context.troubles.over(NAME, &self.subject(name));
        Next::Settled
    }
}

#[async_trait]
impl Controller for Contents {
    fn name(&self) -> &str {
        NAME
    }

    fn concerns(&self, change: &Change) -> Vec<String> {
        match change.kind {
            Kind::VolumeSnapshotContent if !change.is_quiet => vec![change.name.clone()],
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<String> {
        self.store().read(|tables| tables.snapshot_contents.keys().cloned().collect())
    }

    fn subject(&self, key: &str) -> String {
        format!("snapshot content {key}")
    }

    async fn reconcile(&self, key: &str) -> Next {
        let Some(content) = self.store().get::<VolumeSnapshotContent>(key) else { return Next::Settled };
        if content.driver != self.client.context.csi_driver.name {
            return Next::Settled;
        }
        match step(&content) {
            Step::Nothing => Next::Settled,
            Step::Create => self.create(&content).await,
            Step::Delete => self.delete(&content).await,
            Step::Release => self.release(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_may_be_being_cut_is_asked_for_before_it_is_deleted() {
        let mut content = VolumeSnapshotContent::default();
        assert_eq!(step(&content), Step::Create);
        content.metadata.finalizers.insert(names::CONTENT_PROTECTION.into());
        content.metadata.deletion_timestamp = Some(1);
        assert_eq!(step(&content), Step::Release);
        content.metadata.annotations.insert(names::SNAPSHOT_BEING_CREATED.into(), "yes".into());
        assert_eq!(step(&content), Step::Create);
        content.metadata.annotations.clear();
        content.handle = "s".into();
        assert_eq!(step(&content), Step::Delete);
    }
}
