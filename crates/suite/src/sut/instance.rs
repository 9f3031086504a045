//! One process of the driver: the connection to it, and its life.

use std::{
    panic::AssertUnwindSafe,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Answer, Code, ConnectError, Lane,
    lane::Lease,
    launch::Launches,
    process::{Output, Process, ProcessError, Signal},
    profile::Start,
    wire::{Transport, exchange, exchange_bytes},
};
use crate::{
    csi::v1,
    history::{Fault, Lost, Recorder, Request},
};

/// How long a driver that lost its connection may take to answer again.
const RECONNECT: Duration = Duration::from_secs(3);

/// How often a socket is tried while it is waited for.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// One process of the driver, reached over one lane.
#[derive(Debug)]
pub struct Instance {
    name: &'static str,
    lane: Lane,
    start: Option<Start>,
    ready_timeout: Duration,
    connection: Mutex<Connection>,
    process: tokio::sync::Mutex<Option<Process>>,
    output: Output,
    dead: AtomicBool,
}

#[derive(Default)]
struct Connection {
    /// Counts the connections, so that of several calls that lost one only the first reconnects.
    generation: u64,
    transport: Option<Transport>,
    lease: Lease,
}

/// The connection that a call goes over, taken when the call is recorded.
#[derive(Clone)]
pub(super) struct Line {
    generation: u64,
    transport: Option<Transport>,
}

impl Instance {
    /// Describes a process; nothing is started or connected yet.
    pub(super) fn new(name: &'static str, lane: Lane, start: Option<Start>, ready_timeout: Duration) -> Self {
        Self {
            name,
            lane,
            start,
            ready_timeout,
            connection: Mutex::default(),
            process: tokio::sync::Mutex::new(None),
            output: Output::default(),
            dead: AtomicBool::new(false),
        }
    }

    /// `plugin`, `controller` or `node`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How it is reached.
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether it ended and cannot be brought back.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Whether it can be killed and started again.
    pub fn is_restartable(&self) -> bool {
        self.start.as_ref().is_some_and(|start| start.restartable) || matches!(self.lane, Lane::InProcess(_))
    }

    /// Whether a new process can take the place of one that has ended.
    fn can_start(&self) -> bool {
        self.start.is_some() || matches!(self.lane, Lane::InProcess(_))
    }

    /// Whether this run started it as a process of its own.
    pub const fn is_ours(&self) -> bool {
        self.start.is_some()
    }

    /// What it wrote, as far as it was started by this run.
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// Starts the process where the profile says how, and waits until it answers.
    pub(super) async fn bring_up(&self, patience: Duration) -> Result<(), BringUpError> {
        let mut process = self.process.lock().await;
        self.launch(&mut process)?;
        let patience = if self.start.is_some() { self.ready_timeout } else { patience };
        let until = Instant::now() + patience;
        self.connect(patience, process.as_mut()).await?;
        match self.lane.endpoint() {
            Some(endpoint) => Ok(self.greet(&endpoint.to_string(), until, process.as_mut()).await?),
            None => Ok(()),
        }
    }

