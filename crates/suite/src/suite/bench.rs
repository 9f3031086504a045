//! The work bench of a scenario: calls that are recorded, retried and remembered for clean-up.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::{sleep, timeout};

use super::{Facts, Ledger, Options, Stopped};
use crate::{
    history::{Lost, Observation, Recorder, Request},
    spec::{Rpc, Service},
    sut::{Answer, Code, Driver, Instance, NodeFs, Unary},
};

/// How often a call is repeated that met another one, or a driver that was busy.
const RETRIES: u32 = 6;

/// The first pause before a repetition; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// After so many deadlines in a row an RPC counts as hung, and is waited for no longer than [`SHORT_PATIENCE`].
const HUNG: u32 = 2;

/// A key of parameters that no driver knows.
pub(super) const MADE_UP_KEY: &str = "csi-certify-unknown";

/// A mount flag that is found again in any text.
pub(super) const TELLING_FLAG: &str = "csi-certify-flag";

/// How long an RPC that counts as hung is waited for.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);

/// What all scenarios of a run share.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) driver: Driver,
    pub(super) recorder: Recorder,
    pub(super) options: Options,
    pub(super) node_fs: Option<NodeFs>,
    pub(super) directory: PathBuf,
    pub(super) run_id: String,
    /// Deadlines in a row, by RPC.
    deadlines: Vec<AtomicU32>,
}

/// The work bench of one scenario.
#[derive(Debug)]
pub struct Bench {
    pub(super) run: Arc<Run>,
    pub(super) facts: Arc<Facts>,
    pub(super) scenario: &'static str,
    ledger: Mutex<Ledger>,
    counter: AtomicU32,
}

impl Run {
    pub(super) fn new(
        driver: Driver,
        recorder: Recorder,
        options: Options,
        node_fs: Option<NodeFs>,
        directory: PathBuf,
        run_id: String,
    ) -> Self {
        let deadlines = Rpc::ALL.iter().map(|_| AtomicU32::new(0)).collect();
        Self { driver, recorder, options, node_fs, directory, run_id, deadlines }
    }

    /// How long the call may take: less once the RPC has been seen to hang.
    fn deadline(&self, rpc: Rpc) -> Duration {
        let full = self.options.call_deadline.unwrap_or_else(|| self.options.profile.call_deadline());
        match self.deadlines[rpc as usize].load(Ordering::Relaxed) {
            HUNG.. => full.min(SHORT_PATIENCE),
            _ => full,
        }
    }

    fn note_deadline(&self, rpc: Rpc, answer: &Answer) {
        let counter = &self.deadlines[rpc as usize];
        match answer {
            Answer::Lost(Lost::Deadline) => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            _ => counter.store(0, Ordering::Relaxed),
        }
    }
}

impl Bench {
    pub(super) fn new(run: Arc<Run>, facts: Arc<Facts>, scenario: &'static str) -> Self {
        Self { run, facts, scenario, ledger: Mutex::default(), counter: AtomicU32::new(0) }
    }

    /// Sends a request once, notes what it may have created, and looks at the node afterwards.
    pub(super) async fn exchange(&self, request: impl Into<Request>) -> Answer {
        let request = request.into();
        let answer = self.exchange_quietly(&request).await;
        if let Answer::Reply(_) = answer {
            self.look_after(&request).await;
        }
        answer
    }

    /// Sends a request once and notes what it may have created.
    async fn exchange_quietly(&self, request: &Request) -> Answer {
        self.ledger().sent(request);
        let rpc = request.rpc();
        let answer = self.run.driver.call(&self.run.recorder, self.scenario, request, self.run.deadline(rpc)).await;
        self.run.note_deadline(rpc, &answer);
        self.ledger().answered(request, &answer);
        answer
    }

