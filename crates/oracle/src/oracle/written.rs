//! Blocks that were written to devices, and whether the metadata of snapshots tells of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    capability::Access,
    judge::Judge,
    names::{Key, Names},
    operation::Operation,
    ruling::{Answer, Mark, check},
};
use crate::{
    csi::v1::BlockMetadata,
    history::{Observation, Reply, Request},
    rule,
    spec::RuleId,
};

/// The first block of a device, which holds the marker.
const MARKER: u64 = 512;

/// A block that was written, and when.
#[derive(Clone, Copy, Debug)]
struct Block {
    at: usize,
    from: i64,
    to: i64,
}

/// A snapshot: of which volume, and between which moments it was cut.
#[derive(Clone, Debug)]
struct Cut {
    volume: Key,
    from: usize,
    until: usize,
}

/// What was written, and what was cut.
#[derive(Debug, Default)]
pub(super) struct Written {
    blocks: BTreeMap<Key, Vec<Block>>,
    cuts: BTreeMap<String, Cut>,
    /// Volumes of which a snapshot may have been cut by a call that was lost: a repeat tells of it, and not when.
    doubtful: BTreeSet<Key>,
}

impl Written {
    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.blocks.len() + self.cuts.len() + self.doubtful.len()
    }

    /// Forgets snapshots that nothing mentions any more, and volumes that are not held.
    pub(super) fn forget_what_is_over(&mut self, is_mentioned: &dyn Fn(&str) -> bool, is_held: impl Fn(&Key) -> bool) {
        self.cuts.retain(|snapshot, _| is_mentioned(snapshot));
        let cut: BTreeSet<&Key> = self.cuts.values().map(|cut| &cut.volume).collect();
        self.blocks.retain(|volume, _| is_held(volume) || cut.contains(volume));
        self.doubtful.retain(|volume| is_held(volume) || cut.contains(volume));
    }

    /// Takes note of a snapshot, or judges its metadata (specification lines 3261, 3350).
    pub(super) fn marks(&mut self, names: &Names, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        let Answer::Ok(reply) = answer else { return marks };
        match (operation.request(), reply) {
            (Request::GetMetadataAllocated(request), Reply::GetMetadataAllocated(messages)) => {
                if let Some(cut) = self.cuts.get(&request.snapshot_id) {
                    let told = messages.iter().flat_map(|message| &message.block_metadata);
                    let written = self.written(cut, |block| block.at < cut.from);
                    covered(&written, told, request.starting_offset, rule!("META-ALLOCATED-002"), &mut marks);
                }
            }
            (Request::GetMetadataDelta(request), Reply::GetMetadataDelta(messages)) => {
                let cut = |id: &String| self.cuts.get(id);
                if let (Some(base), Some(target)) = (cut(&request.base_snapshot_id), cut(&request.target_snapshot_id))
                    && base.volume == target.volume
                {
                    let told = messages.iter().flat_map(|message| &message.block_metadata);
                    let written = self.written(target, |block| base.until < block.at && block.at < target.from);
                    covered(&written, told, request.starting_offset, rule!("META-DELTA-002"), &mut marks);
                }
            }
            (Request::CreateSnapshot(request), Reply::CreateSnapshot(reply)) => {
                if let Some(snapshot) = &reply.snapshot {
                    let volume = names.volume(&request.source_volume_id, operation.started);
                    // A repeat tells of the same cut; which of the calls made it is not known.
                    self.cuts.entry(snapshot.snapshot_id.clone()).or_insert(Cut {
                        volume,
                        from: operation.started,
                        until: operation.ended,
                    });
                }
            }
            _ => {}
        }
        marks
    }

    /// A call gets no answer.
    pub(super) fn lose(&mut self, names: &Names, operation: &Operation) {
        if let Request::CreateSnapshot(request) = operation.request() {
            self.doubtful.insert(names.volume(&request.source_volume_id, operation.started));
        }
    }

    fn written(&self, cut: &Cut, when: impl Fn(&Block) -> bool) -> Vec<Block> {
        let blocks = self.blocks.get(&cut.volume).filter(|_| !self.doubtful.contains(&cut.volume));
        blocks.into_iter().flatten().copied().filter(|block| when(block)).collect()
    }
}

