//! The steps of a program of calls.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::schedule::{Fate, Trouble};
use crate::spec::Rpc;

/// A place for one call that has not ended.
pub type Lane = u8;

/// The lane of the driver's own background work, where a scene can steer it.
pub const HOUSEKEEPING: Lane = 3;

/// What holds for a whole program. A driver that is not ours has its own capabilities, whatever stands here.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Environment {
    /// Whether the node stages volumes.
    pub staging: bool,
    /// Whether the controller attaches volumes.
    pub attachment: bool,
    /// Whether a mount pod outlives its last reference for a while.
    pub delayed_deletion: bool,
    /// Whether daemons are started only when somebody waits for one.
    pub lazy_kubelet: bool,
    /// Whether each call that ends undisturbed is made once more, for the same answer and no change.
    pub repeated: bool,
    /// How volumes are used.
    pub usage: Use,
    /// What is asked for most.
    pub focus: Focus,
}

/// How a volume is used.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Mounted, by several writers.
    #[default]
    Shared,
    /// Mounted, by one writer.
    Single,
    /// As a block device, by several writers.
    Block,
}

/// What is asked for most.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Focus {
    /// Publications and their end.
    #[default]
    Publications,
    /// All RPCs.
    Everything,
}

/// One step of a program of calls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A call begins, and goes on to its end or to its pause.
    Call {
        /// Where it is remembered while it has not ended.
        #[serde(default)]
        lane: Lane,
        /// What is asked.
        #[serde(flatten)]
        call: Call,
        /// After how many effects of the driver on the node it pauses; over a socket, how soon the next step comes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<u8>,
        /// Whether the answer gets lost on the way back.
        #[serde(default, skip_serializing_if = "is_false")]
        lost: bool,
    },
    /// A call that has paused goes on.
    Resume {
        /// Which.
        lane: Lane,
        /// After how many more effects it pauses again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<u8>,
    },
    /// The caller of a call that has paused gives up.
    Cancel {
        /// Which.
        lane: Lane,
    },
    /// The driver looks after what it has mounted.
    Housekeeping {
        /// After how many effects it pauses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause: Option<u8>,
    },
    /// The driver's process ends, and a new one takes its place.
    Crash,
    /// Something happens to the node.
    Trouble {
        /// The volume that it is about, where it is about one.
        #[serde(default)]
        volume: u8,
        /// What.
        trouble: Trouble,
    },
    /// A request of the driver to the pod API will not go as it should.
    Fault {
        /// How many requests go well before it.
        after: u8,
        /// What happens to it.
        fate: Fate,
    },
    /// Time passes.
    Time {
        /// How long.
        seconds: u16,
    },
}

/// A request, by symbolic handles.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The RPC.
    pub rpc: Rpc,
    /// The volume that it is about.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub volume: u8,
    /// The target path, where it has one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub target: u8,
    /// The snapshot or group of snapshots, where it is about one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub snapshot: u8,
    /// What is unusual about it.
    #[serde(default, skip_serializing_if = "Variation::is_plain")]
    pub variation: Variation,
}

/// What is unusual about a request.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variation {
    /// Nothing.
    #[default]
    Plain,
    /// It asks for no writes, or of a list for one entry.
    ReadOnly,
    /// It asks for another access mode.
    OtherMode,
    /// It asks for another access type.
    OtherType,
    /// It is about another node.
    OtherNode,
    /// It is about another size.
    Larger,
    /// The new volume is a copy of the snapshot.
    FromSnapshot,
    /// The new volume is a copy of the other volume.
    FromVolume,
    /// The id is one that nobody gave out.
    Absent,
    /// A required field is missing.
    Incomplete,
}

impl Variation {
    /// Whether nothing is unusual.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }
}

impl Call {
    /// A plain call about the first of everything.
    pub const fn plain(rpc: Rpc) -> Self {
        Self { rpc, volume: 0, target: 0, snapshot: 0, variation: Variation::Plain }
    }

    /// Whether the volume's number matters.
    pub const fn has_volume(self) -> bool {
        use Rpc::{
            ControllerExpandVolume, ControllerGetVolume, ControllerModifyVolume, ControllerPublishVolume,
            ControllerUnpublishVolume, CreateSnapshot, CreateVolume, DeleteVolume, NodeExpandVolume,
            NodeGetVolumeStats, NodePublishVolume, NodeStageVolume, NodeUnpublishVolume, NodeUnstageVolume,
            ValidateVolumeCapabilities,
        };
        matches!(
            self.rpc,
            ControllerExpandVolume
                | ControllerGetVolume
                | ControllerModifyVolume
                | ControllerPublishVolume
                | ControllerUnpublishVolume
                | CreateSnapshot
                | CreateVolume
                | DeleteVolume
                | NodeExpandVolume
                | NodeGetVolumeStats
                | NodePublishVolume
                | NodeStageVolume
                | NodeUnpublishVolume
                | NodeUnstageVolume
                | ValidateVolumeCapabilities
        )
    }

