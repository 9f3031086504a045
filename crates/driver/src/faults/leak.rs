//! Something stays behind, and the answer says it does not.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tonic::Code;

use super::{
    conduct::{Conduct, Step, empty},
    registry::Seeded,
    stack,
};
use crate::{history::Request, spec::Rpc};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B003", || {
            Conduct::after(|request, answer, past| {
                if let Request::NodeUnpublishVolume(r) = request
                    && answer.is_ok()
                    && past.is_published(&r.volume_id, &r.target_path)
                {
                    // What cannot be left behind is not left behind.
                    let _ = fs::create_dir(Path::new(&r.target_path));
                }
                answer
            })
        }),
        Seeded::conducting("B004", || Conduct::pretend(|request, _| request.rpc() == Rpc::NodeUnpublishVolume)),
        // The backend goes away, so that nobody can tell what is at the target.
        Seeded::conducting("B005", || {
            Conduct::before(|request, past| match &request {
                Request::NodeUnpublishVolume(r) if past.is_published(&r.volume_id, &r.target_path) => {
                    stack::die(&r.target_path);
                    Step::Answer(Ok(empty(request.rpc())))
                }
                _ => Step::Ask(request),
            })
        }),
        Seeded::conducting("B010", || {
            Conduct::after(|request, answer, _| {
                if let Request::NodePublishVolume(r) = request
                    && answer.is_err()
                    && Path::new(&r.target_path).is_absolute()
                {
                    let _ = fs::create_dir(Path::new(&r.target_path));
                }
                answer
            })
        }),
        Seeded::conducting("B016", || {
            Conduct::after(|request, answer, past| {
                if let Request::NodeStageVolume(r) = request
                    && answer.is_ok()
                    && past.is_staged(&r.volume_id, &r.staging_target_path)
                {
                    super::stack::mount_over(&r.staging_target_path);
                }
                answer
            })
        }),
        Seeded::conducting("B017", || {
            Conduct::pretend(|request, past| {
                matches!(request, Request::NodeUnstageVolume(r)
                    if !r.volume_id.is_empty() && !past.is_staged(&r.volume_id, &r.staging_target_path))
            })
        }),
        // The private mount is looked up under another id and stays: the volume is in use for ever.
        Seeded::conducting("B031", || {
            Conduct::refuse(Code::FailedPrecondition, |request, past| {
                matches!(request, Request::DeleteVolume(r) if past.count(|it| matches!(it,
                    Request::NodePublishVolume(it) if it.volume_id == r.volume_id)) > 0)
            })
        }),
        Seeded::conducting("B039", || Conduct::pretend(|request, _| request.rpc() == Rpc::DeleteVolume)),
        Seeded::conducting("B061", || {
            Conduct::rewrite(|request, past| {
                if let Request::CreateSnapshot(r) = request {
                    let before = past.count(|it| matches!(it, Request::CreateSnapshot(it) if it.name == r.name));
                    if before > 0 && r.name.len() < 120 {
                        r.name = format!("{}~{before}", r.name);
                    }
                }
            })
        }),
        Seeded::conducting("B098", || {
            Conduct::default().and_hurried(|request, _| {
                let probes = matches!(request.rpc(), Rpc::NodeUnpublishVolume | Rpc::NodeUnstageVolume);
                probes.then(|| Ok(empty(request.rpc())))
            })
        }),
        Seeded::conducting("B150", || {
            Conduct::after(|request, answer, past| {
                if let Request::NodePublishVolume(r) = request
                    && answer.is_ok()
                    && !past.is_published(&r.volume_id, &r.target_path)
                {
                    let quiet = Stdio::null;
                    // Where none can be started, none is left.
                    let _ = Command::new("sleep").arg("60").stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
                }
                answer
            })
        }),
        Seeded::conducting("B112", || {
            Conduct::pretend(
                |request, past| matches!(request, Request::DeleteVolume(r) if past.has_snapshots(&r.volume_id)),
            )
        }),
    ]
}
