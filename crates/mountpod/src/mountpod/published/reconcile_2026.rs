//! A round of the reconciler of 2026: the list of workloads is read first and the pod before the lock; a successor is
//! created before the finalizer goes, from the copy.
//!
//! A target that a request works on at this moment is left alone by the collection. That knowledge is not in the pod API:
//! whoever runs this machine has to let a round wait at its lock while requests of its instance are under way, which
//! leaves at most as much room for harm.

use super::{
    super::{
        TargetPath, annotations,
        api::WriteMode,
        instant::Timestamp,
        pod::Pod,
        protocol::{Answer, Effect, Machine, MountOperation, PodLock, Policy, WorkloadState},
    },
    pods::{
        Deletion, conditions, deletion, free_letters, is_gone, new_pod, only_reference, targets, without_finalizer,
    },
    recover::Recover,
    request::{Mend, PublishedOutcome, Reconciliation, get, pods_of},
};

/// Reconciles one pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reconcile2026 {
    round: Reconciliation,
    evidence: Vec<(TargetPath, WorkloadState)>,
    letters: u32,
    at: At,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    AskingFirst,
    Copying,
    Asking(Box<Pod>),
    Locking(Box<Pod>),
    ReadingUnderLock,
    Collecting(Box<Pod>),
    Arming,
    TearingDown(Box<Pod>),
    Deleting,
    Replacing(Box<Pod>),
    TearingDownReplaced(Box<Pod>),
    RemovingFinalizer,
    Releasing(Box<Pod>),
    Recovering(Recover),
    Ending,
    Ended,
}

type Next = (Reconcile2026, Effect<PublishedOutcome>);

impl Reconcile2026 {
    /// A new round.
    pub const fn new(round: Reconciliation) -> Self {
        let letters = round.letters;
        Self { round, evidence: Vec::new(), letters, at: At::Start }
    }

    /// Whether the round collects, and so may harm targets that a request works on.
    pub fn collects(&self) -> bool {
        !self.round.candidates.is_empty()
    }

    fn go(mut self, at: At, effect: Effect<PublishedOutcome>) -> Next {
        self.at = at;
        (self, effect)
    }

    fn get(self, at: At) -> Next {
        let effect = Effect::List(pods_of(&self.round.key));
        self.go(at, effect)
    }

    fn acquire(self, at: At) -> Next {
        let effect = Effect::Acquire(PodLock(self.round.key.clone()));
        self.go(at, effect)
    }

    fn release(self, at: At) -> Next {
        let effect = Effect::Release(PodLock(self.round.key.clone()));
        self.go(at, effect)
    }

    fn ask(self, at: At) -> Next {
        let effect = Effect::Workloads(self.round.candidates.clone());
        self.go(at, effect)
    }

    fn end(self) -> Next {
        self.go(At::Ended, Effect::Reply(PublishedOutcome::Done))
    }

    fn record_first(&self) -> bool {
        self.round.mend == Some(Mend::RecordFirst)
    }

    fn copied(mut self, pods: &[Pod]) -> Next {
        let Some(copy) = get(pods, &self.round.pod).cloned().map(Box::new) else { return self.end() };
        self.letters = free_letters(pods, self.round.letters);
        match self.record_first() && self.collects() {
            true => self.ask(At::Asking(copy)),
            false => self.acquire(At::Locking(copy)),
        }
    }

    /// Decides on the copy; nothing is read again under the lock.
    fn check(self, copy: Box<Pod>, policy: &Policy, now: Timestamp) -> Next {
        if copy.deleting {
            return self.replace(copy, policy);
        }
        let is_dead = |target: &TargetPath| {
            self.collects() && is_gone(&self.evidence, target, |state| state == WorkloadState::Gone)
        };
        let dead: Vec<TargetPath> = targets(&copy).into_iter().filter(is_dead).collect();
        if dead.is_empty() {
            return self.retire(copy, now);
        }
        let mut rest = copy.clone();
        for target in &dead {
            annotations::drop_reference(&mut rest, target);
        }
        if self.record_first() {
            return self.go(At::Collecting(rest.clone()), Effect::Update(rest, WriteMode::CompareAndSwap));
        }
        self.go(At::Collecting(rest), Effect::Update(only_reference(&copy, &dead), WriteMode::RemoveAnnotations))
    }

