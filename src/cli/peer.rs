//! A foreign tool, run against the same faulty driver.

use std::{str::FromStr, sync::Arc, time::Duration};

use tokio::process::Command;

use super::{
    exit::Failure,
    mutant::{clear, directory},
};
use crate::faults::{Lane, Seeded};

/// A tool and how it is run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Peer {
    /// Its name.
    pub(super) name: String,
    command: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && command.contains("{endpoint}") => {
                Ok(Self { name: name.to_owned(), command: command.to_owned() })
            }
            _ => Err("write NAME=COMMAND with {endpoint} in the command".to_owned()),
        }
    }
}

impl Peer {
    /// Whether the tool ends with an error against a driver with this fault, in a program of its own; on real mounts where
    /// the fault shows there.
    ///
    /// # Errors
    ///
    /// When the driver or the tool cannot be started.
    pub(super) async fn detects(&self, seeded: Option<&Arc<Seeded>>, lane: Lane) -> Result<bool, Failure> {
        let directory = directory(lane).map_err(Failure::ours)?;
        let runtime = if lane == Lane::Memory { "memory" } else { "process" };
        let socket = directory.path().join("csi.sock");
        let endpoint = format!("unix://{}", socket.display());
        let mut driver = Command::new(std::env::current_exe().map_err(Failure::ours)?);
        driver.args(["driver", "--runtime", runtime, "--endpoint", &endpoint, "--state-dir"]);
        driver.arg(directory.path().join("state")).args(["--max-volumes-per-node", "8"]);
        if let Some(seeded) = seeded {
            driver.args(["--fault", seeded.id]);
        }
        let quiet = std::process::Stdio::null;
        let mut driver = driver.kill_on_drop(true).stdout(quiet()).stderr(quiet()).spawn().map_err(Failure::ours)?;
        for _ in 0..ATTEMPTS {
            if socket.exists() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let command = self.command.replace("{endpoint}", &endpoint).replace("{dir}", &text(directory.path()));
        let mut tool = Command::new("sh");
        tool.arg("-c").arg(command).kill_on_drop(true).stdout(quiet()).stderr(quiet());
        let ended = tokio::time::timeout(LONGEST, tool.status()).await;
        driver.kill().await.map_err(Failure::ours)?;
        clear(directory.path(), lane);
        match ended {
            Ok(status) => Ok(!status.map_err(Failure::usage)?.success()),
            // It got stuck, so something is wrong, and whoever waits for it sees that.
            Err(_) => Ok(true),
        }
    }
}

const ATTEMPTS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(300);
