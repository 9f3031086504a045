//! From the access modes of Kubernetes to the volume capabilities of CSI.

use super::object::{AccessMode, PersistentVolume, VolumeMode};
use crate::csi::v1::{
    VolumeCapability,
    volume_capability::{AccessMode as CsiAccessMode, AccessType, BlockVolume, MountVolume, access_mode::Mode},
};

/// Whether the service at hand has the capability SINGLE_NODE_MULTI_WRITER.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SingleNode {
    /// It has: writers on one node are told apart.
    ToldApart,
    /// It has not.
    Alike,
}

impl SingleNode {
    /// From the presence of the capability.
    pub(super) const fn of(capability: bool) -> Self {
        if capability { Self::ToldApart } else { Self::Alike }
    }
}

/// The mode of CSI.
pub(super) const fn mode(mode: AccessMode, single_node: SingleNode) -> Mode {
    match (mode, single_node) {
        (AccessMode::ReadWriteOnce, SingleNode::ToldApart) => Mode::SingleNodeMultiWriter,
        (AccessMode::ReadWriteOncePod, SingleNode::ToldApart) => Mode::SingleNodeSingleWriter,
        (AccessMode::ReadWriteOnce | AccessMode::ReadWriteOncePod, SingleNode::Alike) => Mode::SingleNodeWriter,
        (AccessMode::ReadOnlyMany, _) => Mode::MultiNodeReaderOnly,
        (AccessMode::ReadWriteMany, _) => Mode::MultiNodeMultiWriter,
    }
}

/// The one mode that attacher and resizer send for a list; `None` where there is none, and no call is made.
pub(super) fn combined(modes: &[AccessMode]) -> Option<AccessMode> {
    match modes {
        [] => Some(AccessMode::ReadWriteOnce),
        [one] => Some(*one),
        more if more.contains(&AccessMode::ReadWriteOncePod) => None,
        more if more.contains(&AccessMode::ReadWriteMany) => Some(AccessMode::ReadWriteMany),
        more if more.contains(&AccessMode::ReadOnlyMany) && more.contains(&AccessMode::ReadWriteOnce) => None,
        more => more.first().copied(),
    }
}

/// The only mode that a kubelet looks at.
pub(super) fn first(modes: &[AccessMode]) -> AccessMode {
    modes.first().copied().unwrap_or(AccessMode::ReadWriteOnce)
}

/// A capability of CSI.
pub(super) fn capability(
    volume_mode: VolumeMode,
    fs_type: &str,
    mount_options: &[String],
    access_mode: Mode,
) -> VolumeCapability {
    let access_type = match volume_mode {
        VolumeMode::Block => AccessType::Block(BlockVolume {}),
        VolumeMode::Filesystem => AccessType::Mount(MountVolume {
            fs_type: fs_type.to_owned(),
            mount_flags: mount_options.to_vec(),
            ..MountVolume::default()
        }),
    };
    VolumeCapability { access_mode: Some(CsiAccessMode { mode: access_mode.into() }), access_type: Some(access_type) }
}

/// What the attacher sends for a volume, and the resizer too.
pub(super) fn of_volume(volume: &PersistentVolume, single_node: SingleNode) -> Option<VolumeCapability> {
    let access_mode = mode(combined(&volume.access_modes)?, single_node);
    Some(capability(volume.volume_mode, &volume.fs_type, &volume.mount_options, access_mode))
}

#[cfg(test)]
mod tests {
    use super::{AccessMode::*, *};

    #[test]
    fn single_node_modes_depend_on_the_capability() {
        assert_eq!(mode(ReadWriteOnce, SingleNode::Alike), Mode::SingleNodeWriter);
        assert_eq!(mode(ReadWriteOncePod, SingleNode::Alike), Mode::SingleNodeWriter);
        assert_eq!(mode(ReadWriteOnce, SingleNode::ToldApart), Mode::SingleNodeMultiWriter);
        assert_eq!(mode(ReadWriteOncePod, SingleNode::ToldApart), Mode::SingleNodeSingleWriter);
    }

    #[test]
    fn a_list_of_modes_becomes_one_or_none() {
        assert_eq!(combined(&[ReadWriteOnce, ReadWriteMany]), Some(ReadWriteMany));
        assert_eq!(combined(&[ReadWriteOnce, ReadOnlyMany]), None);
        assert_eq!(combined(&[ReadWriteOncePod, ReadWriteMany]), None);
        assert_eq!(combined(&[ReadOnlyMany]), Some(ReadOnlyMany));
    }
}
