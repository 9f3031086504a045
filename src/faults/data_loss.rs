//! Data that is gone, mixed up or never arrives.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

use super::{
    conduct::{Conduct, Step},
    past::Past,
    registry::Seeded,
    snapshot::{from_the_volume, source_lost},
};
use crate::{csi::v1, history::Request};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B012", || {
            Conduct::before(|request, past| match &request {
                Request::NodePublishVolume(r)
                    if !r.staging_target_path.is_empty() && !past.is_staged(&r.volume_id, &r.staging_target_path) =>
                {
                    let stage = v1::NodeStageVolumeRequest {
                        volume_id: r.volume_id.clone(),
                        staging_target_path: r.staging_target_path.clone(),
                        volume_capability: r.volume_capability.clone(),
                        publish_context: r.publish_context.clone(),
                        volume_context: r.volume_context.clone(),
                        ..Default::default()
                    };
                    Step::AskAlso(vec![stage.into()], request.clone())
                }
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B015", || {
            Conduct::pretend(|request, past| match request {
                Request::NodeStageVolume(r) => past
                    .all(|it, answer| match it {
                        Request::NodeStageVolume(it) if answer.is_ok() => {
                            Some((it.volume_id.clone(), it.staging_target_path.clone()))
                        }
                        _ => None,
                    })
                    .iter()
                    .any(|(volume, path)| {
                        *volume != r.volume_id && *path == r.staging_target_path && past.is_staged(volume, path)
                    }),
                _ => false,
            })
        }),
        Seeded::conducting("B035", || {
            wiping(|request, past| {
                past.volume(&request.volume_id).is_some_and(|volume| volume.content_source.is_some())
            })
        }),
        Seeded::conducting("B040", || {
            Conduct::before(|request, past| match &request {
                Request::DeleteVolume(r) => Step::AskAlso(releases(&r.volume_id, past), request.clone()),
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B100", || wiping(|_, _| true)),
        Seeded::conducting("B108", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolume(r) = request {
                    let end = r.name.floor_char_boundary(63);
                    r.name.truncate(end);
                }
            })
        }),
        Seeded::conducting("B139", || {
            Conduct::before(|request, past| match &request {
                Request::CreateVolume(r) => match spoiled(r, past) {
                    Some(volume_id) => {
                        let delete = v1::DeleteVolumeRequest { volume_id, ..Default::default() };
                        Step::AskThen(request.clone(), vec![delete.into()])
                    }
                    None => Step::Ask(request),
                },
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B176", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolume(r) = request
                    && !r.name.is_empty()
                {
                    let mut hasher = DefaultHasher::new();
                    r.name.hash(&mut hasher);
                    r.name = format!("volume-{:02x}", hasher.finish() % 97);
                }
            })
        }),
        Seeded::conducting("B180", || {
            Conduct::pretend(|request, past| match request {
                Request::NodePublishVolume(r) => {
                    past.holder_of(&r.target_path).is_some_and(|holder| holder != r.volume_id)
                }
                _ => false,
            })
        }),
        Seeded::conducting("B198", || source_lost(from_the_volume)),
    ]
}

/// Empties a volume when it is published for writing.
fn wiping(when: impl Fn(&v1::NodePublishVolumeRequest, &Past) -> bool + Send + Sync + 'static) -> Conduct {
    Conduct::after(move |request, answer, past| {
        if let Request::NodePublishVolume(r) = request
            && answer.is_ok()
            && !r.readonly
            && when(r, past)
            && !past.is_published(&r.volume_id, &r.target_path)
        {
            let entries = fs::read_dir(Path::new(&r.target_path)).into_iter().flatten().flatten();
            entries.for_each(|entry| drop(fs::remove_file(entry.path())));
        }
        answer
    })
}

/// The calls that take a volume away from whoever uses it.
fn releases(volume: &str, past: &Past) -> Vec<Request> {
    let volume_id = volume.to_owned();
    let unpublish = past
        .targets_of(volume)
        .into_iter()
        .map(|target_path| v1::NodeUnpublishVolumeRequest { volume_id: volume_id.clone(), target_path }.into());
    let staged = past.all(|request, answer| match request {
        Request::NodeStageVolume(r) if r.volume_id == volume && answer.is_ok() => Some(r.staging_target_path.clone()),
        _ => None,
    });
    let unstage = staged.into_iter().map(|staging_target_path| {
        v1::NodeUnstageVolumeRequest { volume_id: volume_id.clone(), staging_target_path }.into()
    });
    let detach = v1::ControllerUnpublishVolumeRequest { volume_id: volume_id.clone(), ..Default::default() };
    unpublish.chain(unstage).chain([detach.into()]).collect()
}

/// The volume that a request would fail to repeat.
fn spoiled(request: &v1::CreateVolumeRequest, past: &Past) -> Option<String> {
    let volume = past.volume_named(&request.name)?;
    let creation = past.creation(&volume.volume_id)?;
    (past.volume(&volume.volume_id).is_some() && creation != *request).then_some(volume.volume_id)
}
