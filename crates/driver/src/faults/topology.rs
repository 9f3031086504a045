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
        Seeded::conducting("B177", || {
            Conduct::rewrite(|request, _| {
                if let Request::CreateVolume(r) = request
                    && let Some(place) = r.accessibility_requirements.as_ref().and_then(|it| it.preferred.first())
                    && (1..120).contains(&r.name.len())
                {
                    // The id comes from the name and from where the volume goes.
                    let place: Vec<&str> = place.segments.values().map(String::as_str).collect();
                    r.name = format!("{}~{}", r.name, place.join("~"));
                    r.name.truncate(r.name.floor_char_boundary(128));
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
