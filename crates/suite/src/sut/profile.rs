//! What is particular to one driver: a TOML file that its author writes once; everything in it has a default.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use thiserror::Error;

use super::TlsFiles;
use crate::{
    csi::v1::volume_capability::access_mode::Mode,
    spec::{Rpc, RuleId},
};

/// A driver's particulars.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// What people call the driver.
    pub name: String,
    /// `parameters` of CreateVolume, as a storage class has them.
    pub parameters: BTreeMap<String, String>,
    /// A second set of `parameters` that a volume of the first set is not compatible with.
    pub incompatible_parameters: BTreeMap<String, String>,
    /// `parameters` of CreateSnapshot.
    pub snapshot_parameters: BTreeMap<String, String>,
    /// `mutable_parameters` that a volume can be created with.
    pub mutable_parameters: BTreeMap<String, String>,
    /// Other valid values for some of `mutable_parameters`, to modify a volume to.
    pub modified_parameters: BTreeMap<String, String>,
    /// Secrets that all calls carry.
    pub secrets: BTreeMap<String, String>,
    /// Secrets of single RPCs, by the RPC's name, in place of `secrets`.
    pub secrets_by_rpc: BTreeMap<String, BTreeMap<String, String>>,
    /// Secrets of somebody who may do nothing.
    pub denied_secrets: BTreeMap<String, String>,
    /// Entries that are added to each volume's `volume_context`.
    pub volume_context: BTreeMap<String, String>,
    /// The size of new volumes.
    pub capacity_bytes: i64,
    /// The size that volumes are expanded to, and that larger copies have.
    pub expanded_bytes: i64,
    /// Whether a volume of all the capacity that is offered may be asked for, where no greatest size is told.
    pub take_all_capacity: bool,
    /// Segments that new volumes are asked to be accessible from; the node's own without them.
    pub topology: BTreeMap<String, String>,
    /// Ids of nodes besides the one under test that the driver can publish to.
    pub other_nodes: Vec<String>,
    /// Ids of existing volumes, for drivers that cannot create any.
    pub volumes: Vec<String>,
    /// `mount`, `block`; without it the driver is asked.
    pub access_types: Option<Vec<AccessType>>,
    /// Names of access modes, `SINGLE_NODE_WRITER`; without it the driver is asked.
    pub access_modes: Option<Vec<String>>,
    /// The file system that mount volumes ask for; empty leaves it to the driver.
    pub fs_type: String,
    /// Whether the node's file system is looked at.
    pub node_fs: NodeFsMode,
    /// Where staging and target directories are made; a temporary directory without it.
    pub directory: Option<PathBuf>,
    /// How long a call may take.
    pub call_deadline_seconds: u64,
    /// How long a driver may take to answer after it was started.
    pub ready_timeout_seconds: u64,
    /// How to start the driver.
    pub start: Option<Start>,
    /// The files of a TLS connection to the driver.
    pub tls: TlsFiles,
    /// Breaches that are known and accepted for a while.
    #[serde(rename = "known_failure")]
    pub known_failures: Vec<KnownFailure>,
}

/// How a driver is started; whoever can start it can restart it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Start {
    /// The program and its arguments; `{endpoint}` in them stands for the endpoint.
    pub command: Vec<String>,
    /// Added to the environment; `CSI_ENDPOINT` is always there.
    #[serde(rename = "env")]
    pub environment: BTreeMap<String, String>,
    /// Whether it may be killed and started again; not if its mounts are known to die with it.
    pub restartable: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self { command: Vec::new(), environment: BTreeMap::new(), restartable: true }
    }
}

/// How a volume appears on a node.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(rename_all = "lowercase")]
pub enum AccessType {
    /// A directory.
    Mount,
    /// A block device.
    Block,
}

/// Whether the node's file system is looked at.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum NodeFsMode {
    /// When the driver runs on this machine and this process may look.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// A breach that is known and accepted for a while.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct KnownFailure {
    /// A rule, or several: `NODE-PUBLISH-01*`.
    pub rule: String,
    /// Why it is accepted.
    pub reason: String,
    /// Where it is discussed.
    #[serde(default)]
    pub link: Option<String>,
    /// The last day on which it is accepted, `2027-01-31`.
    #[serde(default)]
    pub expires: Option<String>,
}

