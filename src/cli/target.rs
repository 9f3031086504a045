//! Which driver a command speaks to: the options that all commands share, and the built-in driver in its place.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::{Args, ValueEnum};
use tempfile::TempDir;

use super::exit::Failure;
use crate::sut::{Driver, Endpoint, KnownFailure, Lane, Profile, Start, Target, TlsFiles};

/// Which driver, and how to deal with it.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct DriverOptions {
    /// The driver's endpoint: unix:///path, /path, unix-abstract:name, dns:///host:port or host:port.
    /// Without any endpoint the built-in reference driver is certified
    #[arg(long, env = "CSI_ENDPOINT", value_name = "URI")]
    pub endpoint: Option<String>,
    /// The controller's endpoint, where it is not that of the node
    #[arg(long, value_name = "URI")]
    pub controller_endpoint: Option<String>,
    /// The node's endpoint, where it is not that of the controller
    #[arg(long, value_name = "URI")]
    pub node_endpoint: Option<String>,
    /// What is particular to the driver: parameters, secrets, sizes, how to start it (TOML)
    #[arg(long, value_name = "F")]
    pub profile: Option<PathBuf>,
    /// Parameters of CreateVolume, as key = "value" (TOML) or a JSON object
    #[arg(long, value_name = "F")]
    pub parameters: Option<PathBuf>,
    /// Secrets of all calls, as key = "value" (TOML) or a JSON object
    #[arg(long, value_name = "F")]
    pub secrets: Option<PathBuf>,
    /// Known failures ([[known_failure]] with rule and reason), beside those of the profile
    #[arg(long, value_name = "F")]
    pub expect: Option<PathBuf>,
    /// Whether the node's file system is looked at: needs root, and a node plugin on this machine
    #[arg(long, value_enum)]
    pub node_fs: Option<NodeFsOption>,
    /// How long to wait for the driver to answer at all, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub connect_timeout: u64,
    #[command(flatten)]
    pub tls: TlsOptions,
    /// What serves the mount pods of the built-in driver; process needs root and /dev/fuse
    #[arg(long, value_enum)]
    pub runtime: Option<BuiltInRuntime>,
}

/// The files of a TLS connection, in place of those of the profile's `[tls]`.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct TlsOptions {
    /// Speak TLS, and trust a driver whose certificate one of these authorities signed (PEM)
    #[arg(long, value_name = "F")]
    tls_ca: Option<PathBuf>,
    /// Our own certificate, for a driver that asks for one (PEM)
    #[arg(long, value_name = "F")]
    tls_cert: Option<PathBuf>,
    /// The key of our certificate (PEM, without a passphrase)
    #[arg(long, value_name = "F")]
    tls_key: Option<PathBuf>,
    /// The name in the driver's certificate, where it is not the endpoint's host
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
}

impl TlsOptions {
    /// Puts what was given on the command line in place of what a profile says.
    pub(super) fn stand_in_for(&self, files: &mut TlsFiles) {
        let Self { tls_ca, tls_cert, tls_key, tls_server_name } = self.clone();
        files.ca = tls_ca.or_else(|| files.ca.take());
        files.certificate = tls_cert.or_else(|| files.certificate.take());
        files.key = tls_key.or_else(|| files.key.take());
        files.server_name = tls_server_name.or_else(|| files.server_name.take());
    }
}

/// Whether the node's file system is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum NodeFsOption {
    /// Where this process may, and the node is this machine.
    Auto,
    /// Never.
    Off,
}

/// What serves the mount pods of the built-in driver.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum BuiltInRuntime {
    /// Simulated; nothing is really mounted.
    Memory,
    /// A FUSE process for each pod.
    Process,
}

impl BuiltInRuntime {
    /// The real one where this machine lets us.
    pub(super) fn of_this_machine() -> Self {
        if fuse_is_here() { Self::Process } else { Self::Memory }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Process => "process",
        }
    }
}

