//! The durable records of volumes, snapshots and attachments.

mod change;
mod database;

pub use change::{Change, Store, StoreError};
pub use database::Database;
