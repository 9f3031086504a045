//! How many programs are run, and from which seeds.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of this run: `CSI_CERTIFY_SEED`, or a fresh one. It is printed, so that a run can be repeated.
pub(crate) fn seed(test: &str) -> u64 {
    let wish = std::env::var("CSI_CERTIFY_SEED").ok().map(|text| text.parse().expect("CSI_CERTIFY_SEED is a number"));
    let seed = wish.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    println!("{test}: repeat with CSI_CERTIFY_SEED={seed}");
    seed
}

/// How many programs to run: `CSI_CERTIFY_PROGRAMS`, or what is quick.
pub(crate) fn programs(quick: u64) -> u64 {
    std::env::var("CSI_CERTIFY_PROGRAMS").map_or(quick, |text| text.parse().expect("CSI_CERTIFY_PROGRAMS is a number"))
}
