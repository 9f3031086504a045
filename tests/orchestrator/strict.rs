//! What an orchestrator that keeps its duties does otherwise than Kubernetes.

use std::{collections::BTreeSet, time::Duration};

use clap::ValueEnum as _;
use csi_certify::{
    history::{Event, EventKind},
    orchestrator::{
        AccessMode, Departure, Metadata, PersistentVolume, PersistentVolumeClaim, ReclaimPolicy, Tables, VolumeMode,
        VolumeSnapshot, tear_down,
    },
    spec::Rpc,
};
use tonic::Code;

use super::{
    interposer::Act,
    stage::{MIB, Setup, Stage, play},
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

#[test]
fn a_volume_with_a_caret_in_its_id_is_detached_and_in_kubernetes_never() {
    for strict in [false, true] {
        play(async move {
            let without = strict.then_some(Departure::SplitName).into_iter().collect();
            let mut stage = stage(without).await;
            // The built-in driver gives no such ids: it is answered for here.
            let rpcs = ["ControllerPublishVolume", "NodeStageVolume", "NodePublishVolume"];
            let undone = ["ControllerUnpublishVolume", "NodeUnstageVolume", "NodeUnpublishVolume"];
            rpcs.iter().chain(&undone).for_each(|rpc| stage.script.next(rpc, &[Act::Accept]));
            let volume = PersistentVolume {
                metadata: Metadata::named("pv-1"),
                driver: csi_certify::driver::PLUGIN_NAME.into(),
                handle: "pool^volume".into(),
                access_modes: vec![AccessMode::ReadWriteOnce],
                capacity: 4 * MIB,
                storage_class: "standard".into(),
                reclaim_policy: ReclaimPolicy::Retain,
                ..PersistentVolume::default()
            };
            stage.cluster.store().create(volume).unwrap();
            let claim = PersistentVolumeClaim {
                metadata: Metadata::named("c1"),
                access_modes: vec![AccessMode::ReadWriteOnce],
                request: 4 * MIB,
                storage_class: "standard".into(),
                volume_name: "pv-1".into(),
                ..PersistentVolumeClaim::default()
            };
            stage.cluster.create_claim(claim).unwrap();
            stage.bound("c1").await;
            stage.pod("p1", "c1", "n1");
            stage.running("p1").await;
            stage.cluster.delete_pod("p1");
            stage.pod_gone("p1").await;
            tokio::time::sleep(Duration::from_secs(1200)).await;
            let asked = calls(&stage.recorder.history().events, Rpc::ControllerUnpublishVolume);
            assert_eq!(asked, usize::from(strict), "strict {strict}");
            let left: Vec<String> = tear_down(&mut stage.cluster).await.iter().map(ToString::to_string).collect();
            let told = "attachment of pv-1 to n1 waits for the volume to be detached: the attach/detach controller splits \
                        its name at ^, and finds two";
            assert_eq!(left.iter().any(|one| one == told), !strict, "strict {strict}: {left:#?}");
            assert_eq!(left.is_empty(), strict, "strict {strict}: {left:#?}");
        });
    }
}

/// A snapshot of a bound claim is asked for.
async fn snapshot(stage: &Stage) {
    stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
    stage.bound("c1").await;
    stage.cluster.create_snapshot("s1", "c1", "").unwrap();
}

#[test]
fn a_snapshot_that_may_have_been_cut_goes_with_its_object_and_in_kubernetes_stays() {
    for strict in [false, true] {
        play(async move {
            let stage = stage(strict.then_some(Departure::KeepFailedSnapshot).into_iter().collect()).await;
            stage.script.next("CreateSnapshot", &[Act::Fail(Code::Internal)]);
            snapshot(&stage).await;
            let has_failed = |tables: &Tables| tables.snapshot_contents.values().any(|one| one.error.is_some());
            stage.until("it has failed", has_failed).await;
            stage.cluster.store().delete::<VolumeSnapshot>("s1");
            stage.until("its objects are gone", |tables| tables.snapshot_contents.is_empty()).await;
            let left = stage.driver_store.snapshots_after(None, 2).unwrap().len();
            assert_eq!(left, usize::from(!strict), "strict {strict}");
        });
    }
}

#[test]
fn a_snapshot_that_fails_after_it_was_cut_is_cut_anew_and_in_kubernetes_asked_for_again() {
    for strict in [false, true] {
        play(async move {
            let stage = stage(strict.then_some(Departure::KeepFailedSnapshot).into_iter().collect()).await;
            stage.script.next("CreateSnapshot", &[Act::Unready, Act::Refuse(Code::Internal)]);
            snapshot(&stage).await;
            stage.until("it is ready", |tables| tables.snapshots["s1"].is_ready).await;
            let events = stage.recorder.history().events;
            let called = [Rpc::CreateSnapshot, Rpc::DeleteSnapshot].map(|rpc| calls(&events, rpc));
            assert_eq!(called, [3, usize::from(strict)], "strict {strict}");
        });
    }
}
