//! A driver that runs as a process of its own: started, killed, restarted, searched for secrets, found dead.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use csi_certify::{
    history::{EventKind, Fault, History, Observation, Recorder},
    suite::{self, Options, Outcome, Silent},
    sut::{Driver, Endpoint, Lane, NodeFsMode, Profile, Start, Target},
};
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

/// Set in the environment of this very test binary, it makes one test serve a driver until it is killed.
const SERVE: &str = "CSI_CERTIFY_TEST_SERVE";

/// Not a test of its own: the process that the tests below start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_when_asked() {
    let Ok(manner) = std::env::var(SERVE) else { return };
    let endpoint = std::env::var("CSI_ENDPOINT").unwrap();
    let path = PathBuf::from(endpoint.strip_prefix("unix://").unwrap());
    // The socket of a former life may still be there.
    let _ = std::fs::remove_file(&path);
    println!("listening, and the token is not-for-any-log");
    if manner == "litter" {
        std::fs::write(path.with_file_name("driver.pid"), "1").unwrap();
    }
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_routes(Fake::default().routes()).serve_with_incoming(incoming);
    if manner == "die" {
        tokio::time::timeout(Duration::from_millis(300), server).await.unwrap_err();
        std::process::exit(7);
    }
    server.await.unwrap();
}

fn profile(manner: &str) -> Profile {
    let program = std::env::current_exe().unwrap().display().to_string();
    let command = [program.as_str(), "process::serve_when_asked", "--exact", "--nocapture"].map(str::to_owned).into();
    let environment = BTreeMap::from([(SERVE.to_owned(), manner.to_owned())]);
    let secrets = BTreeMap::from([("token".to_owned(), "not-for-any-log".to_owned())]);
    let start = Some(Start { command, environment, ..Start::default() });
    Profile { start, secrets, node_fs: NodeFsMode::Off, ..Profile::default() }
}

async fn run(manner: &str, directory: &Path, filter: &str) -> (Outcome, History) {
    let profile = profile(manner);
    let lane = Lane::Socket(Endpoint::Unix(directory.join("csi.sock")));
    let driver = Driver::connect(Target::Plugin(lane), &profile, Duration::from_secs(5)).await.unwrap();
    let recorder = Recorder::new(Default::default(), None);
    let options = Options { filter: Some(filter.to_owned()), profile, ..Options::default() };
    let outcome = suite::run(driver, options, &recorder, &Silent, CancellationToken::new()).await;
    (outcome, recorder.finish().0)
}

fn faults(history: &History, is: fn(&Fault) -> bool) -> usize {
    history.events.iter().filter(|it| matches!(&it.kind, EventKind::Fault(fault) if is(fault))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_and_started_again_and_its_output_searched() {
    let directory = tempfile::tempdir().unwrap();
    let (outcome, history) = run("litter", directory.path(), "process::*").await;
    assert_eq!(outcome.stopped, []);
    let observed = |is: fn(&Observation) -> bool| {
        history.events.iter().any(|it| matches!(&it.kind, EventKind::Observed(observation) if is(observation)))
    };
    assert!(observed(|it| matches!(it, Observation::Process { alive: true, .. })));
    assert!(observed(|it| matches!(it, Observation::Logs { leaked, .. } if leaked == &["token"])));
    assert!(observed(|it| matches!(it, Observation::SocketDirectory { others, .. } if others == &["driver.pid"])));

    let (_, history) = run("plainly", directory.path(), "restart::politely").await;
    assert_eq!(faults(&history, |it| matches!(it, Fault::Killed { signal, .. } if signal == "SIGTERM")), 1);
    assert_eq!(faults(&history, |it| matches!(it, Fault::Restarted { .. })), 1);
    assert_eq!(faults(&history, |it| matches!(it, Fault::Crashed { .. })), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_by_itself_is_a_crash_and_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let (outcome, history) = run("die", directory.path(), "*").await;
    let crashed = |it: &Fault| matches!(it, Fault::Crashed { exit, .. } if exit == "exit code 7");
    assert!(faults(&history, crashed) > 0, "{outcome:?}");
    assert!(faults(&history, |it| matches!(it, Fault::Restarted { .. })) > 0);
    assert_eq!(outcome.interrupted, None);
}
