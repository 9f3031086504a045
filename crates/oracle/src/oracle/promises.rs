//! What an earlier answer promises of a later call: a refused deletion that the volume is untouched, a ready snapshot that
//! volumes can be made of it.
//!
//! A promise is kept when the call is answered OK, and broken along with the rule that convicts a refusal.

use tonic::Code;

use super::{
    judge::Judge,
    objects::Settled,
    operation::Operation,
    ruling::{Answer, Mark, only_warns},
    snapshot::Snapshot,
    volume::Existence,
};
use crate::{
    csi::v1::volume_content_source::Type as SourceType,
    history::{CallId, Request},
    rule,
    spec::{Rpc, RuleId},
};

/// A rule that promises OK to a call, beside those of the call itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    rule: RuleId,
    breach: Breach,
}

/// How a refusal breaks a promise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Breach {
    /// Along with the rule that convicts the refusal.
    Along,
    /// Along with it, and in its place where that one only recommends.
    First,
    /// Along with it, by this code: others have other reasons.
    By(Code),
}

impl Promise {
    const fn new(rule: RuleId, breach: Breach) -> Self {
        Self { rule, breach }
    }
}

/// Snapshots outlive the volume that they were cut from (specification lines 1277, 1279).
const INDEPENDENT: [Promise; 2] =
    [Promise::new(rule!("CTRL-DELETE-006"), Breach::First), Promise::new(rule!("CTRL-DELETE-005"), Breach::Along)];

/// What clients keep stays good (specification lines 1044, 1365).
const CACHED_CONTEXT: Promise = Promise::new(rule!("CTRL-CREATE-093"), Breach::By(Code::InvalidArgument));
const CACHED_PUBLISH_CONTEXT: Promise = Promise::new(rule!("CTRL-PUBLISH-023"), Breach::By(Code::InvalidArgument));

impl Judge {
    /// The promises to a call.
    pub(super) fn promises(&self, operation: &Operation) -> Vec<Promise> {
        let along = |rule| Promise::new(rule, Breach::Along);
        let mut promised = Vec::new();
        match operation.request() {
            Request::ValidateVolumeCapabilities(_)
            | Request::ControllerGetVolume(_)
            | Request::ControllerPublishVolume(_)
            | Request::NodeStageVolume(_)
            | Request::NodePublishVolume(_)
                if self.was_kept_for_its_snapshots(operation) =>
            {
                promised.push(along(rule!("CTRL-DELETE-009")));
            }
            Request::GetSnapshot(request) if self.outlived_its_source(&request.snapshot_id, operation) => {
                promised.extend(INDEPENDENT);
            }
            Request::DeleteSnapshot(request) if self.outlived_its_source(&request.snapshot_id, operation) => {
                promised.extend(INDEPENDENT);
            }
            Request::CreateVolume(request) => {
                let source = request.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref());
                if let Some(SourceType::Snapshot(source)) = source {
                    if self.is_ready(&source.snapshot_id, operation) {
                        promised.push(along(rule!("CTRL-SNAPCREATE-006")));
                    }
                    if self.outlived_its_source(&source.snapshot_id, operation) {
                        promised.extend(INDEPENDENT);
                    }
                }
            }
            _ => {}
        }
        // The node was set up before, by whoever asked for its id then.
        let on_the_node = matches!(operation.rpc(), Rpc::NodeStageVolume | Rpc::NodePublishVolume);
        if on_the_node && self.starts.is_without_node_info(&operation.call.instance) {
            promised.push(along(rule!("NODE-INFO-005")));
        }
        if self.is_from_before_a_restart(operation) {
            promised.extend_from_slice(match operation.request() {
                Request::ValidateVolumeCapabilities(_) | Request::ControllerPublishVolume(_) => &[CACHED_CONTEXT],
                Request::NodePublishVolume(_) => &[CACHED_CONTEXT, CACHED_PUBLISH_CONTEXT],
                Request::NodeStageVolume(_) => &[CACHED_PUBLISH_CONTEXT],
                _ => &[],
            });
        }
        promised
    }

    /// What an answer says of the promises that were made to the call.
    pub(super) fn redeem(promised: &[Promise], answer: Answer<'_>, settled: Option<Settled>) -> Option<Settled> {
        Some(match (settled?, answer) {
            (Settled::Explained(mut marks), Answer::Ok(_)) => {
                marks.extend(promised.iter().map(|promise| Mark::Held(promise.rule)));
                Settled::Explained(marks)
            }
            (Settled::Impossible(mut strike, others), Answer::Status(status)) => {
                let broken = promised.iter().filter(|promise| match promise.breach {
                    Breach::By(code) => status.code == code as i32,
                    Breach::Along | Breach::First => true,
                });
                strike.also.extend(broken.map(|promise| promise.rule));
                if let Some(first) = promised.iter().find(|promise| promise.breach == Breach::First)
                    && only_warns(strike.rule)
                {
                    strike.also.push(strike.rule);
                    strike.rule = first.rule;
                }
                Settled::Impossible(strike, others)
            }
            (settled, _) => settled,
        })
    }

    /// Whether the call is about a volume of which its client kept what it was told before the last restart.
    fn is_from_before_a_restart(&self, operation: &Operation) -> bool {
        let Some(restarted) = self.restarted.filter(|at| *at < operation.started) else { return false };
        let Some(object) = self.volumes.of(&self.names, operation) else { return false };
        let first = object.calls.first().and_then(|call| self.world.operations.get(*call));
        first.is_some_and(|first| first.started < restarted)
    }

    /// Whether the last attempt to delete the volume was refused while it had snapshots (specification line 1281).
    fn was_kept_for_its_snapshots(&self, operation: &Operation) -> bool {
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

    fn is_ready(&self, id: &str, operation: &Operation) -> bool {
        self.certain_snapshot(id, operation, |snapshot| snapshot.ready)
    }

    /// Whether the snapshot exists although the volume that it was cut from was deleted (specification line 1279).
    fn outlived_its_source(&self, id: &str, operation: &Operation) -> bool {
        self.certain_snapshot(id, operation, |snapshot| {
            snapshot.source.as_ref().is_some_and(|volume| {
                let key = self.names.volume(volume, operation.started);
                self.volumes.get(&key).is_some_and(|object| object.certainly(|state| state.dead_ids.contains(volume)))
            })
        })
    }

    fn certain_snapshot(&self, id: &str, operation: &Operation, holds: impl Fn(&Snapshot) -> bool) -> bool {
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
