//! Canonical traces of growth where controller and node can do different things, and where the volume is in use.

use csi_certify::{
    driver::Expansion,
    orchestrator::{AccessMode, ResizePhase, VolumeMode},
};

use super::{
    stage::{MIB, Setup, play},
    traces::Recorded,
};

fn without(capability: &str) -> Setup {
    let mut setup = Setup::new(1);
    setup.configuration.without = [capability.parse().unwrap()].into();
    setup
}

#[test]
fn t10_the_controller_does_all_of_it() {
    play(async {
        let mut recorded = Recorded::with(without("Node.EXPAND_VOLUME")).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.begin_here();
        recorded.grow("c1", 8 * MIB);
        recorded.grown("c1", 8 * MIB).await;
        recorded.end().await;
        recorded.check("t10");
    });
}

#[test]
fn t11_the_node_does_all_of_it() {
    play(async {
        let mut recorded = Recorded::with(without("Controller.EXPAND_VOLUME")).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.begin_here();
        recorded.grow("c1", 8 * MIB);
        recorded.grown("c1", 8 * MIB).await;
        let volume = recorded.stage.driver_store.volumes_after(None, 1).unwrap().pop().unwrap();
        assert_eq!(volume.capacity, 8 << 20, "nothing was grown");
        recorded.end().await;
        recorded.check("t11");
    });
}

#[test]
fn t14_growth_is_refused_while_a_pod_uses_the_volume() {
    play(async {
        let mut setup = Setup::new(1);
        setup.configuration.expansion = Expansion::Offline;
        let mut recorded = Recorded::with(setup).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.begin_here();
        recorded.grow("c1", 8 * MIB);
        recorded
            .stage
            .until("it is refused", |tables| {
                tables.claims["c1"].resize == Some(ResizePhase::ControllerResizeInProgress)
            })
            .await;
        // Longer than many back-offs: nothing is asked while the pod is there.
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
        recorded.stage.cluster.delete_pod("p1");
        recorded.stage.pod_gone("p1").await;
        recorded.stage.detached().await;
        recorded.stage.until("it has grown", |tables| tables.volumes.values().all(|one| one.capacity == 8 * MIB)).await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t14");
    });
}

#[test]
fn t41_a_shared_volume_grows_on_both_nodes() {
    play(async {
        let mut recorded = Recorded::begin(2).await;
        recorded.stage.claim("c1", AccessMode::ReadWriteMany, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        for (pod, node) in [("p1", "n1"), ("p2", "n2")] {
            recorded.stage.pod(pod, "c1", node);
            recorded.stage.running(pod).await;
        }
        recorded.name();
        recorded.begin_here();
        recorded.grow("c1", 8 * MIB);
        recorded.grown("c1", 8 * MIB).await;
        // The other node follows in its own time.
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        recorded.check_by_component("t41");
    });
}
