//! Uses that are denied to whatever volume was made for them, while those made for another use fare well.
//!
//! One refusal may have any reason, which no answer tells. Here like is compared with like: volumes that were made by
//! requests that differ in the capability, used by requests that differ in the capability, again and again; and volumes
//! that were asked for in the node's own place beside those that were asked for anywhere.

use std::collections::BTreeMap;

use tonic::Code;

use super::{
    capability::{Access, Capability},
    judge::Judge,
    ledger::Place,
    operation::Operation,
    ruling::{Answer, Mark, Strike, is_definite},
    volume::{Existence, Volume, is_compatible},
};
use crate::{
    csi::v1::{self, volume_capability::access_mode::Mode},
    history::{Reply, Request},
    rule,
    spec::Rpc,
};

/// One refusal may be an accident.
const REFUSALS: usize = 2;

/// How the first uses of volumes fared.
#[derive(Debug, Default)]
pub(super) struct Denied {
    uses: BTreeMap<(Rpc, Capability), Fared>,
    /// By whether the volume was asked for, and is by its own word, where all nodes are.
    placed: BTreeMap<(Rpc, bool), Fared>,
}

#[derive(Debug, Default)]
struct Fared {
    well: usize,
    refused: usize,
    /// Where it was refused first, and how.
    first: Option<(Place, String)>,
}

impl Judge {
    /// Takes note of how a volume was used for the first time in the way for which it was made.
    pub(super) fn note_denied(&mut self, operation: &Operation, answer: Answer<'_>, place: &Place) {
        let Some((capability, placed)) = self.use_of(operation) else { return };
        let rpc = operation.rpc();
        self.denied.uses.entry((rpc, capability)).or_default().note(answer, place, |code| denies(rpc, code));
        if rpc != Rpc::NodeGetVolumeStats {
            self.denied.placed.entry((rpc, placed)).or_default().note(answer, place, is_definite);
        }
    }

    /// The capability of a use in which nothing but the capability can be wrong, and whether the volume was placed.
    fn use_of(&self, operation: &Operation) -> Option<(Capability, bool)> {
        let object = self.volumes.of(&self.names, operation)?;
        let mut states = object.worlds.states();
        let (state, None) = (states.next()?, states.next()) else { return None };
        if state.lenient || !object.is_alone(operation) || self.world.is_excessive(operation) {
            return None;
        }
        let (made_for, request, made) = self.made(state)?;
        let places = &self.world.knowledge.topologies;
        let fits = |place| made.accessible_topology.iter().any(|own| is_compatible(&own.segments, place));
        let placed = request.accessibility_requirements.is_some() && !places.is_empty() && places.iter().all(fits);
        let node = &operation.call.node;
        let attaches = self.world.has("Controller.PUBLISH_UNPUBLISH_VOLUME");
        let attached = |context: &BTreeMap<String, String>| {
            !attaches || state.attachments.values().any(|one| !one.read_only && one.context.as_ref() == Some(context))
        };
        let (id, capability, context, as_prepared) = match operation.request() {
            Request::ControllerPublishVolume(r) => {
                let known = self.world.knowledge.node_ids.contains(&r.node_id);
                let first = state.attachments.is_empty() && !r.readonly && known;
                (&r.volume_id, r.volume_capability.as_ref(), &r.volume_context, first)
            }
            Request::NodeStageVolume(r) => {
                let first = state.stagings.is_empty() && !r.staging_target_path.is_empty();
                let prepared = first && attached(&r.publish_context);
                (&r.volume_id, r.volume_capability.as_ref(), &r.volume_context, prepared)
            }
            Request::NodePublishVolume(r) => {
                let staged = state.stagings.get(&(node.clone(), r.staging_target_path.clone())) == Some(&made_for);
                let staged = staged || !self.world.has("Node.STAGE_UNSTAGE_VOLUME");
                let first = state.publications.is_empty() && !r.target_path.is_empty() && !r.readonly;
                let prepared = first && staged && attached(&r.publish_context);
                (&r.volume_id, r.volume_capability.as_ref(), &r.volume_context, prepared)
            }
            Request::NodeGetVolumeStats(r) => {
                let there = state.publications.contains_key(&(node.clone(), r.volume_path.clone()));
                let is_its_own = state.existence_of(&r.volume_id) == Existence::Present;
                return (there && is_its_own).then_some((made_for, placed));
            }
            _ => return None,
        };
        let asked = capability.map(Capability::from)?;
        // Readers may have to say that they only read, which they do not here.
        let is_the_use = asked == made_for && !asked.is_reader_only();
        let is_its_own = state.existence_of(id) == Existence::Present && *context == made.volume_context;
        (is_the_use && is_its_own && as_prepared).then_some((asked, placed))
    }

