//! Runs schedules over the reference-count protocol of the mount pods, and looks at its promises.

mod actor;
mod mistake;
mod run;
mod stage;

pub use mistake::mistake;
pub use run::{run, run_drawn};
