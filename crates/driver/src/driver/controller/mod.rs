//! The Controller service, one file for each concern.

mod attach;
mod capacity;
mod create_volume;
mod delete_volume;
mod expand;
mod list;
mod modify;
mod service;
mod snapshot;
mod validate;

pub(super) use create_volume::{has_room, no_room};
pub use service::ControllerService;
pub(super) use snapshot::message as snapshot_message;
