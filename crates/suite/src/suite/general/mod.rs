//! Scenarios that are about no single RPC: field matrices, what is not served, lost answers, overlapping calls, restarts, the process.

pub(super) mod fields;
pub(super) mod lost_answers;
pub(super) mod overlapping;
pub(super) mod process;
pub(super) mod restart;
pub(super) mod secrets;
pub(super) mod strangers;
pub(super) mod unimplemented;
