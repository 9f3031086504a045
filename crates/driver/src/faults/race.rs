//! Calls that get into each other's way, with the moment made certain: at a pause point the first of two waits for the
//! second.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use tonic::Code;

use super::{
    conduct::{Conduct, Step, empty, status},
    data_loss::wipe,
    misdirected::Misdirections,
    registry::Seeded,
    running::{PausePoint, racing},
    stack,
};
use crate::{
    csi::v1::{self, volume_content_source as source},
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B165", loser_cleans_up),
        Seeded::conducting("B025", late_unstage),
        Seeded::conducting("B026", late_publish),
        Seeded::conducting("B027", both_mount),
        Seeded::conducting("B093", || {
            racing(
                PausePoint::named("publish-beside-unpublish", mounts, |one, other| {
                    matches!((one, other), (Request::NodePublishVolume(one), Request::NodeUnpublishVolume(other))
                        if one.volume_id == other.volume_id && one.target_path != other.target_path)
                }),
                |request, _, _| Step::Ask(request),
                |request, answer, met, _| {
                    if let Request::NodePublishVolume(r) = request
                        && answer.is_ok()
                        && met.any(|it| it.rpc() == Rpc::NodeUnpublishVolume)
                    {
                        stack::die(&r.target_path);
                    }
                    answer
                },
            )
        }),
        same_slot(),
        Seeded::conducting("B157", lost_directory),
        Seeded::conducting("B166", late_roll_back),
        Seeded::conducting("B167", source_goes),
        Seeded::conducting("B205", || {
            Conduct::refuse(Code::NotFound, |request, past| {
                request.rpc() == Rpc::NodeUnpublishVolume && past.has_succeeded(request)
            })
        }),
    ]
}

/// Whoever repeats a creation that raced finds the volume cleaned up by the loser.
fn loser_cleans_up() -> Conduct {
    let raced: Mutex<BTreeSet<String>> = Mutex::default();
    let creates = |request: &Request| request.rpc() == Rpc::CreateVolume;
    racing(
        PausePoint::named(
            "creations-of-one-name",
            creates,
            |one, other| matches!((one, other), (Request::CreateVolume(one), Request::CreateVolume(other)) if one.name == other.name),
        ),
        move |request, met, past| {
            let Request::CreateVolume(r) = &request else { return Step::Ask(request) };
            let mut raced = raced.lock().unwrap_or_else(PoisonError::into_inner);
            if met.any(|_| true) {
                raced.insert(r.name.clone());
                return Step::Ask(request);
            }
            match past.volume_named(&r.name).filter(|_| raced.contains(&r.name)) {
                Some(volume) => {
                    let delete = v1::DeleteVolumeRequest { volume_id: volume.volume_id, ..Default::default() };
                    Step::AskThen(request, vec![delete.into()])
                }
                None => Step::Ask(request),
            }
        },
        |_, answer, _, _| answer,
    )
}

/// Of two equal Publish calls that run at once both mount.
fn both_mount() -> Conduct {
    let publishes = |request: &Request| request.rpc() == Rpc::NodePublishVolume;
    racing(
        PausePoint::named("equal-publishes", publishes, |one, other| one == other),
        |request, _, _| Step::Ask(request),
        |request, answer, met, _| {
            if let Request::NodePublishVolume(r) = request
                && answer.is_ok()
                && met.first().is_some()
            {
                stack::mount_over(&r.target_path);
            }
            answer
        },
    )
}

/// An Unstage that is answered before it is done: it is done when the volume has been staged again.
fn late_unstage() -> Conduct {
    let late: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
    Conduct::before(move |request, past| {
        let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
        match &request {
            Request::NodeUnstageVolume(r) if past.is_staged(&r.volume_id, &r.staging_target_path) => {
                late.insert((r.volume_id.clone(), r.staging_target_path.clone()));
                Step::Answer(Ok(empty(request.rpc())))
            }
            Request::NodeStageVolume(r) if late.remove(&(r.volume_id.clone(), r.staging_target_path.clone())) => {
                let unstage = v1::NodeUnstageVolumeRequest {
                    volume_id: r.volume_id.clone(),
                    staging_target_path: r.staging_target_path.clone(),
                };
                Step::AskThen(request, vec![unstage.into()])
            }
            _ => Step::Ask(request),
        }
    })
}

/// A Publish whose caller is gone goes on: it mounts after an Unpublish has said that nothing is there.
fn late_publish() -> Conduct {
    let late: Arc<Mutex<BTreeMap<String, Request>>> = Arc::default();
    let given_up = late.clone();
    Conduct::before(move |request, _| match &request {
        Request::NodeUnpublishVolume(r) => {
            match late.lock().unwrap_or_else(PoisonError::into_inner).remove(&r.target_path) {
                Some(publish) => Step::AskThen(request, vec![publish]),
                None => Step::Ask(request),
            }
        }
        _ => Step::Ask(request),
    })
    .and_hurried(move |request, _| match request {
        Request::NodePublishVolume(r) => {
            let mut late = given_up.lock().unwrap_or_else(PoisonError::into_inner);
            late.insert(r.target_path.clone(), request.clone());
            Some(Err(status(Code::DeadlineExceeded)))
        }
        // The moment comes with an Unpublish whose caller waits for the answer.
        Request::NodeUnpublishVolume(_) => Some(Err(status(Code::DeadlineExceeded))),
        _ => None,
    })
}

