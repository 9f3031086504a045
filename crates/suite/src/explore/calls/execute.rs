//! Runs a program of calls in a scene, and judges what came of it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use super::{
    super::{Failure, Program, schedule::Trouble},
    Bindings, Call, Environment, HOUSEKEEPING, Lane, Scene, SceneError, Step, Surroundings, request,
};
use crate::{
    history::{self, CallId, EventKind, History, Lost, Outcome, Recorder, Request},
    oracle::{Finding, Severity, judge},
    spec::Rpc,
    suite::{Ledger, Leftover},
    sut::{Answer, Code, Driver},
};

/// How long calls may go on after the process has ended that they were sent to.
const AFTERMATH: Duration = Duration::from_secs(2);
/// How often a call that removes something is made before it is given up.
const REMOVALS: u32 = 8;
/// The pause before a removal is repeated; it doubles.
const REMOVAL_PAUSE: Duration = Duration::from_millis(10);
/// The label of the calls that remove everything.
const TEARDOWN: &str = "teardown";
/// How the calls of a step are labelled, before its number.
const STEP: &str = "step ";

/// What came of a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executed {
    /// How it failed, if it did.
    pub failure: Option<Failure>,
    /// What could not be removed.
    pub leftovers: Vec<Leftover>,
}

/// Runs a program from its first step to the removal of everything it made. The history is the recorder's; it has to hold
/// this program alone.
///
/// # Errors
///
/// When the scene cannot go on.
pub async fn execute<S: Scene>(
    program: &Program<Environment, Step>,
    driver: &Arc<Driver>,
    recorder: &Recorder,
    surroundings: &Surroundings,
    scene: &mut S,
) -> Result<Executed, SceneError> {
    let mut run = Run {
        environment: program.environment,
        driver,
        recorder,
        surroundings,
        scene,
        bindings: Bindings::default(),
        ledger: Ledger::default(),
        lanes: [const { None }; HOUSEKEEPING as usize],
        latest: None,
    };
    let mut broken = None;
    for (number, step) in program.steps.iter().enumerate() {
        if let Some(message) = run.step(number, *step).await?.err() {
            broken = Some(failure(number, message));
            break;
        }
    }
    let end = program.steps.len();
    let ended = run.end().await?;
    let broken = broken.or_else(|| ended.err().map(|message| failure(end, message)));
    let removed = run.remove().await;
    let leftovers = run.ledger.leftovers();
    let vacated = match leftovers.first() {
        None => run.scene.vacated().await,
        Some(left) => {
            let answer = run.latest.as_ref().map(|answer| format!(": {answer}")).unwrap_or_default();
            Err(format!("I8: {} with {} has no end{answer}", left.rpc, left.arguments))
        }
    };
    let broken = broken.or_else(|| removed.and(vacated).err().map(|message| failure(end, message)));
    let convicted = convicted(program, &recorder.history());
    // What shows first is nearer to the cause.
    let first = match (broken, convicted) {
        (Some(broken), Some(convicted)) => Some(if convicted.step < broken.step { convicted } else { broken }),
        (broken, convicted) => broken.or(convicted),
    };
    Ok(Executed { failure: first, leftovers })
}

fn failure(step: usize, message: String) -> Failure {
    let kind = message.split(':').next().unwrap_or_default().to_owned();
    Failure { step, kind, message }
}

/// The first violation that the oracle sees.
///
/// It knows nothing of what befell the node and the pod API, nor what is half done after a crash. From the first such
/// trouble on, a driver may say that it failed where it has failed.
fn convicted(program: &Program<Environment, Step>, history: &History) -> Option<Failure> {
    let end = program.steps.len();
    let troubles = |step: &Step| matches!(step, Step::Fault { .. } | Step::Trouble { .. } | Step::Crash);
    let troubled = program.steps.iter().position(troubles).unwrap_or(usize::MAX);
    let step = |scenario: &str| scenario.strip_prefix(STEP).and_then(|number| number.parse().ok()).unwrap_or(end);
    let mut told = history.clone();
    excuse(&mut told, |call| step(&call.scenario) > troubled);
    let judgement = judge(&told);
    let violations = judgement.findings.iter().filter(|finding| finding.severity == Severity::Violation);
    let at = |finding: &Finding| step(&finding.scenario);
    let first = violations.filter(|finding| !forsaken(program, at(finding))).min_by_key(|finding| at(finding))?;
    let message = format!("{}: {}; got {}", first.rule, first.message, first.actual);
    Some(Failure { step: at(first), kind: first.rule.to_string(), message })
}

/// Takes the answers out of the history by which the driver said that it failed, not that the request was wrong: they tell
/// nothing of the state in which they were given.
fn excuse(history: &mut History, is_troubled: impl Fn(&history::Call) -> bool) {
    let mut troubled: BTreeSet<CallId> = BTreeSet::new();
    for event in &mut history.events {
        match &mut event.kind {
            EventKind::Call(call) if is_troubled(call) => {
                troubled.insert(call.id);
            }
            EventKind::Return { call, outcome } if troubled.contains(call) => {
                if matches!(outcome, Outcome::Status(status) if Code(status.code).leaves_open()) {
                    *outcome = Outcome::Lost(Lost::Dropped);
                }
            }
            _ => {}
        }
    }
}

