//! What always holds of the calls that a cluster makes, whatever happens to it.

use std::collections::{BTreeMap, BTreeSet};

use csi_certify::{
    csi::v1,
    history::{CallId, Event, EventKind, Outcome, Reply, Request},
};

/// How a call ended, as far as the cluster could tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Fine,
    Final,
    Uncertain,
}

fn ending(outcome: &Outcome) -> Ending {
    match outcome {
        Outcome::Reply { .. } => Ending::Fine,
        Outcome::Status(status) if !matches!(status.code, 1 | 4 | 8 | 10 | 14) => Ending::Final,
        Outcome::Status(_) | Outcome::Lost(_) | Outcome::Garbage { .. } => Ending::Uncertain,
    }
}

/// A volume on a node, and for publications the path there.
type Place = (String, String);

/// What the calls so far have brought about.
#[derive(Debug, Default)]
struct Books {
    /// Volumes whose creation was answered, with the context that was given.
    created: BTreeMap<String, BTreeMap<String, String>>,
    /// Attached by an answered call that no detaching was started after, with the publish context.
    attached: BTreeMap<Place, BTreeMap<String, String>>,
    /// Staged by an answered call that no unstaging was started after.
    staged: BTreeSet<Place>,
    /// Maybe staged: an unstaging has to come before a detaching.
    may_be_staged: BTreeSet<Place>,
    /// Published or maybe published, by volume, node and target.
    may_be_published: BTreeSet<(String, String, String)>,
    /// Calls under way, by what no two may be about.
    in_flight: BTreeMap<CallId, String>,
    broken: Vec<String>,
}

/// What a run allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// Nodes are lost and their volumes detached by force.
    pub(crate) forced_detach: bool,
    /// Components restart: what they had under way may be repeated before the driver has ended it.
    pub(crate) restarts: bool,
    /// Whether volumes are attached.
    pub(crate) attach_required: bool,
}

/// Everything that does not hold of a history, by the numbers of the invariants.
pub(crate) fn broken(events: &[Event], allowed: Allowed) -> Vec<String> {
    let mut books = Books::default();
    let mut calls: BTreeMap<CallId, (&str, &str, &Request)> = BTreeMap::new();
    for event in events {
        match &event.kind {
            EventKind::Call(call) => {
                calls.insert(call.id, (&call.node, &call.scenario, &call.request));
                books.sent(call.id, &call.node, &call.scenario, &call.request, allowed);
            }
            EventKind::Return { call, outcome } => {
                books.in_flight.remove(call);
                if let Some((node, _, request)) = calls.get(call) {
                    books.answered(node, request, outcome);
                }
            }
            _ => {}
        }
    }
    books.broken
}

impl Books {
    fn expect(&mut self, holds: bool, invariant: &str, call: CallId, what: impl Fn() -> String) {
        if !holds {
            self.broken.push(format!("{invariant} at call {}: {}", call.0, what()));
        }
    }

