//! Scenarios of the GroupController service, one file per RPC.

pub(super) mod create_volume_group_snapshot;
pub(super) mod delete_volume_group_snapshot;
pub(super) mod get_volume_group_snapshot;
pub(super) mod group_controller_get_capabilities;
pub(super) mod groups;
