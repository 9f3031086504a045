//! A round of the reconciler of 2022: the kubelet's copy of the pod is judged, and a pod that is being deleted loses its
//! finalizer before another one is created under the same name.

use super::{
    super::{
        TargetPath, annotations,
        api::WriteMode,
        instant::Timestamp,
        pod::Pod,
        protocol::{Answer, Effect, Machine, MountOperation, PodLock, Policy, Waiting, WorkloadState},
    },
    pods::{Deletion, conditions, deletion, is_gone, new_pod, targets, without_finalizer},
    recover::Recover,
    request::{Mend, PublishedOutcome, Reconciliation, get, pods_of},
};

/// Reconciles one pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reconcile2022 {
    round: Reconciliation,
    evidence: Vec<(TargetPath, WorkloadState)>,
    again: bool,
    polls: u16,
    at: At,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Copying,
    Asking(Box<Pod>),
    Locking(Box<Pod>),
    ReadingAgain,
    Collecting(Box<Pod>),
    Retiring(Box<Pod>),
    Releasing(Box<Pod>),
    LockingRecord,
    ReadingRecord,
    RemovingFinalizer(Box<Pod>),
    TearingDown,
    LockingName(Box<Pod>),
    AwaitingName(Box<Pod>),
    Pausing(Box<Pod>),
    Recreating(Box<Pod>),
    Merging(Box<Pod>),
    Recovering(Recover),
    Ending,
    Ended,
}

type Next = (Reconcile2022, Effect<PublishedOutcome>);

impl Reconcile2022 {
    /// A new round.
    pub const fn new(round: Reconciliation) -> Self {
        Self { round, evidence: Vec::new(), again: false, polls: 0, at: At::Start }
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

    fn end(self) -> Next {
        self.go(At::Ended, Effect::Reply(PublishedOutcome::Done))
    }

    /// Drops the references of workloads that the list does not show, or shows as shutting down.
    fn check(self, copy: Box<Pod>, now: Timestamp) -> Next {
        let mut left = copy.clone();
        if !self.round.candidates.is_empty() {
            let gone = |state| matches!(state, WorkloadState::Gone | WorkloadState::Terminating);
            for target in targets(&copy).iter().filter(|target| is_gone(&self.evidence, target, gone)) {
                annotations::drop_reference(&mut left, target);
            }
        }
        if left == copy {
            return self.retire(copy, now);
        }
        self.go(At::Collecting(left.clone()), Effect::Update(left, WriteMode::CompareAndSwap))
    }

    fn retire(self, copy: Box<Pod>, now: Timestamp) -> Next {
        if copy.deleting || annotations::is_referenced(&copy) {
            return self.release(At::Releasing(copy));
        }
        match deletion(&copy, now) {
            Deletion::Later => self.release(At::Releasing(copy)),
            Deletion::Arm(pod) => self.go(At::Retiring(copy), Effect::Update(pod, WriteMode::CompareAndSwap)),
            Deletion::Now => {
                let effect = Effect::Delete(copy.name.clone(), conditions(&copy, self.round.mend));
                self.go(At::Retiring(copy), effect)
            }
        }
    }

    /// What comes after the references were looked at; the copy says what state the pod is in.
    fn handle(self, copy: &Pod, policy: &Policy, now: Timestamp) -> Next {
        match (copy.deleting, self.round.mend) {
            (true, Some(Mend::RecordUnderLock)) => self.acquire(At::LockingRecord),
            (true, _) => self.get(At::ReadingRecord),
            (false, _) => self.recover(Recover::new(copy), policy, now, Answer::Begin),
        }
    }

    fn recover(self, recover: Recover, policy: &Policy, now: Timestamp, answer: Answer) -> Next {
        let (recover, effect) = recover.step(policy, now, answer);
        self.go(At::Recovering(recover), effect)
    }

    fn has_lock(&self) -> bool {
        self.round.mend == Some(Mend::RecordUnderLock)
    }

    fn leave(self) -> Next {
        if self.has_lock() { self.release(At::Ending) } else { self.end() }
    }

    fn replace(self, record: Box<Pod>) -> Next {
        if !annotations::is_referenced(&record) {
            let effect = Effect::Mount(MountOperation::Teardown(Box::new(record.identity())));
            return self.go(At::TearingDown, effect);
        }
        if self.has_lock() {
            return self.get(At::AwaitingName(record));
        }
        self.acquire(At::LockingName(record))
    }

    /// Waits, under the lock, until the name is free; what somebody else has created by then is merged into.
    fn recreate(mut self, record: Box<Pod>, pods: &[Pod], policy: &Policy) -> Next {
        match get(pods, &self.round.pod) {
            None => {
                let pod = new_pod(&self.round.key, 0, &record.spec.content, &targets(&record), policy);
                self.go(At::Recreating(record), Effect::Create(pod))
            }
            Some(other) if other.is_live() => {
                let mut merged = other.clone();
                for target in targets(&record) {
                    annotations::add_reference(&mut merged, &target, None);
                }
                self.go(At::Merging(record), Effect::Update(Box::new(merged), WriteMode::CompareAndSwap))
            }
            Some(_) if self.polls < policy.limits.predecessor_polls => {
                self.polls += 1;
                self.go(At::Pausing(record), Effect::Wait(Waiting::Predecessor))
            }
            Some(_) => self.release(At::Ending),
        }
    }
}

impl Machine for Reconcile2022 {
    type Reply = PublishedOutcome;