    fn sent(&mut self, id: CallId, node: &str, component: &str, request: &Request, allowed: Allowed) {
        self.one_at_a_time(id, node, component, request, allowed);
        match request {
            Request::CreateVolume(request) => {
                let reserved = request.parameters.keys().find(|key| key.starts_with("csi.storage.k8s.io/"));
                self.expect(reserved.is_none(), "INV-22", id, || format!("{reserved:?} is for the sidecars"));
                let types: BTreeSet<bool> = request.volume_capabilities.iter().map(is_block).collect();
                self.expect(types.len() == 1, "INV-23", id, || "mixed access types".into());
                if let Some(requirement) = &request.accessibility_requirements {
                    let set =
                        |list: &[v1::Topology]| list.iter().map(|one| one.segments.clone()).collect::<BTreeSet<_>>();
                    let (requisite, preferred) = (set(&requirement.requisite), set(&requirement.preferred));
                    let holds = !requisite.is_empty() && requisite == preferred;
                    self.expect(holds, "INV-20", id, || format!("{requirement:?}"));
                }
            }
            Request::ControllerPublishVolume(request) => {
                let known = self.created.contains_key(&request.volume_id);
                self.expect(known, "INV-01", id, || format!("{} was not created", request.volume_id));
                self.expect(!request.readonly, "INV-18", id, || "no volume here is read-only".into());
                self.context(id, &request.volume_id, &request.volume_context);
                let single =
                    mode(request.volume_capability.as_ref()) < 8 && !is_many(request.volume_capability.as_ref());
                let elsewhere =
                    self.attached.keys().any(|(volume, at)| *volume == request.volume_id && *at != request.node_id);
                self.expect(!(single && elsewhere) || allowed.restarts, "INV-35", id, || {
                    format!("{} is attached elsewhere", request.volume_id)
                });
            }
            Request::ControllerUnpublishVolume(request) => {
                let place = (request.volume_id.clone(), request.node_id.clone());
                self.attached.remove(&place);
                if !allowed.forced_detach {
                    let staged = self.may_be_staged.contains(&place);
                    self.expect(!staged, "INV-05", id, || format!("{place:?} may be staged"));
                    let published = self.may_be_published.iter().any(|(v, n, _)| (v, n) == (&place.0, &place.1));
                    self.expect(!published, "INV-05", id, || format!("{place:?} may be published"));
                }
            }
            Request::NodeStageVolume(request) => {
                let place = (request.volume_id.clone(), node.to_owned());
                self.attached_as(id, &place, &request.publish_context, allowed);
                self.context(id, &request.volume_id, &request.volume_context);
                let path = std::path::Path::new(&request.staging_target_path);
                self.expect(path.is_absolute(), "INV-15", id, || request.staging_target_path.clone());
            }
            Request::NodeUnstageVolume(request) => {
                let place = (request.volume_id.clone(), node.to_owned());
                self.staged.remove(&place);
                let target = self.may_be_published.iter().find(|(v, n, _)| (v, n) == (&place.0, &place.1)).cloned();
                self.expect(target.is_none(), "INV-04", id, || format!("{target:?} may be published"));
            }
            Request::NodePublishVolume(request) => {
                let place = (request.volume_id.clone(), node.to_owned());
                self.attached_as(id, &place, &request.publish_context, allowed);
                self.context(id, &request.volume_id, &request.volume_context);
                let staged = self.staged.contains(&place);
                self.expect(staged, "INV-03", id, || format!("{place:?} is not staged"));
                self.expect(!request.staging_target_path.is_empty(), "INV-17", id, || "no staging path".into());
                let alone = mode(request.volume_capability.as_ref())
                    == v1::volume_capability::access_mode::Mode::SingleNodeSingleWriter as i32;
                let others = self
                    .may_be_published
                    .iter()
                    .any(|(v, n, t)| (v, n) == (&place.0, &place.1) && *t != request.target_path);
                self.expect(!(alone && others), "INV-34", id, || format!("{place:?} is published to another pod"));
            }
            Request::DeleteVolume(request) => {
                let place = self.attached.keys().find(|(volume, _)| *volume == request.volume_id).cloned();
                self.expect(place.is_none(), "INV-06", id, || format!("{place:?} is attached"));
            }
            _ => {}
        }
    }

    /// INV-02 and INV-13.
    fn attached_as(&mut self, id: CallId, place: &Place, context: &BTreeMap<String, String>, allowed: Allowed) {
        if !allowed.attach_required {
            return;
        }
        let attached = self.attached.get(place).cloned();
        self.expect(attached.is_some(), "INV-02", id, || format!("{place:?} is not attached"));
        if let Some(attached) = attached {
            self.expect(attached == *context, "INV-13", id, || format!("{context:?} is not {attached:?}"));
        }
    }

    /// INV-14.
    fn context(&mut self, id: CallId, volume: &str, context: &BTreeMap<String, String>) {
        let created = self.created.get(volume).cloned().unwrap_or_default();
        let holds = created.iter().all(|(key, value)| context.get(key) == Some(value));
        self.expect(holds, "INV-14", id, || format!("{context:?} lacks something of {created:?}"));
    }

