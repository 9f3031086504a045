//! The reference driver through its own services: idempotency, capabilities, paging, crashes, secrets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod attachments;
mod capabilities;
mod crash;
mod faults;
mod groups;
mod identity;
mod kill;
#[cfg(target_os = "linux")]
mod kill_mounted;
mod metadata;
mod node;
mod paging;
mod process;
#[cfg(target_os = "linux")]
mod real;
mod secrets;
mod snapshots;
mod volumes;
mod world;
