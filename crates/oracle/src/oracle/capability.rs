//! A volume capability as a key that can be compared and kept.

use crate::csi::v1::{
    self,
    volume_capability::{AccessType, access_mode::Mode},
};

/// How a volume is accessed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Access {
    /// The request does not say.
    Unset,
    /// A directory.
    Mount,
    /// A block device.
    Block,
}

/// A volume capability.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Capability {
    /// Mount or block.
    pub(crate) access: Access,
    /// The number of the access mode; -1 when unset.
    pub(crate) mode: i32,
    /// File-system type, flags and group of a mount.
    pub(crate) mount: (String, Vec<String>, String),
}

impl From<&v1::VolumeCapability> for Capability {
    fn from(capability: &v1::VolumeCapability) -> Self {
        let (access, mount) = match &capability.access_type {
            None => (Access::Unset, Default::default()),
            Some(AccessType::Block(_)) => (Access::Block, Default::default()),
            Some(AccessType::Mount(mount)) => {
                (Access::Mount, (mount.fs_type.clone(), mount.mount_flags.clone(), mount.volume_mount_group.clone()))
            }
        };
        Self { access, mode: capability.access_mode.as_ref().map_or(-1, |mode| mode.mode), mount }
    }
}

impl Capability {
    /// Whether several nodes may hold the volume at once.
    pub(crate) fn is_multi_node(&self) -> bool {
        matches!(
            Mode::try_from(self.mode),
            Ok(Mode::MultiNodeReaderOnly | Mode::MultiNodeSingleWriter | Mode::MultiNodeMultiWriter)
        )
    }

    /// Whether the mode never writes.
    pub(crate) fn is_reader_only(&self) -> bool {
        matches!(Mode::try_from(self.mode), Ok(Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly))
    }

    /// The mode, if CSI v1.12.0 knows it.
    pub(crate) fn mode(&self) -> Option<Mode> {
        Mode::try_from(self.mode).ok().filter(|mode| *mode != Mode::Unknown)
    }
}
