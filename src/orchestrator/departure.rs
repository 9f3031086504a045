//! Where Kubernetes departs from what the specification asks of an orchestrator, as far as it can be switched off here.

/// A departure of Kubernetes from the duties of an orchestrator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Departure {
    /// D-08: an attachment that may be there does not keep a single-node volume from being attached elsewhere.
    #[value(name = "D-08")]
    AttachBesideUncertain,
    /// D-10: a volume that is staged without a pod is forgotten by a kubelet that restarts, and never unstaged.
    #[value(name = "D-10")]
    ForgetStaged,
    /// D-11: a failed query of capabilities counts as proof that nothing is published, whatever its code.
    #[value(name = "D-11")]
    FailedQueryIsFinal,
}
