//! What is seen of a plugin's instance after it was started: Probe on the way to ready, and what it remembers unasked.

use std::collections::{BTreeMap, BTreeSet};

use tonic::Code;

use super::{
    operation::Operation,
    ruling::{Answer, Mark, advise, is_transient},
};
use crate::{history::Reply, rule};

/// The instances that are on their way, or have arrived.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// By instance that has not said yet that it is ready: the errors with which Probe was answered.
    probed: BTreeMap<String, Vec<String>>,
    /// Instances that said that they are ready.
    ready: BTreeSet<String>,
    /// Instances that were started anew and have not been asked for the node's id since.
    unasked: BTreeSet<String>,
    /// Instances that were asked for it once.
    asked: BTreeSet<String>,
}

impl Starts {
    /// Judges a call by what has become of its instance since the start (specification line 741).
    pub(super) fn marks(&mut self, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        let instance = &operation.call.instance;
        match answer {
            Answer::Ok(Reply::NodeGetInfo(_)) => {
                self.unasked.remove(instance);
                self.asked.insert(instance.clone());
            }
            Answer::Ok(Reply::Probe(probe)) if !self.ready.contains(instance) => {
                let errors = self.probed.remove(instance).unwrap_or_default();
                if probe.ready != Some(false) {
                    self.ready.insert(instance.clone());
                }
                // It may have been unhealthy for a while, which nobody can tell from here.
                advise(&mut marks, rule!("IDENT-PROBE-014"), errors.is_empty(), || {
                    (
                        "Probe failed while the plugin was starting".into(),
                        "OK with ready false until it is ready".into(),
                        errors.join(", "),
                    )
                });
            }
            Answer::Status(status)
                if operation.rpc() == crate::spec::Rpc::Probe
                    && !self.ready.contains(instance)
                    && !is_transient(Code::from(status.code)) =>
            {
                self.probed.entry(instance.clone()).or_default().push(answer.describe());
            }
            _ => {}
        }
        marks
    }

    /// A new process has taken the place of the former.
    pub(super) fn restarted(&mut self, instance: &str) {
        self.ready.remove(instance);
        self.probed.remove(instance);
        if self.asked.contains(instance) {
            self.unasked.insert(instance.to_owned());
        }
    }

    /// Whether the instance was started anew and has not been asked for the node's id since (specification line 2795).
    pub(super) fn is_without_node_info(&self, instance: &str) -> bool {
        self.unasked.contains(instance)
    }
}
