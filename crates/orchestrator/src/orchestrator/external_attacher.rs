//! external-attacher: ControllerPublishVolume and ControllerUnpublishVolume for VolumeAttachments.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    access_mode::{SingleNode, of_volume},
    capabilities::{self, Capabilities, Exit},
    context::Context,
    controller::{self, Controller},
    csi_client::CsiClient,
    names,
    object::{Kind, Node, PersistentVolume, VolumeAttachment},
    store::Change,
    timing::{ATTACHER_LIMIT, ATTACHER_RESYNC},
    work_queue::Next,
};
use crate::{
    csi::v1::{self, controller_service_capability::rpc::Type},
    spec::Rpc,
};

/// The name in histories.
pub(super) const NAME: &str = "external-attacher";

/// How many attachments are worked on side by side.
const WORKERS: usize = 10;

struct Attachments {
    client: CsiClient,
    capabilities: Capabilities,
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
    let capabilities = async {
        capabilities::probe(&client, ATTACHER_LIMIT).await?;
        capabilities::driver_name(&client, ATTACHER_LIMIT).await?;
        capabilities::of_plugin(&client, ATTACHER_LIMIT).await
    };
    let capabilities = match capabilities.await {
        Ok(capabilities) => capabilities,
        Err(exit) => return exit,
    };
    let attachments = Arc::new(Attachments { client, capabilities });
    match controller::run(attachments, context, WORKERS, ATTACHER_RESYNC).await {}
}

/// What is to be done for an attachment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Nothing,
    /// Without the capability: marked as attached, and no call.
    MarkAttached,
    Attach,
    Detach,
}

fn step(attachment: &VolumeAttachment, driver: &str, finalizer: &str, can_publish: bool) -> Step {
    let is_ours = attachment.attacher == driver;
    match (attachment.metadata.is_deleting(), attachment.metadata.finalizers.contains(finalizer)) {
        _ if !is_ours => Step::Nothing,
        (true, true) => Step::Detach,
        (true, false) => Step::Nothing,
        (false, _) if attachment.attached => Step::Nothing,
        (false, _) if can_publish => Step::Attach,
        (false, _) => Step::MarkAttached,
    }
}

impl Attachments {
    fn driver(&self) -> &str {
        &self.client.context.csi_driver.name
    }

    fn finalizer(&self) -> String {
        names::attacher_finalizer(self.driver())
    }

    fn node_id(&self, attachment: &VolumeAttachment) -> Option<String> {
        let node: Option<Node> = self.client.context.store.get(&attachment.node_name);
        let registered = node.and_then(|node| node.registration).map(|registration| registration.node_id);
        registered.or_else(|| attachment.metadata.annotations.get(names::NODE_ID).cloned())
    }

    /// Puts the finalizers on, and makes the request; an error goes into the attachment without a call.
    fn prepare(&self, attachment: &VolumeAttachment) -> Result<v1::ControllerPublishVolumeRequest, String> {
        let store = &self.client.context.store;
        let volume: PersistentVolume =
            store.get(&attachment.volume_name).ok_or_else(|| format!("no volume {}", attachment.volume_name))?;
        if volume.metadata.is_deleting() {
            return Err(format!("volume {} is being deleted", attachment.volume_name));
        }
        let single_node = SingleNode::of(self.capabilities.controller(Type::SingleNodeMultiWriter));
        let capability = of_volume(&volume, single_node).ok_or("no CSI access mode fits the volume's access modes")?;
        let node_id = self.node_id(attachment).ok_or_else(|| format!("no CSINode of {}", attachment.node_name))?;
        let finalizer = self.finalizer();
        let mark = |volume: &mut PersistentVolume| {
            volume.metadata.finalizers.insert(finalizer.clone());
        };
        store.modify(&attachment.volume_name, mark).map_err(|error| error.to_string())?;
        let mark = |attachment: &mut VolumeAttachment| {
            attachment.metadata.finalizers.insert(finalizer.clone());
            attachment.metadata.annotations.insert(names::NODE_ID.to_owned(), node_id.clone());
        };
        store.note(&attachment.metadata.name, mark).map_err(|error| error.to_string())?;
        Ok(v1::ControllerPublishVolumeRequest {
            volume_id: volume.handle,
            node_id,
            volume_capability: Some(capability),
            readonly: volume.read_only && self.capabilities.controller(Type::PublishReadonly),
            secrets: self.client.secrets(Rpc::ControllerPublishVolume),
            volume_context: volume.attributes,
        })
    }

