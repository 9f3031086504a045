//! What the fuzz targets do with their bytes; the targets themselves are one line each.
//!
//! Also a module of the crate's own tests, which run every corpus file and their own random programs through it.

pub mod conversation;
pub mod driver;
pub mod judged;
mod message;
pub mod parsers;
pub mod pod_records;
pub mod refcount;
pub mod rpc_request;
pub mod wire;
