//! Numbers of a volume that are wrong, missing or those of something else.

use tonic::Code;

use super::{capability::is_block, conduct::Conduct, registry::Seeded};
use crate::{
    csi::v1::{self, volume_usage::Unit},
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B067", || {
            Conduct::refuse(Code::Internal, |request, past| match request {
                Request::NodeGetVolumeStats(r) => past
                    .last(|it, answer| match it {
                        Request::NodePublishVolume(it) if it.volume_id == r.volume_id && answer.is_ok() => {
                            Some(is_block(it.volume_capability.as_ref()))
                        }
                        _ => None,
                    })
                    .unwrap_or(false),
                _ => false,
            })
        }),
        Seeded::conducting("B068", || {
            Conduct::after(|request, answer, _| match answer {
                Err(refusal) if request.rpc() == Rpc::NodeGetVolumeStats && refusal.code() == Code::NotFound => {
                    let usage =
                        v1::VolumeUsage { available: 1 << 30, total: 1 << 34, used: 1 << 33, unit: Unit::Bytes.into() };
                    Ok(v1::NodeGetVolumeStatsResponse { usage: vec![usage], volume_condition: None }.into())
                }
                answer => answer,
            })
        }),
        Seeded::conducting("B200", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetVolumeStats(reply) = reply {
                    for usage in &mut reply.usage {
                        usage.available = -1;
                        usage.used = usage.total + 1;
                    }
                }
            })
        }),
        Seeded::conducting("B201", || {
            Conduct::edit(|request, reply, past| {
                if past.has_succeeded(request)
                    && let Reply::NodeGetVolumeStats(reply) = reply
                {
                    reply.usage.clear();
                }
            })
        }),
    ]
}
