//! References that are counted twice, or not at all.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tonic::Code;

use super::{
    conduct::{Conduct, Step, empty, status},
    past::Past,
    registry::Seeded,
    stack,
};
use crate::{csi::v1, history::Request, spec::Rpc};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B024", || {
            Conduct::before(|request, past| match &request {
                Request::NodeUnstageVolume(r) => Step::AskAlso(unpublishes(&r.volume_id, past), request.clone()),
                Request::NodeUnpublishVolume(r) if is_unstaged_below(r, past) => {
                    Step::Answer(Err(status(Code::Internal)))
                }
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
        Seeded::conducting("B089", || {
            Conduct::after(|request, answer, past| {
                if let Request::NodeUnstageVolume(r) = request
                    && answer.is_ok()
                    && past.is_staged(&r.volume_id, &r.staging_target_path)
                {
                    let others = past.volumes().into_iter().filter(|volume| volume.volume_id != r.volume_id);
                    others.flat_map(|volume| past.targets_of(&volume.volume_id)).for_each(|it| stack::die(&it));
                }
                answer
            })
        }),
        Seeded::conducting("B095", || {
            Conduct::refuse(Code::FailedPrecondition, |request, past| match request {
                Request::NodeUnstageVolume(r) => past
                    .last(|it, answer| match it {
                        Request::NodePublishVolume(it)
                            if it.volume_id == r.volume_id && it.staging_target_path == r.staging_target_path =>
                        {
                            answer.is_err().then_some(())
                        }
                        _ => None,
                    })
                    .is_some(),
                _ => false,
            })
        }),
        forgotten_counts(),
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
            Conduct::before(|request, past| match &request {
                Request::NodeUnstageVolume(r) if !past.targets_of(&r.volume_id).is_empty() => {
                    Step::Answer(Ok(empty(request.rpc())))
                }
                Request::NodeUnpublishVolume(r) if is_unstaged_below(r, past) => {
                    Step::Answer(Err(status(Code::Internal)))
                }
                _ => Step::Ask(request),
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

/// What the counts were is forgotten at a restart: whoever goes first takes the shared mount along.
fn forgotten_counts() -> Seeded {
    let targets: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
    Seeded::conducting("B184", move || {
        let before = targets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let targets = targets.clone();
        Conduct::after(move |request, answer, _| {
            let mut targets = targets.lock().unwrap_or_else(PoisonError::into_inner);
            match request {
                Request::NodePublishVolume(r) if answer.is_ok() => {
                    targets.insert((r.volume_id.clone(), r.target_path.clone()));
                }
                Request::NodeUnpublishVolume(r) if answer.is_ok() => {
                    let gone = (r.volume_id.clone(), r.target_path.clone());
                    targets.remove(&gone);
                    if before.contains(&gone) {
                        let siblings = targets.iter().filter(|it| it.0 == gone.0 && before.contains(*it));
                        siblings.for_each(|(_, target)| stack::die(target));
                    }
                }
                _ => {}
            }
            answer
        })
    })
}

/// Whether the volume was unstaged since it was published at the target.
fn is_unstaged_below(request: &v1::NodeUnpublishVolumeRequest, past: &Past) -> bool {
    past.last(|it, answer| match it {
        Request::NodePublishVolume(it) if it.target_path == request.target_path => answer.is_ok().then_some(false),
        Request::NodeUnstageVolume(it) if it.volume_id == request.volume_id => answer.is_ok().then_some(true),
        _ => None,
    })
    .unwrap_or(false)
        && past.is_published(&request.volume_id, &request.target_path)
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
