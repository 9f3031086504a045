//! Snapshots become ready to use: at once where nothing is left to do, and some time otherwise (specification line 1922).

use std::collections::BTreeMap;

use super::{
    operation::Operation,
    ruling::{Answer, Mark, advise},
};
use crate::{csi::v1::Snapshot, history::Reply, rule};

/// So often a snapshot has to be looked at before its delay is worth a word.
const LOOKS: usize = 8;

/// So long, in microseconds.
const LONG: u64 = 20_000_000;

/// Snapshots that have not been ready at any look.
#[derive(Debug, Default)]
pub(super) struct Ripening(BTreeMap<String, Unripe>);

#[derive(Debug)]
struct Unripe {
    since: u64,
    until: u64,
    looks: usize,
}

impl Unripe {
    fn is_late(&self) -> bool {
        self.looks >= LOOKS && self.until.saturating_sub(self.since) >= LONG
    }
}

impl Ripening {
    /// Takes note of what a reply says of snapshots.
    pub(super) fn marks(&mut self, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let Answer::Ok(reply) = answer else { return Vec::new() };
        let own = matches!(reply, Reply::CreateSnapshot(_));
        let told: Vec<&Snapshot> = match reply {
            Reply::CreateSnapshot(reply) => reply.snapshot.iter().collect(),
            Reply::GetSnapshot(reply) => reply.snapshot.iter().collect(),
            Reply::ListSnapshots(reply) => reply.entries.iter().filter_map(|entry| entry.snapshot.as_ref()).collect(),
            _ => return Vec::new(),
        };
        let mut marks = Vec::new();
        for snapshot in told {
            if snapshot.ready_to_use {
                self.0.remove(&snapshot.snapshot_id);
                marks.push(Mark::Held(rule!("CTRL-SNAPCREATE-015")));
            } else if own || self.0.contains_key(&snapshot.snapshot_id) {
                let at = operation.at.saturating_add(operation.waited);
                let unripe =
                    self.0.entry(snapshot.snapshot_id.clone()).or_insert(Unripe { since: at, until: at, looks: 0 });
                unripe.until = unripe.until.max(at);
                unripe.looks += 1;
            }
        }
        marks
    }

    /// How much is remembered.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets snapshots that nothing mentions any more, but for one that is worth a word.
    pub(super) fn forget_what_is_over(&mut self, is_mentioned: &dyn Fn(&str) -> bool) {
        let first = self.0.iter().find(|(_, one)| one.is_late()).map(|(id, _)| id.clone());
        self.0.retain(|id, _| Some(id) == first.as_ref() || is_mentioned(id));
    }

    /// What has not become ready in the end.
    pub(super) fn close(&self) -> Vec<Mark> {
        let mut marks = Vec::new();
        if let Some(unripe) = self.0.values().find(|one| one.is_late()) {
            advise(&mut marks, rule!("CTRL-SNAPCREATE-015"), false, || {
                (
                    "a snapshot never became ready to use".into(),
                    "ready_to_use true once nothing is left to do".into(),
                    format!(
                        "ready_to_use false at {} looks over {} s",
                        unripe.looks,
                        (unripe.until - unripe.since) / 1_000_000
                    ),
                )
            });
        }
        marks
    }
}
