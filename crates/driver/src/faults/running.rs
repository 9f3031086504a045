//! Requests that are under way, and points at which each waits for the one that it races with: what a race depends on.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{
    conduct::{Conduct, Step},
    past::{Answer, Past},
};
use crate::history::Request;

/// How long a request waits for its rival. Those that are sent together arrive within moments, unless the machine is busy;
/// one that nobody sends a rival to is held up for all of it.
const PATIENCE: Duration = Duration::from_millis(500);

/// A point at which a request waits until one that it races with has arrived, or until none comes.
///
/// That both were there is settled when the second arrives, before either goes on: what the race does to them depends on no
/// clock and no processor.
#[derive(Clone)]
pub struct PausePoint {
    name: &'static str,
    waits: Arc<Waits>,
    rivals: Arc<Rivals>,
    there: Arc<Mutex<Vec<There>>>,
}

type Waits = dyn Fn(&Request) -> bool + Send + Sync;
type Rivals = dyn Fn(&Request, &Request) -> bool + Send + Sync;

/// A request that has arrived and was not answered yet.
struct There {
    request: Request,
    met: Vec<Rival>,
    company: Arc<Notify>,
}

#[derive(Clone)]
struct Rival {
    request: Request,
    came_first: bool,
}

/// The requests that one raced with, whether or not they are under way still.
#[derive(Default)]
pub(super) struct Met(Vec<Rival>);

impl Met {
    /// Whether such a request is among them.
    pub(super) fn any(&self, which: impl Fn(&Request) -> bool) -> bool {
        self.0.iter().any(|rival| which(&rival.request))
    }

    /// One that was there before.
    pub(super) fn first(&self) -> Option<&Request> {
        self.0.iter().find(|rival| rival.came_first).map(|rival| &rival.request)
    }
}

impl PausePoint {
    /// A point by its name: which requests wait there, and which of them race with each other.
    pub(super) fn named(
        name: &'static str,
        waits: impl Fn(&Request) -> bool + Send + Sync + 'static,
        rivals: impl Fn(&Request, &Request) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { name, waits: Arc::new(waits), rivals: Arc::new(rivals), there: Arc::default() }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Lets a request arrive, and wait.
    pub(super) async fn arrive(&self, request: &Request) {
        if !(self.waits)(request) {
            return;
        }
        let company = self.meet(request);
        // Nobody came: the request goes its way alone.
        let _ = timeout(PATIENCE, company.notified()).await;
    }

    fn meet(&self, request: &Request) -> Arc<Notify> {
        let mut there = self.there();
        let company = Arc::new(Notify::new());
        let mut met = Vec::new();
        let rivals = |one: &Request, other: &Request| (self.rivals)(one, other) || (self.rivals)(other, one);
        for other in there.iter_mut().filter(|other| rivals(request, &other.request)) {
            other.met.push(Rival { request: request.clone(), came_first: false });
            other.company.notify_one();
            met.push(Rival { request: other.request.clone(), came_first: true });
        }
        if !met.is_empty() {
            company.notify_one();
        }
        there.push(There { request: request.clone(), met, company: company.clone() });
        company
    }

    /// Whom a request has met so far; of equal ones, all.
    fn met(&self, request: &Request) -> Met {
        let there = self.there();
        Met(there.iter().filter(|one| one.request == *request).flat_map(|one| one.met.iter().cloned()).collect())
    }

    /// A request is answered; whom it has met.
    fn leave(&self, request: &Request) -> Met {
        let mut there = self.there();
        let at = there.iter().position(|one| one.request == *request);
        at.map_or_else(Met::default, |at| Met(there.remove(at).met))
    }

    fn there(&self) -> MutexGuard<'_, Vec<There>> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PausePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A conduct of requests that wait at a point for those that they race with.
pub(super) fn racing(
    point: PausePoint,
    decide: impl Fn(Request, &Met, &Past) -> Step + Send + Sync + 'static,
    conclude: impl Fn(&Request, Answer, &Met, &Past) -> Answer + Send + Sync + 'static,
) -> Conduct {
    let (before, after) = (point.clone(), point.clone());
    Conduct::before(move |request, past| {
        let met = before.met(&request);
        decide(request, &met, past)
    })
    .and_after(move |request, answer, past| {
        let met = after.leave(request);
        conclude(request, answer, &met, past)
    })
    .and_pausing_at(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{csi::v1, spec::Rpc};

    fn point() -> PausePoint {
        let publishes = |request: &Request| request.rpc() == Rpc::NodePublishVolume;
        PausePoint::named("publishes of one volume", publishes, |one, other| one == other)
    }

    fn publish(volume: &str) -> Request {
        v1::NodePublishVolumeRequest { volume_id: volume.into(), ..Default::default() }.into()
    }

    #[tokio::test(start_paused = true)]
    async fn both_rivals_know_of_each_other_whichever_came_first_and_whichever_has_left() {
        let point = point();
        let (a, b) = (publish("a"), publish("b"));
        tokio::join!(point.arrive(&a), point.arrive(&a), point.arrive(&b));
        assert!(point.met(&publish("a")).any(|it| *it == publish("a")));
        let (one, other) = (point.leave(&publish("a")), point.leave(&publish("a")));
        assert!(one.any(|_| true) && other.any(|_| true));
        assert_ne!(one.first().is_some(), other.first().is_some(), "one of them came first");
        assert!(!point.leave(&publish("b")).any(|_| true));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_meets_nobody_goes_on_after_a_while_and_one_of_another_kind_at_once() {
        let point = point();
        let began = tokio::time::Instant::now();
        let probe: Request = v1::ProbeRequest {}.into();
        point.arrive(&probe).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        point.arrive(&publish("a")).await;
        assert!(began.elapsed() >= PATIENCE);
        assert!(!point.leave(&publish("a")).any(|_| true));
    }
}
