//! The rule catalogue: every normative statement of CSI v1.12.0 as a row, in our own words.
//!
//! The rows live in `rules/`, one file per service, and are compiled into statics by `build.rs`. A judgement names a
//! rule with [`rule!`](crate::rule), which fails to compile when there is no such rule. What a rule means is the oracle's business.

mod catalogue;
mod gate;
mod rpc;

pub use catalogue::{Binds, Level, Observe, Rule, RuleId};
pub use gate::{Capabilities, Gate, GateError};
pub use rpc::{Rpc, Service};

/// The version of the specification that the catalogue describes.
pub const SPEC_VERSION: &str = "1.12.0";

/// Names a rule of the catalogue; an unknown id does not compile.
#[macro_export]
macro_rules! rule {
    ($id:literal) => {
        const { $crate::spec::RuleId::named($id) }
    };
}