    /// Whether the target's number matters.
    pub const fn has_target(self) -> bool {
        use Rpc::{NodeExpandVolume, NodeGetVolumeStats, NodePublishVolume, NodeUnpublishVolume};
        matches!(self.rpc, NodeExpandVolume | NodeGetVolumeStats | NodePublishVolume | NodeUnpublishVolume)
    }

    /// Whether the snapshot's number matters.
    pub const fn has_snapshot(self) -> bool {
        use Rpc::{
            CreateSnapshot, CreateVolumeGroupSnapshot, DeleteSnapshot, DeleteVolumeGroupSnapshot, GetMetadataAllocated,
            GetMetadataDelta, GetSnapshot, GetVolumeGroupSnapshot,
        };
        matches!(self.variation, Variation::FromSnapshot)
            || matches!(
                self.rpc,
                CreateSnapshot
                    | CreateVolumeGroupSnapshot
                    | DeleteSnapshot
                    | DeleteVolumeGroupSnapshot
                    | GetMetadataAllocated
                    | GetMetadataDelta
                    | GetSnapshot
                    | GetVolumeGroupSnapshot
            )
    }

    /// What can be unusual about a call of this RPC.
    pub const fn variations(rpc: Rpc) -> &'static [Variation] {
        use Variation::{
            Absent, FromSnapshot, FromVolume, Incomplete, Larger, OtherMode, OtherNode, OtherType, ReadOnly,
        };
        match rpc {
            Rpc::CreateVolume => &[FromSnapshot, FromVolume, Larger, OtherMode, OtherType, Incomplete],
            Rpc::ControllerPublishVolume => &[OtherNode, OtherMode, Absent, Incomplete],
            Rpc::ControllerUnpublishVolume => &[OtherNode, Absent, Incomplete],
            Rpc::NodeStageVolume => &[OtherMode, OtherType, Absent, Incomplete],
            Rpc::NodePublishVolume => &[ReadOnly, OtherMode, OtherType, Absent, Incomplete],
            Rpc::ValidateVolumeCapabilities => &[OtherMode, OtherType, Absent, Incomplete],
            Rpc::ControllerExpandVolume | Rpc::NodeExpandVolume => &[Larger, Absent, Incomplete],
            Rpc::ListVolumes | Rpc::ListSnapshots => &[ReadOnly],
            Rpc::DeleteVolume
            | Rpc::ControllerGetVolume
            | Rpc::ControllerModifyVolume
            | Rpc::CreateSnapshot
            | Rpc::DeleteSnapshot
            | Rpc::GetSnapshot
            | Rpc::NodeUnstageVolume
            | Rpc::NodeUnpublishVolume
            | Rpc::NodeGetVolumeStats => &[Absent, Incomplete],
            _ => &[],
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &u8) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = |pause: &Option<u8>| match pause {
            None => String::new(),
            Some(effects) => format!(", pausing after {effects} effects"),
        };
        match self {
            Self::Call { lane, call, pause, lost } => {
                let lost = if *lost { ", its answer lost" } else { "" };
                write!(f, "lane {lane}: {call}{lost}{}", until(pause))
            }
            Self::Resume { lane, pause } => write!(f, "lane {lane} goes on{}", until(pause)),
            Self::Cancel { lane } => write!(f, "the caller of lane {lane} gives up"),
            Self::Housekeeping { pause } => write!(f, "housekeeping{}", until(pause)),
            Self::Crash => f.write_str("the driver is killed and started again"),
            Self::Trouble { volume, trouble } => write!(f, "volume {volume}: {trouble:?}"),
            Self::Fault { after, fate } => write!(f, "a request to the pod API, after {after} others: {fate:?}"),
            Self::Time { seconds } => write!(f, "{seconds} seconds pass"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rpc)?;
        if self.has_volume() {
            write!(f, " volume {}", self.volume)?;
        }
        if self.has_target() {
            write!(f, " target {}", self.target)?;
        }
        if self.has_snapshot() {
            write!(f, " snapshot {}", self.snapshot)?;
        }
        if !self.variation.is_plain() {
            write!(f, " ({:?})", self.variation)?;
        }
        Ok(())
    }
}
