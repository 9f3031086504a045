//! Which objects of the driver the symbolic handles of a program stand for.

use std::collections::BTreeMap;

use super::step::Call;
use crate::{
    csi::v1,
    history::{Reply, Request},
    sut::Answer,
};

/// What the handles stand for, as far as answers have told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bindings {
    pub(super) volumes: BTreeMap<u8, v1::Volume>,
    pub(super) snapshots: BTreeMap<u8, String>,
    pub(super) groups: BTreeMap<u8, (String, Vec<String>)>,
    /// The publish contexts of volumes on the driver's own node.
    pub(super) publish_contexts: BTreeMap<u8, BTreeMap<String, String>>,
}

impl Bindings {
    /// Takes up what an answer tells.
    pub fn learn(&mut self, call: Call, request: &Request, answer: &Answer, own_node: &str) {
        let Answer::Reply(reply) = answer else { return };
        match (request, reply) {
            (_, Reply::CreateVolume(reply)) => {
                if let Some(volume) = reply.volume.clone().filter(|volume| !volume.volume_id.is_empty()) {
                    self.volumes.insert(call.volume, volume);
                }
            }
            (_, Reply::CreateSnapshot(reply)) => {
                if let Some(snapshot) = &reply.snapshot {
                    self.snapshots.insert(call.snapshot, snapshot.snapshot_id.clone());
                }
            }
            (_, Reply::CreateVolumeGroupSnapshot(reply)) => {
                if let Some(group) = &reply.group_snapshot {
                    let members = group.snapshots.iter().map(|snapshot| snapshot.snapshot_id.clone()).collect();
                    self.groups.insert(call.snapshot, (group.group_snapshot_id.clone(), members));
                }
            }
            (Request::ControllerPublishVolume(request), Reply::ControllerPublishVolume(reply))
                if request.node_id == own_node =>
            {
                self.publish_contexts.insert(call.volume, reply.publish_context.clone());
            }
            _ => {}
        }
    }
}
