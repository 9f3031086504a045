//! Twelve scenarios, each with a restart at every call of it: the driver has carried the call out, the answer is never seen,
//! and the component that waits for it is started again with an empty memory.

use std::{collections::BTreeSet, future::Future, pin::Pin, time::Duration};

use csi_certify::{
    history::EventKind,
    oracle::{Severity, judge},
    orchestrator::{
        AccessMode, DataSource, Departure, Metadata, PersistentVolumeClaim, VolumeGroupSnapshot, VolumeMode,
        VolumeSnapshot,
    },
};
use tokio::time::sleep;

use super::stage::{LONG, MIB, Setup, Stage, play};

type Playing<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A scenario: what is set up, and what is to come about while components restart.
struct Scenario {
    name: &'static str,
    setup: fn() -> Setup,
    play: for<'a> fn(&'a Stage) -> Playing<'a>,
}

macro_rules! scenario {
    ($name:literal, $setup:expr, |$stage:ident| $body:block) => {
        Scenario { name: $name, setup: || $setup, play: |$stage: &Stage| Box::pin(async move { $body }) }
    };
}

fn without(capabilities: &[&str]) -> Setup {
    let mut setup = Setup::new(1);
    setup.configuration.without = capabilities.iter().map(|name| name.parse().unwrap()).collect();
    setup
}

async fn life(stage: &Stage, access_mode: AccessMode, volume_mode: VolumeMode) {
    stage.claim("c1", access_mode, volume_mode);
    stage.bound("c1").await;
    stage.pod("p1", "c1", "n1");
    stage.running("p1").await;
}

async fn restored(stage: &Stage, source: DataSource) {
    let claim = PersistentVolumeClaim {
        metadata: Metadata::named("c2"),
        access_modes: vec![AccessMode::ReadWriteOnce],
        request: 4 * MIB,
        storage_class: "standard".into(),
        data_source: Some(source),
        ..PersistentVolumeClaim::default()
    };
    stage.cluster.create_claim(claim).unwrap();
    stage.bound("c2").await;
}

async fn grown(stage: &Stage) {
    stage.cluster.store().modify("c1", |claim: &mut PersistentVolumeClaim| claim.request = 8 * MIB).unwrap();
    let is_grown = |claim: &PersistentVolumeClaim| {
        claim.capacity >= 8 * MIB && claim.resize.is_none() || claim.allocated.is_none()
    };
    stage
        .until("it has grown", |tables| is_grown(&tables.claims["c1"]) && tables.claims["c1"].capacity >= 8 * MIB)
        .await;
}

const SCENARIOS: [Scenario; 12] = [
    scenario!("a file system for one node", Setup::new(1), |stage| {
        life(stage, AccessMode::ReadWriteOnce, VolumeMode::Filesystem).await;
    }),
    scenario!("a device", Setup::new(1), |stage| {
        life(stage, AccessMode::ReadWriteOnce, VolumeMode::Block).await;
    }),
    scenario!("two pods on one node", Setup::new(1), |stage| {
        life(stage, AccessMode::ReadWriteOnce, VolumeMode::Filesystem).await;
        stage.pod("p2", "c1", "n1");
        stage.running("p2").await;
    }),
    scenario!("two nodes", Setup::new(2), |stage| {
        life(stage, AccessMode::ReadWriteMany, VolumeMode::Filesystem).await;
        stage.pod("p2", "c1", "n2");
        stage.running("p2").await;
    }),
    scenario!("a volume that is handed from pod to pod", Setup::new(1), |stage| {
        life(stage, AccessMode::ReadWriteOncePod, VolumeMode::Filesystem).await;
        stage.cluster.delete_pod("p1");
        stage.pod_gone("p1").await;
        stage.pod("p2", "c1", "n1");
        stage.running("p2").await;
    }),
    scenario!("a volume that moves to another node", Setup::new(2), |stage| {
        life(stage, AccessMode::ReadWriteOnce, VolumeMode::Filesystem).await;
        stage.cluster.delete_pod("p1");
        stage.pod_gone("p1").await;
        stage.pod("p2", "c1", "n2");
        stage.running("p2").await;
    }),
    scenario!(
        "nothing is attached",
        { Setup { attach_required: false, ..without(&["Controller.PUBLISH_UNPUBLISH_VOLUME"]) } },
        |stage| {
            life(stage, AccessMode::ReadWriteOnce, VolumeMode::Filesystem).await;
        }
    ),
    scenario!("nothing is staged", without(&["Node.STAGE_UNSTAGE_VOLUME"]), |stage| {
        life(stage, AccessMode::ReadWriteOnce, VolumeMode::Filesystem).await;
    }),
    scenario!("growth", Setup::new(1), |stage| {
        life(stage, AccessMode::ReadWriteOnce, VolumeMode::Filesystem).await;
        grown(stage).await;
    }),
    scenario!("a snapshot and a restore", Setup::new(1), |stage| {
        stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        stage.bound("c1").await;
        stage.cluster.create_snapshot("s1", "c1", "").unwrap();
        stage.until("it is cut", |tables| tables.snapshots["s1"].is_ready).await;
        restored(stage, DataSource::Snapshot("s1".into())).await;
    }),
    scenario!("a clone", Setup::new(1), |stage| {
        stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        stage.bound("c1").await;
        restored(stage, DataSource::Claim("c1".into())).await;
    }),
    scenario!("a group snapshot", Setup::new(1), |stage| {
        stage.claim("c1", AccessMode::ReadWriteOnce, VolumeMode::Filesystem);
        stage.bound("c1").await;
        let label = |claim: &mut PersistentVolumeClaim| {
            claim.metadata.labels.insert("app".into(), "db".into());
        };
        stage.cluster.store().modify("c1", label).unwrap();
        let selector = [("app".to_owned(), "db".to_owned())].into();
        let group = VolumeGroupSnapshot { metadata: Metadata::named("g1"), selector, ..VolumeGroupSnapshot::default() };
        stage.cluster.store().create(group).unwrap();
        stage.until("it is cut", |tables| tables.group_snapshots["g1"].is_ready).await;
    }),
];

