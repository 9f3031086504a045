//! Group snapshots: the state of one, what may be answered in it, and what an answer shows.

mod expect;
mod judging;
mod member;
mod state;
mod succeed;

pub(super) use state::Group;