/// Why a profile cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read the profile {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The text is no profile; the message names key and line.
    #[error("the profile is not usable: {0}")]
    Syntax(String),
    /// A value makes no sense.
    #[error("the profile's `{key}` is not usable: {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: String::new(),
            parameters: BTreeMap::new(),
            incompatible_parameters: BTreeMap::new(),
            snapshot_parameters: BTreeMap::new(),
            mutable_parameters: BTreeMap::new(),
            modified_parameters: BTreeMap::new(),
            secrets: BTreeMap::new(),
            secrets_by_rpc: BTreeMap::new(),
            denied_secrets: BTreeMap::new(),
            volume_context: BTreeMap::new(),
            capacity_bytes: 32 * 1024 * 1024,
            expanded_bytes: 64 * 1024 * 1024,
            take_all_capacity: false,
            topology: BTreeMap::new(),
            other_nodes: Vec::new(),
            volumes: Vec::new(),
            access_types: None,
            access_modes: None,
            fs_type: String::new(),
            node_fs: NodeFsMode::Auto,
            directory: None,
            call_deadline_seconds: 60,
            ready_timeout_seconds: 30,
            start: None,
            tls: TlsFiles::default(),
            known_failures: Vec::new(),
        }
    }
}

impl Profile {
    /// Reads a profile; `today` as `2026-11-24` decides which known failures have expired.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no profile, or holds a value that makes no sense.
    pub fn read(path: &Path, today: &str) -> Result<Self, ProfileError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ProfileError::Read { path: path.to_owned(), error })?;
        Self::parse(&text, today)
    }

    /// As [`Profile::read`], from a text.
    ///
    /// # Errors
    ///
    /// When the text is no profile, or holds a value that makes no sense.
    pub fn parse(text: &str, today: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text).map_err(|error| ProfileError::Syntax(error.to_string()))?;
        profile.check(today)?;
        Ok(profile)
    }

    /// The secrets of a call.
    pub fn secrets_of(&self, rpc: Rpc) -> &BTreeMap<String, String> {
        self.secrets_by_rpc.get(rpc.name()).unwrap_or(&self.secrets)
    }

    /// How long a call may take.
    pub const fn call_deadline(&self) -> Duration {
        Duration::from_secs(self.call_deadline_seconds)
    }

    /// How long a driver may take to answer after it was started.
    pub const fn ready_timeout(&self) -> Duration {
        Duration::from_secs(self.ready_timeout_seconds)
    }

    fn check(&self, today: &str) -> Result<(), ProfileError> {
        let wrong = |key: &str, problem: String| Err(ProfileError::Value { key: key.to_owned(), problem });
        if self.capacity_bytes <= 0 {
            return wrong("capacity_bytes", "a size is a positive number of bytes".to_owned());
        }
        if self.expanded_bytes <= self.capacity_bytes {
            return wrong("expanded_bytes", "it has to be larger than capacity_bytes".to_owned());
        }
        if self.call_deadline_seconds == 0 || self.ready_timeout_seconds == 0 {
            return wrong("call_deadline_seconds", "deadlines are at least one second".to_owned());
        }
        if self.directory.as_ref().is_some_and(|path| !path.is_absolute()) {
            return wrong("directory", "write an absolute path".to_owned());
        }
        if self.start.as_ref().is_some_and(|start| start.command.is_empty()) {
            return wrong("start.command", "write the program and its arguments as a list".to_owned());
        }
        if let Some(name) = self.secrets_by_rpc.keys().find(|name| Rpc::from_name(name).is_none()) {
            return wrong(&format!("secrets_by_rpc.{name}"), "there is no RPC of this name in CSI".to_owned());
        }
        if let Some(name) = self.access_modes.iter().flatten().find(|name| Mode::from_str_name(name).is_none()) {
            return wrong("access_modes", format!("there is no access mode {name:?} in CSI"));
        }
        self.known_failures.iter().try_for_each(|known| known.check(today))
    }
}

