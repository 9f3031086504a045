//! external-snapshotter: CreateSnapshot and DeleteSnapshot for the contents of snapshots.

use std::{future::pending, sync::Arc};

use async_trait::async_trait;

use super::{
    capabilities::{self, Exit},
    context::Context,
    controller::{self, Controller},
    csi_client::{CsiClient, RpcError},
    departure::Departure,
    group_snapshotter::{self, GroupContents},
    names,
    object::{Kind, ReclaimPolicy, VolumeSnapshotContent},
    store::{Change, Store},
    timing::{PROVISIONER_RESYNC, SNAPSHOTTER_LIMIT},
    work_queue::Next,
};
use crate::{
    csi::v1::{
        self, controller_service_capability::rpc::Type, group_controller_service_capability::rpc::Type as Group,
        plugin_capability::service::Type as Plugin,
    },
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
        if context.departs(Departure::NameBeforeProbe) {
            capabilities::driver_name(&client, SNAPSHOTTER_LIMIT).await?;
            capabilities::probe(&client, SNAPSHOTTER_LIMIT).await?;
        } else {
            capabilities::probe(&client, SNAPSHOTTER_LIMIT).await?;
            capabilities::driver_name(&client, SNAPSHOTTER_LIMIT).await?;
        }
        let asked = capabilities::controller(&client, START, SNAPSHOTTER_LIMIT).await;
        asked.map_err(|error| error.to_string())
    };
    match started.await {
        Ok(capabilities) if capabilities.contains(&Type::CreateDeleteSnapshot.into()) => {}
        // Nobody deploys a snapshotter beside a driver without snapshots: it would end at once, again and again.
        Ok(_) => return pending().await,
        Err(exit) => return exit,
    }
    let groups = async {
        // Asked also of drivers that say they have no such service, unless that is switched off.
        let has_service = match context.departs(Departure::AskForGroups) {
            true => true,
            false => {
                let plugin = capabilities::of_plugin(&client, SNAPSHOTTER_LIMIT).await;
                plugin.is_ok_and(|plugin| plugin.plugin(Plugin::GroupControllerService))
            }
        };
        if !has_service {
            return pending().await;
        }
        let capabilities = group_snapshotter::capabilities(&client).await;
        match capabilities.contains(&Group::CreateDeleteGetVolumeGroupSnapshot.into()) {
            true => {
                let groups = Arc::new(GroupContents::new(client.clone()));
                controller::run(groups, context, WORKERS, PROVISIONER_RESYNC).await
            }
            false => pending().await,
        }
    };
    let contents = Arc::new(Contents { client: client.clone() });
    tokio::select! {
        never = controller::run(contents, context, WORKERS, PROVISIONER_RESYNC) => match never {},
        never = groups => match never {},
    }
}

/// What is to be done for a content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    /// Cut it, or ask for it again until it is ready.
    Create,
    /// It was there first, or was cut with its group: look for it until it is ready.
    Find,
    /// An error came after it was cut: delete the driver's snapshot, and cut it anew.
    Discard,
    /// Delete the driver's snapshot.
    Delete,
    /// There is nothing to delete, or it is to stay.
    Release,
}

fn is_being_created(content: &VolumeSnapshotContent) -> bool {
    content.metadata.annotations.contains_key(names::SNAPSHOT_BEING_CREATED)
}

/// Whether a snapshot of an id that is not known may be there after this error. One that keeps failed snapshots takes
/// every final code as proof that there is none.
fn leaves_open(content: &VolumeSnapshotContent, error: &RpcError, keeps_failed: bool) -> bool {
    match () {
        () if keeps_failed => error.is_uncertain(),
        // It was not asked for this time: what was open before still is.
        () if error.rpc != Rpc::CreateSnapshot => is_being_created(content),
        () => error.is_uncertain() || error.is_broken_off() && content.handle.is_empty(),
    }
}

fn step(content: &VolumeSnapshotContent, keeps_failed: bool) -> Step {
    let is_being_created = is_being_created(content);
    let has_failed = content.error.is_some() && !is_being_created && !content.handle.is_empty();
    let was_there = content.source_handle.is_empty() || !content.group.is_empty();
    // Members go with their group.
    let stays =
        content.handle.is_empty() || content.deletion_policy == ReclaimPolicy::Retain || !content.group.is_empty();
    match content.metadata.is_deleting() {
        true if !content.metadata.finalizers.contains(names::CONTENT_PROTECTION) => Step::Nothing,
        // Whether there is a snapshot is open: it is asked for again, and deleted then.
        true if is_being_created => Step::Create,
        true if stays => Step::Release,
        true => Step::Delete,
        false if content.is_ready => Step::Nothing,
        false if was_there => Step::Find,
        false if has_failed && !keeps_failed => Step::Discard,
        false => Step::Create,
    }
}

impl Contents {
    fn store(&self) -> &Store {
        &self.client.context.store
    }

