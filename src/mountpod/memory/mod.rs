//! Mount pods without privileges: a simulated pod API, kubelet and mount table.

mod runtime;
mod world;

pub use runtime::{MemoryMountPods, MemoryOptions};
pub use world::{Layer, World};
