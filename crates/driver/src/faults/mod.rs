//! Seeded faults of the reference driver: what real drivers did wrong, and what drivers may do otherwise.
//!
//! The driver's own code knows nothing of them. A fault stands between the services and their callers (`conduct`), or
//! takes the place of one of the driver's parts; what it is and where it was seen stands in `catalogue/*.toml`.

mod access_mode;
mod assembled;
mod block;
mod capability;
mod capacity;
mod catalogue;
mod cautious;
mod conduct;
mod crash_recovery;
mod data_loss;
mod error_code;
mod expand;
mod frame;
mod group;
mod hang;
mod idempotency;
mod layer;
mod leak;
mod lifetime;
mod metadata;
mod misdirected;
mod other;
mod pagination;
mod past;
mod protocol;
mod race;
mod refcount;
mod registry;
mod running;
mod security;
mod snapshot;
mod stack;
mod stats;
mod topology;
mod variants;

pub use assembled::{Assembled, Base};
pub use catalogue::{Entry, Lane, entries, entry};
pub use conduct::{Conduct, Step};
pub use layer::layered;
pub use lifetime::Lifetimes;
pub use past::Past;
pub use registry::{Seeded, UnknownFault, find, seeded, variants};
pub use running::PausePoint;
