//! The canonical traces: what a driver sees in the everyday life of a volume, and when things go wrong.

use csi_certify::{
    driver::capability::Capability,
    history::{Event, EventKind, Outcome, Reply},
    orchestrator::{AccessMode, VolumeMode},
};
use tonic::Code;

use super::{
    interposer::Act,
    stage::{LONG, Setup, Stage, play},
    trace::{Names, by_component, render, with_golden},
};

/// A stage with names for what is on it.
pub(crate) struct Recorded {
    pub(crate) stage: Stage,
    pub(crate) names: Names,
    from: usize,
}

impl Recorded {
    pub(crate) async fn begin(nodes: usize) -> Self {
        Self::with(Setup::new(nodes)).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let mut recorded = Self::of(Stage::with(setup).await);
        recorded.begin_here();
        recorded
    }

    /// All that was recorded on a stage from its start.
    pub(crate) fn of(stage: Stage) -> Self {
        Self { stage, names: Names::of(&Default::default(), &[]), from: 0 }
    }

    /// Remembers the names of all that is there now.
    pub(crate) fn name(&mut self) {
        let names = self.stage.cluster.store().read(|tables| Names::of(tables, &[]));
        self.names.add(names);
    }

    /// The trace begins here.
    pub(crate) fn begin_here(&mut self) {
        self.from = self.stage.mark();
    }

    pub(crate) fn check(mut self, golden: &str) {
        self.name();
        let roots: Vec<(String, String)> = self.stage.roots();
        self.names.add(Names::of(&Default::default(), &roots));
        let events = self.events();
        with_golden(golden, &render(&events, &mut self.names));
    }

    /// As [`Recorded::check`], component by component: what they do side by side has no order.
    pub(crate) fn check_by_component(mut self, golden: &str) {
        self.name();
        let roots: Vec<(String, String)> = self.stage.roots();
        self.names.add(Names::of(&Default::default(), &roots));
        let events = self.stage.recorder.since(self.from);
        with_golden(golden, &by_component(&events, &mut self.names));
    }

    /// What was recorded since the beginning.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.stage.recorder.since(self.from)
    }

    /// A bound claim and a pod of it that runs on the first node.
    pub(crate) async fn mounted(&mut self, volume_mode: VolumeMode) {
        self.stage.claim("c1", AccessMode::ReadWriteOnce, volume_mode);
        self.stage.bound("c1").await;
        self.stage.pod("p1", "c1", "n1");
        self.name();
        self.stage.running("p1").await;
        self.name();
    }

    /// A bound claim and a pod of it that is on its way.
    pub(crate) async fn mounting(&mut self) {
        self.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        self.stage.bound("c1").await;
        self.begin_here();
        self.stage.pod("p1", "c1", "n1");
        self.name();
    }

    /// The id of the volume that is made. It may be there for so short a while that no look at the store meets it.
    async fn made(&self) -> String {
        let began = tokio::time::Instant::now();
        while began.elapsed() < LONG {
            let events = self.stage.recorder.since(self.from);
            let made = events.iter().find_map(|event| match &event.kind {
                EventKind::Return { outcome: Outcome::Reply { reply: Reply::CreateVolume(made), .. }, .. } => {
                    made.volume.as_ref()
                }
                _ => None,
            });
            if let Some(volume) = made {
                return volume.volume_id.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("no volume is made");
    }

    /// The pod goes, then the claim, and nothing is left.
    pub(crate) async fn end(&self) {
        self.stage.cluster.delete_pod("p1");
        self.stage.pod_gone("p1").await;
        self.stage.detached().await;
        self.stage.clean(&["c1"]).await;
    }
}

#[test]
fn t02_full_life_of_a_file_system_volume() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.end().await;
        recorded.check("t02");
    });
}

#[test]
fn t03_two_pods_on_one_node() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.stage.pod("p2", "c1", "n1");
        recorded.stage.running("p2").await;
        recorded.name();
        recorded.stage.cluster.delete_pod("p1");
        recorded.stage.pod_gone("p1").await;
        recorded.stage.cluster.delete_pod("p2");
        recorded.stage.pod_gone("p2").await;
        recorded.stage.detached().await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t03");
    });
}

#[test]
fn t04_two_nodes_with_a_shared_volume() {
    play(async {
        let mut recorded = Recorded::begin(2).await;
        let stage = &recorded.stage;
        stage.claim("c1", AccessMode::ReadWriteMany, VolumeMode::Filesystem);
        stage.bound("c1").await;
        stage.pod("p1", "c1", "n1");
        stage.running("p1").await;
        stage.pod("p2", "c1", "n2");
        stage.running("p2").await;
        recorded.name();
        for pod in ["p1", "p2"] {
            let last = pod == "p2";
            recorded.stage.cluster.delete_pod(pod);
            recorded.stage.pod_gone(pod).await;
            let left = usize::from(!last);
            recorded.stage.until("it is detached", |tables| tables.attachments.len() == left).await;
        }
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t04");
    });
}

