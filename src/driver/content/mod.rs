//! What is in the volumes and snapshots.

mod copy;
mod directory;
mod plan;

pub use directory::{ContentDirectory, Durability};
pub use plan::{Content, Plan};
