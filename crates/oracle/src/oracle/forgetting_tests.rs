//! Forgetting changes no verdict, and keeps memory flat.

use crate::{
    csi::v1::{
        self, controller_service_capability as controller, plugin_capability as plugin,
        volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
    },
    history::{Event, FORMAT, Header, Recorder, Reply, Request},
    oracle::{Judging, Survey},
};

/// Volumes that exist at a time.
const LIVE: usize = 5;

struct Traffic(Recorder);

impl Traffic {
    fn call(&self, request: impl Into<Request>, reply: impl Into<Reply>) {
        let call = self.0.call("plugin", "node", "", &request.into());
        self.0.reply(call, reply.into());
    }

    /// A plugin tells what it is.
    fn begun() -> Self {
        let traffic = Self(Recorder::new(Header { format: FORMAT, ..Header::default() }, None));
        let service = plugin::Service { r#type: plugin::service::Type::ControllerService.into() };
        let capabilities = vec![v1::PluginCapability { r#type: Some(plugin::Type::Service(service)) }];
        traffic.call(v1::GetPluginCapabilitiesRequest {}, v1::GetPluginCapabilitiesResponse { capabilities });
        use controller::rpc::Type as Rpc;
        let capabilities =
            [Rpc::CreateDeleteVolume, Rpc::PublishUnpublishVolume, Rpc::CreateDeleteSnapshot].map(|one| {
                let rpc = controller::Type::Rpc(controller::Rpc { r#type: one.into() });
                v1::ControllerServiceCapability { r#type: Some(rpc) }
            });
        let capabilities = v1::ControllerGetCapabilitiesResponse { capabilities: capabilities.into() };
        traffic.call(v1::ControllerGetCapabilitiesRequest {}, capabilities);
        traffic
    }

    /// A volume and its snapshot come.
    fn come(&self, number: usize) {
        let capability = v1::VolumeCapability {
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            access_type: Some(AccessType::Mount(MountVolume::default())),
        };
        let volume_id = format!("volume-{number}");
        let request = v1::CreateVolumeRequest {
            name: format!("pvc-{number}"),
            volume_capabilities: vec![capability.clone()],
            ..Default::default()
        };
        let volume = v1::Volume { volume_id: volume_id.clone(), capacity_bytes: 1 << 30, ..Default::default() };
        self.call(request, v1::CreateVolumeResponse { volume: Some(volume) });
        let request = v1::NodePublishVolumeRequest {
            volume_id: volume_id.clone(),
            target_path: format!("/pods/{number}"),
            volume_capability: Some(capability),
            ..Default::default()
        };
        self.call(request, v1::NodePublishVolumeResponse {});
        let request = v1::CreateSnapshotRequest {
            name: format!("snap-{number}"),
            source_volume_id: volume_id.clone(),
            ..Default::default()
        };
        let snapshot = v1::Snapshot {
            snapshot_id: format!("snapshot-{number}"),
            source_volume_id: volume_id,
            size_bytes: 1 << 30,
            ready_to_use: true,
            ..Default::default()
        };
        self.call(request, v1::CreateSnapshotResponse { snapshot: Some(snapshot) });
    }

    /// They go; the last volume stays and is asked for again.
    fn go(&self, number: usize) {
        let volume_id = format!("volume-{number}");
        let request = v1::DeleteSnapshotRequest { snapshot_id: format!("snapshot-{number}"), ..Default::default() };
        self.call(request, v1::DeleteSnapshotResponse {});
        let request =
            v1::NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path: format!("/pods/{number}") };
        self.call(request, v1::NodeUnpublishVolumeResponse {});
        self.call(v1::DeleteVolumeRequest { volume_id, ..Default::default() }, v1::DeleteVolumeResponse {});
    }

    /// One that stays is asked for.
    fn ask(&self, number: usize) {
        let request = v1::ControllerGetVolumeRequest { volume_id: format!("volume-{number}") };
        let call = self.0.call("plugin", "", "", &request.into());
        self.0.status(call, 14, "later", 0);
    }
}

/// The most that is held while so many volumes live one after the other, and one all the time.
fn held(lives: usize) -> usize {
    let traffic = Traffic::begun();
    traffic.come(0);
    for number in 1..lives + LIVE {
        traffic.come(number);
        if number > LIVE {
            traffic.go(number - LIVE);
        }
        traffic.ask(0);
    }
    let history = traffic.0.history();
    let mut judging = Judging::new(&history.header, survey(&history.events, 64));
    let held = history.events.iter().map(|event| {
        judging.push(event.clone());
        judging.held()
    });
    held.max().unwrap()
}

fn survey(events: &[Event], window: usize) -> Survey {
    let mut survey = Survey::looking_ahead(window);
    events.iter().for_each(|event| survey.note(event.clone()));
    survey
}

#[test]
fn what_is_held_does_not_grow_with_the_history() {
    let (some, many) = (held(200), held(2000));
    assert!(many <= some + some / 10, "{some} after 200 lives, {many} after 2000");
}
