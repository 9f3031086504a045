//! Places that are not those that were asked for.

use super::{conduct::Conduct, registry::Seeded};
use crate::history::{Reply, Request};

pub(super) fn faults() -> Vec<Seeded> {
    vec![
        Seeded::conducting("B075", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolume(r) = request {
                    r.accessibility_requirements = None;
                }
            })
        }),
        Seeded::conducting("B202", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetInfo(info) = reply {
                    info.accessible_topology = None;
                }
            })
        }),
    ]
}
