//! What a driver may do otherwise: the specification leaves it open, so nothing may be held against it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tonic::{Code, Status};

use super::{
    conduct::{Conduct, Step},
    past::Past,
    registry::Seeded,
};
use crate::{
    csi::v1::{self, controller_service_capability as controller, node_service_capability as node},
    driver::{Configuration, Expansion, Parts, capability::Capability, size::Sizes},
    history::{Reply, Request},
    spec::Rpc,
};

pub(super) fn variants() -> Vec<Seeded> {
    let mut all = answers();
    all.extend(settings());
    all.extend(super::cautious::variants());
    all.extend(Capability::all().map(without));
    all
}

fn answers() -> Vec<Seeded> {
    let one = |id, what, conduct: fn() -> Conduct| Seeded::conducting(id, conduct).legally(what);
    vec![
        one("short-pages", "gives pages of at most two volumes or snapshots, whatever was asked for", || {
            Conduct::rewrite(|request, _| match request {
                Request::ListVolumes(r) if r.max_entries >= 0 => r.max_entries = shorter(r.max_entries),
                Request::ListSnapshots(r) if r.max_entries >= 0 => r.max_entries = shorter(r.max_entries),
                _ => {}
            })
        }),
        one("aborted-at-first", "answers ABORTED to the first request of each kind of change, as under load", || {
            Conduct::refuse(Code::Aborted, |request, past| changes(request) && !seen(request, past))
        }),
        one("unavailable-at-first", "answers UNAVAILABLE to the first request of each kind of change", || {
            Conduct::refuse(Code::Unavailable, |request, past| changes(request) && !seen(request, past))
        }),
        one("slow", "takes its time for every change", || {
            Conduct::before(|request, _| match changes(&request) {
                true => Step::Late(request, Duration::from_millis(15)),
                false => Step::Ask(request),
            })
        }),
        one("no-manifest-but-probe-unset", "leaves the field ready out of Probe, which means true", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::Probe(reply) = reply {
                    reply.ready = None;
                }
            })
        }),
        one("with-manifest", "tells more of itself in the manifest", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::GetPluginInfo(info) = reply {
                    info.manifest.insert("build".into(), "of a Tuesday".into());
                }
            })
        }),
        one("no-maximum-size", "does not tell the least and greatest size of volumes", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::GetCapacity(reply) = reply {
                    reply.maximum_volume_size = None;
                    reply.minimum_volume_size = None;
                }
            })
        }),
        one("no-condition-message", "has nothing to say of volumes that are well", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetVolumeStats(reply) = reply {
                    reply.volume_condition.iter_mut().for_each(|it| it.message = "fine".into());
                }
            })
        }),
        one("no-inodes", "tells bytes but no inodes in the statistics", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetVolumeStats(reply) = reply {
                    reply.usage.retain(|usage| usage.unit == i32::from(v1::volume_usage::Unit::Bytes));
                }
            })
        }),
        one("future-controller-capability", "advertises a capability of a later version of the interface", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::ControllerGetCapabilities(reply) = reply {
                    let future = controller::Type::Rpc(controller::Rpc { r#type: 99 });
                    reply.capabilities.push(v1::ControllerServiceCapability { r#type: Some(future) });
                }
            })
        }),
        one("future-node-capability", "advertises a node capability of a later version of the interface", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetCapabilities(reply) = reply {
                    let future = node::Type::Rpc(node::Rpc { r#type: 98 });
                    reply.capabilities.push(v1::NodeServiceCapability { r#type: Some(future) });
                }
            })
        }),
        one("node-decides-nothing", "leaves the number of volumes on a node to the orchestrator", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::NodeGetInfo(info) = reply {
                    info.max_volumes_per_node = 0;
                }
            })
        }),
        one("malformed-ids-invalid", "answers INVALID_ARGUMENT for ids that none of its volumes can have", || {
            Conduct::after(|request, answer, _| {
                answer.map_err(|refusal| match refusal.code() == Code::NotFound && has_foreign_id(request) {
                    true => Status::invalid_argument(refusal.message()),
                    false => refusal,
                })
            })
        }),
        one("delete-refuses-snapshots", "keeps volumes that have snapshots: FAILED_PRECONDITION", || {
            Conduct::refuse(Code::FailedPrecondition, |request, past| {
                matches!(request, Request::DeleteVolume(r)
                    if past.has_snapshots(&r.volume_id) && past.volume(&r.volume_id).is_some())
            })
        }),
        one("delete-refuses-copies", "keeps snapshots from which volumes were made: FAILED_PRECONDITION", || {
            Conduct::refuse(Code::FailedPrecondition, |request, past| {
                matches!(request, Request::DeleteSnapshot(r)
                    if is_copied(&r.snapshot_id, past) && past.snapshot(&r.snapshot_id).is_some())
            })
        }),
        one("long-messages", "explains itself at length", || {
            Conduct::after(|_, answer, _| {
                answer.map_err(|refusal| {
                    Status::new(refusal.code(), format!("{} {}", refusal.message(), "really ".repeat(100)))
                })
            })
        }),
        ripening(),
        one("publish-context-of-its-own", "tells the node nothing at attachment", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::ControllerPublishVolume(reply) = reply {
                    reply.publish_context.clear();
                }
            })
        }),
        one("no-node-expansion", "grows volumes so that the node has nothing to do", Conduct::default)
            .and_replacing(|parts| left_out(parts, &["Node.EXPAND_VOLUME"])),
        one("confirms-without-context", "repeats less of what it confirms", || {
            Conduct::edit(|_, reply, _| {
                if let Reply::ValidateVolumeCapabilities(reply) = reply
                    && let Some(confirmed) = &mut reply.confirmed
                {
                    confirmed.parameters.clear();
                }
            })
        }),
    ]
}

