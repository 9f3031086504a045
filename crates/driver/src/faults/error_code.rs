//! The wrong code, or OK where there is something to refuse.

use tonic::{Code, Status};

use super::{
    conduct::{Conduct, Step},
    registry::Seeded,
};
use crate::{
    csi::v1,
    driver::{Configuration, Parts},
    history::Request,
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B038", || {
            Conduct::refuse(
                Code::Internal,
                |request, _| matches!(request, Request::DeleteVolume(r) if !r.volume_id.is_empty() && !r.volume_id.starts_with("vol-0")),
            )
        }),
        Seeded::conducting("B074", || {
            Conduct::recode(Rpc::ControllerPublishVolume, Code::ResourceExhausted, Code::Internal)
        })
        .and_replacing(few_slots),
        Seeded::conducting("B078", || {
            Conduct::after(|request, answer, _| {
                answer.map_err(|refusal| {
                    match request.rpc() == Rpc::CreateVolume && refusal.code() == Code::OutOfRange {
                        true => Status::unknown("panic: runtime error: invalid memory address"),
                        false => refusal,
                    }
                })
            })
        }),
        Seeded::conducting("B113", || {
            Conduct::refuse(
                Code::Internal,
                |request, past| matches!(request, Request::DeleteVolume(r) if past.has_snapshots(&r.volume_id)),
            )
        }),
        Seeded::conducting("B126", || {
            Conduct::pretend(
                |request, _| matches!(request, Request::ControllerUnpublishVolume(r) if r.node_id.is_empty()),
            )
        }),
        Seeded::conducting("B148", || {
            Conduct::refuse(Code::NotFound, |request, past| {
                matches!(request, Request::NodeUnpublishVolume(r)
                    if !r.target_path.is_empty() && !past.is_published(&r.volume_id, &r.target_path))
            })
        }),
        Seeded::conducting("B172", || {
            Conduct::before(|request, _| match &request {
                Request::ControllerModifyVolume(r) => {
                    let one_by_one = r.mutable_parameters.iter().map(|(key, value)| {
                        let mutable_parameters = [(key.clone(), value.clone())].into();
                        v1::ControllerModifyVolumeRequest { mutable_parameters, ..r.clone() }.into()
                    });
                    Step::AskAlso(one_by_one.collect(), request.clone())
                }
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B186", || {
            Conduct::rewrite(|request, past| {
                if let Request::NodePublishVolume(r) = request
                    && r.staging_target_path.is_empty()
                {
                    let staged = past.last(|it, answer| match it {
                        Request::NodeStageVolume(it) if it.volume_id == r.volume_id && answer.is_ok() => {
                            Some(it.staging_target_path.clone())
                        }
                        _ => None,
                    });
                    r.staging_target_path = staged.unwrap_or_default();
                }
            })
        }),
        Seeded::conducting("B187", || {
            Conduct::after(|request, answer, _| {
                let rpcs = [Rpc::NodeStageVolume, Rpc::NodePublishVolume, Rpc::ControllerExpandVolume];
                answer.map_err(|refusal| match rpcs.contains(&request.rpc()) && refusal.code() == Code::NotFound {
                    true => Status::internal(refusal.message()),
                    false => refusal,
                })
            })
        }),
        Seeded::conducting("B189", || {
            Conduct::rewrite(|request, _| match request {
                Request::CreateVolume(r) if r.name.is_empty() => r.name = "unnamed".into(),
                Request::CreateVolume(r) if r.volume_capabilities.is_empty() => {
                    r.volume_capabilities.push(super::capability::writable_mount());
                }
                Request::NodeUnpublishVolume(r) if r.target_path.is_empty() => r.target_path = "/nowhere".into(),
                _ => {}
            })
        }),
    ]
}

/// A driver whose nodes take few volumes.
pub(super) fn few_slots(parts: Parts) -> Parts {
    Parts { configuration: Configuration { max_volumes_per_node: 4, ..parts.configuration }, ..parts }
}
