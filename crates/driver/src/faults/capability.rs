//! Something is advertised and not kept, or kept and not advertised.

use tonic::Code;

use super::{
    conduct::{Conduct, empty},
    error_code::few_slots,
    registry::Seeded,
};
use crate::{
    csi::v1::{self, volume_capability as capability, volume_capability::access_mode::Mode},
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B072", || {
            Conduct::edit(|_, reply, past| {
                if let Reply::NodeGetInfo(info) = reply {
                    let attached = past.all(|request, answer| match request {
                        Request::ControllerPublishVolume(r) if answer.is_ok() && r.node_id == info.node_id => {
                            past.is_attached(&r.volume_id, &r.node_id).then(|| r.volume_id.clone())
                        }
                        _ => None,
                    });
                    info.max_volumes_per_node -= i64::try_from(attached.len()).unwrap_or(0);
                }
            })
        })
        .and_replacing(few_slots),
        Seeded::conducting("B073", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetInfo(info) = reply {
                    info.max_volumes_per_node = 30;
                }
            })
        })
        .and_replacing(few_slots),
        Seeded::conducting("B088", || {
            Conduct::refuse(Code::InvalidArgument, |request, _| {
                matches!(request, Request::ControllerPublishVolume(r)
                    if r.volume_capability.iter().any(is_single_writer))
            })
        }),
        Seeded::conducting("B135", || {
            Conduct::refuse(Code::InvalidArgument, |request, _| {
                let used = match request {
                    Request::ControllerPublishVolume(r) => r.volume_capability.as_ref(),
                    Request::NodeStageVolume(r) => r.volume_capability.as_ref(),
                    Request::NodePublishVolume(r) => r.volume_capability.as_ref(),
                    _ => None,
                };
                used.is_some_and(|it| mode(it) == Mode::MultiNodeMultiWriter as i32)
            })
        }),
        Seeded::conducting("B171", || {
            Conduct::after(|request, answer, _| match answer {
                Err(refusal)
                    if request.rpc() == Rpc::ControllerModifyVolume && refusal.code() == Code::InvalidArgument =>
                {
                    Ok(empty(request.rpc()))
                }
                answer => answer,
            })
        }),
        Seeded::conducting("B195", || {
            Conduct::edit(|_, reply, _| match reply {
                Reply::ListVolumes(list) => {
                    list.entries
                        .iter_mut()
                        .filter_map(|it| it.status.as_mut())
                        .for_each(|it| it.published_node_ids.clear());
                }
                Reply::ControllerGetVolume(reply) => {
                    reply.status.iter_mut().for_each(|it| it.published_node_ids.clear());
                }
                _ => {}
            })
        }),
    ]
}

/// The number of an access mode.
pub(super) fn mode(capability: &v1::VolumeCapability) -> i32 {
    capability.access_mode.as_ref().map_or(0, |mode| mode.mode)
}

fn is_single_writer(capability: &v1::VolumeCapability) -> bool {
    mode(capability) == Mode::SingleNodeSingleWriter as i32
}

/// Whether the volume is to be used as a device.
pub(super) fn is_block(capability: Option<&v1::VolumeCapability>) -> bool {
    capability.is_some_and(|it| matches!(it.access_type, Some(capability::AccessType::Block(_))))
}

/// The plainest use of a volume.
pub(super) fn writable_mount() -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_mode: Some(capability::AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(capability::AccessType::Mount(capability::MountVolume::default())),
    }
}
