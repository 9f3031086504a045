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

pub use service::ControllerService;
