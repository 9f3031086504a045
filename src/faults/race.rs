//! Calls that get into each other's way, with the moment made certain: the first of two is held up, so that the second
//! always comes in between.

use tonic::Code;

use super::{
    conduct::{Conduct, Step},
    past::Past,
    registry::Seeded,
};
use crate::{csi::v1, history::Request, spec::Rpc};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        // Whoever repeats a creation that raced finds the volume cleaned up by the loser.
        Seeded::conducting("B165", || {
            Conduct::before(|request, past| match &request {
                Request::CreateVolume(r) if lost_a_race(r, past) => {
                    let volume = past.volume_named(&r.name).map(|volume| volume.volume_id).unwrap_or_default();
                    let delete = v1::DeleteVolumeRequest { volume_id: volume, ..Default::default() };
                    Step::AskThen(request.clone(), vec![delete.into()])
                }
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B205", || {
            Conduct::refuse(Code::NotFound, |request, past| {
                request.rpc() == Rpc::NodeUnpublishVolume && past.has_succeeded(request)
            })
        }),
    ]
}

fn lost_a_race(request: &v1::CreateVolumeRequest, past: &Past) -> bool {
    let raced = past.last(|it, answer| match (it, answer) {
        (Request::CreateVolume(it), Err(refusal)) if it.name == request.name => {
            (refusal.code() == Code::Aborted).then_some(())
        }
        _ => None,
    });
    raced.is_some() && past.volume_named(&request.name).is_some()
}
