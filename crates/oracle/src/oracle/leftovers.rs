//! What is left at a target by a publish that failed, or whose caller gave up. The specification says nothing of it, and so
//! this only warns: whoever gives up there takes nothing away any more.

use std::collections::{BTreeMap, VecDeque};

use tonic::Code;

use super::{
    judge::Judge,
    ledger::Place as Shown,
    objects::SHOWN,
    operation::Operation,
    ruling::{Answer, Mark, advise, is_definite, is_transient},
    volume::Place,
};
use crate::{
    history::{CallId, Mount, PathKind, Request},
    rule,
};

/// The targets of a run.
#[derive(Debug, Default)]
pub(super) struct Leftovers(BTreeMap<Place, Target>);

/// What happened at a target since it was last certain what is there.
#[derive(Debug, Default)]
struct Target {
    /// Nothing was there at the last look, and only publishes that were refused came after it.
    was_empty: bool,
    /// How the last of these was refused.
    refused: Option<String>,
    /// When a publish ended whose caller did not learn what came of it, and of which volume.
    given_up: Option<(usize, String)>,
    /// A later unpublish said that nothing is there.
    withdrawn: bool,
    /// The last calls there, for a finding to show.
    calls: VecDeque<CallId>,
    /// The scenario of the last of them.
    scenario: String,
}

impl Leftovers {
    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets paths that nothing mentions any more.
    pub(super) fn forget_what_is_over(&mut self, is_mentioned: &dyn Fn(&str) -> bool) {
        self.0.retain(|(_, path), _| path.is_empty() || is_mentioned(path));
    }
}

impl Target {
    fn published(&mut self, volume: &str, operation: &Operation, answer: Option<Answer<'_>>) {
        match answer {
            Some(Answer::Ok(_)) => *self = Self::default(),
            Some(Answer::Status(status)) if is_refusal(Code::from(status.code)) => {
                self.refused = answer.map(|answer| answer.describe());
            }
            _ => *self = Self { given_up: Some((operation.ended, volume.to_owned())), ..Self::default() },
        }
    }

    fn unpublished(&mut self, volume: &str, operation: &Operation, answer: Option<Answer<'_>>) {
        (self.was_empty, self.refused) = (false, None);
        if let (Some((ended, of)), Some(Answer::Ok(_))) = (&self.given_up, answer) {
            self.withdrawn |= *ended < operation.started && of == volume;
        }
    }

    fn seen(&mut self, kind: PathKind, mounts: &[Mount]) -> Vec<Mark> {
        let mut marks = Vec::new();
        if mounts.is_empty() && kind == PathKind::Absent {
            (self.was_empty, self.refused) = (true, None);
            if self.given_up.is_none() {
                self.calls.clear();
            }
            return marks;
        }
        if let (true, Some(refused)) = (self.was_empty, self.refused.take()) {
            advise(&mut marks, rule!("NODE-PUBLISH-052"), false, || {
                (
                    "a publish was refused and left something at the target, which stays if nobody unpublishes what was never \
                     published"
                        .into(),
                    "nothing at target_path, as before (no sentence demands it)".into(),
                    format!("{kind:?} with {} mounts after {refused}", mounts.len()),
                )
            });
        }
        self.was_empty = false;
        if self.withdrawn && !mounts.is_empty() {
            (self.given_up, self.withdrawn) = (None, false);
            advise(&mut marks, rule!("NODE-UNPUBLISH-002"), false, || {
                (
                    "NodeUnpublishVolume answered OK while a publish, whose caller had given up, was still under way: its mount \
                     stays, and nobody unpublishes it"
                        .into(),
                    "no mount on target_path (a publish may take effect late)".into(),
                    format!("{kind:?} with {} mounts", mounts.len()),
                )
            });
        }
        marks
    }
}

/// Whether the code says that the publish is over, and has failed.
const fn is_refusal(code: Code) -> bool {
    is_definite(code) || (matches!(code, Code::Internal | Code::Unknown) && !is_transient(code))
}

impl Judge {
    /// Takes note of a call that has ended, with or without an answer.
    pub(super) fn note_leftovers(&mut self, operation: &Operation, answer: Option<Answer<'_>>) {
        let path = match operation.request() {
            Request::NodePublishVolume(request) => &request.target_path,
            Request::NodeUnpublishVolume(request) => &request.target_path,
            Request::NodeStageVolume(request) => &request.staging_target_path,
            Request::NodeUnstageVolume(request) => &request.staging_target_path,
            _ => return,
        };
        let node = &operation.call.node;
        let overlaps = self.is_worked_at(node, path);
        let target = self.leftovers.0.entry((node.clone(), path.clone())).or_default();
        match operation.request() {
            // What calls that overlap leave behind is said of none of them.
            _ if overlaps => *target = Target::default(),
            Request::NodePublishVolume(r) => target.published(&r.volume_id, operation, answer),
            Request::NodeUnpublishVolume(r) => target.unpublished(&r.volume_id, operation, answer),
            _ => *target = Target::default(),
        }
        target.scenario.clone_from(&operation.call.scenario);
        target.calls.push_back(operation.call.id);
        if target.calls.len() > SHOWN {
            target.calls.pop_front();
        }
    }

