//! Any bytes as a history: the reader refuses them or the oracle judges them; neither panics, and the verdict depends on
//! nothing but what was asked and answered.

use std::path::Path;

use csi_certify_history::history::{EventKind, History};
use csi_certify_oracle::oracle::judge;

/// Judges the history in the bytes.
pub fn run(bytes: &[u8]) {
    let Ok(history) = History::parse(Path::new("fuzz"), bytes) else { return };
    let judgement = judge(&history);
    assert_eq!(judgement, judge(&history), "the same history has two verdicts");
    let mut bare = history;
    bare.events.retain(|event| !matches!(event.kind, EventKind::Scenario { .. }));
    for event in &mut bare.events {
        event.at = 0;
    }
    assert_eq!(judgement, judge(&bare), "the verdict depends on the time of day or the progress of the run");
}