    fn retire(self, copy: Box<Pod>, now: Timestamp) -> Next {
        if annotations::is_referenced(&copy) {
            return self.release(At::Releasing(copy));
        }
        match deletion(&copy, now) {
            Deletion::Later => self.release(At::Releasing(copy)),
            Deletion::Arm(pod) => self.go(At::Arming, Effect::Update(pod, WriteMode::MergeAnnotations)),
            Deletion::Now => {
                let effect = Effect::Mount(MountOperation::Teardown(Box::new(copy.identity())));
                self.go(At::TearingDown(copy), effect)
            }
        }
    }

    fn replace(self, copy: Box<Pod>, policy: &Policy) -> Next {
        if !annotations::is_referenced(&copy) {
            return self.tear_down_replaced(copy);
        }
        let heir = new_pod(&self.round.key, self.letters, &copy.spec.content, &targets(&copy), policy);
        self.go(At::Replacing(copy), Effect::Create(heir))
    }

    fn tear_down_replaced(self, copy: Box<Pod>) -> Next {
        let effect = Effect::Mount(MountOperation::Teardown(Box::new(copy.identity())));
        self.go(At::TearingDownReplaced(copy), effect)
    }

    fn recover(self, recover: Recover, policy: &Policy, now: Timestamp, answer: Answer) -> Next {
        let (recover, effect) = recover.step(policy, now, answer);
        self.go(At::Recovering(recover), effect)
    }
}

impl Machine for Reconcile2026 {
    type Reply = PublishedOutcome;

    fn step(mut self, policy: &Policy, now: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) if self.collects() && !self.record_first() => self.ask(At::AskingFirst),
            (At::Start, _) => self.get(At::Copying),
            (At::AskingFirst, Answer::Workloads(states)) => {
                self.evidence = self.round.candidates.iter().cloned().zip(states).collect();
                self.get(At::Copying)
            }
            (At::Copying, Answer::Pods(pods)) => self.copied(&pods),
            (At::Asking(copy), Answer::Workloads(states)) => {
                self.evidence = self.round.candidates.iter().cloned().zip(states).collect();
                self.acquire(At::Locking(copy))
            }
            (At::Locking(_), _) if self.round.mend == Some(Mend::DropEverywhere) => self.get(At::ReadingUnderLock),
            (At::Locking(copy), _) => self.check(copy, policy, now),
            (At::ReadingUnderLock, Answer::Pods(pods)) => match get(&pods, &self.round.pod) {
                Some(pod) => self.check(Box::new(pod.clone()), policy, now),
                None => self.release(At::Ending),
            },
            (At::Collecting(_), Answer::Written(Some(written))) if self.record_first() => self.retire(written, now),
            (At::Collecting(rest), Answer::Written(_)) => self.retire(rest, now),
            (At::TearingDown(copy), _) => {
                let effect = Effect::Delete(copy.name.clone(), conditions(&copy, self.round.mend));
                self.go(At::Deleting, effect)
            }
            (At::Replacing(copy), Answer::Written(_)) => self.tear_down_replaced(copy),
            (At::TearingDownReplaced(copy), _) => {
                self.go(At::RemovingFinalizer, Effect::Update(without_finalizer(&copy), WriteMode::Unconditional))
            }
            (At::Releasing(copy), _) => self.recover(Recover::new(&copy), policy, now, Answer::Begin),
            (At::Recovering(recover), answer) => self.recover(recover, policy, now, answer),
            (At::Copying | At::AskingFirst | At::Asking(_) | At::Ending | At::Ended, _) => self.end(),
            _ => self.release(At::Ending),
        }
    }
}