/// A driver that is ready to be called, with all that belongs to it.
#[derive(Debug)]
pub(super) struct Connected {
    /// The driver.
    pub driver: Driver,
    /// Its particulars.
    pub profile: Profile,
    /// Arguments that name the same driver on a command line.
    pub arguments: String,
    /// Where the built-in driver keeps its state; removed on drop.
    pub state: Option<TempDir>,
}

impl DriverOptions {
    /// Reads the profile and what stands in for parts of it.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or understood.
    pub(super) fn profile(&self) -> Result<Profile, Failure> {
        let today = today();
        let mut profile = match &self.profile {
            Some(path) => Profile::read(path, &today).map_err(Failure::usage)?,
            None => Profile::default(),
        };
        if let Some(path) = &self.parameters {
            profile.parameters = map(path)?;
        }
        if let Some(path) = &self.secrets {
            profile.secrets = map(path)?;
        }
        if let Some(path) = &self.expect {
            profile.known_failures.extend(Profile::read(path, &today).map_err(Failure::usage)?.known_failures);
        }
        if self.node_fs == Some(NodeFsOption::Off) {
            profile.node_fs = crate::sut::NodeFsMode::Off;
        }
        self.tls.stand_in_for(&mut profile.tls);
        Ok(profile)
    }

    /// Connects to the driver; starts the built-in one, or that of the profile, where that is asked for.
    ///
    /// # Errors
    ///
    /// When the options contradict each other, or no driver answers in time.
    pub(super) async fn connect(&self) -> Result<Connected, Failure> {
        let mut profile = self.profile()?;
        let patience = Duration::from_secs(self.connect_timeout.max(1));
        let apart = self.controller_endpoint.is_some() || self.node_endpoint.is_some();
        if apart && self.endpoint.is_some() {
            return Err(Failure::usage(
                "--endpoint (or CSI_ENDPOINT) names a plugin that serves both: use it, or the two others, not both",
            ));
        }
        let (target, arguments, state) = if apart {
            let lane = |text: &Option<String>| text.as_deref().map(|text| lane(text, &profile.tls)).transpose();
            let target =
                Target::Separate { controller: lane(&self.controller_endpoint)?, node: lane(&self.node_endpoint)? };
            let named = [("controller", &self.controller_endpoint), ("node", &self.node_endpoint)];
            let arguments = named
                .iter()
                .filter_map(|(name, endpoint)| Some(format!("--{name}-endpoint {}", endpoint.as_deref()?)))
                .collect::<Vec<_>>()
                .join(" ");
            (target, arguments, None)
        } else if let Some(endpoint) = &self.endpoint {
            (Target::Plugin(lane(endpoint, &profile.tls)?), format!("--endpoint {endpoint}"), None)
        } else if profile.start.is_some() {
            let state = TempDir::with_prefix("csi-certify-").map_err(Failure::usage)?;
            let socket = state.path().join("csi.sock");
            (Target::Plugin(lane(&socket.to_string_lossy(), &profile.tls)?), String::new(), Some(state))
        } else {
            let (target, state) = self.built_in(&mut profile)?;
            (target, String::new(), Some(state))
        };
        let arguments = std::iter::once(arguments).chain(self.files()).filter(|text| !text.is_empty());
        let arguments = arguments.collect::<Vec<_>>().join(" ");
        let driver = Driver::connect(target, &profile, patience).await.map_err(Failure::usage)?;
        Ok(Connected { driver, profile, arguments, state })
    }

    /// The options that name files, as they stand on a command line.
    fn files(&self) -> impl Iterator<Item = String> {
        let TlsOptions { tls_ca, tls_cert, tls_key, tls_server_name } = &self.tls;
        let files = [
            ("--profile", &self.profile),
            ("--parameters", &self.parameters),
            ("--secrets", &self.secrets),
            ("--tls-ca", tls_ca),
            ("--tls-cert", tls_cert),
            ("--tls-key", tls_key),
        ];
        let files = files.into_iter().filter_map(|(flag, path)| Some(format!("{flag} {}", path.as_ref()?.display())));
        files.chain(tls_server_name.iter().map(|name| format!("--tls-server-name {name}")))
    }

