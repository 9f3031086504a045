//! Mount flags stay between orchestrator and plugin (specification line 934): statuses end up where users read them.

use super::{
    operation::Operation,
    ruling::{Answer, Mark, advise},
};
use crate::{
    csi::v1::{VolumeCapability, volume_capability::AccessType},
    history::Request,
    rule,
};

/// Shorter flags (`ro`) are found in any text.
const TELLING: usize = 8;

/// Judges the status of a call that carried mount flags.
pub(super) fn marks(operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
    let mut marks = Vec::new();
    let flags = flags(operation.request());
    let Answer::Status(status) = answer else { return marks };
    let mut flags = flags.into_iter().filter(|flag| flag.len() >= TELLING).peekable();
    if flags.peek().is_some() {
        let told = flags.find(|flag| status.message.contains(flag));
        advise(&mut marks, rule!("CTRL-CREATE-060"), told.is_none(), || {
            (
                "the status message repeats a mount flag, which may hold what is not for everybody".into(),
                "no mount flag in texts".into(),
                answer.describe(),
            )
        });
    }
    marks
}

fn flags(request: &Request) -> Vec<&str> {
    let capabilities: Vec<&VolumeCapability> = match request {
        Request::CreateVolume(it) => it.volume_capabilities.iter().collect(),
        Request::ValidateVolumeCapabilities(it) => it.volume_capabilities.iter().collect(),
        Request::ControllerPublishVolume(it) => it.volume_capability.iter().collect(),
        Request::ControllerExpandVolume(it) => it.volume_capability.iter().collect(),
        Request::NodeStageVolume(it) => it.volume_capability.iter().collect(),
        Request::NodePublishVolume(it) => it.volume_capability.iter().collect(),
        Request::NodeExpandVolume(it) => it.volume_capability.iter().collect(),
        _ => return Vec::new(),
    };
    let mounts = capabilities.into_iter().filter_map(|capability| match &capability.access_type {
        Some(AccessType::Mount(mount)) => Some(mount),
        _ => None,
    });
    mounts.flat_map(|mount| mount.mount_flags.iter().map(String::as_str)).collect()
}
