//! Random programs: schedules of the reference-count protocol, and RPCs of the whole driver.

mod budget;
mod corpora;
#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, reason = "the fuzz targets use more of it, from outside")]
mod fuzz;
mod protocol;
mod protocol_mutants;
