//! Growing that is not done, not repeatable, or done when it must not be.

use tonic::Code;

use super::{capability::is_block, conduct::Conduct, registry::Seeded};
use crate::{
    csi::v1::{self, plugin_capability},
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B062", || {
            Conduct::refuse(
                Code::Internal,
                |request, _| matches!(request, Request::NodeExpandVolume(r) if is_block(r.volume_capability.as_ref())),
            )
        }),
        Seeded::conducting("B063", || Conduct::pretend(|request, _| request.rpc() == Rpc::NodeExpandVolume)),
        Seeded::conducting("B105", || {
            Conduct::refuse(Code::OutOfRange, |request, past| match request {
                Request::ControllerExpandVolume(r) => {
                    let required = r.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
                    let grown = past.last(|it, answer| match (it, answer) {
                        (Request::ControllerExpandVolume(it), Ok(Reply::ControllerExpandVolume(reply)))
                            if it.volume_id == r.volume_id =>
                        {
                            Some(reply.capacity_bytes)
                        }
                        _ => None,
                    });
                    let created = past.volume(&r.volume_id).map(|volume| volume.capacity_bytes);
                    required > 0 && grown.or(created) == Some(required)
                }
                _ => false,
            })
        }),
        Seeded::conducting("B106", || {
            Conduct::pretend(|request, past| {
                request.rpc() == Rpc::ControllerExpandVolume && past.has_succeeded(request)
            })
        }),
        Seeded::conducting("B178", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::GetPluginCapabilities(reply) = reply {
                    reply.capabilities.iter_mut().for_each(offline);
                }
            })
        }),
    ]
}

fn offline(capability: &mut v1::PluginCapability) {
    if let Some(plugin_capability::Type::VolumeExpansion(expansion)) = &mut capability.r#type {
        expansion.r#type = plugin_capability::volume_expansion::Type::Offline.into();
    }
}
