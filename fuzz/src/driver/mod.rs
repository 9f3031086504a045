//! The whole driver in this process, on a node that is a value: programs of calls against it, effect by effect.

mod bare;
mod cluster;
mod content;
mod gate;
mod promises;
mod run;
mod scene;

pub use bare::{Bare, with_a_volume};
pub use run::{portrait, run, run_drawn};
