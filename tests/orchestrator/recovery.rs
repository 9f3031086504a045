//! Canonical traces of growth, snapshots, restarts and lost nodes.

use std::time::Duration;

use csi_certify::orchestrator::{
    AccessMode, Metadata, PersistentVolumeClaim, PodPhase, ResizePhase, StorageClass, VolumeMode, VolumeSnapshot,
};
use tonic::Code;

use super::{
    interposer::Act,
    stage::play,
    stage::{MIB, Setup},
    traces::Recorded,
};

impl Recorded {
    pub(crate) fn grow(&self, claim: &str, size: i64) {
        let grow = |claim: &mut PersistentVolumeClaim| claim.request = size;
        self.stage.cluster.store().modify(claim, grow).unwrap();
    }

    pub(crate) async fn grown(&self, claim: &str, size: i64) {
        self.stage
            .until("it has grown", |tables| {
                let claim = &tables.claims[claim];
                claim.capacity >= size && claim.resize.is_none()
            })
            .await;
    }
}

#[test]
fn t08_growth_while_no_pod_uses_it() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.begin_here();
        recorded.grow("c1", 8 * MIB);
        recorded
            .stage
            .until("the controller has done its part", |tables| {
                tables.claims["c1"].resize == Some(ResizePhase::NodeResizePending)
                    || tables.claims["c1"].capacity == 8 * MIB
            })
            .await;
        recorded.stage.pod("p1", "c1", "n1");
        recorded.name();
        recorded.stage.running("p1").await;
        recorded.grown("c1", 8 * MIB).await;
        recorded.end().await;
        recorded.check("t08");
    });
}

#[test]
fn t09_growth_while_a_pod_uses_it() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.begin_here();
        recorded.grow("c1", 8 * MIB);
        recorded.grown("c1", 8 * MIB).await;
        recorded.end().await;
        recorded.check("t09");
    });
}

#[test]
fn t12_growth_is_infeasible_and_the_request_is_lowered() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Block);
        recorded.stage.bound("c1").await;
        recorded.name();
        recorded.begin_here();
        recorded.stage.script.next("ControllerExpandVolume", &[Act::Refuse(Code::OutOfRange)]);
        recorded.grow("c1", 64 * MIB);
        recorded
            .stage
            .until("it is refused", |tables| {
                tables.claims["c1"].resize == Some(ResizePhase::ControllerResizeInfeasible)
            })
            .await;
        recorded.grow("c1", 8 * MIB);
        recorded.stage.until("it is tried", |tables| tables.volumes.values().all(|one| one.capacity == 8 * MIB)).await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t12");
    });
}

#[test]
fn t13_growth_is_uncertain_and_its_size_frozen() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Block);
        recorded.stage.bound("c1").await;
        recorded.name();
        recorded.begin_here();
        recorded.stage.script.next("ControllerExpandVolume", &[Act::Swallow, Act::Refuse(Code::Internal)]);
        recorded.grow("c1", 64 * MIB);
        tokio::time::sleep(Duration::from_millis(10_500)).await;
        recorded.grow("c1", 8 * MIB);
        recorded.stage.until("it is tried", |tables| tables.volumes.values().all(|one| one.capacity == 8 * MIB)).await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t13");
    });
}

#[test]
fn t15_and_t19_a_snapshot_and_a_restore() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.name();
        recorded.begin_here();
        recorded.stage.cluster.create_snapshot("s1", "c1", "").unwrap();
        recorded.stage.until("it is cut", |tables| tables.snapshots["s1"].is_ready).await;
        recorded.name();
        for (name, source) in [
            ("c2", csi_certify::orchestrator::DataSource::Snapshot("s1".into())),
            ("c3", csi_certify::orchestrator::DataSource::Claim("c1".into())),
        ] {
            recorded
                .stage
                .cluster
                .create_claim(PersistentVolumeClaim {
                    metadata: Metadata::named(name),
                    access_modes: vec![AccessMode::ReadWriteOnce],
                    request: 4 * MIB,
                    storage_class: "standard".into(),
                    data_source: Some(source),
                    ..PersistentVolumeClaim::default()
                })
                .unwrap();
            recorded.stage.bound(name).await;
            recorded.name();
        }
        recorded.stage.cluster.store().delete::<VolumeSnapshot>("s1");
        recorded
            .stage
            .until("the snapshot is gone", |tables| tables.snapshots.is_empty() && tables.snapshot_contents.is_empty())
            .await;
        for claim in ["c1", "c2", "c3"] {
            recorded.stage.cluster.delete_claim(claim);
            recorded
                .stage
                .until("it is gone", |tables| {
                    !tables.claims.contains_key(claim)
                        && tables.volumes.values().all(|one| one.claim.as_ref().unwrap().name != claim)
                })
                .await;
        }
        recorded.stage.clean(&[]).await;
        recorded.check("t15_t19");
    });
}