    /// Sends a request with a field that no version of the interface has yet.
    pub(super) async fn exchange_with_an_unknown_field(&self, request: impl Into<Request>) -> Answer {
        let request = request.into();
        self.ledger().sent(&request);
        let run = &self.run;
        let deadline = run.deadline(request.rpc());
        let answer = run.driver.call_with_an_unknown_field(&run.recorder, self.scenario, &request, deadline).await;
        self.ledger().answered(&request, &answer);
        answer
    }

    /// Sends a request to a process of choice.
    pub(super) async fn exchange_on(&self, instance: &Instance, request: impl Into<Request>) -> Answer {
        let request = request.into();
        let deadline = self.run.deadline(request.rpc());
        self.run.driver.call_on(instance, &self.run.recorder, self.scenario, &request, deadline).await
    }

    /// Sends a request, and again after a while as long as the driver is busy with something else.
    pub(super) async fn settle(&self, request: impl Into<Request>) -> Answer {
        let request = request.into();
        let mut pause = FIRST_PAUSE;
        for _ in 0..RETRIES {
            let answer = self.exchange(request.clone()).await;
            // ABORTED from a list means that its token is not valid (specification line 1598).
            let lists = matches!(request.rpc(), Rpc::ListVolumes | Rpc::ListSnapshots);
            match answer.code() {
                Some(Code::ABORTED) if !lists => {}
                Some(Code::UNAVAILABLE) => {}
                _ => return answer,
            }
            sleep(pause).await;
            pause *= 2;
        }
        self.exchange(request).await
    }

    /// Sends a request whose answer decides how the scenario goes on.
    pub(super) async fn ask<R: Unary>(&self, request: R) -> Result<R::Reply, Answer> {
        match self.settle(request).await {
            Answer::Reply(reply) => R::reply(reply).ok_or_else(|| Answer::Garbage("a reply of another RPC".to_owned())),
            answer => Err(answer),
        }
    }

