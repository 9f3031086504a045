//! Mount pods without privileges: a simulated pod API, kubelet and mount table.

mod runtime;
mod watcher;
mod world;

pub use runtime::{MemoryMountPods, MemoryOptions, SharedWorld};
pub use watcher::{PodApiRequest, PodApiWatcher};
pub use world::{Layer, World};
