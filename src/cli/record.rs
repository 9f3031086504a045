//! `csi-certify record`: write the history of real traffic, from between an orchestrator and a driver.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    exit::{Exit, Failure},
    run::cancelled_by_signals,
    target::{TlsOptions, lane, now},
};
use crate::{
    history::{FORMAT, Header, Recording},
    record::{Journal, Listen, Proxy, Rotation},
    sut::{Endpoint, TlsFiles},
};

/// What `csi-certify record` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct RecordArguments {
    /// Where the orchestrator is to connect: unix:///path, /path or host:port
    #[arg(long, value_name = "URI")]
    listen: String,
    /// Where the driver listens: unix:///path, /path, unix-abstract:name, dns:///host:port or host:port
    #[arg(long, value_name = "URI")]
    upstream: String,
    /// The history; it must not exist yet
    #[arg(long, value_name = "F")]
    history: PathBuf,
    /// What the driver behind it serves, for histories that are judged together
    #[arg(long, value_enum, default_value_t = Component::Plugin)]
    component: Component,
    /// The name of the node that the driver behind it serves, for histories that are judged together
    #[arg(long, value_name = "NAME", default_value = "node")]
    node: String,
    /// Go on in another file (F.2, F.3 …) when one has grown beyond this, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    rotate: u64,
    #[command(flatten)]
    tls: TlsOptions,
}

/// What the driver behind the proxy serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Component {
    /// Controller and node.
    Plugin,
    /// The controller alone.
    Controller,
    /// The node alone.
    Node,
}

impl Component {
    const fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Controller => "controller",
            Self::Node => "node",
        }
    }
}

/// Records until it is interrupted.
///
/// # Errors
///
/// When it cannot listen, or cannot write the history.
pub(super) async fn run(arguments: RecordArguments) -> Result<Exit, Failure> {
    let listen: Endpoint = arguments.listen.parse().map_err(Failure::usage)?;
    let mut tls = TlsFiles::default();
    arguments.tls.stand_in_for(&mut tls);
    let upstream = lane(&arguments.upstream, &tls)?;
    if upstream.endpoint() == Some(&listen) {
        return Err(Failure::usage(
            "--listen and --upstream are the same: let the orchestrator connect to another socket than the driver's",
        ));
    }
    let listening = Listen::at(&listen).await.map_err(Failure::usage)?;
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let header = Header {
        format: FORMAT,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        started: now(),
        endpoints: vec![format!("{upstream:?}")],
        recording: Some(Recording {
            id: format!("{:016x}", rand::random::<u64>()),
            part: 1,
            epoch: since_1970.as_micros() as u64,
        }),
        ..Header::default()
    };
    let rotation = Rotation { bytes: arguments.rotate.saturating_mul(1 << 20) };
    let (journal, writing) =
        Journal::start(&arguments.history, header, arguments.component.name(), arguments.node.clone(), rotation)
            .map_err(Failure::usage)?;
    anstream::eprintln!("recording {listen} -> {upstream:?} into {}; end with Ctrl-C", arguments.history.display());
    let proxy = Proxy::new(upstream, PATIENCE, journal);
    let latency = proxy.latency().clone();
    let ending = cancelled_by_signals();
    let watch = async {
        while !writing.has_ended() {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    };
    // A recorder that cannot write ends rather than pass traffic that nobody will see.
    tokio::select! {
        () = proxy.serve(listening, ending.clone()) => {}
        () = watch => ending.cancel(),
    }
    let ended = tokio::task::spawn_blocking(move || writing.end()).await.map_err(Failure::ours)?;
    let summary = ended.map_err(Failure::usage)?;
    let files: Vec<String> = summary.files.iter().map(|file| file.display().to_string()).collect();
    anstream::println!("{} calls recorded, {latency}", summary.calls);
    if let Some((count, last)) = summary.not_understood {
        anstream::println!("{count} times something passed that is no CSI 1.12 message, last: {last}");
    }
    anstream::println!("next: csi-certify judge {}", files.join(" "));
    Ok(Exit::Conformant)
}

/// How long the driver may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether the journal still writes.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
