//! Any bytes as every text that the crate reads: parsed or refused, never a panic.

use std::path::Path;

use csi_certify_history::{
    history::History,
    spec::{Gate, RuleId},
};
use csi_certify_suite::{
    explore::{calls::Calls, read, schedule::Schedules},
    sut::{Endpoint, Profile, glob, mounts_on},
};

/// Hands the bytes to every parser.
pub fn run(bytes: &[u8]) {
    let _ = History::parse(Path::new("fuzz"), bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<Endpoint>();
    let _ = toml::from_str::<Profile>(text);
    let _ = read::<Schedules>("fuzz", text);
    let _ = read::<Calls>("fuzz", text);
    let _ = Gate::parse(text);
    let _ = RuleId::parse(text);
    let _ = mounts_on(text, "/target");
    if let Some((pattern, name)) = text.split_once('\n') {
        let _ = glob(pattern, name);
    }
}