/// Everything is deleted and nothing is left anywhere.
async fn nothing_is_left(stage: &Stage) {
    let store = stage.cluster.store();
    let (pods, claims) = store.read(|tables| {
        (tables.pods.keys().cloned().collect::<Vec<_>>(), tables.claims.keys().cloned().collect::<Vec<_>>())
    });
    pods.iter().for_each(|pod| stage.cluster.delete_pod(pod));
    store.delete::<VolumeGroupSnapshot>("g1");
    store.delete::<VolumeSnapshot>("s1");
    claims.iter().for_each(|claim| stage.cluster.delete_claim(claim));
    stage
        .until("nothing is left", |tables| {
            tables.pods.is_empty()
                && tables.claims.is_empty()
                && tables.volumes.is_empty()
                && tables.attachments.is_empty()
                && tables.snapshots.is_empty()
                && tables.snapshot_contents.is_empty()
                && tables.group_snapshots.is_empty()
                && tables.group_snapshot_contents.is_empty()
        })
        .await;
    stage.vacated().await;
    assert_eq!(stage.driver_store.volumes_after(None, 1).unwrap().len(), 0);
    assert_eq!(stage.driver_store.snapshots_after(None, 1).unwrap().len(), 0);
}

/// Plays a scenario, and restarts whoever makes this call of it; says whether there was such a call.
async fn with_a_restart_at(scenario: &Scenario, call: usize) -> bool {
    let mut stage = Stage::with_settings((scenario.setup)(), |settings| {
        // With this, a restart may leave something staged for ever.
        settings.without = [Departure::ForgetStaged].into();
    })
    .await;
    let from = stage.mark();
    let met = stage.script.silence_call(call);
    {
        let playing = async {
            (scenario.play)(&stage).await;
            nothing_is_left(&stage).await;
        };
        tokio::select! {
            biased;
            () = playing => return false,
            () = met.notified() => {}
        }
    }
    // What was played up to here is there; the same goal is pursued again once the component has restarted.
    let open = stage.recorder.since(from);
    let of = |event: &csi_certify::history::Event| match &event.kind {
        EventKind::Call(call) => Some((call.id, call.scenario.clone())),
        _ => None,
    };
    let ended: BTreeSet<_> = open
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Return { call, .. } => Some(*call),
            _ => None,
        })
        .collect();
    let component = open.iter().filter_map(of).find(|(id, _)| !ended.contains(id)).map(|(_, component)| component);
    let component = component.unwrap_or_else(|| panic!("{}: no call is open at call {call}", scenario.name));
    println!("{}: {component} restarts at call {call}", scenario.name);
    match component.strip_prefix("kubelet@") {
        Some(node) => {
            stage.cluster.stop_kubelet(node).await.unwrap();
            stage.cluster.start_kubelet(node).unwrap();
        }
        None => stage.cluster.restart_sidecar(&component),
    }
    settle(&stage).await;
    nothing_is_left(&stage).await;
    let judgement = judge(&stage.recorder.history());
    let violations: Vec<_> = judgement.findings.iter().filter(|one| one.severity == Severity::Violation).collect();
    assert!(violations.is_empty(), "{} at call {call}: {violations:#?}", scenario.name);
    true
}

/// All that was asked for comes about.
async fn settle(stage: &Stage) {
    stage
        .until("all comes about", |tables| {
            tables.claims.values().all(|claim| claim.is_bound || claim.metadata.is_deleting())
                && tables.pods.values().all(|pod| pod.containers_run || pod.metadata.is_deleting())
                && tables.snapshots.values().all(|snapshot| snapshot.is_ready || snapshot.metadata.is_deleting())
                && tables.group_snapshots.values().all(|group| group.is_ready || group.metadata.is_deleting())
        })
        .await;
    sleep(Duration::from_secs(1)).await;
}

#[test]
fn a_restart_at_any_call_of_twelve_scenarios_ends_with_nothing_left() {
    let mut restarts = 0;
    for scenario in &SCENARIOS {
        for call in 0.. {
            let mut was_met = false;
            let met = &mut was_met;
            play(async move {
                // Far beyond what a scenario takes on virtual time: a bound, not a measure.
                *met = tokio::time::timeout(LONG * 100, with_a_restart_at(scenario, call)).await.unwrap();
            });
            if !was_met {
                assert!(call >= 4, "{} has {call} calls only", scenario.name);
                break;
            }
            restarts += 1;
        }
    }
    println!("{restarts} restarts");
}
