//! One map of secrets serves all calls, as its keys are unique over all of them (specification line 527).

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code;

use super::{
    operation::Operation,
    ruling::{Answer, Mark, advise},
};
use crate::{history::REDACTED, rule, spec::Rpc};

/// What became of calls with secrets, by the keys of these.
#[derive(Debug, Default)]
pub(super) struct SharedSecrets(BTreeMap<BTreeSet<String>, Answers>);

#[derive(Debug, Default)]
struct Answers {
    taken: BTreeSet<Rpc>,
    refused: BTreeSet<Rpc>,
}

impl SharedSecrets {
    /// A call was answered.
    pub(super) fn note(&mut self, operation: &Operation, answer: Answer<'_>) {
        let Some(keys) = keys(operation) else { return };
        let answers = self.0.entry(keys).or_default();
        match answer {
            Answer::Ok(_) => {
                answers.taken.insert(operation.rpc());
            }
            Answer::Status(status)
                if matches!(Code::from(status.code), Code::Unauthenticated | Code::PermissionDenied) =>
            {
                answers.refused.insert(operation.rpc());
            }
            Answer::Status(_) => {}
        }
    }

    /// Judges the run as a whole.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let mut marks = Vec::new();
        for (keys, Answers { taken, refused }) in &self.0 {
            let never: Vec<&str> = refused.difference(taken).map(|rpc| rpc.name()).collect();
            if taken.is_empty() || taken.len() + never.len() < 2 {
                continue;
            }
            // A profile may hold the wrong ones; only the driver's documentation can tell.
            advise(&mut marks, rule!("GEN-SECRET-008"), never.is_empty(), || {
                (
                    "the secrets that some calls take are refused by others".into(),
                    format!("one map of {keys:?} for all calls"),
                    format!("refused by {}", never.join(", ")),
                )
            });
        }
        marks
    }
}

/// The keys of the secrets of a call, where it has some and none of them was wrong on purpose.
fn keys(operation: &Operation) -> Option<BTreeSet<String>> {
    let secrets = operation.request().secrets()?;
    let right = secrets.values().all(|text| text == REDACTED);
    (right && !secrets.is_empty()).then(|| secrets.keys().cloned().collect())
}
