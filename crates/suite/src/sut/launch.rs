//! A driver launched in ways that show what it relies on: another endpoint, a stale socket, a bare environment.

use std::{path::Path, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    Answer, Endpoint, Lane,
    lane::Lease,
    process::{Output, Process, Signal},
    profile::Start,
    wire::exchange,
};
use crate::{
    csi::v1,
    history::{Launch, Observation, Request},
};

/// How often a socket is tried while it is waited for.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// How long a launch is watched at most, of however long the driver may take to be ready.
const LONGEST: Duration = Duration::from_secs(15);

/// What all launches of an instance have in common.
pub(super) struct Launches<'a> {
    pub(super) name: &'static str,
    pub(super) start: &'a Start,
    pub(super) patience: Duration,
    pub(super) output: &'a Output,
}

impl Launches<'_> {
    /// Launches the driver in each way; one that cannot be tried (the path of its socket is too long) is left out.
    pub(super) async fn all(&self, directory: &Path) -> Vec<Observation> {
        let elsewhere = directory.join("elsewhere.sock");
        let bare = directory.join("bare.sock");
        let nowhere = directory.join("missing").join("csi.sock");
        let mut seen = Vec::new();
        for (way, socket) in [
            (Launch::Elsewhere, &elsewhere),
            (Launch::OverStaleSocket, &elsewhere),
            (Launch::Bare, &bare),
            (Launch::Misconfigured, &nowhere),
        ] {
            let Some(endpoint) = socket.to_str().and_then(|path| format!("unix://{path}").parse().ok()) else {
                continue;
            };
            // Without a socket that was left behind there is nothing to show.
            if way != Launch::OverStaleSocket || socket.exists() {
                seen.extend(self.one(way, &endpoint).await);
            }
        }
        seen
    }

    async fn one(&self, way: Launch, endpoint: &Endpoint) -> Option<Observation> {
        let uri = endpoint.to_string();
        let mut process = Process::launch(self.start, &uri, self.output, way == Launch::Bare).ok()?;
        let (answered, exit) = self.watch(&mut process, endpoint).await;
        if exit.is_none() {
            // What is killed cannot remove its socket.
            let signal = if way == Launch::Elsewhere { Signal::Kill } else { Signal::Terminate };
            let _ = process.end(signal, self.patience).await;
        }
        let by_argument = self.start.command.iter().any(|argument| argument.contains("{endpoint}"));
        let instance = self.name.to_owned();
        Some(Observation::Launched { instance, way, by_argument, answered, exit: exit.unwrap_or_default() })
    }

    /// Waits until the driver answers, ends, or the time is up.
    async fn watch(&self, process: &mut Process, endpoint: &Endpoint) -> (bool, Option<String>) {
        let lane = Lane::Socket(endpoint.clone());
        let until = Instant::now() + self.patience.min(LONGEST);
        loop {
            if answers(&lane, BETWEEN_TRIES * 10).await {
                return (true, None);
            }
            if let Some(exit) = process.exit() {
                return (false, Some(exit));
            }
            if Instant::now() >= until {
                return (false, None);
            }
            sleep(BETWEEN_TRIES).await;
        }
    }
}

/// Whether somebody answers GetPluginInfo there.
pub(super) async fn answers(lane: &Lane, patience: Duration) -> bool {
    let Ok(transport) = lane.connect(patience, &Lease::default()).await else { return false };
    let request = Request::from(v1::GetPluginInfoRequest {});
    let answer = timeout(patience * 10, exchange(transport, &request, patience * 20)).await;
    matches!(answer, Ok(Answer::Reply(_)))
}
