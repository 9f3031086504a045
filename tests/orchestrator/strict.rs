//! What an orchestrator that keeps its duties does otherwise than Kubernetes.

use std::{collections::BTreeSet, time::Duration};

use clap::ValueEnum as _;
use csi_certify::{
    history::{Event, EventKind},
    orchestrator::{AccessMode, Departure, VolumeMode},
    spec::Rpc,
};
use tonic::Code;

use super::{
    interposer::Act,
    stage::{Setup, Stage, play},
};

fn all() -> BTreeSet<Departure> {
    Departure::value_variants().iter().copied().collect()
}

async fn stage(without: BTreeSet<Departure>) -> Stage {
    Stage::with_settings(Setup::new(1), |settings| settings.without = without).await
}

fn calls(events: &[Event], rpc: Rpc) -> usize {
    let is_it = |event: &&Event| matches!(&event.kind, EventKind::Call(call) if call.request.rpc() == rpc);
    events.iter().filter(is_it).count()
}

#[test]
fn what_is_refused_for_good_is_asked_for_once_and_in_kubernetes_for_ever() {
    for code in [Code::Unimplemented, Code::InvalidArgument, Code::Internal] {
        for strict in [false, true] {
            play(async move {
                let stage = stage(if strict { all() } else { BTreeSet::new() }).await;
                stage.script.next("NodeStageVolume", &[Act::Refuse(code); 1000]);
                stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
                stage.bound("c1").await;
                stage.pod("p1", "c1", "n1");
                tokio::time::sleep(Duration::from_secs(1200)).await;
                let asked = calls(&stage.recorder.history().events, Rpc::NodeStageVolume);
                let once = strict && code != Code::Internal;
                assert!(if once { asked == 1 } else { asked > 3 }, "{code:?}, strict {strict}: {asked} calls");
                let troubles = stage.cluster.context().troubles.list();
                assert!(troubles.iter().any(|trouble| trouble.rpc == Rpc::NodeStageVolume), "{troubles:#?}");
            });
        }
    }
}

#[test]
fn a_volume_of_a_forgotten_claim_is_taken_back_and_in_kubernetes_left() {
    for strict in [false, true] {
        play(async move {
            let stage = stage(if strict { all() } else { BTreeSet::new() }).await;
            stage.script.next("CreateVolume", &[Act::Silence]);
            stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(stage.driver_store.volumes_after(None, 2).unwrap().len(), 1, "it was not made");
            stage.cluster.delete_claim("c1");
            stage.cluster.restart_sidecar("external-provisioner");
            stage.until("the claim is gone", |tables| tables.claims.is_empty() && tables.volumes.is_empty()).await;
            tokio::time::sleep(Duration::from_secs(1200)).await;
            let left = stage.driver_store.volumes_after(None, 2).unwrap().len();
            assert_eq!(left, usize::from(!strict), "strict {strict}");
        });
    }
}
