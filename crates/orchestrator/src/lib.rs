//! Kubernetes in miniature: the components that drive a CSI driver.
//!
//! A part of `csi-certify`, whose `lib.rs` and `ARCHITECTURE.md` are the map.

use csi_certify_history::{csi, history, spec};
use csi_certify_suite::sut;

pub mod orchestrator;
