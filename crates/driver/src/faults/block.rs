//! Volumes as devices.

use std::fs;

use super::{capability::is_block, conduct::Conduct, registry::Seeded};
use crate::history::Request;

pub(super) fn faults() -> Vec<Seeded> {
    vec![stacked(), plain_file("B154", false), plain_file("B191", true)]
}

/// What is at the target of a device is no device.
fn plain_file(id: &'static str, directory: bool) -> Seeded {
    Seeded::conducting(id, move || {
        Conduct::after(move |request, answer, past| {
            if let Request::NodePublishVolume(r) = request
                && answer.is_ok()
                && is_block(r.volume_capability.as_ref())
                && !past.is_published(&r.volume_id, &r.target_path)
            {
                super::stack::unmount(&r.target_path);
                if directory {
                    // Where it fails, there is still no device.
                    let _ = fs::remove_file(&r.target_path).and_then(|()| fs::create_dir(&r.target_path));
                }
            }
            answer
        })
    })
}

fn stacked() -> Seeded {
    Seeded::conducting("B009", || {
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
    })
}