impl KnownFailure {
    /// Whether it speaks of the rule.
    pub fn matches(&self, rule: RuleId) -> bool {
        glob(&self.rule, rule.as_str())
    }

    fn check(&self, today: &str) -> Result<(), ProfileError> {
        let wrong = |problem: String| Err(ProfileError::Value { key: format!("known_failure {}", self.rule), problem });
        if self.reason.trim().is_empty() {
            return wrong("a known failure needs a reason".to_owned());
        }
        if !RuleId::all().any(|rule| self.matches(rule)) {
            return wrong("the pattern matches no rule: see `csi-certify rules`".to_owned());
        }
        match self.expires.as_deref() {
            Some(day) if !is_day(day) => wrong(format!("{day:?} is no day: write e.g. 2027-01-31")),
            // Days of this form sort as text.
            Some(day) if day < today => wrong(format!("it expired on {day}: mend the driver or renew the date")),
            _ => Ok(()),
        }
    }
}

/// Whether the text matches the pattern, in which `*` stands for any characters.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

fn is_day(text: &str) -> bool {
    let shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() });
    shape && (1..=12).contains(&text[5..7].parse().unwrap_or(0)) && (1..=31).contains(&text[8..].parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Profile::parse(text, "2026-11-24").unwrap_err().to_string()
    }

    #[test]
    fn an_empty_profile_is_the_default() {
        let profile = Profile::parse("", "2026-11-24").unwrap();
        assert!(profile.expanded_bytes > profile.capacity_bytes);
        assert_eq!(profile.node_fs, NodeFsMode::Auto);
    }

    #[test]
    fn a_full_profile_is_read() {
        let text = r#"
            name = "example"
            access_types = ["block"]
            access_modes = ["SINGLE_NODE_WRITER"]
            node_fs = "off"
            [parameters]
            pool = "a"
            [secrets]
            token = "general"
            [secrets_by_rpc.NodeStageVolume]
            token = "special"
            [start]
            command = ["driver", "--endpoint", "{endpoint}"]
            env = { LEVEL = "5" }
            [[known_failure]]
            rule = "NODE-PUBLISH-01*"
            reason = "kubernetes relies on it"
            expires = "2026-11-24"
        "#;
        let profile = Profile::parse(text, "2026-11-24").unwrap();
        assert_eq!(profile.secrets_of(Rpc::NodeStageVolume)["token"], "special");
        assert_eq!(profile.secrets_of(Rpc::DeleteVolume)["token"], "general");
        assert!(profile.known_failures[0].matches(RuleId::parse("NODE-PUBLISH-017").unwrap()));
        assert!(!profile.known_failures[0].matches(RuleId::parse("NODE-PUBLISH-003").unwrap()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        assert!(error("paramters = {}").contains("paramters"));
        assert!(error("capacity_bytes = 0").contains("capacity_bytes"));
        assert!(error("expanded_bytes = 1").contains("expanded_bytes"));
        assert!(error("directory = 'here'").contains("directory"));
        assert!(error("[start]").contains("start.command"));
        assert!(error("[secrets_by_rpc.Stage]").contains("secrets_by_rpc.Stage"));
        assert!(error("access_modes = ['RWO']").contains("RWO"));
        let known = |rest: &str| error(&format!("[[known_failure]]\nrule = 'GEN-ERR-025'\n{rest}"));
        assert!(known("").contains("reason"));
        assert!(known("reason = ' '").contains("needs a reason"));
        assert!(known("reason = 'r'\nexpires = '2026-11-23'").contains("expired"));
        assert!(known("reason = 'r'\nexpires = 'soon'").contains("2027-01-31"));
        assert!(error("[[known_failure]]\nrule = 'NOPE-*'\nreason = 'r'").contains("matches no rule"));
    }

    #[test]
    fn globs_match_as_shells_do() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("A-*", "A-1", true),
            ("A-*", "B-A-1", false),
            ("*-001", "X-001", true),
            ("A*B*C", "AxxBxxC", true),
            ("A*B*C", "AxxCxxB", false),
            ("A", "AB", false),
            ("*a*", "bab", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
