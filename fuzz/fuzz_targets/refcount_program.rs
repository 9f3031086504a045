//! Bytes as a schedule of up to 16 steps of the reference-count protocol, with every promise checked. The variable
//! `CSI_CERTIFY_MISTAKE` switches on one mistake that must be found.

#![no_main]

use std::sync::LazyLock;

use csi_certify_fuzz::refcount::{mistake, run_drawn};
use csi_certify_mountpod::mountpod::protocol::Policy;
use csi_certify_suite::explore::Bytes;
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Policy> =
    LazyLock::new(|| std::env::var("CSI_CERTIFY_MISTAKE").map_or_else(|_| Policy::default(), |name| mistake(&name)));

fuzz_target!(|bytes: &[u8]| {
    let (program, failure) = run_drawn(&POLICY, &mut Bytes::new(bytes), 16);
    assert!(failure.is_none(), "{failure:?}\n{program:#?}");
});
