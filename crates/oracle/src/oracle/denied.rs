//! Uses that are denied to whatever volume was made for them, while those made for another use fare well.
//!
//! One refusal may have any reason, which no answer tells. Here like is compared with like: volumes that were made by
//! requests that differ in the capability, used by requests that differ in the capability, again and again.

use std::collections::BTreeMap;

use tonic::Code;

use super::{
    capability::{Access, Capability},
    judge::Judge,
    ledger::Place,
    operation::Operation,
    ruling::{Answer, Mark, Strike},
    volume::{Existence, Volume},
};
use crate::{
    history::{Reply, Request},
    rule,
    spec::Rpc,
};

/// One refusal may be an accident.
const REFUSALS: usize = 2;

/// How the first uses of volumes fared, by RPC and capability.
#[derive(Debug, Default)]
pub(super) struct Denied(BTreeMap<(Rpc, Capability), Fared>);

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
        let Some(capability) = self.use_of(operation) else { return };
        let fared = self.denied.0.entry((operation.rpc(), capability)).or_default();
        match answer {
            Answer::Ok(_) => fared.well += 1,
            Answer::Status(status) if denies(operation.rpc(), Code::from(status.code)) => {
                fared.refused += 1;
                fared.first.get_or_insert_with(|| (place.clone(), answer.describe()));
            }
            Answer::Status(_) => {}
        }
    }

    /// The capability of a use in which nothing but the capability can be wrong.
    fn use_of(&self, operation: &Operation) -> Option<Capability> {
        let object = self.volumes.of(&self.names, operation)?;
        let mut states = object.worlds.states();
        let (state, None) = (states.next()?, states.next()) else { return None };
        if state.lenient || !object.is_alone(operation) || self.world.is_excessive(operation) {
            return None;
        }
        let (made_for, made) = self.made(state)?;
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
                return (there && state.existence_of(&r.volume_id) == Existence::Present).then_some(made_for);
            }
            _ => return None,
        };
        let asked = capability.map(Capability::from)?;
        // Readers may have to say that they only read, which they do not here.
        let is_the_use = asked == made_for && !asked.is_reader_only();
        let is_its_own = state.existence_of(id) == Existence::Present && *context == made.volume_context;
        (is_the_use && is_its_own && as_prepared).then_some(asked)
    }

    /// The one capability for which a volume was made, and what was said of it then.
    fn made(&self, state: &Volume) -> Option<(Capability, &crate::csi::v1::Volume)> {
        let created = self.world.operations.get(state.created?)?;
        let (Request::CreateVolume(request), Some(Answer::Ok(Reply::CreateVolume(reply)))) =
            (created.request(), created.answer())
        else {
            return None;
        };
        let [only] = &*request.volume_capabilities else { return None };
        let capability = Capability::from(only);
        (!self.world.knowledge.unsupported.contains(&capability)).then_some((capability, reply.volume.as_ref()?))
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
    /// What was denied each time, and to nothing else.
    pub(super) fn close(self) -> Vec<(Mark, Place)> {
        let fared_well = |which: &dyn Fn(Rpc, &Capability) -> bool| {
            self.0.iter().any(|((rpc, capability), fared)| fared.well > 0 && which(*rpc, capability))
        };
        let mut marks = Vec::new();
        for ((rpc, capability), fared) in &self.0 {
            let Some((place, answer)) = fared.first.as_ref().filter(|_| fared.refused >= REFUSALS) else {
                continue;
            };
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
                let strike = Strike::new(
                    rule!("CTRL-CREATE-030"),
                    format!("{rpc} is refused for every volume that was made for this access mode, and for no other"),
                    "OK: CreateVolume was answered OK for this capability",
                    format!("{answer}, {times} times"),
                );
                marks.push((Mark::Broken(strike), place.clone()));
            }
        }
        marks
    }
}
