//! What a single step of an actor must not do, and what its answer promises.

use super::{
    super::mountpod::{
        annotations,
        instant::Timestamp,
        pod::{Pod, Uid},
        protocol::{Effect, WorkloadState},
    },
    actor::{Actor, Job, Outcome},
    invariant::{Invariant, Violation},
    ledger::{Progress, Promise},
    protocol::DELAY,
    records::Records,
    scenario::RequestKind,
    search::{Next, Search, State},
};

impl Search {
    pub(super) fn reply(&self, state: &State, actor: &Actor, outcome: &Outcome) -> Next {
        let Job::Request(number) = actor.job else { return Ok(state.clone()) };
        let request = self.scenario.requests[usize::from(number)];
        let target = usize::from(request.target);
        let path = self.cast.target(request.target);
        let contested = state.actors.iter().any(|other| {
            let other = self.actors.value(*other);
            let Job::Request(other) = other.job else { return false };
            let other = self.scenario.requests[usize::from(other)];
            let opposite = (other.kind == RequestKind::Unpublish) != (request.kind == RequestKind::Unpublish);
            other.target == request.target && opposite
        });
        let ledger = self.ledgers.value(state.ledger);
        let read_only = request.kind == RequestKind::PublishReadOnly;
        if let (Outcome::Published, Promise::Published { read_only: there }) = (outcome, ledger.promises[target])
            && there != read_only
            && self.sees(Invariant::I9)
        {
            let text = format!("{path} is published for reading and writing and read-only at once");
            return Err(Violation::new(Invariant::I9, text));
        }
        let gone = self.scenario.workloads && ledger.workloads[target] == Some(WorkloadState::Gone);
        if *outcome == Outcome::Published
            && !contested
            && !gone
            && self.sees(Invariant::I3)
            && !self.nodes.value(state.node).layers.contains_key(path)
        {
            let text = format!("the publish of {path} is answered with success, and nothing is mounted there");
            return Err(Violation::new(Invariant::I3, text));
        }
        if let (Outcome::Failed(text), Progress::LastAttempt) = (outcome, ledger.progress[usize::from(number)])
            && self.sees(Invariant::I8)
        {
            let text = format!("the request for {path} fails again although all trouble has ended: {text}");
            return Err(Violation::new(Invariant::I8, text));
        }
        Ok(self.changed(state, |ledger| {
            ledger.progress[usize::from(number)] = match outcome {
                Outcome::Failed(_) => Progress::Failed,
                _ => Progress::Ended,
            };
            match outcome {
                Outcome::Published if !contested && !gone => {
                    ledger.promises[target] = Promise::Published { read_only };
                }
                Outcome::Unpublished if !contested => {
                    ledger.promises[target] = Promise::Unpublished;
                    ledger.workloads[target] = Some(WorkloadState::Gone);
                }
                _ => {}
            }
        }))
    }

    fn sees(&self, invariant: Invariant) -> bool {
        self.scenario.watch.sees(invariant)
    }

    pub(super) fn check_deletion(&self, records: &Records, pod: &Pod, now: Timestamp) -> Option<Violation> {
        if let Some(reference) = annotations::references(pod).first()
            && self.sees(Invariant::I2)
        {
            let text = format!("the driver deletes the mount pod that serves {}", reference.target);
            return Some(Violation::new(Invariant::I2, text));
        }
        if annotations::is_unconfirmed(pod) || !self.scenario.delayed_deletion {
            return None;
        }
        let since = records.empty_since.get(&pod.uid).copied().unwrap_or(now);
        let early = now.since(since) < DELAY;
        let text = "the driver deletes a mount pod before its delay has passed";
        (early && self.sees(Invariant::I7)).then(|| Violation::new(Invariant::I7, text))
    }

    pub(super) fn check_teardown(&self, state: &State, uid: &Uid) -> Option<Violation> {
        if !self.sees(Invariant::I1) {
            return None;
        }
        let records = self.records.value(state.records);
        let pod = records.pods.values().find(|pod| pod.uid == *uid && pod.is_live())?;
        let reference = annotations::references(pod).into_iter().next()?;
        let text =
            format!("the daemon that serves {} is torn down while its pod is not being deleted", reference.target);
        Some(Violation::new(Invariant::I1, text))
    }

    pub(super) fn check_wait(&self, state: &State, actor: &Actor) -> Option<Violation> {
        let ledger = self.ledgers.value(state.ledger);
        let mine = ledger.locks.iter().find(|held| (held.instance, held.job) == (actor.instance, actor.job))?;
        let blocked = state.actors.iter().any(|other| {
            let other = self.actors.value(*other);
            other.instance == actor.instance && other.effect == Effect::Acquire(mine.lock.clone())
        });
        let text = "a request waits under a lock, and whoever could end the wait needs that lock";
        (blocked && self.sees(Invariant::I8)).then(|| Violation::new(Invariant::I8, text))
    }
}