    /// The one capability for which a volume was made, how, and what was said of it then.
    fn made(&self, state: &Volume) -> Option<(Capability, &v1::CreateVolumeRequest, &v1::Volume)> {
        let created = self.world.operations.get(state.created?)?;
        let (Request::CreateVolume(request), Some(Answer::Ok(Reply::CreateVolume(reply)))) =
            (created.request(), created.answer())
        else {
            return None;
        };
        let [only] = &*request.volume_capabilities else { return None };
        let capability = Capability::from(only);
        let is_supported = !self.world.knowledge.unsupported.contains(&capability);
        is_supported.then_some((capability, request, reply.volume.as_ref()?))
    }
}

impl Fared {
    fn note(&mut self, answer: Answer<'_>, place: &Place, counts: impl Fn(Code) -> bool) {
        match answer {
            Answer::Ok(_) => self.well += 1,
            Answer::Status(status) if counts(Code::from(status.code)) => {
                self.refused += 1;
                self.first.get_or_insert_with(|| (place.clone(), answer.describe()));
            }
            Answer::Status(_) => {}
        }
    }

    /// Where it was refused first, if it was again and again.
    fn denied(&self) -> Option<&(Place, String)> {
        self.first.as_ref().filter(|_| self.refused >= REFUSALS)
    }
}

/// Whether the answer denies this use: for what the request says, or, of statistics, for what the volume is.
const fn denies(rpc: Rpc, code: Code) -> bool {
    match rpc {
        Rpc::NodeGetVolumeStats => matches!(code, Code::Internal | Code::Unknown),
        _ => matches!(code, Code::InvalidArgument),
    }
}

impl Denied {
    /// What was denied each time, and to nothing else. `newer_modes` says whether the plugin has those single-node modes
    /// beside which SINGLE_NODE_WRITER stays accepted (specification lines 2486, 2762).
    pub(super) fn close(self, newer_modes: bool) -> Vec<(Mark, Place)> {
        let fared_well = |which: &dyn Fn(Rpc, &Capability) -> bool| {
            self.uses.iter().any(|((rpc, capability), fared)| fared.well > 0 && which(*rpc, capability))
        };
        let mut marks = self.inaccessible();
        for ((rpc, capability), fared) in &self.uses {
            let Some((place, answer)) = fared.denied() else { continue };
            let times = fared.refused;
            if *rpc == Rpc::NodeGetVolumeStats {
                let ever = fared_well(&|of, other| of == *rpc && other.access == capability.access);
                let others = fared_well(&|of, other| of == *rpc && other.access != capability.access);
                if capability.access == Access::Block && others && !ever {
                    let strike = Strike::new(
                        rule!("NODE-STATS-001"),
                        "NodeGetVolumeStats fails for every block volume and works for the others",
                        "OK for a published volume",
                        format!("{answer}, {times} times"),
                    );
                    marks.push((Mark::Warned(strike), place.clone()));
                }
                continue;
            }
            // The same in all but the mode.
            let alike = |of: Rpc, other: &Capability| {
                of == *rpc && other.access == capability.access && other.mount == capability.mount
            };
            if fared.well == 0 && fared_well(&|of, other| alike(of, other) && other != capability) {
                let mut strike = Strike::new(
                    rule!("CTRL-CREATE-030"),
                    format!("{rpc} is refused for every volume that was made for this access mode, and for no other"),
                    "OK: CreateVolume was answered OK for this capability",
                    format!("{answer}, {times} times"),
                );
                // Where one of the newer modes fares well, it is the older one that is not accepted any more.
                if capability.mode() == Some(Mode::SingleNodeWriter) && newer_modes {
                    strike.also.push(rule!("NODE-CAPS-008"));
                    strike.also.extend((*rpc == Rpc::NodePublishVolume).then_some(rule!("NODE-PUBLISH-036")));
                }
                marks.push((Mark::Broken(strike), place.clone()));
            }
        }
        marks
    }

    /// Volumes that are accessible from where all nodes are, and that none of them takes (specification line 1101).
    fn inaccessible(&self) -> Vec<(Mark, Place)> {
        let elsewhere_fine = |rpc| self.placed.get(&(rpc, false)).is_some_and(|fared| fared.well > 0);
        let refused =
            self.placed.iter().filter(|((rpc, placed), fared)| *placed && fared.well == 0 && elsewhere_fine(*rpc));
        let first = refused.filter_map(|((rpc, _), fared)| Some((rpc, fared, fared.denied()?))).next();
        let mark = first.map(|(rpc, fared, (place, answer))| {
            let strike = Strike::new(
                rule!("CTRL-CREATE-111"),
                format!(
                    "{rpc} is refused for every volume that was asked for in the place of the nodes, and for no other"
                ),
                "OK: by its accessible_topology the volume is accessible from there",
                format!("{answer}, {} times", fared.refused),
            );
            (Mark::Broken(strike), place.clone())
        });
        mark.into_iter().collect()
    }
}
