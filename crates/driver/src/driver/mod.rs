//! The reference CSI driver: all five services over a durable store, content directories and mount pods.
//!
//! It keeps every rule of the catalogue that binds a plugin, and knows nothing of whoever judges it. Its parts (store,
//! content, mount pods, clock, ids) are traits, so that each can be replaced or wrapped.

pub mod capability;
pub mod clock;
pub mod configuration;
pub mod content;
pub mod identifier;
pub mod parameters;
pub mod record;
pub mod server;
pub mod size;
pub mod store;
pub mod topology;

mod assembly;
mod controller;
mod field;
mod group_controller;
mod growth;
mod identity;
mod lock;
mod node;
mod page;
mod recovery;
mod refusal;
mod rpc;
mod snapshot_metadata;
mod unoffered;
mod volume_use;

pub use assembly::{Driver, Parts};
pub use configuration::{BadConfiguration, Configuration, Expansion, PLUGIN_NAME};
pub use controller::ControllerService;
pub use group_controller::GroupControllerService;
pub use identifier::{GroupSnapshotId, SnapshotId};
pub use identity::IdentityService;
pub use node::{NodeService, NodeVolumes};
pub use refusal::Refusal;
pub use snapshot_metadata::SnapshotMetadataService;
