//! What the driver has promised about paths of the node, and whether the node is like that.

use std::collections::BTreeSet;

use csi_certify_history::{
    csi::v1::{
        NodePublishVolumeRequest,
        volume_capability::{AccessType, access_mode::Mode},
    },
    history::Request,
};
use csi_certify_mountpod::mountpod::{
    TargetPath, VolumeId, annotations, memory::World, pod::Pod, protocol::WorkloadState,
};
use csi_certify_suite::sut::Answer;

use super::cluster::State;

/// A volume at a path.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    pub volume: VolumeId,
    pub path: TargetPath,
}

/// What was promised.
#[derive(Default)]
pub struct Promises {
    /// Published with success, and no unpublish has begun.
    published: BTreeSet<Place>,
    /// Unpublished with success, and no publish has begun.
    unpublished: BTreeSet<Place>,
    /// The orchestrator remembers that it has to unpublish.
    owed: BTreeSet<Place>,
    /// Staging directories, each made and removed by the orchestrator for a volume.
    directories: BTreeSet<Place>,
    under_way: Vec<UnderWay>,
}

/// A move that has not ended.
struct UnderWay {
    place: Place,
    inwards: bool,
    /// Whether a move the other way was under way at the same time: then any order is right.
    alone: bool,
}

/// What a request does to its places.
#[derive(Clone, Copy)]
enum Move {
    In { read_only: Option<bool>, is_target: bool },
    Out { is_target: bool },
}

impl Promises {
    pub fn began(&mut self, request: &Request, state: &mut State) {
        let (places, motion) = moves(request);
        for place in places {
            self.start(&place, matches!(motion, Move::In { .. }));
            // Whatever is at the path from now on may be another volume's.
            self.unpublished.retain(|other| other.path != place.path);
            match motion {
                Move::In { is_target, .. } => {
                    if is_target {
                        state.workloads.entry(place.path.clone()).or_insert(WorkloadState::Lives);
                    } else {
                        self.directories.insert(place.clone());
                    }
                    self.owed.insert(place);
                }
                Move::Out { .. } => {
                    self.published.remove(&place);
                    // From here on a restarted orchestrator goes by the directory, where there is one.
                    if state.world.targets.contains(&place.path) {
                        self.owed.remove(&place);
                    }
                }
            }
        }
    }

