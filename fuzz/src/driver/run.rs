//! Runs a program of calls against a driver of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use csi_certify_driver::driver::{
    Configuration, Driver, GroupSnapshotId, Parts, SnapshotId, capability::Capability, clock::SystemClock,
    identifier::Identifiers, store::Memory,
};
use csi_certify_history::{
    csi::v1::{controller_service_capability::rpc::Type as Controller, node_service_capability::rpc::Type as Node},
    history::{FORMAT, Header, History, Recorder},
};
use csi_certify_mountpod::mountpod::{
    VolumeId,
    executor::{Engine, Running},
    pod::NodeId,
    protocol::{Limits, Policy},
};
use csi_certify_suite::{
    explore::{
        Failure, Program, Source,
        calls::{Calls, Environment, Step, Surroundings, execute},
        draw,
    },
    sut::{self, InProcess, Lane, Profile, Target},
};
use tonic::service::Routes;

use super::{
    cluster::{Cluster, DELAY, View},
    content::Existence,
    promises::Promises,
    scene::{Living, Played},
};

/// Longer than any program takes in virtual time, so that no deadline strikes by chance.
const PATIENCE: Duration = Duration::from_secs(12 * 3600);
/// The rounds that an engine makes by itself never begin.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// Runs a program under a policy of the protocol; how it failed, and its history.
pub fn run(policy: &Policy, program: &Program<Environment, Step>) -> (Option<Failure>, History) {
    let (failure, history, _) = within_virtual_time(play(policy, program));
    (failure, history)
}

/// A fingerprint of the node and the records when the last step had ended.
///
/// # Errors
///
/// When the program fails.
pub fn portrait(policy: &Policy, program: &Program<Environment, Step>) -> Result<Option<u64>, Failure> {
    let (failure, _, last) = within_virtual_time(play(policy, program));
    failure.map_or(Ok(last), Err)
}

/// Runs work on one thread and by a clock that only goes on when everybody waits.
pub fn within_virtual_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime of one thread needs nothing").block_on(work)
}

/// Draws a program of up to `steps` steps, and runs it.
pub fn run_drawn(
    policy: &Policy,
    source: &mut dyn Source,
    steps: usize,
) -> (Program<Environment, Step>, Option<Failure>) {
    let program = draw::<Calls>(source, steps);
    let (failure, _) = run(policy, &program);
    (program, failure)
}

async fn play(policy: &Policy, program: &Program<Environment, Step>) -> (Option<Failure>, History, Option<u64>) {
    let environment = program.environment;
    let mut scene = played(environment);
    let header = Header { format: FORMAT, restartable: true, ..Header::default() };
    let recorder = Recorder::new(header, None);
    let profile = profile();
    let target = Target::Plugin(processes(Arc::new(routes(&scene, policy, environment))));
    let driver = sut::Driver::connect(target, &profile, PATIENCE).await;
    let driver = Arc::new(driver.expect("a driver of this process is there"));
    let surroundings = Surroundings::greet(&driver, &recorder, profile, "p", "/t".into(), PATIENCE).await;
    let surroundings = surroundings.expect("a driver of this process answers");
    let executed = execute(program, &driver, &recorder, &surroundings, &mut scene).await;
    let (history, _) = recorder.finish();
    (executed.expect("a driver of this process restarts").failure, history, scene.last)
}

/// An empty node.
pub fn played(environment: Environment) -> Played {
    Played {
        cluster: Arc::new(Cluster::new(environment.lazy_kubelet, environment.delayed_deletion)),
        store: Arc::new(Memory::default()),
        content: Arc::new(Existence::default()),
        living: Living::default(),
        promises: Promises::default(),
        round: None,
        last: None,
    }
}

/// Each connection is to a new process of the driver.
pub fn processes(make: Arc<dyn Fn() -> Routes + Send + Sync>) -> Lane {
    Lane::InProcess(Arc::new(move || InProcess::new(make())))
}

/// Starts a process of the driver on the node.
pub fn routes(
    scene: &Played,
    policy: &Policy,
    environment: Environment,
) -> impl Fn() -> Routes + Send + Sync + 'static {
    let (cluster, store, content) = (scene.cluster.clone(), scene.store.clone(), scene.content.clone());
    let living = scene.living.clone();
    let configuration = configuration(environment);
    let policy = Policy {
        delete_delay: environment.delayed_deletion.then_some(DELAY).or(policy.delete_delay),
        // Whoever waits longer in vain waits for ever here.
        limits: Limits { predecessor_polls: 10, readiness_polls: 10, ..policy.limits },
        ..policy.clone()
    };
    let identifiers = Arc::new(Counted::default());
    move || {
        let view = Arc::new(View { cluster: cluster.clone(), process: cluster.gate.process() });
        let node = NodeId::new(configuration.node_id());
        let (api, mounts, clock) = (view.clone(), view.clone(), view.clone());
        let running = Running::start(Engine::new(node, api, mounts, clock, view, policy.clone()), NEVER);
        *living.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.engine().clone());
        let driver = Driver::new(Parts {
            configuration: configuration.clone(),
            store: store.clone(),
            content: content.clone(),
            mount_pods: Arc::new(running),
            clock: Arc::new(SystemClock),
            identifiers: identifiers.clone(),
        });
        let driver = driver.expect("the settings go together");
        driver.recover().expect("records and content in memory can be read");
        driver.routes()
    }
}

fn configuration(environment: Environment) -> Configuration {
    let mut without = BTreeSet::new();
    if !environment.staging {
        without.insert(Capability::Node(Node::StageUnstageVolume));
    }
    if !environment.attachment {
        without.insert(Capability::Controller(Controller::PublishUnpublishVolume));
    }
    Configuration { nodes: vec!["node-a".into(), "node-b".into()], without, ..Configuration::default() }
}

fn profile() -> Profile {
    let entries = |entries: &[(&str, &str)]| -> BTreeMap<String, String> {
        entries.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    Profile {
        other_nodes: vec!["node-b".into()],
        parameters: entries(&[("directoryMode", "0755")]),
        mutable_parameters: entries(&[("iops", "500"), ("tier", "standard")]),
        modified_parameters: entries(&[("iops", "900")]),
        ..Profile::default()
    }
}

/// Ids that are counted: the same program gets the same ids.
#[derive(Default)]
struct Counted(AtomicU32);

impl Counted {
    fn next<T: std::str::FromStr>(&self, prefix: &str) -> T {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}-{number:06}").parse().ok().expect("a prefix, a dash and digits are an id")
    }
}

impl Identifiers for Counted {
    fn next_volume(&self) -> VolumeId {
        self.next("vol")
    }

    fn next_snapshot(&self) -> SnapshotId {
        self.next("snap")
    }

    fn next_group_snapshot(&self) -> GroupSnapshotId {
        self.next("group")
    }
}
