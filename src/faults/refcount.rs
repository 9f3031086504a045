//! References that are counted twice, or not at all.

use tonic::Code;

use super::{
    conduct::{Conduct, Step},
    past::Past,
    registry::Seeded,
};
use crate::{csi::v1, history::Request, spec::Rpc};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B024", || {
            Conduct::before(|request, past| match &request {
                Request::NodeUnstageVolume(r) => Step::AskAlso(unpublishes(&r.volume_id, past), request.clone()),
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B085", || {
            Conduct::pretend(|request, past| match request {
                Request::ControllerUnpublishVolume(r) => one_too_many(past, |it, is_ok| match it {
                    Request::ControllerPublishVolume(it) if it.volume_id == r.volume_id && it.node_id == r.node_id => {
                        is_ok.then_some(Count::Up)
                    }
                    Request::ControllerUnpublishVolume(it) if it.volume_id == r.volume_id => {
                        is_ok.then_some(Count::Down)
                    }
                    _ => None,
                }),
                _ => false,
            })
        }),
        Seeded::conducting("B155", || {
            Conduct::before(|request, past| match &request {
                Request::NodeStageVolume(r) if past.is_staged(&r.volume_id, &r.staging_target_path) => {
                    let unstage = v1::NodeUnstageVolumeRequest {
                        volume_id: r.volume_id.clone(),
                        staging_target_path: r.staging_target_path.clone(),
                    };
                    Step::AskThen(request.clone(), vec![unstage.into()])
                }
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B156", || {
            Conduct::refuse(Code::Internal, |request, past| match request {
                Request::NodeStageVolume(r) => past
                    .last(|it, answer| match it {
                        Request::NodeStageVolume(it)
                            if it.volume_id == r.volume_id
                                && it.staging_target_path != r.staging_target_path
                                && answer.is_ok() =>
                        {
                            Some(past_path(it))
                        }
                        _ => None,
                    })
                    .is_some_and(|path| past.is_staged(&r.volume_id, &path)),
                _ => false,
            })
        }),
        Seeded::conducting("B160", || {
            Conduct::pretend(|request, past| match request {
                Request::NodeUnstageVolume(r) => !past.targets_of(&r.volume_id).is_empty(),
                _ => false,
            })
        }),
        Seeded::conducting("B181", || {
            Conduct::rewrite(|request, past| {
                if let Request::NodeUnpublishVolume(r) = request
                    && let Some(holder) = past.holder_of(&r.target_path)
                {
                    r.volume_id = holder;
                }
            })
        }),
        Seeded::conducting("B182", || {
            Conduct::pretend(|request, past| match request {
                Request::NodeUnpublishVolume(r) => one_too_many(past, |it, is_ok| match it {
                    Request::NodePublishVolume(it)
                        if it.volume_id == r.volume_id && it.target_path == r.target_path =>
                    {
                        is_ok.then_some(Count::Up)
                    }
                    Request::NodeUnpublishVolume(it)
                        if it.volume_id == r.volume_id && it.target_path == r.target_path =>
                    {
                        is_ok.then_some(Count::Down)
                    }
                    _ => None,
                }),
                _ => false,
            })
        }),
        Seeded::conducting("B183", || {
            Conduct::before(|request, past| match &request {
                Request::NodeUnpublishVolume(r) if !past.is_published(&r.volume_id, &r.target_path) => {
                    Step::AskThen(request.clone(), unpublishes(&r.volume_id, past))
                }
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B092", || {
            Conduct::pretend(|request, past| {
                request.rpc() == Rpc::NodeUnpublishVolume
                    && matches!(request, Request::NodeUnpublishVolume(r) if !std::path::Path::new(&r.target_path).exists()
                        && past.is_published(&r.volume_id, &r.target_path))
            })
        }),
    ]
}

fn past_path(request: &v1::NodeStageVolumeRequest) -> String {
    request.staging_target_path.clone()
}

enum Count {
    Up,
    Down,
}

/// Whether something was taken more often than once since it was last given back.
fn one_too_many(past: &Past, counts: impl Fn(&Request, bool) -> Option<Count>) -> bool {
    let steps = past.all(|request, answer| counts(request, answer.is_ok()));
    let mut count = 0_usize;
    for step in steps {
        count = match step {
            Count::Up => count + 1,
            Count::Down => count.saturating_sub(1),
        };
    }
    count > 1
}

fn unpublishes(volume: &str, past: &Past) -> Vec<Request> {
    let volume_id = volume.to_owned();
    let unpublish = |target_path| v1::NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path }.into();
    past.targets_of(volume).into_iter().map(unpublish).collect()
}
