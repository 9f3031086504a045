//! Usage of a volume that is told at one time and not at another. The list may be empty (specification line 2660); who draws
//! a graph of it, or evicts by it, sees a volume that is full one moment and unknown the next.

use std::collections::BTreeSet;

use super::{
    operation::Operation,
    ruling::{Answer, Mark, advise},
};
use crate::{
    history::{Reply, Request},
    rule,
};

/// Where usage was told: node, volume and path.
#[derive(Debug, Default)]
pub(super) struct Usage(BTreeSet<(String, String, String)>);

impl Usage {
    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets volumes that nothing mentions any more.
    pub(super) fn forget_what_is_over(&mut self, is_mentioned: &dyn Fn(&str) -> bool) {
        self.0.retain(|(_, volume, _)| volume.is_empty() || is_mentioned(volume));
    }

    /// Judges an answer; `quiet` says whether nothing else was under way on the volume meanwhile.
    pub(super) fn marks(&mut self, operation: &Operation, answer: Answer<'_>, quiet: bool) -> Vec<Mark> {
        let mut marks = Vec::new();
        let place = |volume: &String, path: &String| (operation.call.node.clone(), volume.clone(), path.clone());
        match (operation.request(), answer) {
            (Request::NodeGetVolumeStats(request), Answer::Ok(Reply::NodeGetVolumeStats(reply))) => {
                let at = place(&request.volume_id, &request.volume_path);
                let is_sick = reply.volume_condition.as_ref().is_some_and(|condition| condition.abnormal);
                if !reply.usage.is_empty() {
                    self.0.insert(at);
                } else if quiet && !is_sick && self.0.contains(&at) {
                    advise(&mut marks, rule!("NODE-STATS-017"), false, || {
                        (
                            "the usage of a volume was told before and is not told any more".into(),
                            "usage, as in the reply before (it may be left out)".into(),
                            "no usage".into(),
                        )
                    });
                }
            }
            // Whatever is there afterwards, it is not what was asked about.
            (Request::NodeUnpublishVolume(request), _) => {
                self.0.remove(&place(&request.volume_id, &request.target_path));
            }
            (Request::NodeUnstageVolume(request), _) => {
                self.0.remove(&place(&request.volume_id, &request.staging_target_path));
            }
            _ => {}
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        csi::v1::{
            NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, NodeUnpublishVolumeRequest,
            NodeUnpublishVolumeResponse, VolumeCondition, VolumeUsage,
        },
        history::{Header, Recorder},
        oracle::{Severity, judge},
    };

    fn stats(recorder: &Recorder, usage: usize, abnormal: bool) {
        let request = NodeGetVolumeStatsRequest {
            volume_id: "1".into(),
            volume_path: "/target".into(),
            staging_target_path: String::new(),
        };
        let call = recorder.call("plugin", "node", "scenario", &request.into());
        let one = VolumeUsage { available: 1, total: 2, used: 1, unit: 1 };
        let volume_condition = Some(VolumeCondition { abnormal, message: "so".into() });
        recorder.reply(call, NodeGetVolumeStatsResponse { usage: vec![one; usage], volume_condition }.into());
    }

    fn is_warned_of(first: usize, unpublished: bool, second: usize, abnormal: bool) -> bool {
        let recorder = Recorder::new(Header::default(), None);
        stats(&recorder, first, false);
        if unpublished {
            let request = NodeUnpublishVolumeRequest { volume_id: "1".into(), target_path: "/target".into() };
            let call = recorder.call("plugin", "node", "scenario", &request.into());
            recorder.reply(call, NodeUnpublishVolumeResponse {}.into());
        }
        stats(&recorder, second, abnormal);
        let findings = judge(&recorder.finish().0).findings;
        let mut told = findings.iter().filter(|one| one.rule.as_str() == "NODE-STATS-017");
        told.any(|one| one.severity == Severity::Warning)
    }

    #[test]
    fn usage_that_is_told_once_is_told_again() {
        assert!(is_warned_of(1, false, 0, false));
        assert!(!is_warned_of(1, false, 1, false));
        assert!(!is_warned_of(0, false, 0, false), "a driver that never tells it");
        assert!(!is_warned_of(1, true, 0, false), "a volume that is gone from there");
        assert!(!is_warned_of(1, false, 0, true), "a volume that cannot be looked at");
    }
}
