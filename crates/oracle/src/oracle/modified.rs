//! ControllerModifyVolume as it shows in ValidateVolumeCapabilities: what was not asked for has not changed.

use std::collections::BTreeMap;

use super::{
    judge::Judge,
    operation::Operation,
    ruling::{Answer, Mark, check, is_definite},
};
use crate::{
    history::{CallId, Reply, Request},
    rule,
};

/// A modification between two looks at a volume.
struct Modification<'a> {
    parameters: &'a BTreeMap<String, String>,
    refused: bool,
}

impl Judge {
    /// Values that were confirmed once are confirmed again, unless a call has changed them (specification lines 1695,
    /// 1710). The same request is compared with itself, so it does not matter what else the plugin looks at.
    pub(super) fn unmodified(&self, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        let Request::ValidateVolumeCapabilities(request) = operation.request() else { return marks };
        let Answer::Ok(Reply::ValidateVolumeCapabilities(reply)) = answer else { return marks };
        let Some(modifications) = self.modifications_since_confirmed(operation) else { return marks };
        let asked = &request.mutable_parameters;
        let changed = |one: &Modification<'_>| !one.refused && one.parameters.keys().any(|key| asked.contains_key(key));
        if modifications.is_empty() || asked.is_empty() || modifications.iter().any(changed) {
            return marks;
        }
        let rules: &[_] = match modifications.iter().all(|one| one.refused) {
            true => &[rule!("CTRL-MODIFY-013")],
            false => &[rule!("CTRL-MODIFY-009"), rule!("CTRL-MODIFY-010")],
        };
        for &rule in rules {
            check(&mut marks, rule, reply.confirmed.is_some(), || {
                (
                    "a value changed that no call was to change".into(),
                    format!("{asked:?} confirmed, as before"),
                    format!("not confirmed: {:?}", reply.message),
                )
            });
        }
        marks
    }

    /// The modifications of the volume since the same request was last confirmed; `None` when it never was, or when
    /// what has become of one of them is open.
    fn modifications_since_confirmed(&self, operation: &Operation) -> Option<Vec<Modification<'_>>> {
        let object = self.volumes.of(&self.names, operation)?;
        let calls = || object.calls.iter().rev().filter_map(|&call: &CallId| self.world.operations.get(call));
        let confirmed = |earlier: &&Operation| {
            earlier.call.id != operation.call.id
                && earlier.alike == operation.alike
                && earlier.ended < operation.started
                && matches!(earlier.answer(), Some(Answer::Ok(Reply::ValidateVolumeCapabilities(reply)))
                    if reply.confirmed.is_some())
        };
        let earlier = calls().find(confirmed)?;
        let mut modifications = Vec::new();
        for one in calls().take_while(|one| one.call.id != earlier.call.id) {
            match one.request() {
                Request::ControllerModifyVolume(request) if one.ended > earlier.started => {
                    let refused = match one.answer()? {
                        Answer::Ok(_) => false,
                        Answer::Status(status) if is_definite(tonic::Code::from(status.code)) => true,
                        Answer::Status(_) => return None,
                    };
                    let over = one.started > earlier.ended && one.ended < operation.started;
                    modifications.push(Modification { parameters: &request.mutable_parameters, refused });
                    if !over {
                        return None;
                    }
                }
                // Another volume may go by the id since.
                Request::DeleteVolume(_) => return None,
                _ => {}
            }
        }
        Some(modifications)
    }
}