#[test]
fn t17_a_snapshot_is_uncertain_and_deleted() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.name();
        recorded.begin_here();
        recorded.stage.script.next("CreateSnapshot", &[Act::Swallow]);
        recorded.stage.cluster.create_snapshot("s1", "c1", "").unwrap();
        recorded.name();
        tokio::time::sleep(Duration::from_secs(30)).await;
        recorded.stage.cluster.store().delete::<VolumeSnapshot>("s1");
        recorded
            .stage
            .until("the snapshot is gone", |tables| tables.snapshots.is_empty() && tables.snapshot_contents.is_empty())
            .await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t17");
    });
}

#[test]
fn t33_a_kubelet_restarts_while_it_publishes() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.script.next("NodePublishVolume", &[Act::Swallow]);
        recorded.mounting().await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        recorded.stage.cluster.stop_kubelet("n1").await.unwrap();
        recorded.stage.cluster.start_kubelet("n1").unwrap();
        recorded.stage.running("p1").await;
        recorded.end().await;
        recorded.check("t33");
    });
}

#[test]
fn t34_a_kubelet_restarts_and_its_pod_is_gone() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.begin_here();
        recorded.stage.cluster.power_off("n1").await.unwrap();
        recorded.stage.cluster.force_delete_pod("p1");
        recorded.stage.cluster.start_kubelet("n1").unwrap();
        recorded.stage.detached().await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t34");
    });
}

#[test]
fn t38_a_node_is_out_of_service_and_comes_back() {
    play(async {
        let mut recorded = Recorded::begin(2).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.begin_here();
        let cluster = &mut recorded.stage.cluster;
        cluster.lose_node("n1").await.unwrap();
        cluster.set_out_of_service("n1", true).unwrap();
        cluster.force_delete_pod("p1");
        recorded.stage.pod("p2", "c1", "n2");
        recorded.stage.running("p2").await;
        recorded.name();
        recorded.stage.cluster.set_out_of_service("n1", false).unwrap();
        recorded.stage.cluster.start_kubelet("n1").unwrap();
        recorded.stage.until("the node has cleaned up", |tables| tables.nodes["n1"].volumes_in_use.is_empty()).await;
        recorded.stage.cluster.delete_pod("p2");
        recorded.stage.pod_gone("p2").await;
        recorded.stage.detached().await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t38");
    });
}

/// Each component is restarted at each moment of a volume's life.
#[test]
fn a_restart_at_any_moment_of_a_volumes_life_ends_with_nothing_left() {
    let sidecars = ["external-provisioner", "external-attacher", "attach-detach-controller", "kubelet"];
    for sidecar in sidecars {
        // A life takes about thirty seconds on an idle cluster.
        for moment in (0..40).map(|step| Duration::from_millis(step * 800)) {
            play(async move {
                let mut recorded = Recorded::with(Setup::new(1)).await;
                println!("{sidecar} restarts after {moment:?}");
                recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
                recorded.stage.pod("p1", "c1", "n1");
                let restart = tokio::time::Instant::now() + moment;
                let life = async {
                    recorded.stage.running("p1").await;
                    recorded.end().await;
                };
                let at_once = tokio::time::timeout_at(restart, life).await;
                if at_once.is_ok() {
                    return;
                }
                if sidecar == "kubelet" {
                    recorded.stage.cluster.stop_kubelet("n1").await.unwrap();
                    recorded.stage.cluster.start_kubelet("n1").unwrap();
                } else {
                    recorded.stage.cluster.restart_sidecar(sidecar);
                }
                recorded
                    .stage
                    .until("the pod has run", |tables| {
                        tables.pods.get("p1").is_none_or(|pod| pod.phase == PodPhase::Running)
                    })
                    .await;
                recorded.end().await;
            });
        }
    }
}

#[test]
fn a_late_binding_class_is_provisioned_for_the_node_of_its_pod() {
    play(async {
        let recorded = Recorded::begin(2).await;
        let cluster = &recorded.stage.cluster;
        let class = StorageClass {
            binding_mode: csi_certify::orchestrator::BindingMode::WaitForFirstConsumer,
            ..cluster.class("late")
        };
        cluster.create_class(class).unwrap();
        cluster
            .create_claim(PersistentVolumeClaim {
                metadata: Metadata::named("c1"),
                access_modes: vec![AccessMode::ReadWriteOnce],
                request: 4 * MIB,
                storage_class: "late".into(),
                ..PersistentVolumeClaim::default()
            })
            .unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(cluster.store().read(|tables| !tables.claims["c1"].is_bound));
        recorded.stage.pod("p1", "c1", "n2");
        recorded.stage.running("p1").await;
        assert_eq!(cluster.store().read(|tables| tables.pods["p1"].node_name.clone()), "n2");
        recorded.end().await;
    });
}
