//! What fits nowhere else.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tonic::Code;

use super::{conduct::Conduct, registry::Seeded};
use crate::{
    csi::v1::{NodePublishVolumeRequest, volume_capability::AccessType},
    history::Request,
};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        // Space that held something else before: each fifth volume, told by its id.
        Seeded::conducting("B101", || {
            Conduct::refuse(Code::Internal, |request, _| match request {
                Request::NodeStageVolume(r) => r.volume_id.bytes().map(u32::from).sum::<u32>().is_multiple_of(5),
                _ => false,
            })
        }),
        Seeded::conducting("B141", || {
            Conduct::after(|request, answer, _| {
                if let Request::NodePublishVolume(r) = request
                    && answer.is_ok()
                {
                    // A read-only target keeps its mode.
                    let _ = fs::set_permissions(&r.target_path, fs::Permissions::from_mode(0o777));
                }
                answer
            })
        }),
        Seeded::conducting("B142", || {
            Conduct::refuse(Code::Internal, |request, past| match request {
                Request::NodePublishVolume(r) => {
                    has_group(r)
                        && past.count(|it| matches!(it, Request::NodePublishVolume(it) if it.volume_id == r.volume_id))
                            > 0
                }
                _ => false,
            })
        }),
    ]
}

fn has_group(request: &NodePublishVolumeRequest) -> bool {
    let kind = request.volume_capability.as_ref().and_then(|it| it.access_type.as_ref());
    matches!(kind, Some(AccessType::Mount(mount)) if !mount.volume_mount_group.is_empty())
}