fn settings() -> Vec<Seeded> {
    let one = |id, what, set: fn(&mut Configuration)| {
        Seeded::replacing(id, move |parts| {
            let mut configuration = parts.configuration.clone();
            set(&mut configuration);
            Parts { configuration, ..parts }
        })
        .legally(what)
    };
    vec![
        one("rounds-up", "makes volumes of whole gibibytes", |it| {
            it.sizes = Sizes { minimum: 1 << 30, maximum: 1 << 40, unit: 1 << 30, default: 1 << 30 };
        }),
        one("odd-unit", "makes volumes of multiples of 5 MiB", |it| {
            it.sizes = Sizes { minimum: 5 << 20, maximum: 5 << 38, unit: 5 << 20, default: 5 << 28 };
        }),
        one("small-volumes", "makes no volume above 4 GiB", |it| it.sizes.maximum = 4 << 30),
        one("offline-expansion", "grows volumes only while they are published nowhere", |it| {
            it.expansion = Expansion::Offline;
        }),
        one("two-zones", "has two zones, of which this node sees one", |it| {
            it.topologies =
                ["example.com/zone=a", "example.com/zone=b"].iter().filter_map(|it| it.parse().ok()).collect();
        }),
        one("two-keys", "has topologies of two keys", |it| {
            it.topologies =
                ["example.com/region=r,example.com/zone=a"].iter().filter_map(|it| it.parse().ok()).collect();
        }),
        one("eight-slots", "attaches at most eight volumes to a node", |it| it.max_volumes_per_node = 8),
        one("any-number", "attaches any number of volumes to a node", |it| it.max_volumes_per_node = 0),
        one("small-pool", "has room for 40 GiB", |it| it.pool_capacity = 40 << 30),
    ]
}

/// A driver that lacks a capability, and what depends on it.
fn without(capability: Capability) -> Seeded {
    // Ids live as long as the program; there are as many as there are capabilities.
    let id: &'static str = Box::leak(format!("without-{capability}").into_boxed_str());
    Seeded::replacing(id, move |parts| {
        let without = BTreeSet::from([capability]);
        Parts { configuration: Configuration { without, ..parts.configuration }, ..parts }
    })
    .legally("lacks this capability, and what makes no sense without it")
}

fn left_out(parts: Parts, names: &[&str]) -> Parts {
    let without = names.iter().filter_map(|name| name.parse().ok()).collect();
    Parts { configuration: Configuration { without, ..parts.configuration }, ..parts }
}

/// Snapshots become ready a moment after they were first told of, in the time of the runtime; what is ready stays so,
/// whichever process tells of it.
fn ripening() -> Seeded {
    let told: Arc<Mutex<BTreeMap<String, Instant>>> = Arc::default();
    let conduct = move || {
        let told = told.clone();
        let ripen = move |snapshot: &mut v1::Snapshot| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let since = told.entry(snapshot.snapshot_id.clone()).or_insert_with(Instant::now);
            snapshot.ready_to_use &= since.elapsed() > Duration::from_millis(150);
        };
        Conduct::edit(move |_, reply, _| match reply {
            Reply::CreateSnapshot(reply) => reply.snapshot.iter_mut().for_each(&ripen),
            Reply::GetSnapshot(reply) => reply.snapshot.iter_mut().for_each(&ripen),
            Reply::ListSnapshots(reply) => {
                reply.entries.iter_mut().filter_map(|it| it.snapshot.as_mut()).for_each(&ripen);
            }
            _ => {}
        })
    };
    let what = "says of snapshots that they are not ready for a moment after the cut";
    Seeded::conducting("snapshots-take-a-while", conduct).legally(what)
}

const fn shorter(max_entries: i32) -> i32 {
    if max_entries == 0 || max_entries > 2 { 2 } else { max_entries }
}

fn changes(request: &Request) -> bool {
    matches!(
        request.rpc(),
        Rpc::CreateVolume
            | Rpc::DeleteVolume
            | Rpc::ControllerPublishVolume
            | Rpc::ControllerUnpublishVolume
            | Rpc::CreateSnapshot
            | Rpc::DeleteSnapshot
            | Rpc::ControllerExpandVolume
            | Rpc::NodeStageVolume
            | Rpc::NodeUnstageVolume
            | Rpc::NodePublishVolume
            | Rpc::NodeUnpublishVolume
    )
}

/// Whether this request was made before; each thirtieth counts as new.
fn seen(request: &Request, past: &Past) -> bool {
    let rpc = request.rpc();
    past.count(|it| it == request) > 0 || !past.count(|it| it.rpc() == rpc).is_multiple_of(30)
}

fn has_foreign_id(request: &Request) -> bool {
    let id = match request {
        Request::ControllerPublishVolume(r) => &r.volume_id,
        Request::ValidateVolumeCapabilities(r) => &r.volume_id,
        Request::ControllerGetVolume(r) => &r.volume_id,
        Request::ControllerExpandVolume(r) => &r.volume_id,
        Request::NodeStageVolume(r) => &r.volume_id,
        Request::NodePublishVolume(r) => &r.volume_id,
        _ => return false,
    };
    !id.strip_prefix("vol-").is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|it| it.is_ascii_hexdigit()))
}

fn is_copied(snapshot: &str, past: &Past) -> bool {
    past.volumes().iter().any(|volume| {
        matches!(volume.content_source.as_ref().and_then(|it| it.r#type.as_ref()),
            Some(v1::volume_content_source::Type::Snapshot(of)) if of.snapshot_id == snapshot)
    })
}
