//! Block metadata that is out of order, cut off, or not from where it was asked for.

use tonic::Code;

use super::{conduct::Conduct, registry::Seeded};
use crate::{
    csi::v1::BlockMetadata,
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("M001", || {
            Conduct::rewrite(|request, _| match request {
                Request::GetMetadataAllocated(r) => r.max_results = r.max_results.min(0),
                Request::GetMetadataDelta(r) => r.max_results = r.max_results.min(0),
                _ => {}
            })
        }),
        Seeded::conducting("M002", || {
            Conduct::rewrite(|request, _| match request {
                Request::GetMetadataAllocated(r) => r.starting_offset = r.starting_offset.min(0),
                Request::GetMetadataDelta(r) => r.starting_offset = r.starting_offset.min(0),
                _ => {}
            })
        }),
        Seeded::conducting("M003", || Conduct::edit(|_, reply, _| each(reply, |ranges| ranges.reverse()))),
        Seeded::conducting("M004", || {
            Conduct::edit(|request, reply, _| {
                let most = match request {
                    Request::GetMetadataAllocated(r) => r.max_results,
                    Request::GetMetadataDelta(r) => r.max_results,
                    _ => 0,
                };
                // The last message gets lost where there is more than one.
                match reply {
                    Reply::GetMetadataAllocated(messages) if most > 0 && messages.len() > 1 => drop(messages.pop()),
                    Reply::GetMetadataDelta(messages) if most > 0 && messages.len() > 1 => drop(messages.pop()),
                    _ => {}
                }
            })
        }),
        Seeded::conducting("M005", || {
            Conduct::edit(|_, reply, _| {
                each(reply, |ranges| ranges.iter_mut().for_each(|range| range.size_bytes += 1 << 20))
            })
        }),
        Seeded::conducting("M006", || {
            Conduct::after(|request, answer, _| {
                let rpcs = [Rpc::GetMetadataAllocated, Rpc::GetMetadataDelta];
                match answer {
                    Err(refusal) if rpcs.contains(&request.rpc()) && refusal.code() == Code::OutOfRange => {
                        Ok(super::conduct::empty(request.rpc()))
                    }
                    answer => answer,
                }
            })
        }),
    ]
}

fn each(reply: &mut Reply, change: impl Fn(&mut Vec<BlockMetadata>)) {
    match reply {
        Reply::GetMetadataAllocated(messages) => messages.iter_mut().for_each(|it| change(&mut it.block_metadata)),
        Reply::GetMetadataDelta(messages) => messages.iter_mut().for_each(|it| change(&mut it.block_metadata)),
        _ => {}
    }
}
