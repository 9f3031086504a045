//! Random programs: schedules of the reference-count protocol, and the corpora of the fuzz targets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and prints its seed"
)]

mod budget;
mod calls;
mod corpora;
mod driver_mutants;
#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "the fuzz targets use more of it, from outside")]
mod fuzz;
mod laws;
mod mounts;
mod property;
mod protocol;
mod protocol_mutants;
mod trees;
