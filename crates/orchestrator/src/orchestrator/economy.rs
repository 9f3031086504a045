//! How many calls were made for what came of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::history::{Call, CallId, EventKind, History, Outcome, Reply, Request};

/// The calls of a run, and how many of them it takes at least to get the same done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Economy {
    /// How many calls were made, queries and repeats included.
    pub calls: usize,
    /// How many of them changed what the driver holds: what a CO needs that knows everything and meets no failure.
    pub needed: usize,
}

impl fmt::Display for Economy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, needed } = self;
        write!(f, "{calls} calls, of which {needed} changed something")?;
        match needed {
            0 => Ok(()),
            _ => write!(f, ": {:.2} times as many as are needed", *calls as f64 / *needed as f64),
        }
    }
}

/// Something that a driver holds because of a call, until another takes it away.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Holding {
    Volume(String),
    Snapshot(String),
    GroupSnapshot(String),
    /// Volume and node.
    Attached(String, String),
    Staged(Place),
    Published(Place),
}

/// Node, volume and path.
type Place = (String, String, String);

/// What a call did, once it was answered OK.
enum Effect {
    Makes(Holding),
    Takes(Holding),
    /// The size of a volume, at the controller or on a node.
    Grows(String, String, i64),
    /// The attributes of a volume.
    Modifies(String, BTreeMap<String, String>),
}

impl Economy {
    /// Counts the calls of a history.
    pub fn of(history: &History) -> Self {
        let mut economy = Self::default();
        let mut open: BTreeMap<CallId, &Call> = BTreeMap::new();
        let mut held: BTreeSet<Holding> = BTreeSet::new();
        let mut sizes: BTreeMap<(String, String), i64> = BTreeMap::new();
        let mut attributes: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for event in &history.events {
            match &event.kind {
                EventKind::Call(call) => {
                    economy.calls += 1;
                    open.insert(call.id, call);
                }
                EventKind::Return { call, outcome } => {
                    let Some(call) = open.remove(call) else { continue };
                    let Outcome::Reply { reply, .. } = outcome else { continue };
                    let changes = match effect(call, reply) {
                        None => false,
                        Some(Effect::Makes(holding)) => held.insert(holding),
                        Some(Effect::Takes(holding)) => held.remove(&holding),
                        Some(Effect::Grows(volume, place, size)) => {
                            sizes.insert((volume, place), size).is_none_or(|before| before < size)
                        }
                        Some(Effect::Modifies(volume, wanted)) => {
                            attributes.insert(volume, wanted.clone()).is_none_or(|before| before != wanted)
                        }
                    };
                    economy.needed += usize::from(changes);
                }
                _ => {}
            }
        }
        economy
    }
}