    /// Makes sure that a gRPC server is at the other end: sockets also accept when nobody, or somebody else, does.
    ///
    /// What it answers does not matter yet, and is not recorded.
    async fn greet(
        &self,
        endpoint: &str,
        until: Instant,
        mut process: Option<&mut Process>,
    ) -> Result<(), ConnectError> {
        let request = Request::from(v1::GetPluginInfoRequest {});
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(BETWEEN_TRIES);
            let transport = self.connection.lock().unwrap_or_else(PoisonError::into_inner).transport.clone();
            let answer = match transport {
                // Told a longer deadline than is kept here, its library does not answer in the driver's place.
                Some(transport) => timeout(left, exchange(transport, &request, left + RECONNECT)).await,
                None => Ok(Answer::Lost(Lost::Connection)),
            };
            let cause = match answer {
                // Whoever answers so, the driver or something in front of it, wants to be asked again later.
                Ok(Answer::Status { code, message, .. }) if Code(code) == Code::UNAVAILABLE => {
                    format!("it answers UNAVAILABLE {message:?}")
                }
                Ok(Answer::Reply(_) | Answer::Status { .. } | Answer::Garbage(_)) => return Ok(()),
                Err(_) | Ok(Answer::Lost(Lost::Deadline)) => "it accepts connections and does not answer".to_owned(),
                Ok(Answer::Lost(_)) => {
                    "what listens there ends the connection, as if it were no gRPC server".to_owned()
                }
            };
            if Instant::now() + BETWEEN_TRIES >= until {
                return Err(ConnectError { endpoint: endpoint.to_owned(), cause });
            }
            sleep(BETWEEN_TRIES).await;
            let left = until.saturating_duration_since(Instant::now());
            self.connect(left, process.as_deref_mut()).await?;
        }
    }

    /// Records the beginning of a call, and takes the connection that it goes over, in one moment: a call that is recorded
    /// before the end of a process is never sent to the next one.
    pub(super) fn begin<T>(&self, record: impl FnOnce() -> T) -> (T, Line) {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line { generation: connection.generation, transport: connection.transport.clone() };
        (record(), line)
    }

    /// One exchange; what went wrong with the connection is mended before this returns.
    pub(super) async fn exchange(
        &self,
        recorder: &Recorder,
        request: &Request,
        line: Line,
        deadline: Duration,
    ) -> Answer {
        self.exchange_with(recorder, request, &[], line, deadline).await
    }

    /// As [`Instance::exchange`], with further bytes after those of the request.
    pub(super) async fn exchange_with(
        &self,
        recorder: &Recorder,
        request: &Request,
        surplus: &[u8],
        Line { generation, transport }: Line,
        deadline: Duration,
    ) -> Answer {
        let Some(transport) = transport else { return Answer::Lost(Lost::Connection) };
        // A server of this process that panics takes down its own task in a real driver, not the caller.
        let message = [&*request.encode(), surplus].concat();
        let call = AssertUnwindSafe(exchange_bytes(transport, request.rpc(), &message, deadline)).catch_unwind();
        let answer = match timeout(deadline, call).await {
            Err(_) => Answer::Lost(Lost::Deadline),
            Ok(Err(_)) => Answer::Lost(Lost::Connection),
            Ok(Ok(answer)) => answer,
        };
        if answer == Answer::Lost(Lost::Connection) {
            self.recover(recorder, generation).await;
        }
        answer
    }

    /// How the process ended, if this run started it and it has.
    pub async fn exit(&self) -> Option<String> {
        self.process.lock().await.as_mut().and_then(Process::exit)
    }

    /// The number of the process, if this run started it and it runs.
    pub async fn process_id(&self) -> Option<u32> {
        self.process.lock().await.as_ref().and_then(Process::id)
    }

    /// Ends the process with a signal and starts it again; both are recorded.
    ///
    /// # Errors
    ///
    /// When it does not end, cannot be started, or does not answer in time.
    pub async fn restart(&self, recorder: &Recorder, signal: Signal) -> Result<(), BringUpError> {
        let mut process = self.process.lock().await;
        if !self.can_start() {
            return Err(ProcessError::Unknown.into());
        }
        if let Some(process) = process.as_mut() {
            process.end(signal, self.ready_timeout).await?;
        }
        recorder.fault(Fault::Killed { instance: self.name.to_owned(), signal: signal.name().to_owned() });
        self.launch(&mut process)?;
        self.connect(self.ready_timeout, process.as_mut()).await?;
        recorder.fault(Fault::Restarted { instance: self.name.to_owned() });
        Ok(())
    }

    /// Ends the process, launches it in other ways for a while, and starts it again; all of that is recorded.
    ///
    /// `directory` is one in which sockets can be made.
    ///
    /// # Errors
    ///
    /// When it does not end, cannot be started, or does not answer in time afterwards.
    pub async fn launch_otherwise(&self, recorder: &Recorder, directory: &Path) -> Result<(), BringUpError> {
        let mut process = self.process.lock().await;
        let Some(start) = &self.start else { return Err(ProcessError::Unknown.into()) };
        if let Some(process) = process.as_mut() {
            process.end(Signal::Terminate, self.ready_timeout).await?;
        }
        recorder.fault(Fault::Killed { instance: self.name.to_owned(), signal: Signal::Terminate.name().to_owned() });
        let launches = Launches { name: self.name, start, patience: self.ready_timeout, output: &self.output };
        let seen = launches.all(directory).await;
        seen.into_iter().for_each(|observation| recorder.observed(observation));
        self.launch(&mut process)?;
        self.connect(self.ready_timeout, process.as_mut()).await?;
        recorder.fault(Fault::Restarted { instance: self.name.to_owned() });
        Ok(())
    }

    /// Ends the process, if this run started it.
    pub(super) async fn shut_down(&self) {
        if let Some(mut process) = self.process.lock().await.take() {
            // It gets SIGKILL after that anyway.
            let _ = process.end(Signal::Terminate, RECONNECT).await;
        }
    }

    fn launch(&self, process: &mut Option<Process>) -> Result<(), ProcessError> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).lease.end();
        if let (Some(start), Some(endpoint)) = (&self.start, self.lane.endpoint()) {
            *process = Some(Process::start(start, &endpoint.to_string(), &self.output)?);
        }
        Ok(())
    }

    /// After a lost connection: connects anew, restarts a process that has ended, or declares it dead.
    async fn recover(&self, recorder: &Recorder, generation: u64) {
        let mut process = self.process.lock().await;
        let now = self.connection.lock().unwrap_or_else(PoisonError::into_inner).generation;
        if now != generation || self.is_dead() {
            return;
        }
        let Err(error) = self.connect(RECONNECT, process.as_mut()).await else { return };
        let exit = process.as_mut().and_then(Process::exit).unwrap_or(error.cause);
        recorder.fault(Fault::Crashed { instance: self.name.to_owned(), exit });
        let revived = self.start.is_some()
            && self.launch(&mut process).is_ok()
            && self.connect(self.ready_timeout, process.as_mut()).await.is_ok();
        match revived {
            true => recorder.fault(Fault::Restarted { instance: self.name.to_owned() }),
            false => self.dead.store(true, Ordering::Relaxed),
        }
    }

    /// Tries to connect until the time is up or the process has ended.
    async fn connect(&self, patience: Duration, mut process: Option<&mut Process>) -> Result<(), ConnectError> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(BETWEEN_TRIES);
            let lease = Lease::default();
            match self.lane.connect(left, &lease).await {
                Ok(transport) => {
                    let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
                    let generation = connection.generation + 1;
                    *connection = Connection { generation, transport: Some(transport), lease };
                    return Ok(());
                }
                Err(error) => {
                    if let Some(exit) = process.as_mut().and_then(|process| process.exit()) {
                        return Err(ConnectError { cause: format!("the driver ended with {exit}"), ..error });
                    }
                    if Instant::now() >= until {
                        return Err(error);
                    }
                }
            }
            sleep(BETWEEN_TRIES).await;
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection {}", self.generation)
    }
}

/// Why a driver is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BringUpError {
    /// It does not answer.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It cannot be started or ended.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Neither a controller nor a node was named.
    #[error("no endpoint was given: use --endpoint, or --controller-endpoint and --node-endpoint")]
    NoEndpoint,
}
