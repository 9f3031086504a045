//! Schedules: which actor of a reference-count protocol takes its next step, and what goes wrong meanwhile.

mod draw;
mod turn;

pub use draw::Schedules;
pub use turn::{Actor, Environment, Fate, Target, Task, Trouble, Turn};
