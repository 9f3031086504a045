//! Whether the node plugin runs on the node where volumes are published (specification line 269).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ledger::Place,
    ruling::{Mark, Strike},
};
use crate::{rule, spec::RuleId};

const RULE: RuleId = rule!("GEN-RPC-003");

/// What was seen at the targets of each node, where the plugin had said that a volume is there.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    /// Nodes on which the plugin left a trace.
    here: BTreeSet<String>,
    /// Nodes on which a target was not there at all, and the calls that show it first.
    nothing: BTreeMap<String, Place>,
}

impl Whereabouts {
    /// A look at a path was explained.
    pub(super) fn found(&mut self, node: &str, marks: &[Mark]) {
        if marks.contains(&Mark::Held(RULE)) {
            self.here.insert(node.to_owned());
        }
    }

    /// A look at a path breaks a rule: the suspicion goes from the strike to the end of the history, which has to tell whether
    /// the plugin was ever here.
    pub(super) fn missed(&mut self, node: &str, strike: &mut Strike, place: &Place) {
        if let Some(at) = strike.also.iter().position(|rule| *rule == RULE) {
            strike.also.remove(at);
            self.nothing.entry(node.to_owned()).or_insert_with(|| place.clone());
        } else if strike.also.contains(&rule!("NODE-PUBLISH-064")) {
            self.here.insert(node.to_owned());
        }
    }

    /// Of the nodes on which nothing of the plugin was ever seen. Who placed it there is not for us to say, so this only warns.
    pub(super) fn close(self) -> impl Iterator<Item = (Mark, Place)> {
        let Self { here, nothing } = self;
        nothing.into_iter().filter(move |(node, _)| !here.contains(node)).map(|(node, place)| {
            let strike = Strike::new(
                RULE,
                format!("nothing of what the node plugin says to have published was ever seen on the node {node:?}"),
                "a node plugin that runs on the node, and whose mounts can be seen there",
                "targets that do not exist after OK",
            );
            (Mark::Warned(strike), place)
        })
    }
}
