//! Which event of a history is the last to mention something: whatever nothing mentions any more can be forgotten.
//!
//! Objects, and what is kept of them, are found by the texts that name them: ids, names, paths, tokens. The first pass
//! notes where each of them stands last, so that the second need not guess whether a volume that is gone will be asked
//! for again.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::{
    csi::v1::{self, volume_content_source::Type as SourceType},
    history::{Observation, Reply, Request},
};

/// A position that never comes.
const NEVER: u32 = u32::MAX;

/// The position of the last event that mentions each text.
///
/// Texts are known by a fingerprint: where two share one, both are remembered for as long as either is mentioned.
#[derive(Debug, Default)]
pub(super) struct Mentions(HashMap<u32, u32>);

impl Mentions {
    /// Takes note of a text that an event mentions.
    pub(super) fn note(&mut self, text: &str, at: usize) {
        if !text.is_empty() {
            let last = self.0.entry(fingerprint(text)).or_default();
            *last = (*last).max(u32::try_from(at).unwrap_or(NEVER));
        }
    }

    /// Takes note of what a request mentions.
    pub(super) fn note_request(&mut self, request: &Request, at: usize) {
        in_request(request, &mut |text| self.note(text, at));
    }

    /// Takes note of what a reply mentions.
    pub(super) fn note_reply(&mut self, reply: &Reply, at: usize) {
        in_reply(reply, &mut |text| self.note(text, at));
    }

    /// Takes note of what an observation mentions.
    pub(super) fn note_observation(&mut self, observation: &Observation, at: usize) {
        if let Some(path) = path(observation) {
            self.note(path, at);
        }
    }

    /// Whether anything has mentioned the text.
    pub(super) fn knows(&self, text: &str) -> bool {
        self.0.contains_key(&fingerprint(text))
    }

    /// The last event that mentions the text, if there is one; `usize::MAX` where it may be mentioned for ever.
    pub(super) fn last(&self, text: &str) -> Option<usize> {
        let last = *self.0.get(&fingerprint(text))?;
        Some(if last == NEVER { usize::MAX } else { last as usize })
    }

    /// Whether an event after this one mentions the text.
    pub(super) fn come_after(&self, at: usize, text: &str) -> bool {
        self.last(text).is_some_and(|last| last > at)
    }

    /// The last event that can repeat the request: all of its texts stand in it.
    pub(super) fn last_repeat(&self, request: &Request) -> usize {
        let mut last = usize::MAX;
        in_request(request, &mut |text| {
            if !text.is_empty() {
                last = last.min(self.last(text).unwrap_or_default());
            }
        });
        last
    }

    /// Forgets where those texts stood that no event after this one mentions.
    pub(super) fn forget(&mut self, at: usize) {
        self.0.retain(|_, last| *last == NEVER || *last as usize > at);
    }
}

fn fingerprint(text: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    // The lower half is as good as the whole for what it is used for.
    (hasher.finish() & u64::from(u32::MAX)) as u32
}

/// The texts of a request by which anything is found.
pub(super) fn in_request(request: &Request, each: &mut dyn FnMut(&str)) {
    if let Some(id) = request.volume_id() {
        each(id);
    }
    match request {
        Request::CreateVolume(r) => {
            each(&r.name);
            source(r.volume_content_source.as_ref(), each);
        }
        Request::NodeStageVolume(r) => each(&r.staging_target_path),
        Request::NodeUnstageVolume(r) => each(&r.staging_target_path),
        Request::NodePublishVolume(r) => {
            each(&r.target_path);
            each(&r.staging_target_path);
        }
        Request::NodeUnpublishVolume(r) => each(&r.target_path),
        Request::NodeGetVolumeStats(r) => {
            each(&r.volume_path);
            each(&r.staging_target_path);
        }
        Request::NodeExpandVolume(r) => {
            each(&r.volume_path);
            each(&r.staging_target_path);
        }
        Request::ListVolumes(r) => each(&r.starting_token),
        Request::CreateSnapshot(r) => {
            each(&r.name);
            each(&r.source_volume_id);
        }
        Request::DeleteSnapshot(r) => each(&r.snapshot_id),
        Request::GetSnapshot(r) => each(&r.snapshot_id),
        Request::ListSnapshots(r) => {
            each(&r.source_volume_id);
            each(&r.snapshot_id);
            each(&r.starting_token);
        }
        Request::CreateVolumeGroupSnapshot(r) => {
            each(&r.name);
            r.source_volume_ids.iter().for_each(|id| each(id));
        }
        Request::DeleteVolumeGroupSnapshot(r) => {
            each(&r.group_snapshot_id);
            r.snapshot_ids.iter().for_each(|id| each(id));
        }
        Request::GetVolumeGroupSnapshot(r) => {
            each(&r.group_snapshot_id);
            r.snapshot_ids.iter().for_each(|id| each(id));
        }
        Request::GetMetadataAllocated(r) => each(&r.snapshot_id),
        Request::GetMetadataDelta(r) => {
            each(&r.base_snapshot_id);
            each(&r.target_snapshot_id);
        }
        _ => {}
    }
}

