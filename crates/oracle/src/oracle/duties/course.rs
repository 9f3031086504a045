//! Duties that only the order of calls shows: attach, stage, publish, and the way back.

use std::collections::{BTreeMap, BTreeSet};

use super::Broken;
use crate::{
    history::{CallId, Reply, Request},
    oracle::{knowledge::Knowledge, operation::Operation, ruling::Answer},
    rule,
    spec::{Rpc, RuleId},
};

/// The contexts of a volume or an attachment.
type Context = BTreeMap<String, String>;

/// What the orchestrator knows from the answers that it got, by volume id.
pub(super) struct Course {
    volumes: BTreeMap<String, Volume>,
    /// The id that each node gave itself, by the node's label in the history.
    node_ids: BTreeMap<String, String>,
    /// Requests that were answered UNIMPLEMENTED, by instance.
    unimplemented: BTreeMap<(String, Rpc), CallId>,
    /// Snapshots of groups.
    members: BTreeMap<String, CallId>,
}

/// What became of a volume so far.
#[derive(Default)]
struct Volume {
    /// The call that created it; without it, its earlier life is not known.
    created: Option<CallId>,
    /// What CreateVolume gave, to be passed on.
    context: Option<Context>,
    /// By node id: attached by that call, with that context.
    attached: BTreeMap<String, (CallId, Context)>,
    /// By node label: staged by that call, at that path.
    staged: BTreeMap<String, (CallId, String)>,
    /// By node label and target path: published by that call.
    published: BTreeMap<(String, String), CallId>,
    /// Nodes that it was, or may have been, attached to, staged or published on in this history.
    touched: BTreeSet<String>,
}

impl Course {
    /// Nothing has happened yet; `node_ids` are the ids that nodes give themselves, by their labels.
    pub(super) fn new(node_ids: BTreeMap<String, String>) -> Self {
        Self { volumes: BTreeMap::new(), node_ids, unimplemented: BTreeMap::new(), members: BTreeMap::new() }
    }

    /// Forgets volumes and snapshots that nothing mentions any more.
    pub(super) fn forget(&mut self, is_mentioned: impl Fn(&str) -> bool) {
        self.volumes.retain(|id, _| is_mentioned(id));
        self.members.retain(|id, _| is_mentioned(id));
    }