    /// INV-08.
    fn one_at_a_time(&mut self, id: CallId, node: &str, component: &str, request: &Request, allowed: Allowed) {
        let about = match request {
            Request::CreateVolume(request) => format!("create {}", request.name),
            Request::DeleteVolume(request) => format!("delete {}", request.volume_id),
            Request::ControllerPublishVolume(request) => format!("attach {} {}", request.volume_id, request.node_id),
            Request::ControllerUnpublishVolume(request) => format!("attach {} {}", request.volume_id, request.node_id),
            Request::ControllerExpandVolume(request) => format!("expand {}", request.volume_id),
            Request::CreateSnapshot(request) => format!("cut {}", request.name),
            Request::DeleteSnapshot(request) => format!("delete {}", request.snapshot_id),
            Request::NodeStageVolume(request) => format!("stage {} {node}", request.volume_id),
            Request::NodeUnstageVolume(request) => format!("stage {} {node}", request.volume_id),
            Request::NodeExpandVolume(request) => format!("stage {} {node}", request.volume_id),
            Request::NodePublishVolume(request) => format!("stage {} {node}", request.volume_id),
            Request::NodeUnpublishVolume(request) => {
                format!("unpublish {} {node} {}", request.volume_id, request.target_path)
            }
            _ => return,
        };
        let other = self.in_flight.iter().find(|(_, other)| **other == about).map(|(call, _)| call.0);
        self.expect(other.is_none() || allowed.restarts, "INV-08", id, || {
            format!("{component} and call {other:?}: {about}")
        });
        self.in_flight.insert(id, about);
    }

    fn answered(&mut self, node: &str, request: &Request, outcome: &Outcome) {
        let ending = ending(outcome);
        match (request, outcome) {
            (Request::CreateVolume(_), Outcome::Reply { reply: Reply::CreateVolume(reply), .. }) => {
                if let Some(volume) = &reply.volume {
                    self.created.insert(volume.volume_id.clone(), volume.volume_context.clone());
                }
            }
            (
                Request::ControllerPublishVolume(request),
                Outcome::Reply { reply: Reply::ControllerPublishVolume(reply), .. },
            ) => {
                let place = (request.volume_id.clone(), request.node_id.clone());
                self.attached.insert(place, reply.publish_context.clone());
            }
            (Request::NodeStageVolume(request), _) => {
                let place = (request.volume_id.clone(), node.to_owned());
                if ending != Ending::Final {
                    self.may_be_staged.insert(place.clone());
                }
                if ending == Ending::Fine {
                    self.staged.insert(place);
                }
            }
            (Request::NodeUnstageVolume(request), _) if ending == Ending::Fine => {
                self.may_be_staged.remove(&(request.volume_id.clone(), node.to_owned()));
            }
            (Request::NodePublishVolume(request), _) if ending != Ending::Final => {
                self.may_be_published.insert((request.volume_id.clone(), node.to_owned(), request.target_path.clone()));
            }
            (Request::NodeUnpublishVolume(request), _) if ending == Ending::Fine => {
                self.may_be_published.remove(&(
                    request.volume_id.clone(),
                    node.to_owned(),
                    request.target_path.clone(),
                ));
            }
            _ => {}
        }
    }
}

fn is_block(capability: &v1::VolumeCapability) -> bool {
    matches!(capability.access_type, Some(v1::volume_capability::AccessType::Block(_)))
}

fn mode(capability: Option<&v1::VolumeCapability>) -> i32 {
    capability.and_then(|one| one.access_mode).map_or(0, |mode| mode.mode)
}

fn is_many(capability: Option<&v1::VolumeCapability>) -> bool {
    use v1::volume_capability::access_mode::Mode;
    let many = [Mode::MultiNodeReaderOnly, Mode::MultiNodeSingleWriter, Mode::MultiNodeMultiWriter];
    many.iter().any(|one| *one as i32 == mode(capability))
}
