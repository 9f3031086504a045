//! What the node service asks of the mount pods of its node, and the vocabulary of those requests.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use thiserror::Error;
use tokio::time::Instant;

/// The moment by which a request has to be answered; checked before each side effect.
pub type Deadline = Instant;

/// The volumes of one node, each served by reference-counted mount pods.
///
/// Every method is idempotent, may be called from any number of tasks and processes at once, and may be cut off at any
/// point: what it left half done is taken up by a repeat, by the garbage collector or by recovery.
#[async_trait::async_trait]
pub trait MountPods: Send + Sync + 'static {
    /// Makes the volume appear at the target: adds the reference, waits for the pod's daemon, mounts from its verified
    /// root. A repeat that asks for the same changes nothing.
    async fn publish(&self, publication: Publication, deadline: Deadline) -> Result<(), PublishError>;

    /// Takes the volume away from the target, removes the target where `role` says that it is ours, drops the reference
    /// and deletes the pod with the last one (at once or after the configured delay). A target that is not published
    /// is success.
    async fn unpublish(
        &self,
        volume: &VolumeId,
        target: &TargetPath,
        role: Role,
        deadline: Deadline,
    ) -> Result<(), UnpublishError>;

    /// All references of the volume on this node, staging included, from every pod that holds one.
    async fn published(&self, volume: &VolumeId) -> Result<Vec<Published>, UnpublishError>;

    /// Checks that the volume is really at the target (in the mount table, alive) and measures it.
    /// `None` when it is not there.
    async fn usage(&self, volume: &VolumeId, target: &TargetPath) -> Result<Option<Usage>, UnpublishError>;

    /// Tells the daemons of the volume that its content has a new size (block: the loop device is resized).
    async fn resized(&self, volume: &VolumeId) -> Result<(), UnpublishError>;

    /// Whether everything that publishing needs is there (pod API, `/dev/fuse`); the text names what is missing.
    async fn ready(&self) -> Result<(), String>;

    /// Whether the volume's daemon is well; the text is for people.
    async fn condition(&self, volume: &VolumeId) -> Result<String, String>;
}

/// What is to be published where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publication {
    /// The volume.
    pub volume: VolumeId,
    /// Where its content is on this host.
    pub content: VolumeContent,
    /// Where it is to appear.
    pub target: TargetPath,
    /// Staging directory of the orchestrator, or target of a workload.
    pub role: Role,
    /// What the request asked for; a later request is compared with it, also after a restart of the driver.
    pub fingerprint: Fingerprint,
    /// The group that owns the mount (`volume_mount_group`), numeric.
    pub mount_group: Option<u32>,
    /// Settings that select the pod: volumes with equal settings share one. Secrets enter as their hash only.
    pub configuration: BTreeMap<String, String>,
}

/// Where the content of a volume is on the host.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeContent {
    /// A directory, served through FUSE.
    Directory(PathBuf),
    /// A sparse file, served as a loop device.
    BlockFile(PathBuf),
}

/// Whose path a target is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The orchestrator made the directory and keeps it (NodeStageVolume).
    Staging,
    /// We make it and remove it (NodePublishVolume).
    Target,
}

/// What a publish request asked for, as far as a repeat is compared with it (specification lines 2465–2483).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// Mount or block.
    pub access_type: AccessType,
    /// The access mode of the capability.
    pub access_mode: AccessMode,
    /// Whether it is read-only at this target.
    pub read_only: bool,
    /// File-system type, empty for the default.
    pub fs_type: String,
    /// Mount flags as a hash: they may be sensitive (specification line 934).
    pub mount_flags: String,
    /// The group that was asked for, or empty.
    pub mount_group: String,
}

/// The access type of a capability.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessType {
    /// A directory.
    Mount,
    /// A block device.
    Block,
}

/// The access mode of a capability (specification lines 955–990).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum AccessMode {
    SingleNodeWriter,
    SingleNodeReaderOnly,
    MultiNodeReaderOnly,
    MultiNodeSingleWriter,
    MultiNodeMultiWriter,
    SingleNodeSingleWriter,
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Whether several nodes may hold the volume at once.
    pub const fn is_multi_node(self) -> bool {
        matches!(self, Self::MultiNodeReaderOnly | Self::MultiNodeSingleWriter | Self::MultiNodeMultiWriter)
    }

    /// Whether every target is read-only.
    pub const fn is_reader_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly)
    }
}

