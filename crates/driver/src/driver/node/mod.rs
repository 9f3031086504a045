//! The Node service, one file for each concern.

mod expand;
mod info;
mod publish;
mod service;
mod stage;
mod stats;
mod volumes;

pub use service::NodeService;
pub use volumes::NodeVolumes;