fn effect(call: &Call, reply: &Reply) -> Option<Effect> {
    use Effect::{Grows, Makes, Modifies, Takes};
    use Holding::{Attached, GroupSnapshot, Published, Snapshot, Staged, Volume};
    let at = |volume: &str, path: &str| (call.node.clone(), volume.to_owned(), path.to_owned());
    Some(match (&call.request, reply) {
        (Request::CreateVolume(_), Reply::CreateVolume(made)) => Makes(Volume(made.volume.as_ref()?.volume_id.clone())),
        (Request::DeleteVolume(one), _) => Takes(Volume(one.volume_id.clone())),
        (Request::CreateSnapshot(_), Reply::CreateSnapshot(made)) => {
            Makes(Snapshot(made.snapshot.as_ref()?.snapshot_id.clone()))
        }
        (Request::DeleteSnapshot(one), _) => Takes(Snapshot(one.snapshot_id.clone())),
        (Request::CreateVolumeGroupSnapshot(_), Reply::CreateVolumeGroupSnapshot(made)) => {
            Makes(GroupSnapshot(made.group_snapshot.as_ref()?.group_snapshot_id.clone()))
        }
        (Request::DeleteVolumeGroupSnapshot(one), _) => Takes(GroupSnapshot(one.group_snapshot_id.clone())),
        (Request::ControllerPublishVolume(one), _) => Makes(Attached(one.volume_id.clone(), one.node_id.clone())),
        (Request::ControllerUnpublishVolume(one), _) => Takes(Attached(one.volume_id.clone(), one.node_id.clone())),
        (Request::NodeStageVolume(one), _) => Makes(Staged(at(&one.volume_id, &one.staging_target_path))),
        (Request::NodeUnstageVolume(one), _) => Takes(Staged(at(&one.volume_id, &one.staging_target_path))),
        (Request::NodePublishVolume(one), _) => Makes(Published(at(&one.volume_id, &one.target_path))),
        (Request::NodeUnpublishVolume(one), _) => Takes(Published(at(&one.volume_id, &one.target_path))),
        (Request::ControllerExpandVolume(one), Reply::ControllerExpandVolume(grown)) => {
            Grows(one.volume_id.clone(), String::new(), grown.capacity_bytes)
        }
        (Request::NodeExpandVolume(one), Reply::NodeExpandVolume(_)) => {
            let size = one.capacity_range.as_ref().map_or(0, |range| range.required_bytes);
            Grows(one.volume_id.clone(), call.node.clone(), size)
        }
        (Request::ControllerModifyVolume(one), _) => {
            Modifies(one.volume_id.clone(), one.mutable_parameters.clone().into_iter().collect())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        csi::v1,
        history::{FORMAT, Header, Lost, Recorder},
    };

    #[test]
    fn queries_repeats_refusals_and_calls_that_change_nothing_are_not_needed() {
        let recorder = Recorder::new(Header { format: FORMAT, ..Header::default() }, None);
        let send = |request: Request, reply: Option<Reply>| {
            let call = recorder.call("plugin", "n1", "", &request);
            match reply {
                Some(reply) => recorder.reply(call, reply),
                None => recorder.lost(call, Lost::Deadline),
            }
        };
        let volume = Some(v1::Volume { volume_id: "v".into(), ..Default::default() });
        let create = Request::from(v1::CreateVolumeRequest { name: "a".into(), ..Default::default() });
        let unpublish =
            Request::from(v1::NodeUnpublishVolumeRequest { volume_id: "v".into(), target_path: "/t".into() });
        let publish = Request::from(v1::NodePublishVolumeRequest {
            volume_id: "v".into(),
            target_path: "/t".into(),
            ..Default::default()
        });
        let delete = Request::from(v1::DeleteVolumeRequest { volume_id: "v".into(), ..Default::default() });
        send(v1::ProbeRequest {}.into(), Some(v1::ProbeResponse::default().into()));
        send(create.clone(), None);
        for _ in 0..2 {
            send(create.clone(), Some(v1::CreateVolumeResponse { volume: volume.clone() }.into()));
        }
        send(unpublish.clone(), Some(v1::NodeUnpublishVolumeResponse {}.into()));
        send(publish, Some(v1::NodePublishVolumeResponse {}.into()));
        for _ in 0..2 {
            send(unpublish.clone(), Some(v1::NodeUnpublishVolumeResponse {}.into()));
        }
        send(delete, Some(v1::DeleteVolumeResponse {}.into()));
        let economy = Economy::of(&recorder.history());
        assert_eq!(economy, Economy { calls: 9, needed: 4 });
        assert_eq!(economy.to_string(), "9 calls, of which 4 changed something: 2.25 times as many as are needed");
    }

    #[test]
    fn a_volume_grows_once_for_each_size_and_place() {
        let recorder = Recorder::new(Header { format: FORMAT, ..Header::default() }, None);
        for (node, size) in [("n1", 8), ("n1", 8), ("n2", 8), ("n1", 16)] {
            let request = Request::from(v1::NodeExpandVolumeRequest {
                volume_id: "v".into(),
                capacity_range: Some(v1::CapacityRange { required_bytes: size, limit_bytes: 0 }),
                ..Default::default()
            });
            let call = recorder.call("plugin", node, "", &request);
            recorder.reply(call, v1::NodeExpandVolumeResponse { capacity_bytes: size }.into());
        }
        assert_eq!(Economy::of(&recorder.history()).needed, 3);
    }
}
