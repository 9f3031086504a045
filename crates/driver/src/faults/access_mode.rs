//! Access modes and the read-only flag, taken lightly.

use super::{capability::mode, conduct::Conduct, past::Past, registry::Seeded};
use crate::{
    csi::v1::{self, volume_capability::access_mode::Mode},
    history::Request,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B032", || {
            Conduct::after(|request, answer, past| {
                if let Request::NodePublishVolume(r) = request
                    && answer.is_ok()
                    && !past.is_published(&r.volume_id, &r.target_path)
                {
                    super::stack::make_read_only(&r.target_path);
                }
                answer
            })
        }),
        Seeded::conducting("B066", || {
            Conduct::rewrite(|request, _| match request {
                Request::NodePublishVolume(r) => r.readonly = false,
                Request::ControllerPublishVolume(r) => r.readonly = false,
                _ => {}
            })
        }),
        Seeded::conducting("B086", || second_target(Mode::SingleNodeSingleWriter)),
        Seeded::conducting("B087", || second_target(Mode::SingleNodeWriter)),
        Seeded::conducting("B143", || {
            Conduct::rewrite(|request, past| {
                if let Request::NodePublishVolume(r) = request
                    && !past.is_published(&r.volume_id, &r.target_path)
                    && let Some(first) = past.targets_of(&r.volume_id).first()
                {
                    let flag = past.last(|it, answer| match it {
                        Request::NodePublishVolume(it) if it.target_path == *first && answer.is_ok() => {
                            Some(it.readonly)
                        }
                        _ => None,
                    });
                    r.readonly = flag.unwrap_or(r.readonly);
                }
            })
        }),
        Seeded::conducting("B179", || {
            Conduct::pretend(|request, past| match request {
                Request::NodePublishVolume(r) => past.is_published(&r.volume_id, &r.target_path),
                _ => false,
            })
        }),
    ]
}

fn second_target(wanted: Mode) -> Conduct {
    Conduct::pretend(move |request, past| match request {
        Request::NodePublishVolume(r) => {
            r.volume_capability.as_ref().is_some_and(|it| mode(it) == wanted as i32) && is_elsewhere(r, past)
        }
        _ => false,
    })
}

fn is_elsewhere(request: &v1::NodePublishVolumeRequest, past: &Past) -> bool {
    past.targets_of(&request.volume_id).iter().any(|target| *target != request.target_path)
}
