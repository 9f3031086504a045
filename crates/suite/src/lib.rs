//! Drives a CSI driver under test: connections, recording, scenarios and exploration.
//!
//! A part of `csi-certify`, whose `lib.rs` and `ARCHITECTURE.md` are the map.

use csi_certify_history::{csi, history, rule, spec};
use csi_certify_oracle::oracle;

pub mod explore;
pub mod record;
pub mod suite;
pub mod sut;