    /// The built-in driver, as a process of its own, so that it can be killed and restarted like any other.
    fn built_in(&self, profile: &mut Profile) -> Result<(Target, TempDir), Failure> {
        let runtime = self.runtime.unwrap_or_else(BuiltInRuntime::of_this_machine);
        let state = TempDir::with_prefix("csi-certify-").map_err(Failure::usage)?;
        let socket_directory = state.path().join("socket");
        fs::create_dir(&socket_directory).map_err(Failure::usage)?;
        let executable = std::env::current_exe().map_err(Failure::ours)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        profile.start = Some(Start {
            command: vec![
                text(&executable),
                "driver".into(),
                "--endpoint".into(),
                "{endpoint}".into(),
                "--state-dir".into(),
                text(&state.path().join("state")),
                "--runtime".into(),
                runtime.name().into(),
                "--node-id".into(),
                "node-a".into(),
                "--node-id".into(),
                "node-b".into(),
            ],
            environment: BTreeMap::new(),
            // Simulated mounts die with the process.
            restartable: runtime == BuiltInRuntime::Process,
        });
        profile.other_nodes = vec!["node-b".into()];
        let one = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        if profile.parameters.is_empty() {
            profile.parameters = one("directoryMode", "0755");
            profile.incompatible_parameters = one("directoryMode", "0700");
        }
        if profile.mutable_parameters.is_empty() {
            profile.mutable_parameters = one("iops", "500").into_iter().chain(one("tier", "standard")).collect();
            profile.modified_parameters = one("iops", "900");
        }
        if runtime == BuiltInRuntime::Memory {
            // Its mounts are simulated: there is nothing to look at.
            profile.node_fs = crate::sut::NodeFsMode::Off;
        }
        let endpoint = format!("unix://{}", text(&socket_directory.join("csi.sock")));
        Ok((Target::Plugin(Lane::Socket(endpoint.parse().map_err(Failure::ours)?)), state))
    }
}

/// Breaches that a profile accepts, as pattern and reason.
pub(super) fn accepted(known: &[KnownFailure]) -> Vec<(String, String)> {
    let reason = |one: &KnownFailure| match &one.link {
        Some(link) => format!("{} ({link})", one.reason),
        None => one.reason.clone(),
    };
    known.iter().map(|one| (one.rule.clone(), reason(one))).collect()
}

/// The moment, RFC 3339 in UTC.
pub(super) fn now() -> String {
    let seconds = prost_types::Timestamp::from(SystemTime::now()).seconds;
    prost_types::Timestamp { seconds, nanos: 0 }.to_string()
}

fn today() -> String {
    now().chars().take("2026-01-01".len()).collect()
}

/// How the driver at an endpoint is reached.
///
/// # Errors
///
/// When the text is no endpoint, or the TLS files are not usable.
pub(super) fn lane(text: &str, tls: &TlsFiles) -> Result<Lane, Failure> {
    let endpoint = text.parse::<Endpoint>().map_err(Failure::usage)?;
    Ok(match tls.read(&endpoint).map_err(Failure::usage)? {
        Some(tls) => Lane::Secured(endpoint, tls),
        None => Lane::Socket(endpoint),
    })
}

/// A map of strings from a TOML or JSON file.
fn map(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let fail = |error: String| Failure::usage(format!("cannot use {}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text).map_err(|error| fail(format!("not a JSON object of strings: {error}")))
    } else {
        toml::from_str(&text).map_err(|error| fail(format!("not lines of key = \"value\": {error}")))
    }
}

/// Whether this process may mount FUSE file systems.
pub(super) fn fuse_is_here() -> bool {
    #[cfg(target_os = "linux")]
    {
        rustix::process::geteuid().is_root() && fs::File::options().read(true).write(true).open("/dev/fuse").is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}
