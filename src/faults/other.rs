//! What fits nowhere else.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::{conduct::Conduct, registry::Seeded};
use crate::history::Request;

pub(super) fn faults() -> Vec<Seeded> {
    vec![Seeded::conducting("B141", || {
        Conduct::after(|request, answer, _| {
            if let Request::NodePublishVolume(r) = request
                && answer.is_ok()
            {
                // A read-only target keeps its mode.
                let _ = fs::set_permissions(&r.target_path, fs::Permissions::from_mode(0o777));
            }
            answer
        })
    })]
}
