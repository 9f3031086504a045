//! What cannot be gone on with after a crash, or after half of it was done.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tonic::{Code, Status};

use super::{
    conduct::{Conduct, Step, empty, status},
    past::Past,
    registry::Seeded,
    stack,
};
use crate::{history::Request, spec::Rpc};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B002", || {
            Conduct::refuse(Code::Internal, |request, past| {
                matches!(request, Request::NodeUnpublishVolume(r)
                    if !past.is_published(&r.volume_id, &r.target_path) && Path::new(&r.target_path).exists())
            })
        }),
        // The backend of the mount dies before the repetition.
        Seeded::conducting("B007", || {
            Conduct::before(|request, past| match &request {
                Request::NodePublishVolume(r) if past.is_published(&r.volume_id, &r.target_path) => {
                    stack::die(&r.target_path);
                    Step::Answer(Ok(empty(request.rpc())))
                }
                _ => Step::Ask(request),
            })
        }),
        // The first Unstage gets as far as the detach; the second finds nothing mounted and calls that done.
        Seeded::conducting("B019", || {
            Conduct::after(|request, answer, past| match request {
                Request::NodeUnstageVolume(r)
                    if past.is_staged(&r.volume_id, &r.staging_target_path) && past.count(|it| it == request) == 0 =>
                {
                    answer.and(Err(Status::unavailable("the device is being detached")))
                }
                Request::DeleteVolume(r) if is_still_mapped(&r.volume_id, past) => {
                    Err(status(Code::FailedPrecondition))
                }
                _ => answer,
            })
        }),
        Seeded::conducting("B021", || {
            Conduct::before(|request, past| match &request {
                Request::NodeUnstageVolume(r) if !past.is_staged(&r.volume_id, &r.staging_target_path) => {
                    Step::Answer(Ok(empty(request.rpc())))
                }
                _ => Step::Ask(request),
            })
            .and_after(|request, answer, _| match request.rpc() {
                Rpc::NodeStageVolume => answer.and(Err(Status::internal("the metadata cannot be written"))),
                _ => answer,
            })
        }),
        mounts_die_with_the_process(),
        Seeded::conducting("B018", || {
            Conduct::refuse(Code::Internal, |request, past| {
                matches!(request, Request::NodeUnstageVolume(r)
                    if !r.volume_id.is_empty() && !past.is_staged(&r.volume_id, &r.staging_target_path))
            })
        }),
        Seeded::conducting("B091", || {
            Conduct::pretend(|request, past| {
                matches!(request, Request::NodeUnstageVolume(r)
                    if !r.volume_id.is_empty() && !past.is_staged(&r.volume_id, &r.staging_target_path))
            })
        }),
        Seeded::conducting("B138", || {
            Conduct::refuse(Code::AlreadyExists, |request, past| match request {
                Request::CreateVolume(r) => past
                    .last(|it, answer| match it {
                        Request::CreateVolume(it) if it.name == r.name => Some(answer.is_err()),
                        _ => None,
                    })
                    .unwrap_or(false),
                _ => false,
            })
        }),
        Seeded::conducting("B152", || {
            Conduct::refuse(Code::Internal, |request, past| {
                matches!(request, Request::NodePublishVolume(r)
                    if !r.staging_target_path.is_empty() && !past.is_staged(&r.volume_id, &r.staging_target_path))
            })
        }),
        Seeded::conducting("B153", || {
            Conduct::refuse(Code::NotFound, |request, past| {
                let volume = match request {
                    Request::ValidateVolumeCapabilities(r) => &r.volume_id,
                    Request::ControllerPublishVolume(r) => &r.volume_id,
                    Request::ControllerExpandVolume(r) => &r.volume_id,
                    Request::ControllerGetVolume(r) => &r.volume_id,
                    _ => return false,
                };
                !volume.is_empty() && past.volume(volume).is_none()
            })
        }),
        // The directory vanishes after a while.
        Seeded::conducting("B159", || {
            Conduct::refuse(Code::Internal, |request, past| {
                request.rpc() == Rpc::NodePublishVolume && past.count(|it| it.rpc() == Rpc::NodePublishVolume) > 6
            })
        }),
        Seeded::conducting("B162", || {
            Conduct::refuse(Code::NotFound, |request, past| {
                matches!(request, Request::NodeUnpublishVolume(r)
                    if !r.volume_id.is_empty() && past.volume(&r.volume_id).is_none())
            })
        }),
        Seeded::conducting("B132", || {
            Conduct::refuse(Code::Internal, |request, past| {
                request.rpc() == Rpc::NodeUnstageVolume && past.has_succeeded(request)
            })
        }),
    ]
}

/// Whether the detach of a volume was left to a second Unstage, which forgot it.
fn is_still_mapped(volume: &str, past: &Past) -> bool {
    past.last(|request, answer| match request {
        Request::NodeUnstageVolume(r) if r.volume_id == volume => answer.as_ref().err().map(Status::code),
        _ => None,
    }) == Some(Code::Unavailable)
}

/// The process serves the mounts itself; the next one finds them dead and leaves them so.
fn mounts_die_with_the_process() -> Seeded {
    let mounted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    Seeded::conducting("B033", move || {
        let left = std::mem::take(&mut *mounted.lock().unwrap_or_else(PoisonError::into_inner));
        left.iter().for_each(|target| stack::die(target));
        let mounted = mounted.clone();
        Conduct::before(move |request, _| match &request {
            Request::NodePublishVolume(r) if left.contains(&r.target_path) => Step::Answer(Ok(empty(request.rpc()))),
            _ => Step::Ask(request),
        })
        .and_after(move |request, answer, _| {
            let mut mounted = mounted.lock().unwrap_or_else(PoisonError::into_inner);
            match request {
                Request::NodePublishVolume(r) if answer.is_ok() => {
                    mounted.insert(r.target_path.clone());
                }
                Request::NodeUnpublishVolume(r) if answer.is_ok() => {
                    mounted.remove(&r.target_path);
                }
                _ => {}
            }
            answer
        })
    })
}
