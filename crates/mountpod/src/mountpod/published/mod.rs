//! The published reference-count protocols of the JuiceFS CSI driver, of 2022 (v0.13) and of 2026 (v0.32), step by step, as
//! machines of the same shape as the driver's own.
//!
//! What is left out in both: secrets, sharing of one pod between volumes, smooth upgrades, and the handling of pods that
//! cannot be scheduled.

mod pods;
mod publish_2022;
mod publish_2026;
mod reconcile_2022;
mod reconcile_2026;
mod recover;
mod request;
mod unpublish_2022;
mod unpublish_2026;

pub use publish_2022::Publish2022;
pub use publish_2026::Publish2026;
pub use reconcile_2022::Reconcile2022;
pub use reconcile_2026::Reconcile2026;
pub use request::{Mend, PublishedOutcome, PublishedRequest, Reconciliation};
pub use unpublish_2022::Unpublish2022;
pub use unpublish_2026::Unpublish2026;
