//! What a scenario has asked the driver to create, and the calls that remove it again.
//!
//! Entries are made before a request is sent, so that nothing escapes: neither a reply that got lost nor a scenario
//! that is cut off. The order of removal is that of dependency: publications, stagings, attachments, snapshots, volumes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    csi::v1,
    history::{Reply, Request},
    sut::Answer,
};

/// What was asked for and may exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ledger {
    volumes: BTreeMap<String, Created<v1::CreateVolumeRequest>>,
    snapshots: BTreeMap<String, Created<v1::CreateSnapshotRequest>>,
    groups: BTreeMap<String, Created<v1::CreateVolumeGroupSnapshotRequest>>,
    /// (volume, node), and whether it may be there whatever a later refusal says.
    attachments: BTreeMap<(String, String), bool>,
    /// (volume, staging path).
    stagings: BTreeMap<(String, String), bool>,
    /// (volume, target path).
    publications: BTreeMap<(String, String), bool>,
}

/// An object that is created by name and deleted by id.
#[derive(Clone, Debug, PartialEq)]
struct Created<R> {
    /// Ids that replies gave for the name, with the members of a group.
    ids: BTreeMap<String, Vec<String>>,
    /// A request whose outcome is open: repeating it tells the id.
    open: Option<R>,
}

impl<R> Default for Created<R> {
    fn default() -> Self {
        Self { ids: BTreeMap::new(), open: None }
    }
}

impl Ledger {
    /// Notes a request that is about to be sent.
    pub(crate) fn sent(&mut self, request: &Request) {
        match request {
            Request::CreateVolume(request) => {
                self.volumes.entry(request.name.clone()).or_default().open = Some(request.clone());
            }
            Request::CreateSnapshot(request) => {
                self.snapshots.entry(request.name.clone()).or_default().open = Some(request.clone());
            }
            Request::CreateVolumeGroupSnapshot(request) => {
                self.groups.entry(request.name.clone()).or_default().open = Some(request.clone());
            }
            Request::ControllerPublishVolume(request) => {
                expect(&mut self.attachments, &request.volume_id, &request.node_id);
            }
            Request::NodeStageVolume(request) => {
                expect(&mut self.stagings, &request.volume_id, &request.staging_target_path);
            }
            Request::NodePublishVolume(request) => {
                expect(&mut self.publications, &request.volume_id, &request.target_path);
            }
            _ => {}
        }
    }

    /// Notes how it ended.
    pub(crate) fn answered(&mut self, request: &Request, answer: &Answer) {
        match (request, answer) {
            (Request::CreateVolume(request), _) => {
                let id = match answer {
                    Answer::Reply(Reply::CreateVolume(reply)) => reply.volume.as_ref().map(|it| it.volume_id.clone()),
                    _ => None,
                };
                note(&mut self.volumes, &request.name, answer, id, Vec::new());
            }
            (Request::CreateSnapshot(request), _) => {
                let id = match answer {
                    Answer::Reply(Reply::CreateSnapshot(reply)) => {
                        reply.snapshot.as_ref().map(|it| it.snapshot_id.clone())
                    }
                    _ => None,
                };
                note(&mut self.snapshots, &request.name, answer, id, Vec::new());
            }
            (Request::CreateVolumeGroupSnapshot(request), _) => {
                let group = match answer {
                    Answer::Reply(Reply::CreateVolumeGroupSnapshot(reply)) => reply.group_snapshot.as_ref(),
                    _ => None,
                };
                let members = group.iter().flat_map(|it| &it.snapshots).map(|it| it.snapshot_id.clone()).collect();
                note(&mut self.groups, &request.name, answer, group.map(|it| it.group_snapshot_id.clone()), members);
            }
            (Request::ControllerPublishVolume(request), _) => {
                settle(&mut self.attachments, (request.volume_id.clone(), request.node_id.clone()), answer);
            }
            (Request::NodeStageVolume(request), _) => {
                settle(&mut self.stagings, (request.volume_id.clone(), request.staging_target_path.clone()), answer);
            }
            (Request::NodePublishVolume(request), _) => {
                settle(&mut self.publications, (request.volume_id.clone(), request.target_path.clone()), answer);
            }
            (_, Answer::Reply(_)) => self.removed(request),
            _ => {}
        }
    }

