//! Groups that are not whole, or not together.

use tonic::Code;

use super::{conduct::Conduct, registry::Seeded};
use crate::{
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("G001", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolumeGroupSnapshot(r) = request
                    && r.source_volume_ids.len() > 1
                {
                    r.source_volume_ids.truncate(1);
                }
            })
        }),
        Seeded::conducting("G002", || Conduct::pretend(|request, _| request.rpc() == Rpc::DeleteVolumeGroupSnapshot)),
        Seeded::conducting("G003", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::CreateVolumeGroupSnapshot(reply) = reply {
                    let members = reply.group_snapshot.iter_mut().flat_map(|group| &mut group.snapshots);
                    members.for_each(|member| member.group_snapshot_id.clear());
                }
            })
        }),
        Seeded::conducting("G004", || Conduct::recode(Rpc::GetVolumeGroupSnapshot, Code::NotFound, Code::Internal)),
        Seeded::conducting("G005", || {
            Conduct::rewrite(|request, past| {
                if let Request::CreateVolumeGroupSnapshot(r) = request {
                    let before =
                        past.count(|it| matches!(it, Request::CreateVolumeGroupSnapshot(it) if it.name == r.name));
                    if before > 0 && r.name.len() < 120 {
                        r.name = format!("{}~{before}", r.name);
                    }
                }
            })
        }),
    ]
}
