//! Scenarios of the Node service, one file per RPC.

pub(super) mod node_expand_volume;
pub(super) mod node_get_capabilities;
pub(super) mod node_get_info;
pub(super) mod node_get_volume_stats;
pub(super) mod node_publish_volume;
pub(super) mod node_stage_volume;
pub(super) mod node_unpublish_volume;
pub(super) mod node_unstage_volume;
pub(super) mod second_publish;

/// The gate of staging.
const STAGE_UNSTAGE_VOLUME: &str = "Node.STAGE_UNSTAGE_VOLUME";

/// Lengths of paths that are tried: the least that every plugin takes, what orchestrators use, and up to the kernel's bound.
const PATH_LENGTHS: [usize; 4] = [128, 200, 1000, 4000];
