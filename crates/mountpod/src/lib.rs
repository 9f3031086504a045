//! The reference-counted mount-pod protocol of csi-certify, its runtimes, and the search of its interleavings.
//!
//! A part of `csi-certify`, whose `lib.rs` and `ARCHITECTURE.md` are the map.

pub mod modelcheck;
pub mod mountpod;