    /// Sends a request without whose success the scenario cannot go on.
    pub(super) async fn need<R: Unary>(&self, request: R) -> Result<R::Reply, Stopped> {
        let request: Request = request.into();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.settle(request.clone()).await {
                Answer::Reply(reply) => {
                    return R::reply(reply).ok_or_else(|| Stopped::because("a reply of another RPC"));
                }
                // Others may give back what they hold; what went wrong inside may go right the next time.
                Answer::Status { code, .. } if may_pass(Code(code)) && pause < FIRST_PAUSE * 16 => sleep(pause).await,
                answer => return Err(Stopped::because(format!("{}: {answer}", request.rpc()))),
            }
            pause *= 2;
        }
    }

    /// Sends a request whose answer is for the oracle alone.
    pub(super) async fn provoke(&self, request: impl Into<Request>) {
        self.settle(request).await;
    }

    /// Sends several requests that overlap, each once, and looks at the node when all have ended.
    pub(super) async fn together(&self, requests: Vec<Request>) -> Vec<Answer> {
        for request in &requests {
            self.ledger().sent(request);
        }
        let deadline = requests.first().map_or(Duration::from_secs(1), |request| self.run.deadline(request.rpc()));
        let run = &self.run;
        let answers = run.driver.call_together(&run.recorder, self.scenario, &requests, deadline).await;
        for (request, answer) in requests.iter().zip(&answers) {
            self.ledger().answered(request, answer);
            self.run.note_deadline(request.rpc(), answer);
        }
        answers
    }

    /// Sends a request and lets its answer get lost on the way back.
    pub(super) async fn lose_answer(&self, request: impl Into<Request>) {
        let request = request.into();
        self.ledger().sent(&request);
        let deadline = self.run.deadline(request.rpc());
        let run = &self.run;
        let answer = run.driver.call_dropping_answer(&run.recorder, self.scenario, &request, deadline).await;
        self.ledger().answered(&request, &answer);
    }

    /// Sends a request and cancels it after a moment, unless it has ended by then.
    pub(super) async fn cancel_after(&self, moment: Duration, request: impl Into<Request>) {
        // What is cut off stays in the ledger as open.
        let _ = timeout(moment, self.exchange_quietly(&request.into())).await;
    }

    /// Sends a request with a deadline that is likely too short.
    pub(super) async fn hurry(&self, deadline: Duration, request: impl Into<Request>) -> Answer {
        let request = request.into();
        self.ledger().sent(&request);
        let run = &self.run;
        let answer = run.driver.call_in_a_hurry(&run.recorder, self.scenario, &request, deadline).await;
        self.ledger().answered(&request, &answer);
        answer
    }

    /// A short moment that differs from call to call and with the seed, up to about three milliseconds.
    pub(super) fn moment(&self) -> Duration {
        let number = u64::from(self.next()) ^ self.run.options.seed;
        Duration::from_micros(100 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 3000)
    }

    /// A name that nobody else uses, at most 128 bytes long.
    pub(super) fn name(&self) -> String {
        format!("cc-{}-{:08x}-{}", self.run.run_id, hash(self.scenario), self.next())
    }

    /// Records what was seen.
    pub(super) fn observed(&self, observation: Observation) {
        self.run.recorder.observed(observation);
    }

    /// The node's file system, where it can be seen.
    pub(super) fn node_fs(&self) -> Option<&NodeFs> {
        self.run.node_fs.as_ref()
    }

    /// The node's file system, without which the scenario makes no sense.
    pub(super) fn need_node_fs(&self) -> Result<&NodeFs, Stopped> {
        self.node_fs().ok_or_else(|| Stopped::because("the node's file system is not visible from here"))
    }

    /// Whether the driver advertises a capability.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.facts.has(capability)
    }

    /// Whether an endpoint serves the service.
    pub(super) fn serves(&self, service: Service) -> bool {
        match service {
            Service::Node => self.run.driver.serving(Rpc::NodeGetInfo).is_some(),
            Service::Identity => true,
            Service::Controller => self.has("Plugin.CONTROLLER_SERVICE") && self.has_controller_endpoint(),
            Service::GroupController => self.has("Plugin.GROUP_CONTROLLER_SERVICE") && self.has_controller_endpoint(),
            Service::SnapshotMetadata => self.has("Plugin.SNAPSHOT_METADATA_SERVICE") && self.has_controller_endpoint(),
        }
    }

    /// Whether there is an endpoint for the controller's RPCs.
    pub(super) fn has_controller_endpoint(&self) -> bool {
        self.run.driver.serving(Rpc::ControllerGetCapabilities).is_some()
    }

    /// What the scenario may have left.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what the scenario created: whatever is still in the ledger afterwards could not be removed.
    pub(super) async fn clean_up(&self) {
        // A clone needs its source to go later, a refusal may pass: the second round takes what the first could not.
        for _ in 0..2 {
            let open = self.ledger().open_creations();
            for request in open {
                self.settle(request).await;
            }
            let removal = self.ledger().removal();
            if removal.is_empty() {
                break;
            }
            for request in removal {
                self.settle(self.with_secrets(request)).await;
            }
        }
        self.remove_directories().await;
    }

    async fn look_after(&self, request: &Request) {
        let path = match request {
            Request::NodeStageVolume(request) => &request.staging_target_path,
            Request::NodeUnstageVolume(request) => &request.staging_target_path,
            Request::NodePublishVolume(request) => &request.target_path,
            Request::NodeUnpublishVolume(request) => &request.target_path,
            _ => return,
        };
        self.look(path).await;
    }

    /// Records what stands at a path, where the node's file system can be seen.
    pub(super) async fn look(&self, path: &str) {
        if let Some(node_fs) = self.node_fs().filter(|_| !path.is_empty()) {
            self.observed(node_fs.look(path).await);
        }
    }

    /// A number that is used once.
    pub(super) fn next(&self) -> u32 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}

/// Whether the same request may be answered otherwise a little later.
fn may_pass(code: Code) -> bool {
    matches!(code, Code::RESOURCE_EXHAUSTED | Code::INTERNAL | Code::UNKNOWN)
}

/// A short fingerprint of a name, the same on every machine.
pub(super) fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