    /// The calls that remove what may be left, in the order of dependency; creations whose outcome is open are repeated.
    pub(crate) fn removal(&self) -> Vec<Request> {
        let mut calls = Vec::new();
        for (volume_id, target_path) in self.publications.keys().cloned() {
            calls.push(v1::NodeUnpublishVolumeRequest { volume_id, target_path }.into());
        }
        for (volume_id, staging_target_path) in self.stagings.keys().cloned() {
            calls.push(v1::NodeUnstageVolumeRequest { volume_id, staging_target_path }.into());
        }
        for (volume_id, node_id) in self.attachments.keys().cloned() {
            calls.push(v1::ControllerUnpublishVolumeRequest { volume_id, node_id, ..Default::default() }.into());
        }
        for group in self.groups.values() {
            for (id, members) in group.ids.clone() {
                let request = v1::DeleteVolumeGroupSnapshotRequest {
                    group_snapshot_id: id,
                    snapshot_ids: members,
                    ..Default::default()
                };
                calls.push(request.into());
            }
        }
        for snapshot_id in self.snapshots.values().flat_map(|it| it.ids.keys()).cloned() {
            calls.push(v1::DeleteSnapshotRequest { snapshot_id, ..Default::default() }.into());
        }
        for volume_id in self.volumes.values().flat_map(|it| it.ids.keys()).cloned() {
            calls.push(v1::DeleteVolumeRequest { volume_id, ..Default::default() }.into());
        }
        calls
    }

    /// Creations whose outcome is open: repeated, their replies name what has to be deleted.
    pub(crate) fn open_creations(&self) -> Vec<Request> {
        let groups = self.groups.values().filter_map(|it| it.open.clone()).map(Request::from);
        let snapshots = self.snapshots.values().filter_map(|it| it.open.clone()).map(Request::from);
        let volumes = self.volumes.values().filter_map(|it| it.open.clone()).map(Request::from);
        volumes.chain(snapshots).chain(groups).collect()
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes over what another scenario left.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.volumes.extend(other.volumes);
        self.snapshots.extend(other.snapshots);
        self.groups.extend(other.groups);
        self.attachments.extend(other.attachments);
        self.stagings.extend(other.stagings);
        self.publications.extend(other.publications);
    }

    /// Leaves something to others: the request that would remove it is not made.
    pub(crate) fn forgo(&mut self, request: &Request) {
        self.removed(request);
    }

    fn removed(&mut self, request: &Request) {
        match request {
            Request::DeleteVolume(request) => forget(&mut self.volumes, &request.volume_id),
            Request::DeleteSnapshot(request) => forget(&mut self.snapshots, &request.snapshot_id),
            Request::DeleteVolumeGroupSnapshot(request) => forget(&mut self.groups, &request.group_snapshot_id),
            Request::ControllerUnpublishVolume(request) => self.attachments.retain(|(volume, node), _| {
                *volume != request.volume_id || (!request.node_id.is_empty() && *node != request.node_id)
            }),
            Request::NodeUnstageVolume(request) => {
                self.stagings.remove(&(request.volume_id.clone(), request.staging_target_path.clone()));
            }
            Request::NodeUnpublishVolume(request) => {
                self.publications.remove(&(request.volume_id.clone(), request.target_path.clone()));
            }
            _ => {}
        }
    }
}

/// Ends a creation: an id is kept, a definite refusal leaves no trace, everything else stays open.
fn note<R>(
    created: &mut BTreeMap<String, Created<R>>,
    name: &str,
    answer: &Answer,
    id: Option<String>,
    members: Vec<String>,
) {
    let Some(entry) = created.get_mut(name) else { return };
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        entry.ids.insert(id, members);
        entry.open = None;
    } else if !answer.leaves_open() {
        entry.open = None;
    }
    if entry.ids.is_empty() && entry.open.is_none() {
        created.remove(name);
    }
}

/// Notes that a volume may be somewhere from now on; without a name for both, nothing could take it away again.
fn expect(entries: &mut BTreeMap<(String, String), bool>, volume: &str, place: &str) {
    if !volume.is_empty() && !place.is_empty() {
        entries.entry((volume.to_owned(), place.to_owned())).or_default();
    }
}

fn forget<R>(created: &mut BTreeMap<String, Created<R>>, id: &str) {
    created.retain(|_, entry| {
        entry.ids.remove(id);
        !entry.ids.is_empty() || entry.open.is_some()
    });
}

/// Ends a publication of some kind: a definite refusal leaves what was there before.
fn settle(entries: &mut BTreeMap<(String, String), bool>, key: (String, String), answer: &Answer) {
    let Some(established) = entries.get_mut(&key) else { return };
    // What may have been done before is not undone by a refusal.
    if matches!(answer, Answer::Reply(_)) || answer.leaves_open() {
        *established = true;
    } else if !*established {
        entries.remove(&key);
    }
}

