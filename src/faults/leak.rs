//! Something stays behind, and the answer says it does not.

use std::{fs, path::Path};

use super::{conduct::Conduct, registry::Seeded};
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
        Seeded::conducting("B112", || {
            Conduct::pretend(
                |request, past| matches!(request, Request::DeleteVolume(r) if past.has_snapshots(&r.volume_id)),
            )
        }),
    ]
}
