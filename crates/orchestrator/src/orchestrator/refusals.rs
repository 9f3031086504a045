//! What the driver has refused for good: an orchestrator that keeps its duties does not ask for that again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::csi_client::RpcError;
use crate::{
    history::Request,
    spec::Rpc,
    sut::{Code, Driver},
};

/// The requests that were refused for good, by each process of the driver; shared by all components.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<Vec<Refusal>>>);

#[derive(Clone, Debug)]
struct Refusal {
    driver: Arc<Driver>,
    rpc: Rpc,
    /// The request; `None` where the driver does not implement the RPC, whatever is asked.
    request: Option<Request>,
    error: RpcError,
}

impl Refusals {
    /// The answer that the request got before and would get again.
    pub(super) fn find(&self, driver: &Arc<Driver>, request: &Request) -> Option<RpcError> {
        let of_it = |refusal: &&Refusal| {
            refusal.rpc == request.rpc()
                && Arc::ptr_eq(&refusal.driver, driver)
                && refusal.request.as_ref().is_none_or(|refused| refused == request)
        };
        self.entries().iter().find(of_it).map(|refusal| refusal.error.clone())
    }

    /// Takes note of an answer, if it is one that is not to be asked for again (specification lines 506, 507 and 510).
    pub(super) fn note(&self, driver: &Arc<Driver>, request: &Request, error: &RpcError) {
        let request = match () {
            () if error.is(Code::UNIMPLEMENTED) => None,
            () if error.is(Code::INVALID_ARGUMENT) => Some(request.clone()),
            () => return,
        };
        self.entries().push(Refusal { driver: driver.clone(), rpc: error.rpc, request, error: error.clone() });
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
