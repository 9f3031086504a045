//! A node that is full has room again once a volume is detached from it (specification line 1389).

use std::collections::BTreeMap;

use tonic::Code;

use super::{
    judge::Judge,
    operation::Operation,
    ruling::{Answer, Mark, advise},
};
use crate::{history::Request, rule};

/// By node id: whether a volume was detached since the node was last said to be full.
#[derive(Debug, Default)]
pub(super) struct Rooms(BTreeMap<String, bool>);

impl Judge {
    /// Judges an attachment after the node was full, and takes note of what fills and frees it.
    pub(super) fn room(&mut self, operation: &Operation, answer: Answer<'_>) -> Vec<Mark> {
        let mut marks = Vec::new();
        match (operation.request(), answer) {
            (Request::ControllerPublishVolume(request), answer) => {
                let node = &request.node_id;
                let limit = self.world.knowledge.max_volumes.get(node).copied().unwrap_or(0);
                let exhausted =
                    matches!(answer, Answer::Status(status) if status.code == Code::ResourceExhausted as i32);
                let attached = i64::try_from(self.world.around(operation).attached).unwrap_or(i64::MAX);
                let judged = exhausted || matches!(answer, Answer::Ok(_));
                if judged && limit > 0 && attached < limit && self.rooms.0.get(node) == Some(&true) {
                    // Others may have taken the place, and the specification has no keyword here.
                    advise(&mut marks, rule!("CTRL-PUBLISH-043"), !exhausted, || {
                        (
                            "a node has no room although a volume was detached from it".into(),
                            "OK".into(),
                            answer.describe(),
                        )
                    });
                    self.rooms.0.remove(node);
                }
                if exhausted {
                    self.rooms.0.insert(node.clone(), false);
                }
            }
            (Request::ControllerUnpublishVolume(request), Answer::Ok(_)) => {
                if let Some(freed) = self.rooms.0.get_mut(&request.node_id) {
                    *freed = true;
                }
            }
            _ => {}
        }
        marks
    }
}
