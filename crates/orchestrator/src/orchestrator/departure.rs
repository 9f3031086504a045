//! Where Kubernetes departs from what the specification asks of an orchestrator; each can be switched off.

/// A departure of Kubernetes from the duties of an orchestrator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Departure {
    /// D-01: several calls for one volume are under way, made by components that know nothing of each other.
    #[value(name = "D-01")]
    CallSideBySide,
    /// D-02: what was refused for good, UNIMPLEMENTED included, is asked for ever again.
    #[value(name = "D-02")]
    AskAgain,
    /// D-03: the volume of a single writer is published to a second target on its node.
    #[value(name = "D-03")]
    ShareSingleWriter,
    /// D-04: `volume_context` has the provisioner's identity and tells of the pod, beside what CreateVolume gave.
    #[value(name = "D-04")]
    AddToContext,
    /// D-05: staging paths are named to drivers that do not stage.
    #[value(name = "D-05")]
    NameStagingAlways,
    /// D-06: volumes of a lost node are detached without having been unpublished and unstaged there.
    #[value(name = "D-06")]
    DetachByForce,
    /// D-07: volumes in use are expanded whether or not the plugin says that it can.
    #[value(name = "D-07")]
    ExpandInUse,
    /// D-08: an attachment that may be there does not keep a single-node volume from being attached elsewhere.
    #[value(name = "D-08")]
    AttachBesideUncertain,
    /// D-09: a volume whose creation may still come about is forgotten when its claim goes and the provisioner restarts.
    #[value(name = "D-09")]
    ForgetOrders,
    /// D-10: a volume that is staged without a pod is forgotten by a kubelet that restarts, and never unstaged.
    #[value(name = "D-10")]
    ForgetStaged,
    /// D-11: a failed query of capabilities counts as proof that nothing is published, whatever its code.
    #[value(name = "D-11")]
    FailedQueryIsFinal,
    /// D-12: the snapshotter asks for the plugin's name before it knows that the plugin is ready.
    #[value(name = "D-12")]
    NameBeforeProbe,
    /// D-13: the capabilities of the group controller are asked of plugins that say they have no such service.
    #[value(name = "D-13")]
    AskForGroups,
    /// D-14: volumes are measured without their staging path.
    #[value(name = "D-14")]
    MeasureWithoutStaging,
    /// D-15: pods of one node that want a volume in different ways have it published with different capabilities.
    #[value(name = "D-15")]
    MixCapabilities,
    /// D-16: a CreateSnapshot that failed is repeated, or forgotten with its object, and what it may have cut never deleted.
    #[value(name = "D-16")]
    KeepFailedSnapshot,
    /// D-17: a volume whose `volume_id` has a `^` is never detached: its unique name is split there.
    #[value(name = "D-17")]
    SplitName,
    /// D-18: secrets and classes are read anew for each call, so that one that may be under way is repeated otherwise.
    #[value(name = "D-18")]
    ReadAnew,
    /// D-19: a device of which there are several volume objects is published from the staging path of each one's name.
    #[value(name = "D-19")]
    GuessStaging,
}
