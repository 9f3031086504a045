//! The mistakes that the fuzzer is measured by.

use csi_certify_mountpod::mountpod::{
    api::WriteMode,
    protocol::{DeletePrecondition, Policy, UnpublishScope},
};

/// The protocol with the mistake of this name, or the hardened one.
pub fn mistake(name: &str) -> Policy {
    let mut policy = Policy::default();
    match name {
        "add-reference-without-version" => policy.add_reference = WriteMode::Unconditional,
        "delete-without-precondition" => policy.delete_precondition = DeletePrecondition::Nothing,
        "skip-terminating-pods" => policy.unpublish_scope = UnpublishScope::LivePods,
        _ => {}
    }
    policy
}
