//! What was seen beside the answers: paths on the node, the driver's process, its socket and its output.

use super::{
    configurations::Verdict as Explanation,
    judge::Judge,
    ledger::Place,
    names::Key,
    process,
    ruling::check,
    volume::{self, Volume},
};
use crate::{history::Observation, rule};

impl Judge {
    /// The volume that what is seen at a path is held against: the one that was asked for last. Where another may be as well,
    /// by its own right or because the last one was published over it, what is seen tells of none.
    pub(super) fn occupant(&self, place: &volume::Place) -> Option<&Key> {
        let (last, others) = self.places.get(place)?.split_last()?;
        let may_be_there = |key: &Key| {
            self.volumes.get(key).is_some_and(|object| {
                let worlds = &object.worlds;
                worlds.is_exhausted() || worlds.is_busy() || worlds.states().any(|state| state.may_be_at(place))
            })
        };
        (!others.iter().any(may_be_there)).then_some(last)
    }

    /// Judges what was seen on the node, of the process and in its output.
    pub(super) fn observe(&mut self, observation: &Observation) {
        let scenario = String::new();
        let mut place = Place { calls: Vec::new(), scenario };
        let mut marks = self.contents.observe(observation);
        match observation {
            // The mount table has absolute paths only, and what a plugin takes a relative one to be below is its own affair.
            Observation::Path { path, .. } if !path.starts_with('/') => {}
            Observation::Path { node, path, kind, mounts } => {
                let at = (node.clone(), path.clone());
                let (left, by) = self.leftovers(&at, *kind, mounts);
                self.ledger.enter(left, &by);
                if let Some(key) = self.occupant(&at).cloned()
                    && let Some(object) = self.volumes.get_mut(&key)
                    && object.open.is_empty()
                {
                    if let Some(&last) = object.calls.last() {
                        place.calls = object.evidence(last);
                    }
                    let operations = &self.world.operations;
                    let disturbs = |call| operations.get(call).is_some_and(|one| one.works_at(node, path));
                    match object.worlds.observe(&|state: &Volume| volume::look(state, &at, *kind, mounts), &disturbs) {
                        Explanation::Explained(found) => {
                            self.whereabouts.found(node, &found);
                            marks.extend(found);
                        }
                        Explanation::Impossible(mut strike, others) => {
                            place.scenario = self.scenario_of(place.calls.last());
                            self.whereabouts.missed(node, &mut strike, &place);
                            self.ledger.convict(strike, others, &place);
                            if let Some(object) = self.volumes.get_mut(&key) {
                                object.worlds.rebuild(Volume::foreign(), None);
                            }
                        }
                        Explanation::Inconclusive => {}
                    }
                }
            }
            Observation::Stranger { rpc, damage, .. } => {
                let rule = match rpc.as_str() {
                    "DeleteVolume" => rule!("CTRL-DELETE-003"),
                    _ => rule!("NODE-UNPUBLISH-002"),
                };
                check(&mut marks, rule, damage.is_empty(), || {
                    (
                        "a directory was touched that belongs to no volume".into(),
                        "everything as before".into(),
                        damage.clone(),
                    )
                });
            }
            Observation::Helpers { before, after, rounds, .. } => {
                check(&mut marks, rule!("NODE-UNPUBLISH-002"), after - before.min(after) < *rounds, || {
                    (
                        "processes of the plugin are left of volumes that were unpublished".into(),
                        format!("about {before} children"),
                        format!("{after} children after {rounds} rounds"),
                    )
                });
            }
            Observation::Write { node, path, .. }
            | Observation::Blocks { node, path, .. }
            | Observation::Read { node, path, .. }
            | Observation::Size { node, path, .. }
            | Observation::Group { node, path, .. } => {
                let key = self.occupant(&(node.clone(), path.clone()));
                if let Some(object) = key.and_then(|key| self.volumes.get(key))
                    && let Some(&last) = object.calls.last()
                {
                    place.calls = object.evidence(last);
                }
            }
            _ => marks.extend(process::marks(observation)),
        }
        place.scenario = self.scenario_of(place.calls.last());
        self.ledger.enter(marks, &place);
    }
}