    async fn attach(&self, attachment: &VolumeAttachment) -> Next {
        let store = &self.client.context.store;
        let name = &attachment.metadata.name;
        let answer = match self.prepare(attachment) {
            Ok(request) => {
                let subject = self.subject(name);
                self.client.call(&subject, request, ATTACHER_LIMIT).await.map_err(|error| error.to_string())
            }
            Err(reason) => Err(reason),
        };
        match answer {
            Ok(reply) => {
                let attached = |attachment: &mut VolumeAttachment| {
                    attachment.attached = true;
                    attachment.attachment_metadata = reply.publish_context;
                    attachment.attach_error = None;
                };
                // It cannot vanish: it has our finalizer.
                let _ = store.modify(name, attached);
                Next::Settled
            }
            Err(error) => {
                let _ = store.note(name, |one: &mut VolumeAttachment| one.attach_error = Some(error));
                Next::Retry
            }
        }
    }

    async fn detach(&self, attachment: &VolumeAttachment) -> Next {
        let store = &self.client.context.store;
        let name = &attachment.metadata.name;
        let volume: Option<PersistentVolume> = store.get(&attachment.volume_name);
        let (Some(volume), Some(node_id)) = (volume, self.node_id(attachment)) else { return Next::Retry };
        let request = v1::ControllerUnpublishVolumeRequest {
            volume_id: volume.handle,
            node_id,
            secrets: self.client.secrets(Rpc::ControllerUnpublishVolume),
        };
        if let Err(error) = self.client.call(&self.subject(name), request, ATTACHER_LIMIT).await {
            let _ = store.note(name, |one: &mut VolumeAttachment| one.detach_error = Some(error.to_string()));
            return Next::Retry;
        }
        let finalizer = self.finalizer();
        let release = |attachment: &mut VolumeAttachment| {
            attachment.metadata.finalizers.remove(&finalizer);
            attachment.attached = false;
        };
        let _ = store.modify(name, release);
        Next::Settled
    }

    /// Lets go of volumes that are being deleted and attached nowhere.
    fn release_volumes(&self) {
        let store = &self.client.context.store;
        let finalizer = self.finalizer();
        for volume in store.list::<PersistentVolume>() {
            let name = &volume.metadata.name;
            let is_attached = || store.list::<VolumeAttachment>().iter().any(|one| one.volume_name == *name);
            if volume.metadata.is_deleting() && volume.metadata.finalizers.contains(&finalizer) && !is_attached() {
                let release = |volume: &mut PersistentVolume| {
                    volume.metadata.finalizers.remove(&finalizer);
                };
                let _ = store.modify(name, release);
            }
        }
    }
}

#[async_trait]
impl Controller for Attachments {
    fn name(&self) -> &str {
        NAME
    }

    fn concerns(&self, change: &Change) -> Vec<String> {
        match change.kind {
            Kind::VolumeAttachment if !change.is_quiet => vec![change.name.clone()],
            Kind::PersistentVolume => {
                self.release_volumes();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<String> {
        self.release_volumes();
        self.client.context.store.read(|tables| tables.attachments.keys().cloned().collect())
    }

    fn subject(&self, key: &str) -> String {
        let of = |tables: &super::store::Tables| {
            let attachment = tables.attachments.get(key)?;
            Some(format!("volume {} on {}", attachment.volume_name, attachment.node_name))
        };
        self.client.context.store.read(of).unwrap_or_else(|| format!("attachment {key}"))
    }

    async fn reconcile(&self, key: &str) -> Next {
        let store = &self.client.context.store;
        let Some(attachment) = store.get::<VolumeAttachment>(key) else {
            self.release_volumes();
            return Next::Settled;
        };
        let can_publish = self.capabilities.controller(Type::PublishUnpublishVolume);
        match step(&attachment, self.driver(), &self.finalizer(), can_publish) {
            Step::Nothing => Next::Settled,
            Step::MarkAttached => {
                let _ = store.modify(key, |one: &mut VolumeAttachment| one.attached = true);
                Next::Settled
            }
            Step::Attach => self.attach(&attachment).await,
            Step::Detach => self.detach(&attachment).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_attachment_is_detached_by_a_call_only_if_one_may_have_attached_it() {
        let finalizer = names::attacher_finalizer("d");
        let mut attachment = VolumeAttachment { attacher: "d".into(), ..Default::default() };
        assert_eq!(step(&attachment, "d", &finalizer, true), Step::Attach);
        assert_eq!(step(&attachment, "d", &finalizer, false), Step::MarkAttached);
        assert_eq!(step(&attachment, "another", &finalizer, true), Step::Nothing);
        attachment.metadata.deletion_timestamp = Some(1);
        assert_eq!(step(&attachment, "d", &finalizer, true), Step::Nothing);
        attachment.metadata.finalizers.insert(finalizer.clone());
        assert_eq!(step(&attachment, "d", &finalizer, true), Step::Detach);
    }
}
