//! A run against a driver that really mounts: what the suite sees of the node's file system.

use std::{sync::Arc, time::Duration};

use csi_certify::{
    history::{EventKind, History, Observation, PathKind, Recorder},
    suite::{self, Options, Silent},
    sut::{Driver, Lane, Profile, Target},
};
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

fn observations(history: &History) -> impl Iterator<Item = &Observation> {
    history.events.iter().filter_map(|event| match &event.kind {
        EventKind::Observed(observation) => Some(observation),
        _ => None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_driver_mounts_is_seen_used_and_gone_afterwards() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may mount");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let fake = Fake::mounting(directory.path().join("store"));
    let driver = {
        let fake = fake.clone();
        let lane = Lane::InProcess(Arc::new(move || fake.in_process()));
        Driver::connect(Target::Plugin(lane), &Profile::default(), Duration::from_secs(5)).await.unwrap()
    };
    let paths = directory.path().join("paths");
    let profile = Profile { directory: Some(paths.clone()), ..Profile::default() };
    let recorder = Recorder::new(Default::default(), None);
    let options = Options { profile, ..Options::default() };
    let outcome = suite::run(driver, options, &recorder, &Silent, CancellationToken::new()).await;
    let history = recorder.finish().0;
    for (name, stopped) in outcome.stopped.iter().filter(|it| !it.1.reason.contains("advertise")) {
        println!("{name}: {stopped}");
    }
    assert_eq!((outcome.interrupted, outcome.leftovers), (None, vec![]));
    assert_eq!(fake.world().left(), Vec::<String>::new());
    let count = |is: fn(&Observation) -> bool| observations(&history).filter(|it| is(it)).count();
    assert!(
        count(|it| matches!(it, Observation::Path { kind: PathKind::Directory, mounts, .. } if mounts.len() == 1))
            > 100
    );
    assert!(count(|it| matches!(it, Observation::Path { kind: PathKind::Absent, .. })) > 50);
    assert_eq!(count(|it| matches!(it, Observation::Path { mounts, .. } if mounts.len() > 1)), 0);
    assert!(count(|it| matches!(it, Observation::Write { error, .. } if error.is_empty())) > 20);
    assert!(count(|it| matches!(it, Observation::Write { error, .. } if error == "EROFS")) > 3);
    assert!(count(|it| matches!(it, Observation::Read { content, .. } if content == "before the cut")) >= 2);
    assert!(count(|it| matches!(it, Observation::Size { bytes, .. } if *bytes > 0)) > 5);
    // All directories of the run are gone, so nothing is mounted below them either.
    assert_eq!(std::fs::read_dir(paths).unwrap().count(), 0);
}