    pub fn ended(&mut self, request: &Request, answer: &Answer, state: &mut State) -> Result<(), String> {
        if let Answer::Status { code: 4, message, .. } = answer
            && message.contains("previous mount pod")
        {
            return Err("I8: a publish waited in vain for a pod whose deletion needs what the publish holds".to_owned());
        }
        let (places, motion) = moves(request);
        for place in places {
            let alone = self.finish(&place, matches!(motion, Move::In { .. }));
            if !alone || !matches!(answer, Answer::Reply(_)) {
                continue;
            }
            match motion {
                Move::In { read_only, is_target } => self.published(place, read_only.filter(|_| is_target), state)?,
                Move::Out { is_target } => {
                    // A staging directory is the orchestrator's to remove, when the last volume that it was made for has left.
                    let is_its_own = self.directories.contains(&place);
                    let is_anothers = self.directories.iter().any(|other| other.path == place.path && *other != place);
                    if !is_target && is_its_own && !state.world.layers.contains_key(&place.path) {
                        self.directories.remove(&place);
                        if !is_anothers {
                            state.world.targets.remove(&place.path);
                        }
                    }
                    // What another volume has there stays, and goes in its own time.
                    let refers = |pod: &Pod| !holds(pod, &place) && annotations::refers_to(pod, &place.path);
                    // So does the staging directory that was made for another, also for one that is no more.
                    let stays = !is_target && is_anothers && state.world.targets.contains(&place.path);
                    if !stays && !state.world.pods.values().any(refers) {
                        self.unpublished.insert(place);
                    }
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, place: &Place, inwards: bool) {
        let mut alone = true;
        for other in self.under_way.iter_mut().filter(|it| it.place == *place && it.inwards != inwards) {
            other.alone = false;
            alone = false;
        }
        self.under_way.push(UnderWay { place: place.clone(), inwards, alone });
    }

    fn finish(&mut self, place: &Place, inwards: bool) -> bool {
        let ended = self.under_way.iter().position(|it| it.place == *place && it.inwards == inwards);
        ended.is_some_and(|at| self.under_way.remove(at).alone)
    }

    fn published(&mut self, place: Place, read_only: Option<bool>, state: &State) -> Result<(), String> {
        // Nobody is there to be promised anything once the workload is gone.
        if state.workloads.get(&place.path) == Some(&WorkloadState::Gone) {
            return Ok(());
        }
        let top = state.world.layers.get(&place.path).and_then(|layers| layers.last());
        self.published.insert(place);
        match (top, read_only) {
            (None, _) => Err("I3: OK, and nothing is mounted".to_owned()),
            (Some(layer), Some(read_only)) if layer.read_only != read_only => {
                Err(format!("I9: OK for read-only {read_only}, and the mount is the opposite"))
            }
            _ => Ok(()),
        }
    }

    /// Whoever ran on the node begins anew.
    pub fn forget_publications(&mut self) {
        self.published.clear();
    }

    /// The workload of a path is gone for ever.
    pub fn forget(&mut self, path: &TargetPath) {
        self.published.retain(|place| place.path != *path);
    }

    /// Whoever finds the directory of a path missing goes by memory.
    pub fn remember(&mut self, volume: &VolumeId, path: &TargetPath) {
        self.owed.insert(Place { volume: volume.clone(), path: path.clone() });
    }

    /// The orchestrator removes the directories that are its own.
    pub fn remove_directories(&self, world: &mut World) {
        let World { targets, layers, .. } = world;
        let made = |path: &TargetPath| self.directories.iter().any(|place| place.path == *path);
        targets.retain(|path| layers.contains_key(path) || !made(path));
    }

    /// Whether the orchestrator still makes this call that removes something.
    pub fn owes(&self, request: &Request, world: &World) -> bool {
        let (places, _) = moves(request);
        let owed = |place: &Place| self.owed.contains(place) || world.targets.contains(&place.path);
        places.is_empty() || places.iter().any(owed)
    }

    /// What holds at every moment.
    pub fn look(&self, world: &World) -> Result<(), String> {
        for place in &self.published {
            if !world.pods.values().any(|pod| holds(pod, place)) {
                return Err(format!("I1: nobody holds {}, where a volume is published", place.path));
            }
        }
        if world.layers.values().flatten().any(|layer| layer.daemon.is_none()) {
            return Err("I3: the directory of the host is seen".to_owned());
        }
        for place in &self.unpublished {
            gone(place, world)?;
        }
        let mut live: Vec<_> = world
            .pods
            .values()
            .filter(|pod| pod.is_live() && !annotations::is_unconfirmed(pod))
            .map(|pod| &pod.spec.key)
            .collect();
        live.sort();
        match live.windows(2).any(|pair| pair[0] == pair[1]) {
            true => Err("I6: two confirmed pods of one key live at once".to_owned()),
            false => Ok(()),
        }
    }

    /// I1 at rest: one layer at each published path, of the live daemon of the live pod that holds it.
    pub fn serve(&self, world: &World) -> Result<(), String> {
        for place in &self.published {
            let path = &place.path;
            let layers = world.layers.get(path).map_or(&[][..], Vec::as_slice);
            let [layer] = layers else { return Err(format!("I1: {} layers at {path}", layers.len())) };
            let Some(daemon) = layer.daemon.as_ref().filter(|daemon| world.is_alive(daemon)) else {
                return Err(format!("I1: a dead daemon serves {path}"));
            };
            let mut holders = world.pods.values().filter(|pod| holds(pod, place));
            match (holders.next(), holders.next()) {
                (Some(pod), None) if pod.is_live() && pod.uid == daemon.pod => {}
                _ => return Err(format!("I1: {path} is not held by exactly the pod that serves it")),
            }
        }
        Ok(())
    }
}

/// The places that a request is about. A device is staged as a file inside the staging directory.
fn moves(request: &Request) -> (Vec<Place>, Move) {
    let nothing = (Vec::new(), Move::Out { is_target: true });
    let (volume, paths, motion) = match request {
        Request::NodeStageVolume(request) => {
            let path = &request.staging_target_path;
            let capability = request.volume_capability.as_ref().and_then(|it| it.access_type.as_ref());
            let path = match capability {
                Some(AccessType::Block(_)) => format!("{path}/{DEVICE}"),
                _ => path.clone(),
            };
            (&request.volume_id, vec![path], Move::In { read_only: None, is_target: false })
        }
        Request::NodePublishVolume(request) => {
            let motion = Move::In { read_only: read_only(request), is_target: true };
            (&request.volume_id, vec![request.target_path.clone()], motion)
        }
        Request::NodeUnstageVolume(request) => {
            let path = &request.staging_target_path;
            (&request.volume_id, vec![path.clone(), format!("{path}/{DEVICE}")], Move::Out { is_target: false })
        }
        Request::NodeUnpublishVolume(request) => {
            (&request.volume_id, vec![request.target_path.clone()], Move::Out { is_target: true })
        }
        _ => return nothing,
    };
    let Ok(volume) = volume.parse::<VolumeId>() else { return nothing };
    let place = |path: &String| Some(Place { volume: volume.clone(), path: path.parse().ok()? });
    (paths.iter().filter_map(place).collect(), motion)
}

/// Whether writes are refused at the target; nothing where the attachment or the access mode has a say.
fn read_only(request: &NodePublishVolumeRequest) -> Option<bool> {
    let mode = request.volume_capability.as_ref().and_then(|it| it.access_mode.as_ref()).map(|it| it.mode());
    let restricted = matches!(mode, Some(Mode::SingleNodeReaderOnly | Mode::MultiNodeReaderOnly));
    match request.readonly {
        true => Some(true),
        false if restricted || !request.publish_context.is_empty() => None,
        false => Some(false),
    }
}

/// The name of a staged device.
const DEVICE: &str = "csi-block-device";

fn holds(pod: &Pod, place: &Place) -> bool {
    pod.spec.key.volume == place.volume && annotations::refers_to(pod, &place.path)
}

fn gone(place: &Place, world: &World) -> Result<(), String> {
    let path = &place.path;
    // Somebody else may be there by now.
    let others = world.pods.values().any(|pod| !holds(pod, place) && annotations::refers_to(pod, path));
    if !others && (world.layers.contains_key(path) || world.targets.contains(path)) {
        return Err(format!("I4: {path} is there, though it was unpublished"));
    }
    match world.pods.values().any(|pod| holds(pod, place)) {
        true => Err(format!("I4: {path} is held, though it was unpublished")),
        false => Ok(()),
    }
}
