//! Scenarios of the Controller service, one file per RPC.

pub(super) mod controller_expand_volume;
pub(super) mod controller_get_capabilities;
pub(super) mod controller_get_volume;
pub(super) mod controller_modify_volume;
pub(super) mod controller_publish_volume;
pub(super) mod controller_unpublish_volume;
pub(super) mod create_snapshot;
pub(super) mod create_volume;
pub(super) mod create_volume_fields;
pub(super) mod create_volume_source;
pub(super) mod create_volume_topology;
pub(super) mod delete_snapshot;
pub(super) mod delete_volume;
mod gates;
pub(super) mod get_capacity;
pub(super) mod get_snapshot;
pub(super) mod list_snapshots;
pub(super) mod list_volumes;
pub(super) mod validate_volume_capabilities;