/// A reference that some pod of this node holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// The target path.
    pub target: TargetPath,
    /// Staging or target.
    pub role: Role,
    /// What was asked for there.
    pub fingerprint: Fingerprint,
}

/// Sizes of a published volume, in bytes and inodes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Bytes that its content occupies.
    pub used_bytes: u64,
    /// Inodes that its content has; zero for block volumes.
    pub used_inodes: u64,
}

/// Why a volume could not be published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The target holds the volume with other access type, mode, flags or read-only flag.
    #[error("{target} already holds volume {volume} in another way ({difference})")]
    Incompatible {
        /// The volume.
        volume: VolumeId,
        /// The target.
        target: TargetPath,
        /// What differs.
        difference: String,
    },
    /// The target belongs to another volume.
    #[error("{target} already holds volume {holder}")]
    Occupied {
        /// The target.
        target: TargetPath,
        /// The volume that is there.
        holder: VolumeId,
    },
    /// The access mode allows no second target on this node.
    #[error("volume {volume} is already published at {at} and its access mode allows only one target on a node")]
    SingleTarget {
        /// The volume.
        volume: VolumeId,
        /// The target that holds it.
        at: TargetPath,
    },
    /// Another request for this target is under way.
    #[error("another request for {0} is in progress: retry when it has ended")]
    InProgress(TargetPath),
    /// Time ran out; a repeat resumes.
    #[error("{0} was not finished by the deadline: retry")]
    DeadlineExceeded(&'static str),
    /// The runtime lacks something, or the system failed.
    #[error("{0}")]
    Failed(String),
}

/// Why a volume could not be unpublished or looked at.
#[derive(Debug, Error)]
pub enum UnpublishError {
    /// Another request for this target is under way.
    #[error("another request for {0} is in progress: retry when it has ended")]
    InProgress(TargetPath),
    /// Time ran out; a repeat resumes.
    #[error("{0} was not finished by the deadline: retry")]
    DeadlineExceeded(&'static str),
    /// The runtime lacks something, or the system failed.
    #[error("{0}")]
    Failed(String),
}

/// An id of a volume of ours: safe as a file name and as part of a pod name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeId(Arc<str>);

/// The text cannot be an id of ours.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("not an id of this driver: up to 63 lower-case letters, digits and inner dashes")]
pub struct NotAnId;

impl VolumeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(&first), Some(&last))
                if bytes.len() <= 63
                    && plain(first)
                    && plain(last)
                    && bytes.iter().all(|&byte| plain(byte) || byte == b'-') =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(NotAnId),
        }
    }
}

impl TryFrom<String> for VolumeId {
    type Error = NotAnId;

    fn try_from(text: String) -> Result<Self, NotAnId> {
        text.parse()
    }
}

impl From<VolumeId> for String {
    fn from(id: VolumeId) -> Self {
        (*id.0).to_owned()
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An absolute path without `.`, `..` or NUL, as an orchestrator hands it over.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetPath(Arc<str>);

/// The text cannot be a target path.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NotATarget {
    /// It does not start at the root.
    #[error("not an absolute path")]
    Relative,
    /// It climbs or stands still.
    #[error("has a component `.` or `..`")]
    Climbs,
    /// It is the root, or holds a NUL byte.
    #[error("names no file or directory")]
    Nothing,
}

impl TargetPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for the file system.
    pub fn as_path(&self) -> &Path {
        Path::new(&*self.0)
    }
}

impl FromStr for TargetPath {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        if text.contains('\0') {
            return Err(NotATarget::Nothing);
        }
        if !text.starts_with('/') {
            return Err(NotATarget::Relative);
        }
        if text.split('/').any(|part| part == "." || part == "..") {
            return Err(NotATarget::Climbs);
        }
        if !text.contains("//") && !text.ends_with('/') {
            return Ok(Self(text.into()));
        }
        let normal: PathBuf = Path::new(text).components().collect();
        match normal.components().next_back() {
            Some(Component::Normal(_)) => Ok(Self(normal.to_string_lossy().into())),
            _ => Err(NotATarget::Nothing),
        }
    }
}

impl TryFrom<String> for TargetPath {
    type Error = NotATarget;

    fn try_from(text: String) -> Result<Self, NotATarget> {
        text.parse()
    }
}

impl From<TargetPath> for String {
    fn from(path: TargetPath) -> Self {
        (*path.0).to_owned()
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