    fn keeps_failed(&self) -> bool {
        self.client.context.departs(Departure::KeepFailedSnapshot)
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
                    parameters: content.parameters.clone(),
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
                let is_open = leaves_open(content, &error, self.keeps_failed());
                let failed = |content: &mut VolumeSnapshotContent| {
                    content.error = Some(error.to_string());
                    if !is_open {
                        content.metadata.annotations.remove(names::SNAPSHOT_BEING_CREATED);
                    }
                };
                let _ = self.store().note(name, failed);
                Next::Retry
            }
        }
    }

    /// Asked for by its id where the driver lists snapshots, and taken as ready where it does not.
    async fn find(&self, content: &VolumeSnapshotContent) -> Next {
        let name = &content.metadata.name;
        let subject = self.subject(name);
        let listed = match capabilities::controller(&self.client, &subject, SNAPSHOTTER_LIMIT).await {
            Ok(capabilities) if capabilities.contains(&Type::ListSnapshots.into()) => {
                let request = v1::ListSnapshotsRequest {
                    snapshot_id: content.handle.clone(),
                    secrets: self.client.secrets(Rpc::ListSnapshots),
                    ..v1::ListSnapshotsRequest::default()
                };
                self.client.call(&subject, request, SNAPSHOTTER_LIMIT).await.map(|reply| {
                    let snapshot = reply.entries.into_iter().next().and_then(|entry| entry.snapshot);
                    snapshot.map(|snapshot| (snapshot.ready_to_use, snapshot.size_bytes))
                })
            }
            Ok(_) => Ok(Some((true, content.size))),
            Err(error) => Err(error),
        };
        let found = match listed {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(format!("the driver lists no snapshot {}", content.handle)),
            Err(error) => Err(error.to_string()),
        };
        let is_ready = matches!(found, Ok((true, _)));
        let note = |content: &mut VolumeSnapshotContent| match found {
            Ok((is_ready, size)) => {
                content.is_ready = is_ready;
                content.size = size;
                content.error = None;
            }
            Err(error) => content.error = Some(error),
        };
        // A content that is gone is not noted on.
        let _ = self.store().note(name, note);
        if is_ready { Next::Settled } else { Next::Retry }
    }

    async fn discard(&self, content: &VolumeSnapshotContent) -> Next {
        if self.delete_snapshot(content).await.is_ok() {
            let discarded = |content: &mut VolumeSnapshotContent| content.handle.clear();
            // A content that is gone is not noted on.
            let _ = self.store().note(&content.metadata.name, discarded);
        }
        Next::Retry
    }

    async fn delete(&self, content: &VolumeSnapshotContent) -> Next {
        match self.delete_snapshot(content).await {
            Ok(_) => self.release(&content.metadata.name),
            Err(_) => Next::Retry,
        }
    }

    async fn delete_snapshot(&self, content: &VolumeSnapshotContent) -> Result<v1::DeleteSnapshotResponse, RpcError> {
        let request = v1::DeleteSnapshotRequest {
            snapshot_id: content.handle.clone(),
            secrets: self.client.secrets(Rpc::DeleteSnapshot),
        };
        self.client.call(&self.subject(&content.metadata.name), request, SNAPSHOTTER_LIMIT).await
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
        match step(&content, self.keeps_failed()) {
            Step::Nothing => Next::Settled,
            Step::Create => self.create(&content).await,
            Step::Find => self.find(&content).await,
            Step::Discard => self.discard(&content).await,
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
        let mut content = VolumeSnapshotContent { source_handle: "v".into(), ..VolumeSnapshotContent::default() };
        assert_eq!(step(&content, true), Step::Create);
        content.metadata.finalizers.insert(names::CONTENT_PROTECTION.into());
        content.metadata.deletion_timestamp = Some(1);
        assert_eq!(step(&content, true), Step::Release);
        content.metadata.annotations.insert(names::SNAPSHOT_BEING_CREATED.into(), "yes".into());
        assert_eq!(step(&content, true), Step::Create);
        content.metadata.annotations.clear();
        content.handle = "s".into();
        content.source_handle = "v".into();
        assert_eq!(step(&content, true), Step::Delete);
        content.group = "g".into();
        assert_eq!(step(&content, true), Step::Release, "members go with their group");
    }

    #[test]
    fn what_failed_after_it_was_cut_is_discarded_and_what_may_have_been_cut_is_asked_for_again() {
        let error = |code| RpcError { rpc: Rpc::CreateSnapshot, code: Some(code), answer: String::new() };
        let (not_found, internal, unavailable) = (error(5), error(13), error(14));
        let mut content = VolumeSnapshotContent { source_handle: "v".into(), ..VolumeSnapshotContent::default() };
        assert!(leaves_open(&content, &unavailable, true) && leaves_open(&content, &unavailable, false));
        assert!(!leaves_open(&content, &internal, true) && leaves_open(&content, &internal, false));
        assert!(!leaves_open(&content, &not_found, false), "there is nothing to cut");
        let unasked = RpcError { rpc: Rpc::GetPluginInfo, ..internal.clone() };
        assert!(!leaves_open(&content, &unasked, false), "it was never asked for");
        content.metadata.annotations.insert(names::SNAPSHOT_BEING_CREATED.into(), "yes".into());
        assert!(leaves_open(&content, &unasked, false) && !leaves_open(&content, &unasked, true));
        content.handle = "s".into();
        content.error = Some("late".into());
        assert!(!leaves_open(&content, &internal, false), "its id is known");
        assert_eq!(step(&content, false), Step::Create, "it may still be under way");
        content.metadata.annotations.clear();
        assert_eq!((step(&content, false), step(&content, true)), (Step::Discard, Step::Create));
    }

    #[test]
    fn what_was_there_first_is_looked_for_and_never_cut() {
        let mut content = VolumeSnapshotContent { handle: "s".into(), ..VolumeSnapshotContent::default() };
        assert_eq!(step(&content, true), Step::Find);
        content.is_ready = true;
        assert_eq!(step(&content, true), Step::Nothing);
        let member = VolumeSnapshotContent {
            handle: "s".into(),
            source_handle: "v".into(),
            group: "g".into(),
            ..VolumeSnapshotContent::default()
        };
        assert_eq!(step(&member, true), Step::Find);
    }
}
