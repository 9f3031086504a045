//! The objects of the cluster: as much of each kind of Kubernetes as decides what a driver is asked.

use std::collections::{BTreeMap, BTreeSet};

use super::store::Tables;
use crate::csi::v1;

/// What all objects have.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Metadata {
    /// The name, unique in its kind.
    pub name: String,
    /// The identity: another object of the same name has another one.
    pub uid: String,
    /// Grows with every write to the object.
    pub resource_version: u64,
    /// When deletion was asked for, in milliseconds of the cluster's life.
    pub deletion_timestamp: Option<u64>,
    /// Who has to let go before the object vanishes.
    pub finalizers: BTreeSet<String>,
    /// Notes of the components.
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Metadata of a new object.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether deletion was asked for.
    pub const fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// A kind of object.
pub trait Object: Clone + PartialEq + Send + Sync + 'static {
    /// Which kind.
    const KIND: Kind;
    /// Its metadata.
    fn metadata(&self) -> &Metadata;
    /// Its metadata, to be changed.
    fn metadata_mut(&mut self) -> &mut Metadata;
    /// All objects of the kind.
    fn table(tables: &Tables) -> &BTreeMap<String, Self>;
    /// All objects of the kind, to be changed.
    fn table_mut(tables: &mut Tables) -> &mut BTreeMap<String, Self>;
}

macro_rules! kinds {
    ($($kind:ident in $table:ident),+ $(,)?) => {
        /// The kinds of objects.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[allow(missing_docs, reason = "the variants are the structures of the same name")]
        pub enum Kind {
            $($kind,)+
        }

        $(
            impl Object for $kind {
                const KIND: Kind = Kind::$kind;

                fn metadata(&self) -> &Metadata {
                    &self.metadata
                }

                fn metadata_mut(&mut self) -> &mut Metadata {
                    &mut self.metadata
                }

                fn table(tables: &Tables) -> &BTreeMap<String, Self> {
                    &tables.$table
                }

                fn table_mut(tables: &mut Tables) -> &mut BTreeMap<String, Self> {
                    &mut tables.$table
                }
            }
        )+
    };
}

kinds! {
    StorageClass in storage_classes,
    PersistentVolumeClaim in claims,
    PersistentVolume in volumes,
    VolumeAttachment in attachments,
    Node in nodes,
    Pod in pods,
    VolumeSnapshot in snapshots,
    VolumeSnapshotContent in snapshot_contents,
}

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

/// What a kubelet told about the driver of its node when it was registered.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Registration {
    /// The `node_id`.
    pub node_id: String,
    /// The segments in which the node lies.
    pub topology: BTreeMap<String, String>,
    /// How many volumes it takes; zero for any number.
    pub limit: i64,
}

/// A node, with what its kubelet and the attach/detach controller tell each other.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Node {
    /// Name and the like.
    pub metadata: Metadata,
    /// Whether its kubelet reports.
    pub is_ready: bool,
    /// Whether it carries the taint `node.kubernetes.io/out-of-service`.
    pub is_out_of_service: bool,
    /// The volumes that are attached, by unique name.
    pub volumes_attached: BTreeSet<String>,
    /// The volumes that the kubelet uses, by unique name.
    pub volumes_in_use: BTreeSet<String>,
    /// The CSINode entry of the driver, while it is registered.
    pub registration: Option<Registration>,
}

/// A volume of a pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PodVolume {
    /// Its name in the pod.
    pub name: String,
    /// The claim.
    pub claim: String,
    /// Whether the pod only reads.
    pub read_only: bool,
}

/// Where a pod stands in its life.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum PodPhase {
    /// Its containers have not started.
    #[default]
    Pending,
    /// They run.
    Running,
    /// They have ended by themselves.
    Succeeded,
}

/// A pod.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Pod {
    /// Name and the like.
    pub metadata: Metadata,
    /// The node, once one was chosen.
    pub node_name: String,
    /// The only nodes that may be chosen; empty for any.
    pub allowed_nodes: BTreeSet<String>,
    /// Its volumes.
    pub volumes: Vec<PodVolume>,
    /// Where it stands.
    pub phase: PodPhase,
    /// Whether a container may still run.
    pub containers_run: bool,
}

/// A wish for a snapshot.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeSnapshot {
    /// Name and the like.
    pub metadata: Metadata,
    /// The claim that is cut.
    pub claim: String,
    /// The content, once there is one.
    pub content: String,
    /// Whether a volume can be made from it.
    pub is_ready: bool,
    /// The least size of such a volume.
    pub restore_size: i64,
    /// What went wrong last.
    pub error: Option<String>,
}

/// A snapshot of the driver.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct VolumeSnapshotContent {
    /// Name and the like.
    pub metadata: Metadata,
    /// The driver.
    pub driver: String,
    /// The snapshot that wants it.
    pub snapshot: String,
    /// The identity of that snapshot.
    pub snapshot_uid: String,
    /// The `source_volume_id`.
    pub source_handle: String,
    /// The `snapshot_id`, once it is known.
    pub handle: String,
    /// Whether a volume can be made from it.
    pub is_ready: bool,
    /// The least size of such a volume.
    pub size: i64,
    /// What went wrong last.
    pub error: Option<String>,
    /// What becomes of the driver's snapshot.
    pub deletion_policy: ReclaimPolicy,
}

/// The CSIDriver object: how the driver wants to be treated.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CsiDriver {
    /// The name of the driver.
    pub name: String,
    /// Whether volumes are attached.
    pub attach_required: bool,
    /// Whether publishing tells of the pod.
    pub pod_info_on_mount: bool,
    /// Whether volumes are published again and again while a pod runs.
    pub requires_republish: bool,
}

impl CsiDriver {
    /// The defaults, which also hold without an object.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), attach_required: true, pod_info_on_mount: false, requires_republish: false }
    }
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

/// The segments as CSI writes them.
pub(super) fn topology(segments: &BTreeMap<String, String>) -> v1::Topology {
    v1::Topology { segments: segments.clone() }
}
