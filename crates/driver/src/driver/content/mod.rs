//! What is in the volumes and snapshots.

mod copy;
mod directory;
mod moment;
mod plan;
mod ranges;

pub use directory::{ContentDirectory, Durability};
pub use plan::{Content, Cut, Plan};
pub use ranges::Ranges;