    /// A call starts: what it breaks, given all answers until now.
    pub(super) fn start(&mut self, knowledge: &Knowledge, operation: &Operation) -> Vec<Broken> {
        let mut broken = Vec::new();
        let rpc = operation.rpc();
        if let Some(&refused) = self.unimplemented.get(&(operation.call.instance.clone(), rpc)) {
            let message = format!("{rpc} again, although it was answered UNIMPLEMENTED");
            broken.push(Broken::new(rule!("GEN-ERR-020"), message, [refused]));
        }
        let node = &operation.call.node;
        match operation.request() {
            Request::NodeStageVolume(r) => {
                let Some(volume) = self.volumes.get(&r.volume_id) else { return broken };
                self.attached_first(knowledge, volume, node, rule!("NODE-STAGE-004"), rpc, &mut broken);
                self.passed_on(
                    knowledge,
                    volume,
                    node,
                    &r.publish_context,
                    [rule!("NODE-STAGE-011"), rule!("NODE-STAGE-012")],
                    rpc,
                    &mut broken,
                );
                volume.context_passed_on(&r.volume_context, rule!("NODE-STAGE-029"), rpc, &mut broken);
                if let Some((call, path)) = volume.staged.get(node)
                    && *path != r.staging_target_path
                {
                    let message =
                        format!("a volume is staged at {:?} while it is staged at {path:?}", r.staging_target_path);
                    broken.push(Broken::new(rule!("NODE-STAGE-017"), message, [*call]));
                }
            }
            Request::NodePublishVolume(r) => {
                let Some(volume) = self.volumes.get(&r.volume_id) else { return broken };
                self.attached_first(knowledge, volume, node, rule!("NODE-PUBLISH-002"), rpc, &mut broken);
                self.passed_on(
                    knowledge,
                    volume,
                    node,
                    &r.publish_context,
                    [rule!("NODE-PUBLISH-038"), rule!("NODE-PUBLISH-039")],
                    rpc,
                    &mut broken,
                );
                volume.context_passed_on(&r.volume_context, rule!("NODE-PUBLISH-063"), rpc, &mut broken);
                if knowledge.has("Node.STAGE_UNSTAGE_VOLUME") {
                    if r.staging_target_path.is_empty() {
                        let message = "NodePublishVolume without staging_target_path to a plugin that stages";
                        broken.push(Broken::new(rule!("NODE-PUBLISH-042"), message, []));
                    }
                    if let (Some(created), None) = (volume.created, volume.staged.get(node)) {
                        let message = "NodePublishVolume before NodeStageVolume was answered OK on this node";
                        broken.push(Broken::new(rule!("NODE-STAGE-005"), message, [created]));
                    }
                }
            }
            Request::NodeUnstageVolume(r) => {
                let published = self.volumes.get(&r.volume_id).and_then(|volume| volume.published_on(node));
                if let Some((path, call)) = published {
                    let message = format!("NodeUnstageVolume while the volume is published at {path:?}");
                    broken.push(Broken::new(rule!("NODE-UNSTAGE-005"), message, [call]));
                }
            }
            Request::ControllerUnpublishVolume(r) => {
                let Some(volume) = self.volumes.get(&r.volume_id) else { return broken };
                let here = |label: &&String| r.node_id.is_empty() || self.node_ids.get(*label) == Some(&r.node_id);
                for label in self.node_ids.keys().filter(here) {
                    if let Some((path, call)) = volume.published_on(label) {
                        let message =
                            format!("ControllerUnpublishVolume while the volume is published at {path:?} on the node");
                        broken.push(Broken::new(rule!("CTRL-UNPUBLISH-002"), message, [call]));
                    } else if let Some((call, path)) = volume.staged.get(label) {
                        let message =
                            format!("ControllerUnpublishVolume while the volume is staged at {path:?} on the node");
                        broken.push(Broken::new(rule!("NODE-UNSTAGE-004"), message, [*call]));
                    }
                }
            }
            Request::NodeExpandVolume(r) => {
                let Some(volume) = self.volumes.get(&r.volume_id) else { return broken };
                let there = volume.staged.contains_key(node) || volume.published_on(node).is_some();
                if let (Some(created), false) = (volume.created, there) {
                    let message = "NodeExpandVolume of a volume that is neither staged nor published on this node";
                    broken.push(Broken::new(rule!("NODE-EXPAND-004"), message, [created]));
                }
            }
            Request::DeleteSnapshot(r) => {
                if let Some(&told) = self.members.get(&r.snapshot_id) {
                    let message = "DeleteSnapshot of a member of a group snapshot";
                    broken.push(Broken::new(rule!("CTRL-SNAPDELETE-005"), message, [told]));
                }
            }
            _ => {}
        }
        broken
    }

    fn attached_first(
        &self,
        knowledge: &Knowledge,
        volume: &Volume,
        node: &str,
        rule: RuleId,
        rpc: Rpc,
        broken: &mut Vec<Broken>,
    ) {
        let (Some(created), Some(id)) = (volume.created, self.node_ids.get(node)) else { return };
        if knowledge.has("Controller.PUBLISH_UNPUBLISH_VOLUME") && !volume.attached.contains_key(id) {
            let message = format!("{rpc} before ControllerPublishVolume to this node was answered OK");
            broken.push(Broken::new(rule, message, [created]));
        }
    }

    /// `publish_context` is what ControllerPublishVolume gave, or empty without controller publish.
    #[allow(clippy::too_many_arguments, reason = "two RPCs share one table row")]
    fn passed_on(
        &self,
        knowledge: &Knowledge,
        volume: &Volume,
        node: &str,
        sent: &Context,
        [given, unset]: [RuleId; 2],
        rpc: Rpc,
        broken: &mut Vec<Broken>,
    ) {
        const PUBLISH: &str = "Controller.PUBLISH_UNPUBLISH_VOLUME";
        if knowledge.told(PUBLISH) && !knowledge.has(PUBLISH) && !sent.is_empty() {
            let message = format!("{rpc} with a publish_context to a plugin that does not attach");
            broken.push(Broken::new(unset, message, []));
        }
        let attached = self.node_ids.get(node).and_then(|id| volume.attached.get(id));
        if let Some((call, context)) = attached.filter(|(_, context)| context != sent) {
            let message =
                format!("{rpc} with publish_context {sent:?}, where ControllerPublishVolume gave {context:?}");
            broken.push(Broken::new(given, message, [*call]));
        }
    }

