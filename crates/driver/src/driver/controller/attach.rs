//! ControllerPublishVolume and ControllerUnpublishVolume (specification lines 1313–1440).

use super::ControllerService;
use crate::{
    csi::v1::{self, controller_service_capability::rpc::Type as Controller},
    driver::{
        Refusal,
        capability::Plugin,
        field,
        lock::{Hold, Object},
        parameters,
        record::Attachment,
        store::Change,
        volume_use::VolumeUse,
    },
    mountpod::AccessMode,
};

impl ControllerService {
    pub(super) async fn attach(
        &self,
        request: &v1::ControllerPublishVolumeRequest,
    ) -> Result<v1::ControllerPublishVolumeResponse, Refusal> {
        let state = &self.state;
        let id = field::volume_id("volume_id", &request.volume_id)?;
        if request.node_id.is_empty() {
            return Err(Refusal::Missing("node_id"));
        }
        field::node_id(&request.node_id)?;
        let volume_use = VolumeUse::parse(request.volume_capability.as_ref())?;
        field::map("secrets", &request.secrets)?;
        field::map("volume_context", &request.volume_context)?;
        if request.readonly && !state.capabilities.controller(Controller::PublishReadonly) {
            return Err(Refusal::invalid("readonly", "is not supported: leave it out"));
        }
        let id = id.ok_or_else(|| Refusal::no_volume(&request.volume_id))?;
        let held = state.locks.hold(Object::Volume(id.clone()), Hold::Exclusive)?;
        let volume = state.ready_volume(&id)?;
        let topology = state
            .configuration
            .topology_of(&request.node_id)
            .ok_or_else(|| Refusal::NotFound { kind: "node", id: request.node_id.clone() })?;
        volume_use
            .supported_for(&volume, &state.capabilities)
            .map_err(|why| Refusal::invalid("volume_capability", why))?;
        if !parameters::is_own_context(&request.volume_context, &volume.created_with) {
            return Err(Refusal::invalid("volume_context", "is not that of the volume: send what CreateVolume gave"));
        }
        if state.capabilities.plugin(Plugin::VolumeAccessibilityConstraints) && *topology != volume.topology {
            return Err(Refusal::FailedPrecondition(format!(
                "volume {id} is in {} and node {:?} in {topology}: choose a node of the volume's topology",
                volume.topology, request.node_id
            )));
        }
        let attachment = Attachment {
            publish_context: parameters::publish_context(&id, &request.node_id, request.readonly),
            volume: id,
            node: request.node_id.clone(),
            fingerprint: volume_use.fingerprint(request.readonly),
            readonly: request.readonly,
        };
        let publish_context = state
            .blocking(move |state| {
                let _held = held;
                let _reserving = state.reserving();
                let present = state.store.attachments_of(&attachment.volume)?;
                if let Some(existing) = compared(&present, &attachment)? {
                    return Ok(existing.publish_context.clone());
                }
                let most = usize::try_from(state.configuration.max_volumes_per_node).unwrap_or(usize::MAX);
                if most > 0 && state.store.attached_to(&attachment.node)? >= most {
                    let node = &attachment.node;
                    let why = format!("node {node:?} has {most} volumes attached, the most it takes: detach one first");
                    return Err(Refusal::ResourceExhausted(why));
                }
                state.store.commit(&[Change::PutAttachment(attachment.clone())])?;
                Ok(attachment.publish_context)
            })
            .await?;
        Ok(v1::ControllerPublishVolumeResponse { publish_context })
    }

