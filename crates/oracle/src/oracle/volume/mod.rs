//! Volumes: their lives at the controller, and where they are attached, staged and published.
//!
//! Each file holds the tables of a group of RPCs: what may be answered in a state, and which state follows.

mod attach;
mod create;
mod delete;
mod fields;
mod inspect;
mod measure;
mod observe;
mod paths;
mod place;
mod publish;
mod rules;
mod stage;
mod state;
mod subject;

pub(crate) use fields::{is_unusual, missing, oversized, oversized_ids, unusual_name};
pub(crate) use inspect::description_marks;
pub(crate) use observe::look;
pub(crate) use place::is_compatible;
pub(crate) use rules::{exists, unimplemented};
pub(crate) use state::{Existence, Place, Volume};
