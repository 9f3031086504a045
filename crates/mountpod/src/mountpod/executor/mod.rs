//! Executes the protocol's effects against the pod API and the node, and keeps house in the background.

mod engine;
mod guard;
mod housekeeping;
mod outside;
mod published;
mod requests;
mod staging;
#[cfg(test)]
mod tests;

pub use engine::Engine;
pub use housekeeping::{Housekeeping, Swept};
pub use outside::{Clock, NoWorkloads, Node, SystemClock, Workloads};
pub use published::RunningPublished;
pub use requests::Running;
