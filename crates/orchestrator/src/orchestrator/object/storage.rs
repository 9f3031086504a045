//! Volumes and claims, their classes and attachments.

use std::collections::BTreeMap;

use super::{Metadata, Node};

/// How a volume may be used; mapped to the modes of CSI by `access_mode`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AccessMode {
    /// By any number of pods of one node.
    ReadWriteOnce,
    /// By readers on any node.
    ReadOnlyMany,
    /// By anybody on any node.
    ReadWriteMany,
    /// By a single pod.
    ReadWriteOncePod,
}

/// How a volume appears to a pod.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum VolumeMode {
    /// As a directory.
    #[default]
    Filesystem,
    /// As a device.
    Block,
}

/// What becomes of a volume when its claim is gone.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ReclaimPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays.
    Retain,
}

/// When a claim is provisioned.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum BindingMode {
    /// At once.
    #[default]
    Immediate,
    /// When a pod that uses it has been given a node.
    WaitForFirstConsumer,
}

/// How claims of a class are provisioned.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct StorageClass {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub provisioner: String,
    /// What the driver is told.
    pub parameters: BTreeMap<String, String>,
    /// Mount options of the volumes.
    pub mount_options: Vec<String>,
    /// What becomes of the volumes.
    pub reclaim_policy: ReclaimPolicy,
    /// When volumes are made.
    pub binding_mode: BindingMode,
    /// Whether claims may grow.
    pub allow_volume_expansion: bool,
}

/// Where the content of a new volume comes from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum DataSource {
    /// A snapshot, by the name of its VolumeSnapshot.
    Snapshot(String),
    /// Another claim, by its name.
    Claim(String),
}

/// How far an expansion is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ResizePhase {
    /// The controller side is being done.
    ControllerResizeInProgress,
    /// The controller refused for good.
    ControllerResizeInfeasible,
    /// The node side is still to be done.
    NodeResizePending,
    /// The node side is being done.
    NodeResizeInProgress,
    /// The node refused for good.
    NodeResizeInfeasible,
}

/// A wish for a volume.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct PersistentVolumeClaim {
    /// Name and the like.
    pub metadata: Metadata,
    /// How it may be used.
    pub access_modes: Vec<AccessMode>,
    /// How it appears.
    pub volume_mode: VolumeMode,
    /// The size that is asked for.
    pub request: i64,
    /// The class.
    pub storage_class: String,
    /// The volume, once bound; or one that is wanted.
    pub volume_name: String,
    /// Where the content comes from.
    pub data_source: Option<DataSource>,
    /// Whether volume and claim know each other.
    pub is_bound: bool,
    /// The size that it has.
    pub capacity: i64,
    /// The size of the expansion under way.
    pub allocated: Option<i64>,
    /// How far the expansion is.
    pub resize: Option<ResizePhase>,
    /// The class of attributes that is wanted, or empty.
    pub attributes_class: String,
    /// The class whose attributes the volume has, or empty.
    pub current_attributes_class: String,
    /// A change of the class under way.
    pub modification: Option<Modification>,
}

/// How far a change of attributes is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Modification {
    /// To this class; it may have happened.
    InProgress(String),
    /// To this class, which was refused for good.
    Infeasible(String),
}

/// Attributes that volumes can be given while they are there.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeAttributesClass {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub driver: String,
    /// The `mutable_parameters`.
    pub parameters: BTreeMap<String, String>,
}

/// The claim that a volume belongs to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ClaimReference {
    /// The name.
    pub name: String,
    /// The identity; another claim of that name is not meant.
    pub uid: String,
}

/// Where a volume stands in its life.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum VolumePhase {
    /// Nobody has it.
    #[default]
    Available,
    /// A claim has it.
    Bound,
    /// Its claim is gone.
    Released,
}

/// A volume of the driver.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct PersistentVolume {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub driver: String,
    /// The `volume_id`.
    pub handle: String,
    /// The `volume_context`, with the entries of the provisioner.
    pub attributes: BTreeMap<String, String>,
    /// The file system, or empty.
    pub fs_type: String,
    /// Mount options.
    pub mount_options: Vec<String>,
    /// The size.
    pub capacity: i64,
    /// How it may be used.
    pub access_modes: Vec<AccessMode>,
    /// How it appears.
    pub volume_mode: VolumeMode,
    /// What becomes of it.
    pub reclaim_policy: ReclaimPolicy,
    /// Its class.
    pub storage_class: String,
    /// Whether it is published read-only by the controller.
    pub read_only: bool,
    /// The places from which it can be reached; empty for everywhere.
    pub accessible_topology: Vec<BTreeMap<String, String>>,
    /// The class whose attributes it has, or empty.
    pub attributes_class: String,
    /// Who has it.
    pub claim: Option<ClaimReference>,
    /// Where it stands.
    pub phase: VolumePhase,
}

/// The wish that a volume be attached to a node, and what became of it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeAttachment {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub attacher: String,
    /// The volume.
    pub volume_name: String,
    /// The node.
    pub node_name: String,
    /// Whether it is attached.
    pub attached: bool,
    /// The `publish_context`.
    pub attachment_metadata: BTreeMap<String, String>,
    /// Why it is not attached.
    pub attach_error: Option<String>,
    /// Why it is not detached.
    pub detach_error: Option<String>,
}

impl PersistentVolume {
    /// Whether the node lies where the volume can be reached.
    pub fn is_reachable_from(&self, node: &Node) -> bool {
        let Some(registration) = &node.registration else { return self.accessible_topology.is_empty() };
        let lies_in = |segments: &BTreeMap<String, String>| {
            segments.iter().all(|(key, value)| registration.topology.get(key) == Some(value))
        };
        self.accessible_topology.is_empty() || self.accessible_topology.iter().any(lies_in)
    }
}