    /// A call ended.
    pub(super) fn finish(&mut self, operation: &Operation) {
        let call = operation.call.id;
        let node = operation.call.node.clone();
        let reply = match operation.answer() {
            Some(Answer::Ok(reply)) => reply,
            Some(Answer::Status(status)) => {
                if status.code == tonic::Code::Unimplemented as i32 {
                    self.unimplemented.insert((operation.call.instance.clone(), operation.rpc()), call);
                }
                return;
            }
            None => return,
        };
        self.unimplemented.remove(&(operation.call.instance.clone(), operation.rpc()));
        match (operation.request(), reply) {
            (Request::CreateVolume(_), Reply::CreateVolume(reply)) => {
                let Some(told) = &reply.volume else { return };
                let volume = self.volumes.entry(told.volume_id.clone()).or_default();
                // A repeated creation says nothing of what was done since the first.
                if volume.created.is_none() && volume.touched.is_empty() {
                    volume.created = Some(call);
                }
                volume.context = Some(told.volume_context.clone());
            }
            (Request::DeleteVolume(r), _) => {
                self.volumes.remove(&r.volume_id);
            }
            (Request::ControllerPublishVolume(r), Reply::ControllerPublishVolume(reply)) => {
                let volume = self.volume(&r.volume_id, &r.node_id);
                volume.attached.insert(r.node_id.clone(), (call, reply.publish_context.clone()));
            }
            (Request::ControllerUnpublishVolume(r), _) => {
                let volume = self.volume(&r.volume_id, &r.node_id);
                volume.attached.retain(|id, _| !r.node_id.is_empty() && *id != r.node_id);
            }
            (Request::NodeStageVolume(r), _) => {
                self.volume(&r.volume_id, &node).staged.insert(node, (call, r.staging_target_path.clone()));
            }
            (Request::NodeUnstageVolume(r), _) => {
                self.volume(&r.volume_id, &node).staged.remove(&node);
            }
            (Request::NodePublishVolume(r), _) => {
                self.volume(&r.volume_id, &node).published.insert((node, r.target_path.clone()), call);
            }
            (Request::NodeUnpublishVolume(r), _) => {
                self.volume(&r.volume_id, &node).published.remove(&(node, r.target_path.clone()));
            }
            (Request::CreateVolumeGroupSnapshot(_), Reply::CreateVolumeGroupSnapshot(reply)) => {
                let told = reply.group_snapshot.iter().flat_map(|group| &group.snapshots);
                let members = told.filter(|snapshot| !snapshot.group_snapshot_id.is_empty());
                self.members.extend(members.map(|snapshot| (snapshot.snapshot_id.clone(), call)));
            }
            (Request::DeleteVolumeGroupSnapshot(r), _) => {
                r.snapshot_ids.iter().for_each(|id| {
                    self.members.remove(id);
                });
            }
            _ => {}
        }
    }

    fn volume(&mut self, id: &str, node: &str) -> &mut Volume {
        let volume = self.volumes.entry(id.to_owned()).or_default();
        volume.touched.insert(node.to_owned());
        volume
    }
}

impl Volume {
    fn published_on(&self, node: &str) -> Option<(&str, CallId)> {
        let found = self.published.iter().find(|((label, _), _)| label == node);
        found.map(|((_, path), call)| (path.as_str(), *call))
    }

    /// A volume_context that is given is that of the volume.
    fn context_passed_on(&self, sent: &Context, rule: RuleId, rpc: Rpc, broken: &mut Vec<Broken>) {
        let Some(context) = &self.context else { return };
        // Orchestrators add keys of their own, which the plugin did not give but may well be told.
        let differs = context.iter().find(|(key, value)| sent.get(*key) != Some(*value));
        if let Some((key, value)) = differs {
            let message =
                format!("{rpc} with a volume_context in which {key:?} is not {value:?}, as CreateVolume gave it");
            broken.push(Broken::new(rule, message, self.created));
        }
    }
}