    /// Judges what is seen at a path; by which calls.
    pub(super) fn leftovers(&mut self, place: &Place, kind: PathKind, mounts: &[Mount]) -> (Vec<Mark>, Shown) {
        if self.is_worked_at(&place.0, &place.1) {
            return Default::default();
        }
        let target = self.leftovers.0.entry(place.clone()).or_default();
        let marks = target.seen(kind, mounts);
        let calls: Vec<CallId> = target.calls.iter().copied().collect();
        let scenario = if calls.is_empty() { String::new() } else { target.scenario.clone() };
        (marks, Shown { calls, scenario })
    }

    fn is_worked_at(&self, node: &str, path: &str) -> bool {
        let mut open = self.in_flight.iter().filter_map(|call| self.world.operations.get(*call));
        open.any(|one| one.works_at(node, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        csi::v1::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse},
        history::{FORMAT, Header, Lost, Observation, Recorder},
        oracle::{Severity, judge},
    };

    const TARGET: &str = "/target";

    struct Node(Recorder);

    impl Node {
        fn new() -> Self {
            Self(Recorder::new(Header { format: FORMAT, node_fs: true, ..Header::default() }, None))
        }

        fn publish(&self) -> CallId {
            let request =
                NodePublishVolumeRequest { volume_id: "1".into(), target_path: TARGET.into(), ..Default::default() };
            self.0.call("plugin", "node", "scenario", &request.into())
        }

        fn refused(&self, code: Code) {
            let call = self.publish();
            self.0.status(call, code as i32, "no", 0);
        }

        fn unpublished(&self) {
            let request = NodeUnpublishVolumeRequest { volume_id: "1".into(), target_path: TARGET.into() };
            let call = self.0.call("plugin", "node", "scenario", &request.into());
            self.0.reply(call, NodeUnpublishVolumeResponse {}.into());
        }

        fn seen(&self, kind: PathKind, mounts: usize) {
            let mount = Mount { fs_type: "fuse".into(), read_only: false, device: "0:1".into() };
            let mounts = vec![mount; mounts];
            self.0.observed(Observation::Path { node: "node".into(), path: TARGET.into(), kind, mounts });
        }

        /// The rules that are warned of for what was left.
        fn warned_of(&self) -> Vec<&'static str> {
            let findings = judge(&self.0.history()).findings;
            let left = findings.iter().filter(|one| one.message.contains("left") || one.message.contains("stays"));
            left.inspect(|one| assert_eq!(one.severity, Severity::Warning)).map(|one| one.rule.as_str()).collect()
        }
    }

    #[test]
    fn what_a_refused_publish_leaves_draws_a_warning() {
        for (before, code, after, expected) in [
            (PathKind::Absent, Code::NotFound, PathKind::Directory, &["NODE-PUBLISH-052"][..]),
            (PathKind::Absent, Code::Internal, PathKind::Directory, &["NODE-PUBLISH-052"]),
            (PathKind::Absent, Code::NotFound, PathKind::Absent, &[]),
            (PathKind::Directory, Code::NotFound, PathKind::Directory, &[]),
            // It may still be under way.
            (PathKind::Absent, Code::Aborted, PathKind::Directory, &[]),
        ] {
            let node = Node::new();
            node.seen(before, 0);
            node.refused(code);
            node.seen(after, 0);
            // The first look comes before any call there, which is no reason to forget it.
            let node_again = Node::new();
            node_again.refused(code);
            node_again.seen(before, 0);
            node_again.refused(code);
            node_again.seen(after, 0);
            assert_eq!(node_again.warned_of(), expected, "{before:?} {code:?} {after:?}");
            assert_eq!(node.warned_of(), expected, "{before:?} {code:?} {after:?}");
        }
    }

    #[test]
    fn a_mount_that_comes_after_an_unpublish_draws_a_warning() {
        for (withdrawn, mounts, expected) in [(true, 1, &["NODE-UNPUBLISH-002"][..]), (true, 0, &[]), (false, 1, &[])] {
            let node = Node::new();
            let call = node.publish();
            node.0.lost(call, Lost::Cancelled);
            if withdrawn {
                node.unpublished();
            }
            node.seen(if mounts == 0 { PathKind::Absent } else { PathKind::Directory }, mounts);
            assert_eq!(node.warned_of(), expected, "{withdrawn} {mounts}");
        }
    }

    #[test]
    fn nothing_is_said_of_calls_that_overlap() {
        let node = Node::new();
        node.seen(PathKind::Absent, 0);
        let other = node.publish();
        node.refused(Code::NotFound);
        node.0.status(other, Code::NotFound as i32, "no", 0);
        node.seen(PathKind::Directory, 0);
        assert!(node.warned_of().is_empty());
    }
}
