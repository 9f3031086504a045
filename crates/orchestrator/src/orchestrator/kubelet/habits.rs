//! What a kubelet of Kubernetes does with a volume that several pods of its node want, though an orchestrator ought not to.

use super::{
    super::{
        access_mode::{SingleNode, first, mode},
        context::Context,
        departure::Departure,
    },
    DesiredPod,
};
use crate::csi::v1::volume_capability::access_mode::Mode;

/// What the node service said last that it can do. Before its first answer a kubelet has published nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct NodeAbilities {
    /// SINGLE_NODE_MULTI_WRITER.
    pub(super) single_node_multi_writer: bool,
}

/// The habits of a kubelet that faces such a node service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// Whether the only writer of a volume gets company on its node.
    pub(super) shares_single_writer: bool,
    /// What the node service can do.
    pub(super) abilities: NodeAbilities,
}

impl Habits {
    /// All that are not switched off.
    pub(super) fn of(context: &Context, abilities: NodeAbilities) -> Self {
        Self { shares_single_writer: context.departs(Departure::ShareSingleWriter), abilities }
    }

    /// How others on the node have a volume, where a pod must not have it beside them.
    pub(super) fn excludes(self, wanted: &DesiredPod) -> Option<&'static str> {
        let single_node = SingleNode::of(self.abilities.single_node_multi_writer);
        let is_single_writer = mode(first(&wanted.spec.access_modes), single_node) == Mode::SingleNodeWriter;
        (is_single_writer && !self.shares_single_writer).then_some("as its only writer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::{kubelet::VolumeSpec, object::AccessMode};

    const STRICT: Habits =
        Habits { shares_single_writer: false, abilities: NodeAbilities { single_node_multi_writer: false } };

    fn wanted(access_mode: AccessMode) -> DesiredPod {
        let spec = VolumeSpec { access_modes: vec![access_mode], ..VolumeSpec::default() };
        DesiredPod { spec, ..DesiredPod::default() }
    }

    #[test]
    fn only_a_single_writer_that_the_driver_does_not_tell_from_several_is_alone() {
        let once = wanted(AccessMode::ReadWriteOnce);
        assert_eq!(STRICT.excludes(&once), Some("as its only writer"));
        assert_eq!(STRICT.excludes(&wanted(AccessMode::ReadWriteMany)), None);
        assert_eq!(Habits { shares_single_writer: true, ..STRICT }.excludes(&once), None);
        let abilities = NodeAbilities { single_node_multi_writer: true };
        assert_eq!(Habits { abilities, ..STRICT }.excludes(&once), None);
    }
}
