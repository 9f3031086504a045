//! Calls: whole requests of an orchestrator on several lanes, what gets lost between them, and what befalls the node.

mod bindings;
mod campaign;
mod course;
mod draw;
mod execute;
mod request;
mod scene;
mod socket;
mod step;
mod surroundings;

pub use bindings::Bindings;
pub use campaign::{Campaign, CampaignOptions, Case, Found, Nemesis, draw_for};
pub use draw::Calls;
pub use execute::{Executed, execute};
pub use request::request;
pub use scene::{Scene, SceneError};
pub use socket::OverSocket;
pub use step::{Call, Environment, Focus, HOUSEKEEPING, Lane, Step, Use, Variation};
pub use surroundings::Surroundings;
