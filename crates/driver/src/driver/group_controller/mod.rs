//! The GroupController service: snapshots of several volumes at one moment.

mod group_snapshot;
mod service;

pub use service::GroupControllerService;
