//! csi-certify: proves that a storage driver keeps the contract of the Container Storage Interface (CSI).
//!
//! `ARCHITECTURE.md` is the map. The rooms stand in the order of their dependencies: each imports only rooms above it. Those
//! under `crates/` are compiled side by side; this crate puts them together.

pub use csi_certify_history::{csi, history, spec};

pub use csi_certify_oracle::oracle;

pub use csi_certify_suite::{explore, record, suite, sut};

pub use csi_certify_orchestrator::orchestrator;

pub use csi_certify_mountpod::{modelcheck, mountpod};

pub use csi_certify_driver::{driver, faults};

pub mod report;

pub mod cli;
