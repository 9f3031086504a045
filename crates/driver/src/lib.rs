//! The reference CSI driver of csi-certify and its seeded faults.
//!
//! A part of `csi-certify`, whose `lib.rs` and `ARCHITECTURE.md` are the map.

use csi_certify_history::{csi, history, spec};
use csi_certify_mountpod::mountpod;

pub mod driver;
pub mod faults;
