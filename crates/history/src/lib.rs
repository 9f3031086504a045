//! The Container Storage Interface of csi-certify: its messages, its rules, and histories of calls.
//!
//! A part of `csi-certify`, whose `lib.rs` and `ARCHITECTURE.md` are the map.

pub mod csi;
pub mod history;
pub mod spec;
