//! The durable records of volumes, snapshots and attachments.

mod change;
mod database;
mod memory;
#[cfg(test)]
mod tests;

pub use change::{Change, Store, StoreError};
pub use database::Database;
pub use memory::Memory;
