//! Scenarios of the Node service, one file per RPC.

mod bounds;
pub(super) mod node_expand_volume;
pub(super) mod node_get_capabilities;
pub(super) mod node_get_info;
pub(super) mod node_get_volume_stats;
pub(super) mod node_publish_volume;
pub(super) mod node_stage_volume;
pub(super) mod node_unpublish_volume;
pub(super) mod node_unstage_volume;
pub(super) mod second_publish;