/// Volumes that are attached at the same time get one slot, and the node finds the first of them in it.
fn same_slot() -> Seeded {
    let slots = Misdirections::default();
    let shared = slots.clone();
    Seeded::conducting("B127", move || {
        let slots = slots.clone();
        let attaches = |request: &Request| request.rpc() == Rpc::ControllerPublishVolume;
        racing(
            PausePoint::named("attachments-of-two-volumes", attaches, |one, other| {
                matches!((one, other), (Request::ControllerPublishVolume(one), Request::ControllerPublishVolume(other))
                    if one.volume_id != other.volume_id)
            }),
            move |request, met, _| {
                if let (Request::ControllerPublishVolume(r), Some(Request::ControllerPublishVolume(first))) =
                    (&request, met.first())
                {
                    slots.lead(&r.volume_id, &first.volume_id);
                }
                Step::Ask(request)
            },
            |_, answer, _, _| answer,
        )
    })
    .and_replacing(move |parts| shared.within(parts))
}

/// A Publish that meets an Unpublish of its target takes the directory for its own: later Unpublish calls find nothing.
fn lost_directory() -> Conduct {
    let lost: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    racing(
        PausePoint::named("publish-and-unpublish-of-one-target", mounts, |one, other| {
            matches!((one, other), (Request::NodePublishVolume(one), Request::NodeUnpublishVolume(other))
                if one.target_path == other.target_path)
        }),
        move |request, met, _| {
            let Request::NodeUnpublishVolume(r) = &request else { return Step::Ask(request) };
            let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
            if lost.contains(&r.target_path) {
                return Step::Answer(Ok(empty(request.rpc())));
            }
            if met.any(|_| true) {
                lost.insert(r.target_path.clone());
            }
            Step::Ask(request)
        },
        |_, answer, _, _| answer,
    )
}

/// A creation whose caller is gone is rolled back after its repetition has succeeded.
fn late_roll_back() -> Conduct {
    let given_up: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let late = given_up.clone();
    Conduct::before(move |request, past| {
        let Request::CreateVolume(r) = &request else { return Step::Ask(request) };
        let known = past.volume_named(&r.name).filter(|volume| past.volume(&volume.volume_id).is_some());
        // Only what exists can go: the volume of the repetition, as soon as it is asked for once more.
        match known {
            Some(volume) if late.lock().unwrap_or_else(PoisonError::into_inner).remove(&r.name) => {
                let delete = v1::DeleteVolumeRequest { volume_id: volume.volume_id, ..Default::default() };
                Step::AskAlso(vec![delete.into()], request)
            }
            _ => Step::Ask(request),
        }
    })
    .and_hurried(move |request, _| {
        let Request::CreateVolume(r) = request else { return None };
        given_up.lock().unwrap_or_else(PoisonError::into_inner).insert(r.name.clone());
        Some(Err(status(Code::DeadlineExceeded)))
    })
}

/// A snapshot is deleted while a volume is made from it; the volume comes out empty.
fn source_goes() -> Conduct {
    let emptied: Mutex<BTreeSet<String>> = Mutex::default();
    let waits = |request: &Request| match request {
        Request::CreateVolume(r) => r.volume_content_source.is_some(),
        request => request.rpc() == Rpc::DeleteSnapshot,
    };
    racing(
        PausePoint::named("restore-and-deletion", waits, |one, other| {
            matches!((one, other), (Request::CreateVolume(one), Request::DeleteSnapshot(other))
                if comes_from(one, &other.snapshot_id))
        }),
        |request, met, _| match &request {
            Request::DeleteSnapshot(_) if met.any(|_| true) => Step::Answer(Ok(empty(request.rpc()))),
            _ => Step::Ask(request),
        },
        move |request, answer, met, past| {
            let mut emptied = emptied.lock().unwrap_or_else(PoisonError::into_inner);
            match (request, &answer) {
                (Request::CreateVolume(_), Ok(Reply::CreateVolume(reply))) if met.any(|_| true) => {
                    emptied.extend(reply.volume.iter().map(|volume| volume.volume_id.clone()));
                }
                (Request::NodePublishVolume(r), Ok(_))
                    if emptied.contains(&r.volume_id) && !past.is_published(&r.volume_id, &r.target_path) =>
                {
                    wipe(&r.target_path);
                }
                _ => {}
            }
            answer
        },
    )
}

/// Whether the request mounts something, or unmounts it.
fn mounts(request: &Request) -> bool {
    matches!(request.rpc(), Rpc::NodePublishVolume | Rpc::NodeUnpublishVolume)
}

fn comes_from(request: &v1::CreateVolumeRequest, snapshot: &str) -> bool {
    matches!(request.volume_content_source.as_ref().and_then(|it| it.r#type.as_ref()),
        Some(source::Type::Snapshot(of)) if of.snapshot_id == snapshot)
}
