//! What an earlier answer promises of a later call: a refused deletion that the volume is untouched, a ready snapshot that
//! volumes can be made of it.
//!
//! A promise is kept when the call is answered OK, and broken along with the rule that convicts a refusal.

use tonic::Code;

use super::{
    judge::Judge,
    objects::Settled,
    operation::Operation,
    ruling::{Answer, Mark},
    snapshot::Snapshot,
    volume::Existence,
};
use crate::{
    csi::v1::volume_content_source::Type as SourceType,
    history::{CallId, Request},
    rule,
    spec::{Rpc, RuleId},
};

impl<'h> Judge<'h> {
    /// The rules that promise OK to a call, beside those of the call itself.
    pub(super) fn promises(&self, operation: &Operation<'h>) -> Vec<RuleId> {
        let mut promised = Vec::new();
        match operation.request() {
            Request::ValidateVolumeCapabilities(_)
            | Request::ControllerGetVolume(_)
            | Request::ControllerPublishVolume(_)
            | Request::NodeStageVolume(_)
            | Request::NodePublishVolume(_)
                if self.was_kept_for_its_snapshots(operation) =>
            {
                promised.push(rule!("CTRL-DELETE-009"));
            }
            Request::GetSnapshot(request) if self.outlived_its_source(&request.snapshot_id, operation) => {
                promised.push(rule!("CTRL-DELETE-006"));
            }
            Request::DeleteSnapshot(request) if self.outlived_its_source(&request.snapshot_id, operation) => {
                promised.push(rule!("CTRL-DELETE-006"));
            }
            Request::CreateVolume(request) => {
                let source = request.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref());
                if let Some(SourceType::Snapshot(source)) = source {
                    if self.is_ready(&source.snapshot_id, operation) {
                        promised.push(rule!("CTRL-SNAPCREATE-006"));
                    }
                    if self.outlived_its_source(&source.snapshot_id, operation) {
                        promised.push(rule!("CTRL-DELETE-006"));
                    }
                }
            }
            _ => {}
        }
        // The node was set up before, by whoever asked for its id then.
        let on_the_node = matches!(operation.rpc(), Rpc::NodeStageVolume | Rpc::NodePublishVolume);
        if on_the_node && self.starts.is_without_node_info(&operation.call.instance) {
            promised.push(rule!("NODE-INFO-005"));
        }
        promised
    }

    /// What an answer says of the promises that were made to the call.
    pub(super) fn redeem(promised: &[RuleId], answer: Answer<'_>, settled: Option<Settled>) -> Option<Settled> {
        Some(match settled? {
            Settled::Explained(mut marks) if matches!(answer, Answer::Ok(_)) => {
                marks.extend(promised.iter().map(|&rule| Mark::Held(rule)));
                Settled::Explained(marks)
            }
            Settled::Impossible(mut strike, others) if matches!(answer, Answer::Status(_)) => {
                strike.also.extend(promised);
                Settled::Impossible(strike, others)
            }
            settled => settled,
        })
    }

    /// Whether the last attempt to delete the volume was refused while it had snapshots (specification line 1281).
    fn was_kept_for_its_snapshots(&self, operation: &Operation<'h>) -> bool {
        let Some(object) = self.volumes.of(&self.names, operation) else { return false };
        let delete = |call: &CallId| {
            self.world
                .operations
                .get(*call)
                .filter(|it| it.rpc() == Rpc::DeleteVolume && it.call.id != operation.call.id)
        };
        let Some(last) = object.calls.iter().rev().find_map(delete) else { return false };
        let refused = match last.answer() {
            Some(Answer::Status(status)) => status.code == Code::FailedPrecondition as i32,
            _ => false,
        };
        refused && last.ended < operation.started && self.world.around(last).snapshots == Existence::Present
    }

    fn is_ready(&self, id: &str, operation: &Operation<'h>) -> bool {
        self.certain_snapshot(id, operation, |snapshot| snapshot.ready)
    }

    /// Whether the snapshot exists although the volume that it was cut from was deleted (specification line 1279).
    fn outlived_its_source(&self, id: &str, operation: &Operation<'h>) -> bool {
        self.certain_snapshot(id, operation, |snapshot| {
            snapshot.source.as_ref().is_some_and(|volume| {
                let key = self.names.volume(volume, operation.started);
                self.volumes.get(&key).is_some_and(|object| object.certainly(|state| state.dead_ids.contains(volume)))
            })
        })
    }

    fn certain_snapshot(&self, id: &str, operation: &Operation<'h>, holds: impl Fn(&Snapshot) -> bool) -> bool {
        let key = self.names.snapshot(id, operation.started);
        let Some(object) = self.snapshots.get(&key) else { return false };
        let others = object.open.iter().any(|&call| call != operation.call.id);
        !others
            && !object.worlds.is_exhausted()
            && object
                .worlds
                .states()
                .all(|state| !state.lenient && state.existence_of(id) == Existence::Present && holds(state))
    }
}
