//! csi-certify: proves that a storage driver keeps the contract of the Container Storage Interface (CSI).
//!
//! `ARCHITECTURE.md` is the map of the rooms below; each imports only rooms above it.

pub mod cli;
pub mod csi;
pub mod driver;
pub mod mountpod;
pub mod spec;
