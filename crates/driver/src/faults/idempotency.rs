//! Calls that cannot be repeated.

use tonic::{Code, Status};

use super::{
    conduct::{Conduct, Step, status},
    past::Past,
    registry::Seeded,
};
use crate::{
    csi::v1,
    history::{Reply, Request},
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B001", || Conduct::refuse(Code::Internal, unpublishes_nothing)),
        Seeded::conducting("B008", || {
            Conduct::after(|request, answer, past| {
                if let Request::NodePublishVolume(r) = request
                    && answer.is_ok()
                    && past.is_published(&r.volume_id, &r.target_path)
                {
                    super::stack::mount_over(&r.target_path);
                }
                answer
            })
        }),
        Seeded::conducting("B014", || {
            Conduct::refuse(
                Code::Internal,
                |request, past| matches!(request, Request::NodeStageVolume(r) if past.is_staged(&r.volume_id, &r.staging_target_path)),
            )
        }),
        Seeded::conducting("B043", || {
            Conduct::refuse(Code::Internal, |request, past| {
                matches!(request, Request::ControllerUnpublishVolume(r)
                    if !r.node_id.is_empty() && !past.is_attached(&r.volume_id, &r.node_id))
            })
        }),
        Seeded::conducting("B056", busy_names_stay_taken),
        Seeded::conducting("B059", || {
            Conduct::before(|request, past| match &request {
                Request::CreateVolume(r) => match other_source(r, past) {
                    Some(volume) => Step::Answer(Ok(v1::CreateVolumeResponse { volume: Some(volume) }.into())),
                    None => Step::Ask(request),
                },
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B080", || {
            Conduct::before(|request, past| match unpublishes_nothing(&request, past) {
                true => Step::Answer(Err(Status::unknown("panic: runtime error: invalid memory address"))),
                false => Step::Ask(request),
            })
        }),
        Seeded::conducting("B084", || {
            Conduct::refuse(
                Code::FailedPrecondition,
                |request, past| matches!(request, Request::ControllerPublishVolume(r) if past.is_attached(&r.volume_id, &r.node_id)),
            )
        }),
        Seeded::conducting("B134", || {
            Conduct::refuse(
                Code::Internal,
                |request, past| matches!(request, Request::NodePublishVolume(r) if past.is_published(&r.volume_id, &r.target_path)),
            )
        }),
        Seeded::conducting("B164", || {
            Conduct::rewrite(|request, past| {
                if let Request::CreateVolume(r) = request {
                    let before = past.count(|it| matches!(it, Request::CreateVolume(it) if it.name == r.name));
                    if before > 0 && r.name.len() < 120 {
                        r.name = format!("{}~{before}", r.name);
                    }
                }
            })
        }),
    ]
}

fn unpublishes_nothing(request: &Request, past: &Past) -> bool {
    matches!(request, Request::NodeUnpublishVolume(r)
        if !r.volume_id.is_empty() && !r.target_path.is_empty() && !past.is_published(&r.volume_id, &r.target_path))
}

/// A volume whose creation was told to come back has a name that the backend calls taken from then on.
fn busy_names_stay_taken() -> Conduct {
    Conduct::before(|request, past| match &request {
        Request::CreateVolume(r) if was_busy(r, past) => Step::Answer(Err(status(Code::AlreadyExists))),
        _ => Step::Ask(request),
    })
}

fn was_busy(request: &v1::CreateVolumeRequest, past: &Past) -> bool {
    past.last(|it, answer| match (it, answer) {
        (Request::CreateVolume(it), Err(refusal)) if it.name == request.name && refusal.code() == Code::Aborted => {
            Some(())
        }
        _ => None,
    })
    .is_some()
}

fn other_source(request: &v1::CreateVolumeRequest, past: &Past) -> Option<v1::Volume> {
    let volume = past.volume_named(&request.name)?;
    let creation = past.creation(&volume.volume_id)?;
    (creation.volume_content_source != request.volume_content_source).then_some(volume)
}

/// The volume of a reply.
pub(super) fn volume_of(reply: &mut Reply) -> Option<&mut v1::Volume> {
    match reply {
        Reply::CreateVolume(reply) => reply.volume.as_mut(),
        _ => None,
    }
}
