//! Volumes that stay busy for ever.

use tonic::Code;

use super::{conduct::Conduct, past::Past, registry::Seeded};
use crate::history::Request;

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B028", || {
            Conduct::refuse(
                Code::Aborted,
                |request, past| matches!(request, Request::NodeUnpublishVolume(r) if past.targets_of(&r.volume_id).len() > 1),
            )
        }),
        Seeded::conducting("B029", || Conduct::refuse(Code::Aborted, |request, past| has_failed(request, past, false))),
        Seeded::conducting("B048", || Conduct::refuse(Code::Aborted, |request, past| has_failed(request, past, true))),
    ]
}

/// Whether something went wrong with the volume before.
fn has_failed(request: &Request, past: &Past, on_node: bool) -> bool {
    let Some(volume) = subject(request, on_node).filter(|volume| !volume.is_empty()) else { return false };
    past.last(|it, answer| {
        let is_it = subject(it, on_node) == Some(volume);
        (is_it && matches!(answer, Err(refusal) if refusal.code() != Code::Aborted)).then_some(())
    })
    .is_some()
}

fn subject(request: &Request, on_node: bool) -> Option<&str> {
    match request {
        Request::ControllerPublishVolume(r) if !on_node => Some(&r.volume_id),
        Request::ControllerUnpublishVolume(r) if !on_node => Some(&r.volume_id),
        Request::ControllerExpandVolume(r) if !on_node => Some(&r.volume_id),
        Request::NodeStageVolume(r) if on_node => Some(&r.volume_id),
        Request::NodePublishVolume(r) if on_node => Some(&r.volume_id),
        Request::NodeUnpublishVolume(r) if on_node => Some(&r.volume_id),
        _ => None,
    }
}