    pub(super) async fn detach(
        &self,
        request: &v1::ControllerUnpublishVolumeRequest,
    ) -> Result<v1::ControllerUnpublishVolumeResponse, Refusal> {
        let done = v1::ControllerUnpublishVolumeResponse {};
        let id = field::volume_id("volume_id", &request.volume_id)?;
        field::node_id(&request.node_id)?;
        field::map("secrets", &request.secrets)?;
        // What the store does not know is attached nowhere (specification line 1403).
        let Some(id) = id else { return Ok(done) };
        let held = self.state.locks.hold(Object::Volume(id.clone()), Hold::Exclusive)?;
        let node = request.node_id.clone();
        self.state
            .blocking(move |state| {
                let _held = held;
                let changes: Vec<Change> = state
                    .store
                    .attachments_of(&id)?
                    .into_iter()
                    // An empty node id means every node (specification line 1414).
                    .filter(|attachment| node.is_empty() || attachment.node == node)
                    .map(|attachment| Change::RemoveAttachment { volume: attachment.volume, node: attachment.node })
                    .collect();
                if changes.is_empty() { Ok(()) } else { Ok(state.store.commit(&changes)?) }
            })
            .await?;
        Ok(done)
    }
}

/// Whether an attachment may join those that are there; the one that it repeats, if any.
fn compared<'a>(present: &'a [Attachment], asked: &Attachment) -> Result<Option<&'a Attachment>, Refusal> {
    if let Some(existing) = present.iter().find(|attachment| attachment.node == asked.node) {
        if existing.fingerprint == asked.fingerprint && existing.readonly == asked.readonly {
            return Ok(Some(existing));
        }
        return Err(Refusal::AlreadyExists(format!(
            "volume {} is attached to node {:?} with another capability or readonly flag: detach it first",
            asked.volume, asked.node
        )));
    }
    let mode = asked.fingerprint.access_mode;
    let clash = present.iter().find(|holder| {
        let single = !mode.is_multi_node() || !holder.fingerprint.access_mode.is_multi_node();
        let one_writer = AccessMode::MultiNodeSingleWriter;
        let counts_writers = mode == one_writer || holder.fingerprint.access_mode == one_writer;
        single || (counts_writers && !asked.fingerprint.read_only && !holder.fingerprint.read_only)
    });
    match clash {
        None => Ok(None),
        Some(holder) => Err(Refusal::FailedPrecondition(format!(
            "volume {} is attached to node {:?} and the access modes do not allow another: detach it there first",
            asked.volume, holder.node
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tonic::Code;

    use super::*;
    use crate::mountpod::{AccessType, Fingerprint};

    fn attachment(node: &str, access_mode: AccessMode, readonly: bool) -> Attachment {
        Attachment {
            volume: "vol-1".parse().unwrap(),
            node: node.into(),
            fingerprint: Fingerprint {
                access_type: AccessType::Mount,
                access_mode,
                read_only: readonly || access_mode.is_reader_only(),
                fs_type: String::new(),
                mount_flags: String::new(),
                mount_group: String::new(),
            },
            readonly,
            publish_context: BTreeMap::new(),
        }
    }

    #[test]
    fn a_second_node_needs_a_mode_for_several_and_the_refusal_names_the_holder() {
        let present = [attachment("a", AccessMode::SingleNodeWriter, false)];
        let refusal = compared(&present, &attachment("b", AccessMode::SingleNodeWriter, false)).unwrap_err();
        assert_eq!(refusal.code(), Code::FailedPrecondition);
        assert!(refusal.to_string().contains("\"a\""), "{refusal}");
        let present = [attachment("a", AccessMode::MultiNodeMultiWriter, false)];
        assert_eq!(compared(&present, &attachment("b", AccessMode::MultiNodeMultiWriter, false)), Ok(None));
    }

    #[test]
    fn one_writer_among_several_nodes_is_one() {
        let mode = AccessMode::MultiNodeSingleWriter;
        let present = [attachment("a", mode, false)];
        assert!(compared(&present, &attachment("b", mode, false)).is_err());
        assert_eq!(compared(&present, &attachment("b", mode, true)), Ok(None));
    }

    #[test]
    fn a_repeat_is_the_same_and_a_change_is_refused() {
        let present = [attachment("a", AccessMode::SingleNodeWriter, false)];
        assert_eq!(compared(&present, &present[0]), Ok(Some(&present[0])));
        let changed = compared(&present, &attachment("a", AccessMode::SingleNodeWriter, true));
        assert_eq!(changed.unwrap_err().code(), Code::AlreadyExists);
    }
}
