//! A failure that does not pass: the same request is refused time and again although nothing else is under way.
//!
//! A status such as INTERNAL or ABORTED says nothing of the request, so one by one they are permitted. The specification
//! sets no bound to how long that may go on, so this draws a warning and no more.

use std::collections::HashMap;

use tonic::Code;

use super::{
    operation::Operation,
    ruling::{Answer, Mark, Strike, code_name},
};
use crate::{
    history::CallId,
    rule,
    spec::{Rpc, RuleId},
};

/// So many refusals in a row count as for ever.
const FOR_EVER: u32 = 5;

/// Counts refusals in a row, by request.
#[derive(Debug, Default)]
pub(super) struct Persistence(HashMap<(CallId, String), u32>);

impl Persistence {
    /// An answer came; `quiet` says whether nothing else was under way on the object meanwhile.
    pub(super) fn note(&mut self, operation: &Operation, answer: Answer<'_>, quiet: bool) -> Vec<Mark> {
        let key = (operation.alike, operation.call.instance.clone());
        let code = match answer {
            Answer::Status(status) if quiet => Code::from(status.code),
            _ => Code::Ok,
        };
        let Some(rule) = broken(operation.rpc(), code) else {
            self.0.remove(&key);
            return Vec::new();
        };
        let count = self.0.entry(key).or_default();
        *count += 1;
        if *count != FOR_EVER {
            return Vec::new();
        }
        vec![Mark::Warned(Strike::new(
            rule,
            format!(
                "{} does not pass: nothing else is under way, and each repetition is refused",
                code_name(code as i32)
            ),
            "OK at last, or a code that says what is wrong",
            format!("{} {FOR_EVER} times", code_name(code as i32)),
        ))]
    }

    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets requests that are not repeated any more.
    pub(super) fn forget_what_is_over(&mut self, is_repeatable: impl Fn(CallId) -> bool) {
        self.0.retain(|(call, _), _| is_repeatable(*call));
    }

    /// The driver was started anew, so it gets a fresh chance.
    pub(super) fn restarted(&mut self) {
        self.0.clear();
    }
}

/// The rule that a lasting refusal breaks: ABORTED names a call that is not there, the others never do what was asked.
fn broken(rpc: Rpc, code: Code) -> Option<RuleId> {
    let rule = match rpc {
        Rpc::CreateVolume => rule!("CTRL-CREATE-002"),
        Rpc::DeleteVolume => rule!("CTRL-DELETE-002"),
        Rpc::ControllerPublishVolume => rule!("CTRL-PUBLISH-004"),
        Rpc::ControllerUnpublishVolume => rule!("CTRL-UNPUBLISH-005"),
        Rpc::ControllerExpandVolume => rule!("CTRL-EXPAND-002"),
        Rpc::CreateSnapshot => rule!("CTRL-SNAPCREATE-002"),
        Rpc::DeleteSnapshot => rule!("CTRL-SNAPDELETE-002"),
        Rpc::NodeStageVolume => rule!("NODE-STAGE-006"),
        Rpc::NodeUnstageVolume => rule!("NODE-UNSTAGE-008"),
        Rpc::NodePublishVolume => rule!("NODE-PUBLISH-003"),
        Rpc::NodeUnpublishVolume => rule!("NODE-UNPUBLISH-006"),
        Rpc::NodeExpandVolume => rule!("NODE-EXPAND-002"),
        _ => return None,
    };
    match code {
        Code::Internal | Code::Unknown => Some(rule),
        Code::Aborted => Some(rule!("GEN-ERR-016")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        csi::v1::DeleteVolumeRequest,
        history::{Header, Recorder, Request},
        oracle::{Severity, judge},
    };

    fn delete() -> Request {
        DeleteVolumeRequest { volume_id: "a".into(), ..Default::default() }.into()
    }

    /// The rules that a number of refusals warn of; where others are under way, another call stays open meanwhile.
    fn warned_of(code: tonic::Code, times: u32, others: bool) -> Vec<&'static str> {
        let recorder = Recorder::new(Header::default(), None);
        let create = crate::csi::v1::CreateVolumeRequest { name: "a".into(), ..Default::default() };
        let made = recorder.call("plugin", "", "scenario", &create.into());
        let volume = crate::csi::v1::Volume { volume_id: "a".into(), ..Default::default() };
        recorder.reply(made, crate::csi::v1::CreateVolumeResponse { volume: Some(volume) }.into());
        if others {
            recorder.call("plugin", "", "scenario", &delete());
        }
        for _ in 0..times {
            let call = recorder.call("plugin", "", "scenario", &delete());
            recorder.status(call, code as i32, "not now", 0);
        }
        let findings = judge(&recorder.finish().0).findings;
        assert!(
            findings.iter().all(|finding| finding.severity == Severity::Warning || !finding.message.contains("pass"))
        );
        findings.iter().filter(|it| it.message.contains("does not pass")).map(|it| it.rule.as_str()).collect()
    }

    #[test]
    fn what_is_refused_time_and_again_draws_a_warning() {
        assert_eq!(warned_of(tonic::Code::Internal, 5, false), ["CTRL-DELETE-002"]);
        assert_eq!(warned_of(tonic::Code::Aborted, 5, false), ["GEN-ERR-016"]);
    }

    #[test]
    fn what_may_pass_or_has_a_reason_draws_none() {
        assert!(warned_of(tonic::Code::Internal, 4, false).is_empty());
        assert!(warned_of(tonic::Code::Aborted, 9, true).is_empty());
        assert!(warned_of(tonic::Code::Unavailable, 9, false).is_empty());
        assert!(warned_of(tonic::Code::FailedPrecondition, 9, false).is_empty());
    }
}
