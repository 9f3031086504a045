//! Judges histories of CSI calls by the rules of the specification.
//!
//! A part of `csi-certify`, whose `lib.rs` and `ARCHITECTURE.md` are the map.

use csi_certify_history::{csi, history, rule, spec};

pub mod oracle;
