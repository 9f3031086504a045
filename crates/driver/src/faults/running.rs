//! Requests that are under way: what a race depends on.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    conduct::{Conduct, Step},
    past::{Answer, Past},
};
use crate::history::Request;

/// The requests of a process that wait for their answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<Mutex<Vec<Request>>>);

impl Running {
    /// Whether such a request is under way beside the one that asks.
    pub(super) fn any(&self, which: impl Fn(&Request) -> bool) -> bool {
        self.requests().iter().any(which)
    }

    fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, request: &Request) {
        let mut running = self.requests();
        if let Some(at) = running.iter().position(|it| it == request) {
            running.swap_remove(at);
        }
    }
}

/// How long each request is held up, so that one that is sent together with it comes in between.
const HELD_UP: Duration = Duration::from_millis(5);

/// A conduct that knows what else is under way; the request that is decided on, or was answered, is not among it.
pub(super) fn racing(
    decide: impl Fn(Request, &Running, &Past) -> Step + Send + Sync + 'static,
    conclude: impl Fn(&Request, Answer, &Running, &Past) -> Answer + Send + Sync + 'static,
) -> Conduct {
    let running = Running::default();
    let others = running.clone();
    Conduct::before(move |request, past| {
        let step = decide(request.clone(), &running, past);
        running.requests().push(request);
        match step {
            Step::Ask(asked) => Step::Late(asked, HELD_UP),
            step => step,
        }
    })
    .and_after(move |request, answer, past| {
        others.end(request);
        conclude(request, answer, &others, past)
    })
}
