//! A driver with a fault in it, ready to be served or called.

use std::sync::Arc;

use tonic::service::Routes;

use super::{layer::layered, registry::Seeded};
use crate::driver::{BadConfiguration, Driver, Parts};

/// What outlives a driver's process: its parts, before any fault takes the place of one.
pub type Base = Parts;

/// A driver and its services, as seen from outside.
pub struct Assembled {
    /// The driver; its services are served once it has recovered.
    pub driver: Driver,
    /// Its services, behind the conduct of the fault.
    pub routes: Routes,
}

impl Assembled {
    /// Puts a driver together, as a new process would; without a fault it is the reference driver itself.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other.
    pub fn new(base: &Base, seeded: Option<&Arc<Seeded>>) -> Result<Self, BadConfiguration> {
        let Some(seeded) = seeded else {
            let driver = Driver::new(base.clone())?;
            return Ok(Self { routes: driver.routes(), driver });
        };
        let driver = Driver::new(seeded.parts(base.clone()))?;
        Ok(Self { routes: layered(driver.routes(), seeded.conduct()), driver })
    }
}
