//! Whole runs of the suite against the honest driver.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use csi_certify::{
    history::{EventKind, Fault, History, Lost, Outcome as CallOutcome, Phase, Recorder},
    spec::Rpc,
    suite::{self, Options, Outcome, Progress, Silent},
    sut::{Driver, Endpoint, Lane, NodeFsMode, Profile, Target},
};
use tokio_util::sync::CancellationToken;

use crate::fake::Fake;

pub(crate) fn options() -> Options {
    let profile = Profile { node_fs: NodeFsMode::Off, ..Profile::default() };
    Options { profile, ..Options::default() }
}

async fn in_process(fake: &Fake) -> Driver {
    let fake = fake.clone();
    let lane = Lane::InProcess(Arc::new(move || fake.in_process()));
    Driver::connect(Target::Plugin(lane), &Profile::default(), Duration::from_secs(5)).await.unwrap()
}

async fn run(driver: Driver, options: Options) -> (Outcome, History) {
    let recorder = Recorder::new(Default::default(), None);
    let outcome = suite::run(driver, options, &recorder, &Silent, CancellationToken::new()).await;
    (outcome, recorder.finish().0)
}

fn every_call_ended(history: &History) -> bool {
    let returns = history.events.iter().filter(|it| matches!(it.kind, EventKind::Return { .. })).count();
    returns == history.calls()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_driver_is_put_through_everything_and_nothing_is_left() {
    let fake = Fake::default();
    let began = Instant::now();
    let (outcome, history) = run(in_process(&fake).await, options()).await;
    println!("{} scenarios, {} calls, {:?}", outcome.completed, history.calls(), began.elapsed());
    for (name, stopped) in &outcome.stopped {
        println!("{name}: {stopped}");
    }
    assert_eq!(outcome.interrupted, None);
    assert_eq!(outcome.leftovers, []);
    assert_eq!(fake.world().left(), Vec::<String>::new());
    assert!(every_call_ended(&history));
    assert!(outcome.completed >= 90, "{}", outcome.completed);
    let garbage = |it: &&csi_certify::history::Event| {
        matches!(it.kind, EventKind::Return { outcome: CallOutcome::Garbage { .. }, .. })
    };
    assert_eq!(history.events.iter().find(garbage), None);
    // A scenario may stop only because this driver, or the profile, lacks something.
    for (name, stopped) in &outcome.stopped {
        let expected =
            ["advertise", "profile", "supports", "support", "makes no", "visible", "process", "limit", "mode"];
        assert!(expected.iter().any(|word| stopped.reason.contains(word)), "{name}: {stopped}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_in_process_is_killed_and_restarted() {
    let fake = Fake::default();
    let options = Options { filter: Some("restart::*".into()), ..options() };
    let (outcome, history) = run(in_process(&fake).await, options).await;
    let restarts = history.events.iter().filter(|it| matches!(it.kind, EventKind::Fault(Fault::Restarted { .. })));
    assert!(restarts.count() >= 10);
    assert_eq!((outcome.stopped, outcome.leftovers), (vec![], vec![]));
    assert_eq!(fake.world().left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_get_lost_in_every_way_and_the_calls_are_repeated() {
    let fake = Fake::default();
    let options = Options { filter: Some("lost_answers::*".into()), ..options() };
    let (_, history) = run(in_process(&fake).await, options).await;
    let lost = |wanted: Lost| {
        let is = |it: &&csi_certify::history::Event| matches!(it.kind, EventKind::Return { outcome: CallOutcome::Lost(lost), .. } if lost == wanted);
        history.events.iter().filter(is).count()
    };
    assert!(lost(Lost::Dropped) >= 10);
    assert_eq!(fake.world().left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_on_a_socket_is_put_through_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("csi.sock");
    let fake = Fake::default();
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let server = tonic::transport::Server::builder().add_routes(fake.routes()).serve_with_incoming(incoming);
    let server = tokio::spawn(server);
    let endpoint: Endpoint = format!("unix://{}", path.display()).parse().unwrap();
    let target = Target::Plugin(Lane::Socket(endpoint));
    let driver = Driver::connect(target, &Profile::default(), Duration::from_secs(5)).await.unwrap();
    let began = Instant::now();
    let (outcome, history) = run(driver, options()).await;
    println!("{} scenarios, {} calls, {:?}", outcome.completed, history.calls(), began.elapsed());
    assert_eq!((outcome.leftovers, outcome.interrupted), (vec![], None));
    assert!(every_call_ended(&history));
    assert_eq!(fake.world().left(), Vec::<String>::new());
    server.abort();
}

/// The instances that calls of an RPC went to.
fn instances(history: &History, rpc: Rpc) -> BTreeSet<&str> {
    let mut instances = BTreeSet::new();
    for event in &history.events {
        if let EventKind::Call(call) = &event.kind
            && call.request.rpc() == rpc
        {
            instances.insert(call.instance.as_str());
        }
    }
    instances
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controller_and_node_may_be_served_apart() {
    let fake = Fake::default();
    let lane = || {
        let fake = fake.clone();
        Some(Lane::InProcess(Arc::new(move || fake.in_process())))
    };
    let target = Target::Separate { controller: lane(), node: lane() };
    let driver = Driver::connect(target, &Profile::default(), Duration::from_secs(5)).await.unwrap();
    let (outcome, history) = run(driver, options()).await;
    assert!(outcome.completed >= 90, "{}", outcome.completed);
    assert_eq!(instances(&history, Rpc::CreateVolume), ["controller"].into());
    assert_eq!(instances(&history, Rpc::NodePublishVolume), ["node"].into());
    assert_eq!(instances(&history, Rpc::GetPluginInfo), ["controller", "node"].into());
    assert_eq!(fake.world().left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_is_put_through_what_it_can_be_asked() {
    let fake = Fake::default();
    let node = {
        let fake = fake.clone();
        Some(Lane::InProcess(Arc::new(move || fake.in_process())))
    };
    let target = Target::Separate { controller: None, node };
    let driver = Driver::connect(target, &Profile::default(), Duration::from_secs(5)).await.unwrap();
    let (outcome, history) = run(driver, options()).await;
    assert_eq!(outcome.interrupted, None);
    assert!(outcome.completed >= 8, "{outcome:?}");
    assert!(instances(&history, Rpc::CreateVolume).is_empty());
    assert_eq!(instances(&history, Rpc::NodeGetInfo), ["node"].into());
}

/// Cancels the run once a number of scenarios have begun.
struct CancelAfter(Mutex<usize>, CancellationToken);

impl Progress for CancelAfter {
    fn started(&self, _: &'static str) {
        let mut left = self.0.lock().unwrap();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.1.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_run_cleans_up_and_says_that_it_is_incomplete() {
    let fake = Fake::default();
    let cancel = CancellationToken::new();
    let progress = CancelAfter(Mutex::new(12), cancel.clone());
    let recorder = Recorder::new(Default::default(), None);
    let outcome = suite::run(in_process(&fake).await, options(), &recorder, &progress, cancel).await;
    assert_eq!(outcome.interrupted.as_deref(), Some("cancelled"));
    assert!(fake.world().created > 0);
    assert_eq!(fake.world().left(), Vec::<String>::new());
    let history = recorder.finish().0;
    assert!(every_call_ended(&history));
    let left_out = |it: &&csi_certify::history::Event| matches!(&it.kind, EventKind::Scenario { phase: Phase::Stopped { reason }, .. } if reason == "cancelled");
    assert!(history.events.iter().filter(left_out).count() > 50);
}