/// Each block that was written is told of; more may be, as blocks have any size (lines 3261, 3350).
fn covered<'a>(
    written: &[Block],
    told: impl Iterator<Item = &'a BlockMetadata>,
    start: i64,
    rule: RuleId,
    marks: &mut Vec<Mark>,
) {
    let ranges: Vec<(i64, i64)> =
        told.map(|one| (one.byte_offset, one.byte_offset.saturating_add(one.size_bytes))).collect();
    let is_told = |byte: i64| ranges.iter().any(|&(from, to)| from <= byte && byte < to);
    let asked: Vec<&Block> = written.iter().filter(|block| block.from >= start).collect();
    let missing: Vec<String> = asked
        .iter()
        .filter(|block| !is_told(block.from) || !is_told(block.to - 1))
        .map(|block| format!("{}–{}", block.from, block.to))
        .collect();
    if !asked.is_empty() {
        check(marks, rule, missing.is_empty(), || {
            ("blocks that were written are not told of".into(), "a range over each of them".into(), missing.join(", "))
        });
    }
}

impl Judge {
    /// Takes note of blocks that were written to a device.
    pub(super) fn note_written(&mut self, at: usize, observation: &Observation) {
        let (node, path, offsets, length) = match observation {
            Observation::Blocks { node, path, offsets, length, error } if error.is_empty() => {
                (node, path, offsets.clone(), *length)
            }
            Observation::Write { node, path, name, error, .. } if error.is_empty() && name.is_empty() => {
                (node, path, vec![0], MARKER)
            }
            _ => return,
        };
        let place = (node.clone(), path.clone());
        let Some(key) = self.occupant(&place) else { return };
        // What is written to a file lies anywhere on the device below its file system.
        let is_device = self.volumes.get(key).is_some_and(|object| {
            object.certainly(|state| {
                state.publications.get(&place).is_some_and(|one| one.capability.access == Access::Block)
            })
        });
        if is_device {
            let blocks = offsets.into_iter().filter_map(|offset| {
                let from = i64::try_from(offset).ok()?;
                Some(Block { at, from, to: from.checked_add(i64::try_from(length).ok()?)? })
            });
            self.written.blocks.entry(key.clone()).or_default().extend(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::ruling::Mark;

    fn told(ranges: &[(i64, i64)]) -> Vec<BlockMetadata> {
        ranges.iter().map(|&(byte_offset, size_bytes)| BlockMetadata { byte_offset, size_bytes }).collect()
    }

    fn is_kept(written: &[(i64, i64)], ranges: &[(i64, i64)], start: i64) -> Option<bool> {
        let written: Vec<Block> = written.iter().map(|&(from, to)| Block { at: 0, from, to }).collect();
        let mut marks = Vec::new();
        covered(&written, told(ranges).iter(), start, rule!("META-DELTA-002"), &mut marks);
        marks.first().map(|mark| matches!(mark, Mark::Held(_)))
    }

    #[test]
    fn a_block_has_to_be_covered_and_more_may_be() {
        assert_eq!(is_kept(&[(4096, 8192)], &[(0, 16384)], 0), Some(true));
        assert_eq!(is_kept(&[(4096, 8192)], &[(4096, 2048), (6144, 2048)], 0), Some(true));
        assert_eq!(is_kept(&[(4096, 8192)], &[(4096, 2048)], 0), Some(false));
        assert_eq!(is_kept(&[(4096, 8192)], &[], 0), Some(false));
        assert_eq!(is_kept(&[(4096, 8192)], &[], 8192), None);
        assert_eq!(is_kept(&[], &[(0, 1)], 0), None);
    }
}