/// Whether the step is about a volume whose workload went before: the driver itself may have taken it away since.
fn forsaken(program: &Program<Environment, Step>, at: usize) -> bool {
    let Some(Step::Call { call, .. }) = program.steps.get(at) else { return false };
    program.steps[..at].iter().any(|step| match *step {
        Step::Trouble { volume, trouble: Trouble::RemoveWorkload { .. } } => call.has_volume() && volume == call.volume,
        _ => false,
    })
}

/// Whether calls of this RPC remove what others have made.
const fn removes(rpc: Rpc) -> bool {
    matches!(
        rpc,
        Rpc::DeleteVolume
            | Rpc::DeleteSnapshot
            | Rpc::DeleteVolumeGroupSnapshot
            | Rpc::ControllerUnpublishVolume
            | Rpc::NodeUnstageVolume
            | Rpc::NodeUnpublishVolume
    )
}

/// A call that has not ended.
struct Open {
    call: Call,
    request: Request,
    lost: bool,
    /// Whether another call about the same volume was under way at the same time.
    crossed: bool,
    answer: JoinHandle<Answer>,
}

struct Run<'a, S> {
    environment: Environment,
    driver: &'a Arc<Driver>,
    recorder: &'a Recorder,
    surroundings: &'a Surroundings,
    scene: &'a mut S,
    bindings: Bindings,
    ledger: Ledger,
    lanes: [Option<Open>; HOUSEKEEPING as usize],
    /// The answer that came last.
    latest: Option<Answer>,
}

