//! Random workloads: the cluster converges, leaves nothing behind, keeps its invariants, and the driver keeps the contract.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use csi_certify::{
    oracle::{Severity, judge},
    orchestrator::{
        AccessMode, Departure, FaultKind, RandomNemesis, Tables, Timing, VolumeMode, Watcher, Watching, Workload,
    },
};

use super::{
    interposer::Act,
    invariants::{Allowed, broken},
    stage::{Setup, Stage, play},
};

pub(crate) struct Quiet;

impl Watcher for Quiet {
    fn acted(&self, _: &str, _: &Tables) {}
}

fn count() -> u64 {
    std::env::var("CSI_CERTIFY_WORKLOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// The faults of a seed: each kind in every other workload.
fn faults(seed: u64) -> BTreeSet<FaultKind> {
    let kinds = [
        FaultKind::KubeletRestart,
        FaultKind::SidecarRestart,
        FaultKind::LostAnswers,
        FaultKind::Impatience,
        FaultKind::NodeLoss,
        FaultKind::NodeReboot,
        FaultKind::DriverRestart,
    ];
    kinds.into_iter().enumerate().filter(|(at, _)| seed >> at & 1 == 1).map(|(_, kind)| kind).collect()
}

async fn run(seed: u64) {
    let faults = faults(seed);
    println!("seed {seed}: {faults:?}");
    let nemesis = RandomNemesis::new(seed, &faults);
    let mut setup = Setup::new(3);
    setup.seed = seed;
    let mut stage = Stage::with_settings(setup, |settings| {
        settings.nemesis = Arc::new(nemesis.clone());
        settings.timing = Timing::default();
        // Probes and measurements are most of the calls of a workload that has them.
        settings.watching = if seed.is_multiple_of(4) { Watching::ALL } else { Watching::default() };
        // With these, a restart or a lost answer may leave something mounted for ever.
        settings.without = [Departure::ForgetStaged, Departure::FailedQueryIsFinal].into();
    })
    .await;
    let workload = Workload {
        seed,
        pods: 12,
        volumes: 6,
        faults: faults.clone(),
        access_modes: vec![AccessMode::ReadWriteOnce, AccessMode::ReadWriteMany, AccessMode::ReadWriteOncePod],
        volume_modes: vec![VolumeMode::Filesystem, VolumeMode::Filesystem, VolumeMode::Block],
        snapshots: true,
        snapshot_class: String::new(),
        expansions: true,
    };
    let outcome = workload.play(&mut stage.cluster, &nemesis, &Quiet).await.unwrap();
    let stuck: Vec<String> = outcome.stuck.iter().map(ToString::to_string).collect();
    assert!(stuck.is_empty(), "seed {seed}: {stuck:#?}");
    let history = stage.recorder.history();
    let allowed = Allowed {
        forced_detach: faults.contains(&FaultKind::NodeLoss),
        restarts: !faults.is_empty(),
        attach_required: true,
    };
    let broken = broken(&history.events, allowed);
    assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
    let judgement = judge(&history);
    let violations: Vec<_> =
        judgement.findings.iter().filter(|finding| finding.severity == Severity::Violation).collect();
    assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    // INV-32; a volume may only be left where its claim was forgotten (D-09).
    let forgets = faults.contains(&FaultKind::SidecarRestart);
    let left = stage.driver_store.volumes_after(None, 10).unwrap();
    assert!(left.is_empty() || forgets, "seed {seed}: the driver still has {left:#?}");
}

#[test]
fn random_workloads_converge_and_leave_nothing() {
    for seed in 0..count() {
        play(async move {
            // Far beyond what a workload takes on virtual time: a bound, not a measure.
            tokio::time::timeout(Duration::from_secs(1_000_000), run(seed)).await.unwrap();
        });
    }
}

/// Pods that share mounted volumes of one writer each, without faults, snapshots and growth.
pub(super) fn plain(seed: u64, pods: usize, volumes: usize) -> Workload {
    Workload {
        seed,
        pods,
        volumes,
        faults: BTreeSet::new(),
        access_modes: vec![AccessMode::ReadWriteOnce],
        volume_modes: vec![VolumeMode::Filesystem],
        snapshots: false,
        snapshot_class: String::new(),
        expansions: false,
    }
}

#[test]
fn what_is_stuck_is_told_with_the_answer_that_keeps_it_so() {
    play(async {
        let mut stage = Stage::with(Setup::new(1)).await;
        stage.script.next("NodeStageVolume", &[Act::Refuse(tonic::Code::Internal); 1000]);
        let workload = plain(1, 1, 1);
        let nemesis = RandomNemesis::new(1, &workload.faults);
        let outcome = workload.play(&mut stage.cluster, &nemesis, &Quiet).await.unwrap();
        let stuck: Vec<String> = outcome.stuck.iter().map(ToString::to_string).collect();
        assert_eq!(outcome.running, 0);
        // The pod is stuck; when it is deleted nothing is, since a final refusal proves that nothing is staged.
        assert_eq!(stuck.len(), 1, "{stuck:#?}");
        assert!(stuck[0].starts_with("pod pod-1 waits for volume pvc-"), "{stuck:#?}");
        assert!(stuck[0].contains("NodeStageVolume answers INTERNAL (13): as the script says, "), "{stuck:#?}");
        assert!(stuck[0].contains(" tries, next in "), "{stuck:#?}");
    });
}