/// Something that could not be removed.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize)]
pub struct Leftover {
    /// The RPC that would remove it.
    pub rpc: &'static str,
    /// Its arguments without secrets, for people.
    pub arguments: String,
}

impl Ledger {
    /// What is left, as the calls that would remove it.
    pub(crate) fn leftovers(&self) -> Vec<Leftover> {
        let calls = self.open_creations().into_iter().chain(self.removal());
        let leftovers: BTreeSet<Leftover> = calls.map(|request| leftover(&request)).collect();
        leftovers.into_iter().collect()
    }
}

fn leftover(request: &Request) -> Leftover {
    let arguments = match request {
        Request::CreateVolume(request) => {
            format!("name {:?} (its outcome is open; repeat it, then delete)", request.name)
        }
        Request::CreateSnapshot(request) => {
            format!("name {:?} (its outcome is open; repeat it, then delete)", request.name)
        }
        Request::CreateVolumeGroupSnapshot(request) => {
            format!("name {:?} (its outcome is open; repeat it, then delete)", request.name)
        }
        Request::DeleteVolume(request) => format!("volume_id {:?}", request.volume_id),
        Request::DeleteSnapshot(request) => format!("snapshot_id {:?}", request.snapshot_id),
        Request::DeleteVolumeGroupSnapshot(request) => {
            format!("group_snapshot_id {:?}, snapshot_ids {:?}", request.group_snapshot_id, request.snapshot_ids)
        }
        Request::ControllerUnpublishVolume(request) => {
            format!("volume_id {:?}, node_id {:?}", request.volume_id, request.node_id)
        }
        Request::NodeUnstageVolume(request) => {
            format!("volume_id {:?}, staging_target_path {:?}", request.volume_id, request.staging_target_path)
        }
        Request::NodeUnpublishVolume(request) => {
            format!("volume_id {:?}, target_path {:?}", request.volume_id, request.target_path)
        }
        _ => String::new(),
    };
    Leftover { rpc: request.rpc().name(), arguments }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Lost;

    fn create(name: &str) -> Request {
        v1::CreateVolumeRequest { name: name.into(), ..Default::default() }.into()
    }

    fn created(id: &str) -> Answer {
        let volume = v1::Volume { volume_id: id.into(), ..Default::default() };
        Answer::Reply(v1::CreateVolumeResponse { volume: Some(volume) }.into())
    }

    fn delete(id: &str) -> Request {
        v1::DeleteVolumeRequest { volume_id: id.into(), ..Default::default() }.into()
    }

    fn status(code: i32) -> Answer {
        Answer::Status { code, message: String::new(), details: 0 }
    }

    #[test]
    fn a_volume_stays_until_its_deletion_is_answered_ok() {
        let mut ledger = Ledger::default();
        ledger.sent(&create("a"));
        assert_eq!(ledger.open_creations(), [create("a")]);
        ledger.answered(&create("a"), &created("1"));
        assert_eq!((ledger.open_creations(), ledger.removal()), (vec![], vec![delete("1")]));
        ledger.answered(&delete("1"), &status(13));
        assert!(!ledger.is_empty());
        ledger.answered(&delete("1"), &Answer::Reply(v1::DeleteVolumeResponse {}.into()));
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_lost_creation_is_repeated_and_a_refused_one_forgotten() {
        let mut ledger = Ledger::default();
        ledger.sent(&create("a"));
        ledger.answered(&create("a"), &Answer::Lost(Lost::Deadline));
        assert_eq!(ledger.open_creations(), [create("a")]);
        assert_eq!(ledger.leftovers().len(), 1);
        ledger.answered(&create("a"), &status(3));
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_refused_second_publish_leaves_the_first_in_the_ledger() {
        let mut ledger = Ledger::default();
        let publish: Request =
            v1::NodePublishVolumeRequest { volume_id: "v".into(), target_path: "/t".into(), ..Default::default() }
                .into();
        ledger.sent(&publish);
        ledger.answered(&publish, &Answer::Reply(v1::NodePublishVolumeResponse {}.into()));
        ledger.sent(&publish);
        ledger.answered(&publish, &status(6));
        let unpublish = v1::NodeUnpublishVolumeRequest { volume_id: "v".into(), target_path: "/t".into() };
        assert_eq!(ledger.removal(), [unpublish.into()]);
    }
}
