//! What a kubelet of Kubernetes does with a volume that several pods of its node want, though an orchestrator ought not to.

use super::{
    super::{
        access_mode::{SingleNode, capability, first, mode},
        context::Context,
        departure::Departure,
        object::VolumeMode,
    },
    ActualVolume, DesiredPod, DeviceState, VolumeSpec,
    actual_state_of_world::ActualPod,
};
use crate::csi::v1::{VolumeCapability, volume_capability::access_mode::Mode};

/// What the node service said last that it can do. Before its first answer a kubelet has published nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct NodeAbilities {
    /// SINGLE_NODE_MULTI_WRITER.
    pub(super) single_node_multi_writer: bool,
    /// VOLUME_MOUNT_GROUP.
    pub(super) volume_mount_group: bool,
}

/// The habits of a kubelet that faces such a node service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// Whether the only writer of a volume gets company on its node.
    pub(super) shares_single_writer: bool,
    /// Whether a volume is published with several capabilities at a time.
    pub(super) mixes_capabilities: bool,
    /// Whether the staging path of a device is made of the volume object's own name, whichever of its handle was staged.
    pub(super) guesses_staging: bool,
    /// What the node service can do.
    pub(super) abilities: NodeAbilities,
}

impl Habits {
    /// All that are not switched off.
    pub(super) fn of(context: &Context, abilities: NodeAbilities) -> Self {
        Self {
            shares_single_writer: context.departs(Departure::ShareSingleWriter),
            mixes_capabilities: context.departs(Departure::MixCapabilities),
            guesses_staging: context.departs(Departure::GuessStaging),
            abilities,
        }
    }

    /// How another pod of the node has a volume, where this one must not have it beside that.
    pub(super) fn excludes(self, wanted: &DesiredPod, other: &ActualPod) -> Option<&'static str> {
        let asked_for = self.asked_for(&wanted.spec, wanted.fs_group);
        match () {
            () if !self.shares_single_writer && self.mode(&wanted.spec) == Mode::SingleNodeWriter => {
                Some("as its only writer")
            }
            () if self.mixes_capabilities => None,
            // With what it was published then is not noted on disk.
            () if other.is_reconstructed => Some("since before its kubelet restarted"),
            () if asked_for != self.asked_for(&other.spec, other.fs_group) => Some("with another capability"),
            () => None,
        }
    }

    /// A volume with the staging path that is named for it.
    pub(super) fn placed(self, spec: &VolumeSpec, known: &ActualVolume) -> VolumeSpec {
        let may_be_staged = known.device != DeviceState::NotMounted;
        let staged_as = match may_be_staged && !self.guesses_staging {
            true => known.spec.staged_as.clone(),
            false => spec.volume_name.clone(),
        };
        VolumeSpec { staged_as, ..spec.clone() }
    }

    fn mode(self, spec: &VolumeSpec) -> Mode {
        mode(first(&spec.access_modes), SingleNode::of(self.abilities.single_node_multi_writer))
    }

    /// What of a publication its capability tells: a label, too, which has to be the same for all pods anyway.
    fn asked_for(self, spec: &VolumeSpec, fs_group: Option<u32>) -> (VolumeCapability, Option<u32>) {
        let mounts_in_group = self.abilities.volume_mount_group && spec.volume_mode == VolumeMode::Filesystem;
        let capability = capability(spec.volume_mode, &spec.fs_type, &spec.mount_options, self.mode(spec));
        (capability, fs_group.filter(|_| mounts_in_group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::{kubelet::MountState, object::AccessMode};

    const STRICT: Habits = Habits {
        shares_single_writer: false,
        mixes_capabilities: false,
        guesses_staging: false,
        abilities: NodeAbilities { single_node_multi_writer: false, volume_mount_group: true },
    };

    fn spec(access_mode: AccessMode) -> VolumeSpec {
        VolumeSpec { access_modes: vec![access_mode], ..VolumeSpec::default() }
    }

    fn wanted(spec: VolumeSpec) -> DesiredPod {
        DesiredPod { spec, fs_group: Some(1), ..DesiredPod::default() }
    }

    fn other(spec: VolumeSpec) -> ActualPod {
        let state = MountState::Mounted;
        ActualPod { spec, fs_group: Some(1), state, is_reconstructed: false, wants_remount: false }
    }

    #[test]
    fn only_a_single_writer_that_the_driver_does_not_tell_from_several_is_alone() {
        let excludes = |habits: Habits, access| habits.excludes(&wanted(spec(access)), &other(spec(access)));
        assert_eq!(excludes(STRICT, AccessMode::ReadWriteOnce), Some("as its only writer"));
        assert_eq!(excludes(STRICT, AccessMode::ReadWriteMany), None);
        let kubernetes = Habits { shares_single_writer: true, ..STRICT };
        assert_eq!(excludes(kubernetes, AccessMode::ReadWriteOnce), None);
        let abilities = NodeAbilities { single_node_multi_writer: true, ..STRICT.abilities };
        assert_eq!(excludes(Habits { abilities, ..STRICT }, AccessMode::ReadWriteOnce), None);
    }

    #[test]
    fn a_volume_is_published_with_one_capability_at_a_time() {
        let many = || spec(AccessMode::ReadWriteMany);
        let there = other(many());
        let another = Some("with another capability");
        assert_eq!(STRICT.excludes(&wanted(many()), &there), None);
        let group = DesiredPod { fs_group: Some(2), ..wanted(many()) };
        assert_eq!(STRICT.excludes(&group, &there), another);
        let abilities = NodeAbilities { volume_mount_group: false, ..STRICT.abilities };
        assert_eq!(Habits { abilities, ..STRICT }.excludes(&group, &there), None, "no driver is told of the group");
        let options = VolumeSpec { mount_options: vec!["noatime".into()], ..many() };
        assert_eq!(STRICT.excludes(&wanted(options), &there), another);
        let found = ActualPod { is_reconstructed: true, ..there.clone() };
        assert_eq!(STRICT.excludes(&wanted(many()), &found), Some("since before its kubelet restarted"));
        let kubernetes = Habits { mixes_capabilities: true, ..STRICT };
        assert_eq!((kubernetes.excludes(&group, &there), kubernetes.excludes(&group, &found)), (None, None));
    }
}
