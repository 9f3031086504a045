//! No secret reaches a log or an answer.

use std::{
    io,
    sync::{Arc, Mutex},
};

use csi_certify::csi::v1::{self, volume_capability};
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{Mode, World, create_volume, mount, strings};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn canaries_are_in_no_log_line_and_no_answer() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(captured.clone())
        .with_ansi(false)
        .finish();
    // For all threads, the blocking ones included; what other tests log holds no canary either.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut answers = String::new();
    exercise(&mut answers).await;
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("method=\"CreateVolume\"") && log.contains("***stripped***"));
    assert!(log.contains("code=\"OK\"") && log.contains("refused"));
    assert!(!answers.contains(PARAMETER), "{answers}");
    for line in log.lines().chain(answers.lines()) {
        assert!(!line.contains(CANARY), "{line}");
    }
}

async fn exercise(answers: &mut String) {
    let mut world = World::new();
    let secrets = strings(&[("password", CANARY)]);
    let too_large = strings(&[("password", &CANARY.repeat(400))]);
    for secrets in [secrets, too_large] {
        let create = v1::CreateVolumeRequest { secrets: secrets.clone(), ..create_volume("a") };
        let created = world.create_as(create.clone()).await;
        answers.push_str(&format!("{created:?}"));
        let volume = created.map(|volume| volume.volume_id).unwrap_or_default();
        let parameters = strings(&[("unknown", PARAMETER)]);
        answers.push_str(&format!("{:?}", world.create_as(v1::CreateVolumeRequest { parameters, ..create }).await));
        let flags = volume_capability::MountVolume { mount_flags: vec![CANARY.into()], ..Default::default() };
        let flagged = v1::VolumeCapability {
            access_type: Some(volume_capability::AccessType::Mount(flags)),
            ..mount(Mode::SingleNodeWriter)
        };
        for capability in [mount(Mode::SingleNodeWriter), flagged] {
            let attach = v1::ControllerPublishVolumeRequest {
                volume_id: volume.clone(),
                node_id: "node-1".into(),
                volume_capability: Some(capability.clone()),
                secrets: secrets.clone(),
                ..Default::default()
            };
            answers.push_str(&format!("{:?}", world.controller.controller_publish_volume(attach).await));
            let stage = v1::NodeStageVolumeRequest {
                volume_id: volume.clone(),
                staging_target_path: "/staging".into(),
                volume_capability: Some(capability),
                secrets: secrets.clone(),
                ..Default::default()
            };
            answers.push_str(&format!("{:?}", world.node.node_stage_volume(stage).await));
        }
        let snapshot = v1::CreateSnapshotRequest {
            source_volume_id: volume.clone(),
            name: "s".into(),
            secrets: secrets.clone(),
            ..Default::default()
        };
        answers.push_str(&format!("{:?}", world.controller.create_snapshot(snapshot).await));
        let delete = v1::DeleteVolumeRequest { volume_id: volume, secrets };
        answers.push_str(&format!("{:?}", world.controller.delete_volume(delete).await));
    }
}

const CANARY: &str = "canary-4d1f";
/// Not a secret by the specification, so it may be logged; answers keep quiet about it all the same.
const PARAMETER: &str = "canary-of-a-parameter";
