//! The driver's process, where the profile says how to start it.

use std::{
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
};

use super::profile::Start;

/// How much of a driver's output is kept, the latest.
const KEPT_OUTPUT: usize = 8 * 1024 * 1024;

/// A running driver that this run started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Output,
}

/// What a driver wrote to its standard output and standard error, over all its lives.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    total: u64,
}

/// A way to end a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signal {
    /// At once, without a chance to tidy up.
    Kill,
    /// Politely.
    Terminate,
}

/// Why a driver could not be started or ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The command cannot be run.
    #[error("cannot start the driver with {command:?}: {error}; check `start.command` in the profile")]
    Start {
        /// The program.
        command: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The process does not end.
    #[error("the driver did not end within {0:?} of the signal")]
    Immortal(Duration),
    /// The profile does not say how.
    #[error("the profile does not say how to start the driver: give it a [start] table with a command")]
    Unknown,
}

impl Process {
    /// Starts the driver as the profile says; its output is added to `output`.
    ///
    /// # Errors
    ///
    /// When the command cannot be run.
    pub fn start(start: &Start, endpoint: &str, output: &Output) -> Result<Self, ProcessError> {
        Self::launch(start, endpoint, output, false)
    }

    /// As [`Process::start`]; a bare environment has nothing that a supervisor would not set.
    ///
    /// # Errors
    ///
    /// When the command cannot be run.
    pub(super) fn launch(start: &Start, endpoint: &str, output: &Output, bare: bool) -> Result<Self, ProcessError> {
        let [program, arguments @ ..] = &*start.command else { return Err(ProcessError::Unknown) };
        let mut command = Command::new(program);
        if bare {
            command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        }
        command
            .args(arguments.iter().map(|argument| argument.replace("{endpoint}", endpoint)))
            .env("CSI_ENDPOINT", endpoint)
            .envs(&start.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| ProcessError::Start { command: program.clone(), error })?;
        if let Some(stream) = child.stdout.take() {
            output.follow(stream);
        }
        if let Some(stream) = child.stderr.take() {
            output.follow(stream);
        }
        Ok(Self { child, output: output.clone() })
    }

    /// How the process ended, if it has.
    pub fn exit(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(describe)
    }

    /// The number of the process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it has written.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Errors
    ///
    /// When it does not end in time; it has got SIGKILL then as well.
    pub async fn end(&mut self, signal: Signal, patience: Duration) -> Result<String, ProcessError> {
        match signal {
            Signal::Terminate if self.terminate() => {}
            _ => {
                let _ = self.child.start_kill();
            }
        }
        if let Ok(Ok(status)) = tokio::time::timeout(patience, self.child.wait()).await {
            return Ok(describe(status));
        }
        let _ = self.child.start_kill();
        Err(ProcessError::Immortal(patience))
    }

    #[cfg(target_os = "linux")]
    fn terminate(&self) -> bool {
        let id = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        id.is_some_and(|id| rustix::process::kill_process(id, rustix::process::Signal::TERM).is_ok())
    }

    #[cfg(not(target_os = "linux"))]
    fn terminate(&self) -> bool {
        false
    }
}

impl Output {
    /// Everything that is kept, and how many bytes there were in all.
    pub fn read(&self) -> (Vec<u8>, u64) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.bytes.clone(), kept.total)
    }

    fn follow(&self, mut stream: impl tokio::io::AsyncRead + Unpin + Send + 'static) {
        let output = self.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                output.append(&buffer[..read]);
            }
        });
    }

    fn append(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.total += bytes.len() as u64;
        kept.bytes.extend_from_slice(bytes);
        if kept.bytes.len() > 2 * KEPT_OUTPUT {
            let excess = kept.bytes.len() - KEPT_OUTPUT;
            kept.bytes.drain(..excess);
        }
    }
}

impl Signal {
    /// The name as the system spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Terminate => "SIGTERM",
        }
    }
}

fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("signal {signal}");
    }
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(command: &[&str]) -> Start {
        Start { command: command.iter().map(|&word| word.to_owned()).collect(), ..Start::default() }
    }

    #[tokio::test]
    async fn a_process_gets_its_endpoint_and_its_output_is_kept() {
        let output = Output::default();
        let script = "echo $CSI_ENDPOINT; echo \"$0\" >&2; exec sleep 600";
        let mut process =
            Process::start(&start(&["/bin/sh", "-c", script, "{endpoint}"]), "unix:///x.sock", &output).unwrap();
        let written = async {
            while output.read().1 < 30 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), written).await.unwrap();
        assert_eq!(String::from_utf8(output.read().0).unwrap().matches("unix:///x.sock").count(), 2);
        assert_eq!(process.exit(), None);
        assert_eq!(process.end(Signal::Terminate, Duration::from_secs(20)).await.unwrap(), "signal 15");
        assert_eq!(process.exit().as_deref(), Some("signal 15"));
    }

    #[tokio::test]
    async fn a_command_that_does_not_exist_is_named() {
        let error = Process::start(&start(&["/no/such/driver"]), "unix:///x.sock", &Output::default()).unwrap_err();
        assert!(error.to_string().contains("/no/such/driver"), "{error}");
        let error = Process::start(&start(&[]), "unix:///x.sock", &Output::default()).unwrap_err();
        assert!(error.to_string().contains("[start]"), "{error}");
    }
}
