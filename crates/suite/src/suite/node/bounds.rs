//! What several scenarios of the Node service share: the gate of staging, and the lengths of paths.

/// The gate of staging.
pub(super) const STAGE_UNSTAGE_VOLUME: &str = "Node.STAGE_UNSTAGE_VOLUME";

/// Lengths of paths that are tried: the least that every plugin takes, what orchestrators use, and up to the kernel's bound.
pub(super) const PATH_LENGTHS: [usize; 4] = [128, 200, 1000, 4000];
