//! Lists held against the objects of the history: what an entry says of a volume or snapshot that nothing disturbs.

use super::{
    around::{certain_snapshots, certain_volumes},
    configurations::common,
    judge::Judge,
    ledger::Place,
    lists,
    operation::Operation,
    ruling::{Answer, Mark, check},
    snapshot,
    volume::{self, Existence},
};
use crate::{
    csi::v1::{Snapshot, list_volumes_response},
    history::{Reply, Request},
    rule,
};

impl Judge {
    /// Judges an answer to ListVolumes or ListSnapshots.
    pub(super) fn whole_lists(&mut self, operation: &Operation, answer: Answer<'_>, place: &Place) {
        let mut marks = Vec::new();
        match (operation.request(), answer) {
            (Request::ListVolumes(_), _) => {
                let now = certain_volumes(&self.volumes, &self.names);
                marks.extend(self.lists.finish(&self.world, operation, answer, &now, place));
                if let Answer::Ok(Reply::ListVolumes(reply)) = answer {
                    lists::statuses(&self.world, reply, &mut marks);
                    marks.extend(reply.entries.iter().flat_map(|entry| self.listed_volume(operation, entry)));
                }
            }
            (Request::ListSnapshots(request), _) => {
                let now = certain_snapshots(&self.snapshots, &self.volumes, &self.names, operation);
                marks.extend(self.lists.finish(&self.world, operation, answer, &now, place));
                if let Answer::Ok(Reply::ListSnapshots(reply)) = answer {
                    lists::filters(request, reply, &mut marks);
                    let listed = reply.entries.iter().filter_map(|entry| entry.snapshot.as_ref());
                    let is_named = !request.snapshot_id.is_empty();
                    marks.extend(listed.flat_map(|listed| self.listed_snapshot(operation, listed, is_named)));
                }
            }
            _ => {}
        }
        self.ledger.enter(marks, place);
    }

    fn listed_volume(&self, operation: &Operation, entry: &list_volumes_response::Entry) -> Vec<Mark> {
        let Some(listed) = &entry.volume else { return Vec::new() };
        let key = self.names.volume(&listed.volume_id, operation.started);
        let Some(object) = self.volumes.get(&key).filter(|object| object.is_quiet_since(operation)) else {
            return Vec::new();
        };
        if !object.certainly(|state| state.existence_of(&listed.volume_id) == Existence::Present) {
            return Vec::new();
        }
        let published = entry.status.as_ref().map(|status| status.published_node_ids.as_slice());
        common(object.worlds.states().map(|state| {
            let mut marks = Vec::new();
            volume::description_marks(&self.world, state, listed, published, true, &mut marks);
            marks
        }))
    }

    fn listed_snapshot(&self, operation: &Operation, listed: &Snapshot, is_named: bool) -> Vec<Mark> {
        let key = self.names.snapshot(&listed.snapshot_id, operation.started);
        let Some(object) = self.snapshots.get(&key).filter(|object| object.is_quiet_since(operation)) else {
            return Vec::new();
        };
        let known = |state: &snapshot::Snapshot| {
            state.existence_of(&listed.snapshot_id) == Existence::Present && !state.lenient
        };
        if !object.certainly(known) {
            return Vec::new();
        }
        common(object.worlds.states().map(|state| {
            let mut marks = Vec::new();
            snapshot::describe_again(state, listed, rule!("CTRL-INTERACT-012"), &mut marks);
            let rules = [Some(rule!("CTRL-INTERACT-013")), is_named.then_some(rule!("CTRL-SNAPLIST-017"))];
            for rule in rules.into_iter().flatten().filter(|_| state.ready) {
                check(&mut marks, rule, listed.ready_to_use, || {
                    (
                        "a snapshot that was ready is listed as if it was not".into(),
                        "ready_to_use true".into(),
                        "ready_to_use false".into(),
                    )
                });
            }
            marks
        }))
    }
}
