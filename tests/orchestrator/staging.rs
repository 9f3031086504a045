//! Where a device is staged of which there are several volume objects, in Kubernetes and where duties are kept.

use std::time::Duration;

use csi_certify::{
    history::{EventKind, Request},
    orchestrator::{AccessMode, Departure, Metadata, PersistentVolume, PersistentVolumeClaim, VolumeMode},
};

use tokio::time::{sleep, timeout};

use super::stage::{LONG, MIB, Setup, Stage, play, twin};

/// The calls about staging so far, with the staging path that each names.
fn named(stage: &Stage) -> Vec<(&'static str, String)> {
    let events = stage.recorder.history().events;
    let path = |event: &csi_certify::history::Event| match &event.kind {
        EventKind::Call(call) => match &call.request {
            Request::NodeStageVolume(request) => Some(("stage", request.staging_target_path.clone())),
            Request::NodePublishVolume(request) => Some(("publish", request.staging_target_path.clone())),
            Request::NodeUnstageVolume(request) => Some(("unstage", request.staging_target_path.clone())),
            _ => None,
        },
        _ => None,
    };
    events.iter().filter_map(path).collect()
}

/// Two more volume objects of a device, each with a claim that is bound.
async fn twins(stage: &Stage) {
    stage.claim("c0", AccessMode::ReadWriteMany, VolumeMode::Block);
    stage.bound("c0").await;
    let made = stage.cluster.store().list::<PersistentVolume>().remove(0);
    for (volume, claim) in [("pv-a", "c1"), ("pv-b", "c2")] {
        let twin = twin(&made, volume);
        stage.cluster.store().create(twin).unwrap();
        let wanted = PersistentVolumeClaim {
            metadata: Metadata::named(claim),
            access_modes: vec![AccessMode::ReadWriteMany],
            volume_mode: VolumeMode::Block,
            request: 4 * MIB,
            storage_class: volume.into(),
            ..PersistentVolumeClaim::default()
        };
        stage.cluster.create_claim(wanted).unwrap();
        stage.bound(claim).await;
    }
}

#[test]
fn a_device_is_published_from_where_it_was_staged_and_in_kubernetes_from_where_its_own_name_says() {
    for (strict, restarts) in [(false, false), (true, false), (true, true)] {
        play(async move {
            let without = strict.then_some(Departure::GuessStaging).into_iter().collect();
            let mut stage = Stage::with_settings(Setup::new(1), |settings| settings.without = without).await;
            twins(&stage).await;
            stage.pod("p1", "c1", "n1");
            stage.running("p1").await;
            stage.pod("p2", "c2", "n1");
            if !strict {
                let is_guessed = |(rpc, path): &(&str, String)| *rpc == "publish" && path.ends_with("/pv-b");
                let guessed = async {
                    while !named(&stage).iter().any(is_guessed) {
                        sleep(Duration::from_secs(1)).await;
                    }
                };
                timeout(LONG, guessed).await.unwrap();
                let staged = named(&stage).iter().filter(|(rpc, _)| *rpc == "stage").count();
                assert_eq!(staged, 1, "it was never staged there");
                return;
            }
            stage.running("p2").await;
            stage.cluster.delete_pod("p1");
            stage.pod_gone("p1").await;
            if restarts {
                // All that is found of pods on disk now has the other name.
                stage.cluster.stop_kubelet("n1").await.unwrap();
                stage.cluster.start_kubelet("n1").unwrap();
            }
            stage.cluster.delete_pod("p2");
            stage.pod_gone("p2").await;
            stage.detached().await;
            let named = named(&stage);
            assert!(named.iter().all(|(_, path)| path.ends_with("/volumeDevices/staging/pv-a")), "{named:#?}");
            assert_eq!(named.last().map(|(rpc, _)| *rpc), Some("unstage"), "{named:#?}");
            stage.vacated().await;
        });
    }
}