    fn step(mut self, policy: &Policy, now: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) => self.get(At::Copying),
            (At::Copying, Answer::Pods(pods)) => match get(&pods, &self.round.pod) {
                None => self.end(),
                Some(copy) if self.round.candidates.is_empty() => self.acquire(At::Locking(Box::new(copy.clone()))),
                Some(copy) => {
                    let effect = Effect::Workloads(self.round.candidates.clone());
                    self.go(At::Asking(Box::new(copy.clone())), effect)
                }
            },
            (At::Asking(copy), Answer::Workloads(states)) => {
                self.evidence = self.round.candidates.iter().cloned().zip(states).collect();
                self.acquire(At::Locking(copy))
            }
            (At::Locking(copy), _) => self.check(copy, now),
            (At::ReadingAgain, Answer::Pods(pods)) => match get(&pods, &self.round.pod) {
                Some(pod) => self.check(Box::new(pod.clone()), now),
                None => self.release(At::Ending),
            },
            (At::Collecting(_), Answer::Written(Some(pod))) => self.retire(pod, now),
            // The record is read again; the list of workloads is not.
            (At::Collecting(_), Answer::Refused) if !self.again && self.round.mend != Some(Mend::RecordFirst) => {
                self.again = true;
                self.get(At::ReadingAgain)
            }
            (At::Retiring(_), Answer::Written(_)) => self.release(At::Ending),
            (At::Releasing(copy), _) => self.handle(&copy, policy, now),
            (At::LockingRecord, _) => self.get(At::ReadingRecord),
            (At::ReadingRecord, Answer::Pods(pods)) => match get(&pods, &self.round.pod).filter(|pod| pod.deleting) {
                Some(record) => {
                    let effect = Effect::Update(without_finalizer(record), WriteMode::CompareAndSwap);
                    self.go(At::RemovingFinalizer(Box::new(record.clone())), effect)
                }
                None => self.leave(),
            },
            (At::RemovingFinalizer(record), Answer::Written(_)) => self.replace(record),
            (At::LockingName(record) | At::Pausing(record) | At::Recreating(record), answer) => match answer {
                Answer::Written(_) => self.release(At::Ending),
                _ => self.get(At::AwaitingName(record)),
            },
            (At::AwaitingName(record), Answer::Pods(pods)) => self.recreate(record, &pods, policy),
            (At::Merging(record), Answer::Refused) if self.round.mend == Some(Mend::RetryMerge) => {
                self.get(At::AwaitingName(record))
            }
            // A conflict is logged, and the references that were to be merged are forgotten.
            (At::Merging(_) | At::AwaitingName(_) | At::Collecting(_) | At::Retiring(_) | At::ReadingAgain, _) => {
                self.release(At::Ending)
            }
            (At::ReadingRecord | At::RemovingFinalizer(_) | At::TearingDown, _) => self.leave(),
            (At::Recovering(recover), answer) => self.recover(recover, policy, now, answer),
            _ => self.end(),
        }
    }
}