impl<S: Scene> Run<'_, S> {
    async fn step(&mut self, number: usize, step: Step) -> Result<Result<(), String>, SceneError> {
        let mut looked_at = None;
        // What was spoilt the first time may well come out otherwise the second time.
        let undisturbed = self.environment.repeated && self.scene.portrait().is_some();
        let done = match step {
            Step::Call { lane, call, pause, lost } => match self.begin(number, lane, call, lost) {
                Some(request) => {
                    let mut ended = self.go_on(lane, pause).await;
                    looked_at = self.open(lane).is_none().then_some(request.clone());
                    if undisturbed && !lost && ended.is_ok() && self.lanes.iter().all(Option::is_none) {
                        ended = self.again(number, &request).await;
                    }
                    ended
                }
                None => Ok(()),
            },
            Step::Resume { lane: HOUSEKEEPING, pause } | Step::Housekeeping { pause } => {
                self.scene.housekeeping(pause).await;
                Ok(())
            }
            Step::Resume { lane, pause } => {
                let request = self.open(lane).map(|open| open.request.clone());
                let ended = self.go_on(lane, pause).await;
                looked_at = request.filter(|_| self.open(lane).is_none());
                ended
            }
            Step::Cancel { lane } => {
                if let Some(open) = self.lanes.get_mut(usize::from(lane)).and_then(Option::take) {
                    let cancelled = Answer::Lost(Lost::Cancelled);
                    self.ledger.answered(&open.request, &cancelled);
                    open.answer.abort();
                    let _ = open.answer.await;
                    self.scene.abandoned(lane).await;
                    self.scene.ended(&open.request, &cancelled)
                } else {
                    Ok(())
                }
            }
            Step::Crash => {
                self.crash().await?;
                Ok(())
            }
            Step::Trouble { volume, trouble } => {
                if self.scene.trouble(volume, trouble, self.surroundings) {
                    self.crash().await?;
                }
                Ok(())
            }
            Step::Fault { after, fate } => {
                self.scene.fault(after, fate);
                Ok(())
            }
            Step::Time { seconds } => {
                self.scene.pass(seconds).await;
                Ok(())
            }
        };
        Ok(match done {
            Ok(()) => self.scene.look(looked_at.as_ref(), self.recorder).await,
            broken => broken,
        })
    }

    fn open(&self, lane: Lane) -> Option<&Open> {
        self.lanes.get(usize::from(lane))?.as_ref()
    }

    /// Sends the request of a call, unless its handles stand for nothing or the lane is taken.
    fn begin(&mut self, number: usize, lane: Lane, call: Call, lost: bool) -> Option<Request> {
        if self.open(lane).is_some() {
            return None;
        }
        let request = request(call, &self.environment, &self.bindings, self.surroundings)?;
        self.ledger.sent(&request);
        self.scene.began(&request);
        let (driver, recorder, sent) = (self.driver.clone(), self.recorder.clone(), request.clone());
        let patience = self.surroundings.patience;
        let answer = tokio::spawn(async move {
            let scenario = format!("{STEP}{number}");
            match lost {
                true => driver.call_dropping_answer(&recorder, &scenario, &sent, patience).await,
                false => driver.call(&recorder, &scenario, &sent, patience).await,
            }
        });
        let mut crossed = false;
        for other in self.lanes.iter_mut().flatten().filter(|other| other.call.volume == call.volume) {
            other.crossed = true;
            crossed = true;
        }
        *self.lanes.get_mut(usize::from(lane))? = Some(Open { call, request: request.clone(), lost, crossed, answer });
        Some(request)
    }

    async fn go_on(&mut self, lane: Lane, pause: Option<u8>) -> Result<(), String> {
        let Some(place) = self.lanes.get_mut(usize::from(lane)) else { return Ok(()) };
        let Some(open) = place.as_mut() else { return Ok(()) };
        let Some(answer) = self.scene.go_on(lane, pause, &mut open.answer).await else { return Ok(()) };
        match place.take() {
            Some(open) => self.close(&open, &answer),
            None => Ok(()),
        }
    }

    fn close(&mut self, open: &Open, answer: &Answer) -> Result<(), String> {
        // Of calls that cross each other nobody knows which came last: what they are about is removed once more at the end.
        match answer {
            Answer::Reply(_) if open.crossed && removes(open.call.rpc) => {}
            Answer::Status { .. } if open.crossed && answer.code() != Some(Code::UNIMPLEMENTED) => {
                self.ledger.answered(&open.request, &Answer::Lost(Lost::Dropped));
            }
            _ => self.ledger.answered(&open.request, answer),
        }
        if open.lost {
            return self.scene.ended(&open.request, &Answer::Lost(Lost::Dropped));
        }
        self.latest = Some(answer.clone());
        self.bindings.learn(open.call, &open.request, answer, &self.surroundings.facts.node_id);
        self.scene.ended(&open.request, answer)
    }

    /// Makes a call once more: the same answer, and nothing has changed.
    async fn again(&mut self, number: usize, request: &Request) -> Result<(), String> {
        let (Some(before), Some(first)) = (self.scene.portrait(), self.latest.take()) else { return Ok(()) };
        if first.leaves_open() {
            return Ok(());
        }
        self.scene.began(request);
        let scenario = format!("{STEP}{number}");
        let second = self.driver.call(self.recorder, &scenario, request, self.surroundings.patience).await;
        self.ledger.answered(request, &second);
        self.scene.ended(request, &second)?;
        let same = match (&first, &second) {
            (Answer::Status { code, .. }, Answer::Status { code: again, .. }) => code == again,
            _ => first == second,
        };
        let rpc = request.rpc();
        match self.scene.portrait() {
            _ if !same => Err(format!("repeat: {rpc} was answered with {first}, and then with {second}")),
            Some(after) if after != before => Err(format!("repeat: a second {rpc} changed the node")),
            _ => Ok(()),
        }
    }

    async fn crash(&mut self) -> Result<(), SceneError> {
        if !self.driver.is_restartable() {
            return Ok(());
        }
        self.scene.crash(self.driver, self.recorder).await?;
        for lane in &mut self.lanes {
            let Some(mut open) = lane.take() else { continue };
            if timeout(AFTERMATH, &mut open.answer).await.is_err() {
                open.answer.abort();
                let _ = open.answer.await;
            }
            let cut_off = Answer::Lost(Lost::Connection);
            self.ledger.answered(&open.request, &cut_off);
            // Nothing is promised by an answer that nobody got.
            let _ = self.scene.ended(&open.request, &cut_off);
        }
        Ok(())
    }

    /// Cuts off what has not ended, and ties up loose ends.
    async fn end(&mut self) -> Result<Result<(), String>, SceneError> {
        if S::ENDS_IN_A_CRASH && self.lanes.iter().any(Option::is_some) {
            self.crash().await?;
        }
        let mut kept = Ok(());
        for lane in 0..HOUSEKEEPING {
            kept = kept.and(self.go_on(lane, None).await);
        }
        Ok(match kept {
            Ok(()) => self.scene.settle().await,
            broken => broken,
        })
    }

    /// Removes all that the program made, in the order of dependency.
    async fn remove(&mut self) -> Result<(), String> {
        let mut kept = Ok(());
        // A copy needs its source to go later, so the second round takes what the first could not.
        for _ in 0..2 {
            for request in self.ledger.open_creations() {
                self.until_answered(request).await;
            }
            let removal = self.ledger.removal();
            if removal.is_empty() {
                break;
            }
            for request in removal {
                if !self.scene.owes(&request) {
                    self.ledger.forgo(&request);
                    continue;
                }
                self.scene.began(&request);
                let answer = self.until_answered(request.clone()).await;
                kept = kept.and(self.scene.ended(&request, &answer));
                if !matches!(answer, Answer::Reply(_)) {
                    self.latest = Some(answer);
                }
            }
        }
        kept
    }

    /// Repeats a call for as long as the driver is busy.
    async fn until_answered(&mut self, request: Request) -> Answer {
        let request = self.surroundings.with_secrets(request);
        let mut pause = REMOVAL_PAUSE;
        let mut tries = 0;
        loop {
            self.ledger.sent(&request);
            let answer = self.driver.call(self.recorder, TEARDOWN, &request, self.surroundings.patience).await;
            self.ledger.answered(&request, &answer);
            tries += 1;
            if tries == REMOVALS || !matches!(answer.code(), Some(Code::ABORTED | Code::UNAVAILABLE)) {
                return answer;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}
