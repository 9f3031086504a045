//! Mount pods without privileges: a simulated pod API, kubelet and mount table.

mod runtime;
mod world;

pub use runtime::{MemoryMountPods, MemoryOptions, SharedWorld};
pub use world::{Layer, World};
