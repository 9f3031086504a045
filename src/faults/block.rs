//! Volumes as devices.

use super::{capability::is_block, conduct::Conduct, registry::Seeded};
use crate::history::Request;

pub(super) fn faults() -> Vec<Seeded> {
    vec![Seeded::conducting("B009", || {
        Conduct::after(|request, answer, past| {
            if let Request::NodePublishVolume(r) = request
                && answer.is_ok()
                && is_block(r.volume_capability.as_ref())
                && past.is_published(&r.volume_id, &r.target_path)
            {
                super::stack::mount_over(&r.target_path);
            }
            answer
        })
    })]
}
