//! Data that is gone, mixed up or never arrives.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

use super::{
    conduct::{Conduct, Step},
    misdirected::Misdirections,
    past::Past,
    registry::Seeded,
    snapshot::{from_the_volume, source_lost},
    stack,
};
use crate::{csi::v1, history::Request};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        // The staging mount is gone when the volume is published.
        Seeded::conducting("B012", || {
            Conduct::after(|request, answer, past| {
                if let Request::NodePublishVolume(r) = request
                    && answer.is_ok()
                    && !past.is_published(&r.volume_id, &r.target_path)
                    && Path::new(&r.target_path).is_dir()
                {
                    stack::unmount(&r.staging_target_path);
                    stack::unmount(&r.target_path);
                    stack::bind(&r.staging_target_path, &r.target_path);
                }
                answer
            })
        }),
        stale_staging(),
        stale_mapping(),
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
        Seeded::conducting("B097", || {
            Conduct::before(|request, past| {
                if let Request::NodeUnpublishVolume(r) = &request
                    && past.is_published(&r.volume_id, &r.target_path)
                {
                    wipe(&r.target_path);
                }
                Step::Ask(request)
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
        orphan_path(),
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
            wipe(&r.target_path);
        }
        answer
    })
}

/// Removes the files in a directory.
pub(super) fn wipe(path: &str) {
    let entries = fs::read_dir(Path::new(path)).into_iter().flatten().flatten();
    // What cannot be removed stays.
    entries.for_each(|entry| drop(fs::remove_file(entry.path())));
}

/// What another volume left mounted at the staging path is taken for the volume's own mount.
fn stale_staging() -> Seeded {
    let stale = Misdirections::default();
    let shared = stale.clone();
    Seeded::conducting("B015", move || {
        let stale = stale.clone();
        Conduct::before(move |request, past| {
            if let Request::NodeStageVolume(r) = &request {
                let other = past.last(|it, answer| match it {
                    Request::NodeStageVolume(it)
                        if it.staging_target_path == r.staging_target_path
                            && it.volume_id != r.volume_id
                            && answer.is_ok() =>
                    {
                        past.volume(&it.volume_id).map(|volume| volume.volume_id)
                    }
                    _ => None,
                });
                other.into_iter().for_each(|other| stale.lead(&r.volume_id, &other));
            }
            Step::Ask(request)
        })
    })
    .and_replacing(move |parts| shared.within(parts))
}

/// The mapping that the first staging opened is found open by all that follow.
fn stale_mapping() -> Seeded {
    let mappings = Misdirections::default();
    let shared = mappings.clone();
    Seeded::conducting("B022", move || {
        let mappings = mappings.clone();
        Conduct::before(move |request, past| {
            if let Request::NodeStageVolume(r) = &request {
                let first = past.last(|it, answer| match it {
                    Request::NodeStageVolume(it) if answer.is_ok() && it.volume_id != r.volume_id => {
                        past.is_staged(&it.volume_id, &it.staging_target_path).then(|| it.volume_id.clone())
                    }
                    _ => None,
                });
                first.into_iter().for_each(|first| mappings.lead(&r.volume_id, &first));
            }
            Step::Ask(request)
        })
    })
    .and_replacing(move |parts| shared.within(parts))
}

/// The paths of a volume whose flush failed at Unstage stay; the next volume in its slot is reached through them.
fn orphan_path() -> Seeded {
    let paths = Misdirections::default();
    let shared = paths.clone();
    Seeded::conducting("B131", move || {
        let paths = paths.clone();
        Conduct::before(move |request, past| {
            if let Request::NodeStageVolume(r) = &request {
                let gone = past.last(|it, answer| match it {
                    Request::NodeUnstageVolume(it) if answer.is_ok() && it.volume_id != r.volume_id => {
                        past.volume(&it.volume_id).map(|volume| volume.volume_id)
                    }
                    _ => None,
                });
                gone.into_iter().for_each(|gone| paths.lead(&r.volume_id, &gone));
            }
            Step::Ask(request)
        })
    })
    .and_replacing(move |parts| shared.within(parts))
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