#[test]
fn t05_a_driver_whose_volumes_are_not_attached() {
    play(async {
        let mut setup = Setup::new(1);
        setup.attach_required = false;
        let without = ["Controller.PUBLISH_UNPUBLISH_VOLUME"];
        setup.configuration.without = without.iter().map(|name| capability(name)).collect();
        let mut recorded = Recorded::with(setup).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.end().await;
        recorded.check("t05");
    });
}

#[test]
fn t06_a_driver_that_does_not_stage() {
    play(async {
        let mut setup = Setup::new(1);
        setup.configuration.without = [capability("Node.STAGE_UNSTAGE_VOLUME")].into();
        let mut recorded = Recorded::with(setup).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.end().await;
        recorded.check("t06");
    });
}

#[test]
fn t07_a_block_volume() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.mounted(VolumeMode::Block).await;
        recorded.end().await;
        recorded.check("t07");
    });
}

fn capability(name: &str) -> Capability {
    name.parse().unwrap()
}

#[test]
fn t20_and_t21_provisioning_fails_for_good() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.script.next("CreateVolume", &[Act::Refuse(Code::Internal), Act::Refuse(Code::InvalidArgument)]);
        let began = tokio::time::Instant::now();
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.stage.bound("c1").await;
        recorded.name();
        assert!(began.elapsed().as_secs() >= 300, "the slow retry of 300 s: {:?}", began.elapsed());
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t20_t21");
    });
}

#[test]
fn t22_provisioning_times_out_and_the_claim_is_deleted() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.script.next("CreateVolume", &[Act::Silence]);
        recorded.stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        recorded.name();
        tokio::time::sleep(std::time::Duration::from_millis(10_500)).await;
        recorded.stage.cluster.delete_claim("c1");
        let handle = recorded.made().await;
        recorded.names.add(Names::of(&Default::default(), &[(handle, "$VOL(c1)".into())]));
        recorded.stage.clean(&[]).await;
        recorded.check("t22");
    });
}

#[test]
fn t25_attaching_times_out_and_the_pod_is_deleted() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.script.next("ControllerPublishVolume", &[Act::Silence]);
        recorded.mounting().await;
        recorded
            .stage
            .until("the attachment fails", |tables| tables.attachments.values().any(|one| one.attach_error.is_some()))
            .await;
        recorded.end().await;
        recorded.check("t25");
    });
}

#[test]
fn t26_attaching_fails_once() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.stage.script.next("ControllerPublishVolume", &[Act::Refuse(Code::Internal)]);
        recorded.mounting().await;
        recorded.stage.running("p1").await;
        recorded.end().await;
        recorded.check("t26");
    });
}

/// A pod whose mount fails once, as the script says; deleted as soon as that has happened, or left to run.
async fn mount_fails(rpc: &str, act: Act, deleted: bool, golden: &str) {
    let mut recorded = Recorded::begin(1).await;
    recorded.stage.script.next(rpc, &[act]);
    recorded.mounting().await;
    if deleted {
        let component = "kubelet@n1";
        while !recorded.stage.cluster.context().troubles.list().iter().any(|one| one.component == component) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    } else {
        recorded.stage.running("p1").await;
    }
    recorded.end().await;
    recorded.check(golden);
}

#[test]
fn t27_publishing_times_out_and_is_repeated() {
    play(mount_fails("NodePublishVolume", Act::Silence, false, "t27"));
}

#[test]
fn t28_publishing_times_out_and_the_pod_is_deleted() {
    play(mount_fails("NodePublishVolume", Act::Silence, true, "t28"));
}

#[test]
fn t29_publishing_fails_for_good_and_the_pod_is_deleted() {
    play(mount_fails("NodePublishVolume", Act::Refuse(Code::Internal), true, "t29"));
}

#[test]
fn t30_staging_fails_for_good_and_the_pod_is_deleted() {
    play(mount_fails("NodeStageVolume", Act::Refuse(Code::Internal), true, "t30"));
}

#[test]
fn t31_staging_times_out_and_the_pod_is_deleted() {
    play(mount_fails("NodeStageVolume", Act::Silence, true, "t31"));
}

#[test]
fn t32_unstaging_fails_and_a_new_pod_arrives() {
    play(async {
        let mut recorded = Recorded::begin(1).await;
        recorded.mounted(VolumeMode::Filesystem).await;
        recorded.begin_here();
        recorded.stage.script.next("NodeUnstageVolume", &[Act::Refuse(Code::Internal)]);
        recorded.stage.cluster.delete_pod("p1");
        recorded.stage.pod_gone("p1").await;
        recorded.stage.pod("p2", "c1", "n1");
        recorded.stage.running("p2").await;
        recorded.name();
        recorded.stage.cluster.delete_pod("p2");
        recorded.stage.pod_gone("p2").await;
        recorded.stage.detached().await;
        recorded.stage.clean(&["c1"]).await;
        recorded.check("t32");
    });
}
