//! Nodes and pods.

use std::collections::{BTreeMap, BTreeSet};

use super::Metadata;

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
    /// Where it comes from.
    pub source: VolumeSource,
    /// Whether the pod only reads.
    pub read_only: bool,
}

/// Where a volume of a pod comes from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum VolumeSource {
    /// A claim, by its name.
    Claim(String),
    /// The driver makes it up for this pod alone.
    Inline(InlineVolume),
}

/// A volume that lives and dies with its pod.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct InlineVolume {
    /// The driver.
    pub driver: String,
    /// The file system, or empty.
    pub fs_type: String,
    /// The `volume_context`.
    pub attributes: BTreeMap<String, String>,
}

impl PodVolume {
    /// A volume for reading and writing that comes from a claim.
    pub fn of_claim(name: impl Into<String>, claim: impl Into<String>) -> Self {
        Self { name: name.into(), source: VolumeSource::Claim(claim.into()), read_only: false }
    }

    /// The claim, where it comes from one.
    pub fn claim(&self) -> Option<&str> {
        match &self.source {
            VolumeSource::Claim(claim) => Some(claim),
            VolumeSource::Inline(_) => None,
        }
    }
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
    /// The group that its volumes are to belong to.
    pub fs_group: Option<u32>,
    /// The SELinux label of its containers, complete.
    pub selinux_label: Option<String>,
    /// What its kubelet keeps it from while others have it, though nothing has failed.
    pub waits_for: Option<String>,
}

impl Pod {
    /// Whether a volume of it comes from this claim.
    pub fn has_claim(&self, claim: &str) -> bool {
        self.volumes.iter().any(|volume| volume.claim() == Some(claim))
    }
}
