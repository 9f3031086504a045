//! The capabilities of the Controller service that many scenarios need.

/// Volumes are created and deleted.
pub(super) const CREATE_DELETE_VOLUME: &str = "Controller.CREATE_DELETE_VOLUME";
/// Snapshots are taken and deleted.
pub(super) const CREATE_DELETE_SNAPSHOT: &str = "Controller.CREATE_DELETE_SNAPSHOT";
/// Volumes are attached to nodes.
pub(super) const PUBLISH_UNPUBLISH_VOLUME: &str = "Controller.PUBLISH_UNPUBLISH_VOLUME";
