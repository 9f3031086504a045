//! csi-certify: proves that a storage driver keeps the contract of the Container Storage Interface (CSI).
//!
//! `ARCHITECTURE.md` is the map. The rooms stand in the order of their dependencies: each imports only rooms above it.

pub mod csi;

pub mod spec;

pub mod history;

pub mod oracle;

pub mod sut;

pub mod record;

pub mod suite;

pub mod explore;

pub mod orchestrator;

pub mod mountpod;

pub mod modelcheck;

pub mod driver;

pub mod faults;

pub mod report;

pub mod cli;
