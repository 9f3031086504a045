//! Requests that go beyond the limits of the interface: the caller errs, and the plugin may answer as it likes.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

use crate::{history::Request, spec::Rpc};

/// The general limits of the specification, lines 470 and 471, and that of node ids, line 2812.
const LONGEST_STRING: usize = 128;
const LARGEST_MAP: usize = 4096;
const LONGEST_NODE_ID: usize = 256;

/// The limit of all mount flags together (line 936).
const MOST_FLAG_BYTES: usize = 4096;

/// The kernel's bound for paths, which have no other.
const LONGEST_PATH: usize = 4095;

/// The calls of a history that go beyond the limits, and what they carried.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    /// The positions of their events.
    calls: BTreeSet<usize>,
    /// The strings of those calls that are longer than a string may be.
    strings: BTreeSet<String>,
}

impl Excess {
    /// Looks at a request.
    pub(super) fn note(&mut self, position: usize, request: &Request) {
        if is_excessive(request) {
            self.calls.insert(position);
            long_strings(&Value::Message(request.to_dynamic()), &mut self.strings);
        }
    }

    /// Whether the call that began at this event goes beyond the limits.
    pub(super) fn has(&self, started: usize) -> bool {
        self.calls.contains(&started)
    }

    /// Whether the text repeats what the caller should not have sent: then its length is the caller's doing.
    pub(super) fn is_echoed_in(&self, text: &str) -> bool {
        self.strings.iter().any(|long| text.contains(long))
    }
}

fn long_strings(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Message(message) => message.fields().for_each(|(_, value)| long_strings(value, found)),
        Value::List(values) => values.iter().for_each(|value| long_strings(value, found)),
        Value::Map(entries) => entries.values().for_each(|value| long_strings(value, found)),
        Value::String(text) if text.len() > LONGEST_STRING => {
            found.insert(text.clone());
        }
        _ => {}
    }
}

/// Whether something in the request is larger than it may be, or of a version that is yet to come.
fn is_excessive(request: &Request) -> bool {
    // Walking a message takes long. What is shorter than the least limit keeps all of them; enums are in capabilities only.
    let is_short = request.encode().len() <= LONGEST_STRING;
    (!is_short || has_capability(request.rpc())) && of_message(&request.to_dynamic())
}

const fn has_capability(rpc: Rpc) -> bool {
    matches!(
        rpc,
        Rpc::CreateVolume
            | Rpc::ValidateVolumeCapabilities
            | Rpc::ControllerPublishVolume
            | Rpc::ControllerExpandVolume
            | Rpc::GetCapacity
            | Rpc::NodeStageVolume
            | Rpc::NodePublishVolume
            | Rpc::NodeExpandVolume
    )
}

fn of_message(message: &DynamicMessage) -> bool {
    message.fields().any(|(field, value)| of_value(&field, value))
}

fn of_value(field: &FieldDescriptor, value: &Value) -> bool {
    match (field.kind(), value) {
        (_, Value::Map(entries)) => {
            let length = |value: &Value| value.as_str().map_or(0, str::len);
            entries.iter().map(|(key, value)| key.as_str().map_or(0, str::len) + length(value)).sum::<usize>()
                > LARGEST_MAP
        }
        (_, Value::List(flags)) if field.name() == "mount_flags" && are_too_many(flags) => true,
        (_, Value::List(values)) => values.iter().any(|value| of_value(field, value)),
        (_, Value::Message(inner)) => of_message(inner),
        (_, Value::String(text)) => {
            let longest = match field.name() {
                "node_id" => LONGEST_NODE_ID,
                name if name.ends_with("_path") => LONGEST_PATH,
                _ => LONGEST_STRING,
            };
            text.len() > longest
        }
        (Kind::Enum(of), Value::EnumNumber(number)) => of.get_value(*number).is_none(),
        _ => false,
    }
}

fn are_too_many(flags: &[Value]) -> bool {
    flags.iter().filter_map(Value::as_str).map(str::len).sum::<usize>() > MOST_FLAG_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::v1;

    #[test]
    fn what_is_larger_than_its_limit_or_unheard_of_is_excessive() {
        let named = |length| v1::DeleteVolumeRequest { volume_id: "x".repeat(length), ..Default::default() };
        assert!(!is_excessive(&named(128).into()) && is_excessive(&named(129).into()));
        let at = |length| v1::NodeUnpublishVolumeRequest { target_path: "x".repeat(length), ..Default::default() };
        assert!(!is_excessive(&at(4095).into()) && is_excessive(&at(4096).into()));
        let parameters = |bytes: usize| v1::CreateSnapshotRequest {
            parameters: [("k".to_owned(), "v".repeat(bytes - "k".len()))].into(),
            ..Default::default()
        };
        assert!(!is_excessive(&parameters(4096).into()) && is_excessive(&parameters(4097).into()));
        let mode = |mode| v1::NodeStageVolumeRequest {
            volume_capability: Some(v1::VolumeCapability {
                access_mode: Some(v1::volume_capability::AccessMode { mode }),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert!(!is_excessive(&mode(7).into()) && is_excessive(&mode(99).into()));
        let flags = |count| {
            let mount = v1::volume_capability::MountVolume {
                mount_flags: vec!["csi-certify-flag".to_owned(); count],
                ..Default::default()
            };
            v1::NodeStageVolumeRequest {
                volume_capability: Some(v1::VolumeCapability {
                    access_type: Some(v1::volume_capability::AccessType::Mount(mount)),
                    ..Default::default()
                }),
                ..Default::default()
            }
        };
        assert!(!is_excessive(&flags(256).into()) && is_excessive(&flags(257).into()));
    }
}
