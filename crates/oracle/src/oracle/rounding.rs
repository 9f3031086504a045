//! Sizes that a driver could round up: one below its smallest, with no limit above. OUT_OF_RANGE is what the specification
//! names for a size that cannot be had (line 1266), but larger than what is required may always be given (line 1010).

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code;

use super::{
    operation::Operation,
    ruling::{Answer, Mark, advise},
};
use crate::{
    csi::v1::CreateVolumeRequest,
    history::{Reply, Request},
    rule,
};

/// The largest volumes that were made.
#[derive(Debug, Default)]
pub(super) struct Rounding {
    /// By everything that was asked for beside name and size.
    made: BTreeMap<Vec<u8>, i64>,
    /// Names that were asked for: a refusal may be about the volume that has one.
    names: BTreeSet<String>,
}

impl Rounding {
    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Forgets names that nothing mentions any more.
    pub(super) fn forget_what_is_over(&mut self, is_mentioned: &dyn Fn(&str) -> bool) {
        self.names.retain(|name| name.is_empty() || is_mentioned(name));
    }

    /// Judges an answer to CreateVolume.
    pub(super) fn marks(&mut self, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        let Request::CreateVolume(request) = operation.request() else { return marks };
        let is_new = self.names.insert(request.name.clone());
        // A source has a size of its own.
        let is_empty = request.volume_content_source.is_none();
        let kind = CreateVolumeRequest { name: String::new(), capacity_range: None, ..request.clone() };
        let kind = Request::from(kind).encode();
        match answer {
            Answer::Ok(Reply::CreateVolume(reply)) if is_empty => {
                let capacity = reply.volume.as_ref().map_or(0, |volume| volume.capacity_bytes);
                let largest = self.made.entry(kind).or_default();
                *largest = capacity.max(*largest);
            }
            Answer::Status(status) if status.code == Code::OutOfRange as i32 && is_new && is_empty => {
                let range = request.capacity_range.unwrap_or_default();
                let larger = self.made.get(&kind).copied().unwrap_or_default();
                if range.limit_bytes == 0 && (1..larger).contains(&range.required_bytes) {
                    advise(&mut marks, rule!("CTRL-CREATE-162"), false, || {
                        (
                            "a small size is refused although no limit keeps the driver from giving more: a claim of that size \
                             waits for ever"
                                .into(),
                            format!("OK and a larger volume, such as one of {larger} bytes (OUT_OF_RANGE is permitted)"),
                            format!("{} for required_bytes {}", answer.describe(), range.required_bytes),
                        )
                    });
                }
            }
            _ => {}
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        csi::v1::{CapacityRange, CreateVolumeRequest, CreateVolumeResponse, Volume, VolumeCapability},
        history::{CallId, Header, Recorder},
        oracle::{Severity, judge},
    };

    fn create(recorder: &Recorder, name: &str, required_bytes: i64, limit_bytes: i64) -> CallId {
        let request = CreateVolumeRequest {
            name: name.into(),
            capacity_range: Some(CapacityRange { required_bytes, limit_bytes }),
            volume_capabilities: vec![VolumeCapability::default()],
            ..Default::default()
        };
        recorder.call("plugin", "", "scenario", &request.into())
    }

    fn is_warned_of(made: i64, required_bytes: i64, limit_bytes: i64, name: &str) -> bool {
        let recorder = Recorder::new(Header::default(), None);
        let call = create(&recorder, "a", made, 0);
        let volume = Volume { volume_id: "1".into(), capacity_bytes: made, ..Default::default() };
        recorder.reply(call, CreateVolumeResponse { volume: Some(volume) }.into());
        let call = create(&recorder, name, required_bytes, limit_bytes);
        recorder.status(call, tonic::Code::OutOfRange as i32, "too small", 0);
        let findings = judge(&recorder.finish().0).findings;
        let mut about = findings.iter().filter(|one| one.message.starts_with("a small size"));
        about.any(|one| one.rule.as_str() == "CTRL-CREATE-162" && one.severity == Severity::Warning)
    }

    #[test]
    fn a_size_that_could_be_rounded_up_draws_a_warning() {
        assert!(is_warned_of(1 << 30, 1, 0, "b"));
        assert!(!is_warned_of(1 << 30, 1, 2, "b"), "the limit forbids more");
        assert!(!is_warned_of(1 << 30, 1 << 40, 0, "b"), "too large");
        assert!(!is_warned_of(1 << 30, 0, 0, "b"), "no size at all");
        assert!(!is_warned_of(1 << 30, 1, 0, "a"), "the volume of that name may be meant");
    }
}
