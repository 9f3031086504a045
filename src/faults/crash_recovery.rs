//! What cannot be gone on with after a crash, or after half of it was done.

use std::path::Path;

use tonic::Code;

use super::{conduct::Conduct, registry::Seeded};
use crate::{history::Request, spec::Rpc};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B002", || {
            Conduct::refuse(Code::Internal, |request, past| {
                matches!(request, Request::NodeUnpublishVolume(r)
                    if !past.is_published(&r.volume_id, &r.target_path) && Path::new(&r.target_path).exists())
            })
        }),
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
