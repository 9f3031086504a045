//! Any bytes as a history: the reader refuses them or the oracle judges them; neither panics, and the verdict is a
//! function of the history.

#![no_main]

use std::path::Path;

use csi_certify::{history::History, oracle::judge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(history) = History::parse(Path::new("fuzz"), bytes) {
        assert_eq!(judge(&history), judge(&history));
    }
});
