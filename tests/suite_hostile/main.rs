//! The harness against an honest driver in memory, and against servers that do everything wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it cannot go on")]

mod fake;
mod hostile;
mod mounts;
mod process;
mod runs;
