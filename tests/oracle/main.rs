//! The oracle on real histories: laws that hold for any accepted one, and each rule seen to fail.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and prints its seed"
)]

mod closure;
mod laws;
mod power;
mod recorded;
