//! Calls that may be under way while secrets and classes change: repeated as they were, or, as in Kubernetes, as all is now.

use std::{collections::BTreeMap, time::Duration};

use csi_certify::{
    history::{EventKind, Request},
    orchestrator::{AccessMode, Departure, StorageClass, VolumeMode},
    spec::Rpc,
};
use tokio::time::{sleep, timeout};

use super::{
    interposer::Act,
    stage::{LONG, Setup, Stage, play},
};

fn of(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}

async fn stage(strict: bool) -> Stage {
    Stage::with_settings(Setup::new(1), |settings| {
        settings.without = strict.then_some(Departure::ReadAnew).into_iter().collect();
        settings.profile.secrets = of("first", "the content at first");
    })
    .await
}

/// The requests of an RPC, once there are so many.
async fn requests(stage: &Stage, rpc: Rpc, count: usize) -> Vec<Request> {
    let request = |event: csi_certify::history::Event| match event.kind {
        EventKind::Call(call) if call.request.rpc() == rpc => Some(call.request),
        _ => None,
    };
    let made = || stage.recorder.history().events.into_iter().filter_map(request).collect::<Vec<Request>>();
    let enough = async {
        while made().len() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, enough).await.unwrap();
    made()
}

#[test]
fn secrets_stay_until_a_call_has_ended_and_in_kubernetes_change_in_the_middle() {
    for strict in [false, true] {
        play(async move {
            let stage = stage(strict).await;
            stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
            stage.bound("c1").await;
            stage.script.next("NodePublishVolume", &[Act::Swallow]);
            stage.pod("p1", "c1", "n1");
            requests(&stage, Rpc::NodePublishVolume, 1).await;
            stage.cluster.rotate_secrets(of("second", "the content after that"));
            stage.running("p1").await;
            stage.pod("p2", "c1", "n1");
            stage.running("p2").await;
            // Histories have the keys of secrets only.
            let key = |request: &Request| request.secrets().and_then(|secrets| secrets.keys().next().cloned());
            let publishes = requests(&stage, Rpc::NodePublishVolume, 3).await;
            let keys: Vec<String> = publishes.iter().filter_map(key).collect();
            assert_eq!(keys, ["first", if strict { "first" } else { "second" }, "second"], "strict {strict}");
        });
    }
}

#[test]
fn a_volume_is_made_by_the_class_that_it_was_begun_with_and_in_kubernetes_by_its_successor() {
    for strict in [false, true] {
        play(async move {
            let stage = stage(strict).await;
            let class = |tier: &str| StorageClass { parameters: of("tier", tier), ..stage.cluster.class("tiered") };
            stage.cluster.create_class(class("standard")).unwrap();
            // It is made, and nobody is told.
            stage.script.next("CreateVolume", &[Act::Silence]);
            stage.claim_of_class("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem, "tiered");
            requests(&stage, Rpc::CreateVolume, 1).await;
            stage.cluster.store().delete::<StorageClass>("tiered");
            stage.cluster.create_class(class("fast")).unwrap();
            let tiers: Vec<String> = requests(&stage, Rpc::CreateVolume, 2)
                .await
                .iter()
                .map(|request| match request {
                    Request::CreateVolume(request) => request.parameters["tier"].clone(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(tiers, ["standard", if strict { "standard" } else { "fast" }], "strict {strict}");
            if strict {
                stage.bound("c1").await;
            }
        });
    }
}
