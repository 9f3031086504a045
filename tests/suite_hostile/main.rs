//! The harness against an honest driver in memory, and against servers that do everything wrong.

mod fake;
mod hostile;
mod runs;