/// The texts of a reply by which anything is found.
fn in_reply(reply: &Reply, each: &mut dyn FnMut(&str)) {
    match reply {
        Reply::CreateVolume(reply) => reply.volume.iter().for_each(|one| volume(one, each)),
        Reply::ControllerGetVolume(reply) => reply.volume.iter().for_each(|one| volume(one, each)),
        Reply::ListVolumes(reply) => {
            reply.entries.iter().filter_map(|entry| entry.volume.as_ref()).for_each(|one| volume(one, each));
            each(&reply.next_token);
        }
        Reply::CreateSnapshot(reply) => reply.snapshot.iter().for_each(|one| snapshot(one, each)),
        Reply::GetSnapshot(reply) => reply.snapshot.iter().for_each(|one| snapshot(one, each)),
        Reply::ListSnapshots(reply) => {
            reply.entries.iter().filter_map(|entry| entry.snapshot.as_ref()).for_each(|one| snapshot(one, each));
            each(&reply.next_token);
        }
        Reply::CreateVolumeGroupSnapshot(reply) => reply.group_snapshot.iter().for_each(|one| group(one, each)),
        Reply::GetVolumeGroupSnapshot(reply) => reply.group_snapshot.iter().for_each(|one| group(one, each)),
        _ => {}
    }
}

fn volume(volume: &v1::Volume, each: &mut dyn FnMut(&str)) {
    each(&volume.volume_id);
    source(volume.content_source.as_ref(), each);
}

fn source(source: Option<&v1::VolumeContentSource>, each: &mut dyn FnMut(&str)) {
    match source.and_then(|source| source.r#type.as_ref()) {
        Some(SourceType::Snapshot(from)) => each(&from.snapshot_id),
        Some(SourceType::Volume(from)) => each(&from.volume_id),
        None => {}
    }
}

fn snapshot(snapshot: &v1::Snapshot, each: &mut dyn FnMut(&str)) {
    each(&snapshot.snapshot_id);
    each(&snapshot.source_volume_id);
    each(&snapshot.group_snapshot_id);
}

fn group(group: &v1::VolumeGroupSnapshot, each: &mut dyn FnMut(&str)) {
    each(&group.group_snapshot_id);
    group.snapshots.iter().for_each(|one| snapshot(one, each));
}

/// The path on a node that was looked at.
const fn path(observation: &Observation) -> Option<&String> {
    match observation {
        Observation::Path { path, .. }
        | Observation::Write { path, .. }
        | Observation::Blocks { path, .. }
        | Observation::Read { path, .. }
        | Observation::Size { path, .. }
        | Observation::Group { path, .. } => Some(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_over_once_its_last_mention_has_passed() {
        let mut mentions = Mentions::default();
        mentions.note("a", 3);
        mentions.note("a", 7);
        mentions.note("b", 5);
        assert!(mentions.come_after(6, "a") && !mentions.come_after(7, "a"));
        assert!(!mentions.come_after(0, "c") && !mentions.knows("c"));
        let both = v1::NodeUnpublishVolumeRequest { volume_id: "a".into(), target_path: "b".into() };
        assert_eq!(mentions.last_repeat(&both.into()), 5);
        mentions.forget(5);
        assert!(mentions.knows("a") && !mentions.knows("b"));
        mentions.note("c", usize::MAX);
        assert!(mentions.come_after(usize::MAX - 1, "c"));
    }
}
