//! Snapshots: lists, filters, contents, groups.

use tonic::Code;

use super::{
    conduct::{Conduct, Step},
    idempotency::volume_of,
    past::Past,
    registry::Seeded,
};
use crate::{
    csi::v1::{self, volume_content_source as source},
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B034", || {
            Conduct::refuse(Code::Internal, |request, past| match request {
                Request::NodeStageVolume(r) => {
                    past.volume(&r.volume_id).is_some_and(|volume| is_beside_its_source(&volume, past))
                }
                _ => false,
            })
        }),
        Seeded::conducting("B060", || {
            Conduct::after(|request, answer, _| match (request, answer) {
                (Request::CreateSnapshot(r), Err(refusal)) if refusal.code() == Code::NotFound => {
                    let snapshot = v1::Snapshot {
                        snapshot_id: "snap-failed".into(),
                        source_volume_id: r.source_volume_id.clone(),
                        creation_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
                        ..Default::default()
                    };
                    Ok(v1::CreateSnapshotResponse { snapshot: Some(snapshot) }.into())
                }
                (_, answer) => answer,
            })
        }),
        Seeded::conducting("B114", || {
            Conduct::before(|request, past| match &request {
                Request::DeleteSnapshot(r) => {
                    let is_copy = |volume: &v1::Volume| {
                        matches!(volume.content_source.as_ref().and_then(|it| it.r#type.as_ref()),
                            Some(source::Type::Snapshot(of)) if of.snapshot_id == r.snapshot_id)
                    };
                    let copies = past.volumes().into_iter().filter(is_copy);
                    let broken = copies
                        .map(|it| v1::DeleteVolumeRequest { volume_id: it.volume_id, ..Default::default() }.into());
                    Step::AskThen(request.clone(), broken.collect())
                }
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B115", || {
            Conduct::rewrite(|request, _| {
                if let Request::ListSnapshots(r) = request {
                    r.source_volume_id.clear();
                }
            })
        }),
        Seeded::conducting("B117", || {
            Conduct::edit(|request, reply, _| {
                if let (Request::ListSnapshots(r), Reply::ListSnapshots(reply)) = (request, reply)
                    && !r.source_volume_id.is_empty()
                {
                    reply.entries.truncate(1);
                    reply.next_token.clear();
                }
            })
        }),
        Seeded::conducting("B118", || {
            Conduct::rewrite(|request, _| {
                if let Request::ListSnapshots(r) = request
                    && !r.snapshot_id.is_empty()
                {
                    r.source_volume_id.clear();
                }
            })
        }),
        Seeded::conducting("B121", || {
            Conduct::pretend(|request, _| matches!(request, Request::ListSnapshots(r) if !r.snapshot_id.is_empty()))
        }),
        Seeded::conducting("B146", || {
            Conduct::edit(|_, reply, _| match reply {
                Reply::CreateSnapshot(reply) => reply.snapshot.iter_mut().for_each(|it| it.size_bytes = 0),
                Reply::GetSnapshot(reply) => reply.snapshot.iter_mut().for_each(|it| it.size_bytes = 0),
                Reply::ListSnapshots(reply) => {
                    reply.entries.iter_mut().filter_map(|it| it.snapshot.as_mut()).for_each(|it| it.size_bytes = 0);
                }
                _ => {}
            })
        }),
        Seeded::conducting("B169", || {
            Conduct::refuse(Code::AlreadyExists, |request, past| {
                request.rpc() == Rpc::CreateVolumeGroupSnapshot && past.has_succeeded(request)
            })
        }),
        Seeded::conducting("B173", || {
            Conduct::edit(|request, reply, past| {
                if past.has_succeeded(request)
                    && let Some(volume) = volume_of(reply)
                {
                    volume.content_source = None;
                }
            })
        }),
        Seeded::conducting("B196", || source_lost(|_, request| request.volume_content_source = None)),
        Seeded::conducting("B197", || source_lost(from_the_volume)),
    ]
}

/// Whether the volume that a copy comes from is staged: two file systems of one UUID.
fn is_beside_its_source(volume: &v1::Volume, past: &Past) -> bool {
    let source = match volume.content_source.as_ref().and_then(|it| it.r#type.as_ref()) {
        Some(source::Type::Volume(of)) => Some(of.volume_id.clone()),
        Some(source::Type::Snapshot(of)) => past.snapshot(&of.snapshot_id).map(|it| it.source_volume_id),
        None => None,
    };
    source.is_some_and(|source| {
        past.last(|request, answer| match request {
            Request::NodeStageVolume(r) if r.volume_id == source && answer.is_ok() => {
                Some(past.is_staged(&source, &r.staging_target_path))
            }
            _ => None,
        })
        .unwrap_or(false)
    })
}

/// Volumes from snapshots get their content from elsewhere, and say nothing of it.
pub(super) fn source_lost(
    lose: impl Fn(Option<v1::Snapshot>, &mut v1::CreateVolumeRequest) + Send + Sync + 'static,
) -> Conduct {
    Conduct::rewrite(move |request, past| {
        if let Request::CreateVolume(r) = request
            && let Some(source::Type::Snapshot(of)) = r.volume_content_source.as_ref().and_then(|it| it.r#type.as_ref())
            && let Some(snapshot) = past.snapshot(&of.snapshot_id)
        {
            if r.capacity_range.is_none() {
                r.capacity_range = Some(v1::CapacityRange { required_bytes: snapshot.size_bytes, limit_bytes: 0 });
            }
            lose(Some(snapshot), r);
        }
    })
    .and_after(|request, answer, _| {
        answer.map(|mut reply| {
            if let (Request::CreateVolume(r), Some(volume)) = (request, volume_of(&mut reply)) {
                volume.content_source = r.volume_content_source.clone();
            }
            reply
        })
    })
}

/// The content of the source volume as it is now; of the snapshot where that volume is gone.
pub(super) fn from_the_volume(snapshot: Option<v1::Snapshot>, request: &mut v1::CreateVolumeRequest) {
    let Some(snapshot) = snapshot else { return };
    let of = source::VolumeSource { volume_id: snapshot.source_volume_id };
    request.volume_content_source = Some(v1::VolumeContentSource { r#type: Some(source::Type::Volume(of)) });
}
