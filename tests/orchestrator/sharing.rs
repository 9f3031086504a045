//! What becomes of a volume that several pods of one node want, in Kubernetes and where duties are kept.

use std::time::Duration;

use csi_certify::{
    csi::v1::{controller_service_capability::rpc::Type as Controller, node_service_capability::rpc::Type as Node},
    driver::capability::Capability,
    history::{EventKind, Request},
    orchestrator::{AccessMode, Departure, Metadata, Pod, PodVolume, RandomNemesis, VolumeMode},
};
use tokio::time::sleep;

use super::{
    stage::{Setup, Stage, play},
    workloads::{Quiet, plain},
};

/// Without these a driver does not tell one writer on a node from several.
const ALIKE: [Capability; 2] =
    [Capability::Controller(Controller::SingleNodeMultiWriter), Capability::Node(Node::SingleNodeMultiWriter)];

/// A node whose driver lacks some capabilities; in Kubernetes, or without one departure.
async fn stage(strict: Option<Departure>, lacks: &[Capability]) -> Stage {
    let mut setup = Setup::new(1);
    setup.configuration.without = lacks.iter().copied().collect();
    Stage::with_settings(setup, |settings| settings.without = strict.into_iter().collect()).await
}

/// The target paths of all publications so far.
fn targets(stage: &Stage) -> Vec<String> {
    let events = stage.recorder.history().events;
    let target = |event: &csi_certify::history::Event| match &event.kind {
        EventKind::Call(call) => match &call.request {
            Request::NodePublishVolume(request) => Some(request.target_path.clone()),
            _ => None,
        },
        _ => None,
    };
    events.iter().filter_map(target).collect()
}

fn waits_for(stage: &Stage, pod: &str) -> Option<String> {
    stage.cluster.store().read(|tables| tables.pods[pod].waits_for.clone())
}

/// The second pod runs, beside the first one or, where that one keeps it waiting, after it: how it has the volume is told.
async fn runs_second(stage: &Stage, kept_waiting: Option<&str>) {
    if let Some(how) = kept_waiting {
        stage.until("it is told to wait", |tables| tables.pods["p2"].waits_for.is_some()).await;
        let told = waits_for(stage, "p2").unwrap();
        assert!(told.ends_with(&format!(", which pod p1 has {how}")), "{told}");
        sleep(Duration::from_secs(1200)).await;
        assert_eq!(targets(stage).len(), 1, "{:?}", targets(stage));
        stage.cluster.delete_pod("p1");
    }
    stage.running("p2").await;
    assert_eq!((waits_for(stage, "p2"), targets(stage).len()), (None, 2));
}

#[test]
fn the_only_writer_of_a_volume_is_alone_on_its_node_and_in_kubernetes_has_company() {
    let writers =
        [(None, false), (Some(Departure::ShareSingleWriter), false), (Some(Departure::ShareSingleWriter), true)];
    for (strict, told_apart) in writers {
        play(async move {
            let stage = stage(strict, if told_apart { &[] } else { &ALIKE }).await;
            stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
            stage.bound("c1").await;
            stage.pod("p1", "c1", "n1");
            stage.running("p1").await;
            stage.pod("p2", "c1", "n1");
            runs_second(&stage, (strict.is_some() && !told_apart).then_some("as its only writer")).await;
        });
    }
}

#[test]
fn pods_of_a_node_have_a_volume_in_one_way_at_a_time_and_in_kubernetes_each_in_its_own() {
    let strict = Some(Departure::MixCapabilities);
    for (strict, group) in [(None, 2000), (strict, 1000), (strict, 2000)] {
        play(async move {
            let stage = stage(strict, &[]).await;
            stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
            stage.bound("c1").await;
            for (name, fs_group) in [("p1", 1000), ("p2", group)] {
                let pod = Pod {
                    metadata: Metadata::named(name),
                    volumes: vec![PodVolume::of_claim("data", "c1")],
                    fs_group: Some(fs_group),
                    ..Pod::default()
                };
                stage.cluster.create_pod(pod).unwrap();
                if name == "p1" {
                    stage.running(name).await;
                }
            }
            runs_second(&stage, (strict.is_some() && group != 1000).then_some("with another capability")).await;
        });
    }
}

#[test]
fn pods_that_wait_for_the_only_writer_are_told_and_not_held_against_the_driver() {
    play(async {
        let mut stage = stage(Some(Departure::ShareSingleWriter), &ALIKE).await;
        let workload = plain(3, 6, 2);
        let nemesis = RandomNemesis::new(3, &workload.faults);
        let outcome = workload.play(&mut stage.cluster, &nemesis, &Quiet).await.unwrap();
        assert_eq!(outcome.stuck, []);
        assert!(!outcome.waiting.is_empty(), "{outcome:?}");
        let told = outcome.waiting[0].to_string();
        assert!(told.contains(" waits for volume pvc-") && told.ends_with(" has as its only writer"), "{told}");
    });
}
