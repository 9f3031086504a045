//! Sizes: too small, too strict, or not what was asked for.

use tonic::Code;

use super::{capability::is_block, conduct::Conduct, idempotency::volume_of, registry::Seeded};
use crate::{
    csi::v1,
    history::{Reply, Request},
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B058", || {
            Conduct::refuse(Code::AlreadyExists, |request, past| match request {
                Request::CreateVolume(r) => past.volume_named(&r.name).is_some_and(|volume| {
                    let required = r.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
                    past.volume(&volume.volume_id).is_some() && volume.capacity_bytes != required
                }),
                _ => false,
            })
        }),
        Seeded::conducting("B064", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolume(r) = request
                    && r.volume_content_source.is_some()
                {
                    r.capacity_range = None;
                }
            })
            .and_after(|request, answer, _| {
                answer.map(|mut reply| {
                    if let (Request::CreateVolume(r), Some(volume)) = (request, volume_of(&mut reply)) {
                        let required = r.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
                        volume.capacity_bytes = volume.capacity_bytes.max(required);
                    }
                    reply
                })
            })
        }),
        // The file system keeps the size of the source; a device has none that could stay behind.
        Seeded::conducting("B065", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolume(r) = request
                    && r.volume_content_source.is_some()
                    && !r.volume_capabilities.iter().any(|it| is_block(Some(it)))
                {
                    r.capacity_range = None;
                }
            })
            .and_after(|request, answer, _| {
                answer.map(|mut reply| {
                    if let (Request::CreateVolume(r), Some(volume)) = (request, volume_of(&mut reply)) {
                        let required = r.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
                        volume.capacity_bytes = volume.capacity_bytes.max(required);
                    }
                    reply
                })
            })
        }),
        Seeded::conducting("B071", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::GetCapacity(reply) = reply {
                    reply.available_capacity = reply.available_capacity.saturating_mul(3);
                    reply.maximum_volume_size = None;
                }
            })
        }),
        Seeded::conducting("B122", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolume(r) = request
                    && r.capacity_range.as_ref().is_some_and(makes_no_sense)
                {
                    r.capacity_range = None;
                }
            })
        }),
        Seeded::conducting("B124", || {
            Conduct::refuse(Code::OutOfRange, |request, _| {
                matches!(request, Request::CreateVolume(v1::CreateVolumeRequest { capacity_range: Some(range), .. })
                    if range.limit_bytes == 0 && (1..SMALL).contains(&range.required_bytes))
            })
        }),
        Seeded::conducting("B125", || {
            Conduct::refuse(Code::InvalidArgument, |request, _| {
                matches!(request, Request::CreateVolume(r)
                    if r.capacity_range.as_ref().is_none_or(|range| range.required_bytes == 0))
            })
        }),
    ]
}

fn makes_no_sense(range: &v1::CapacityRange) -> bool {
    let v1::CapacityRange { required_bytes, limit_bytes } = *range;
    required_bytes < 0 || limit_bytes < 0 || (limit_bytes > 0 && limit_bytes < required_bytes)
}

/// Less than this is below the least size of some backends.
const SMALL: i64 = 1 << 20;
