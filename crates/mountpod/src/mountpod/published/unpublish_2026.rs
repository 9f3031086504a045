//! NodeUnpublishVolume of 2026: only pods that are not being deleted are looked at, and the mounts of an empty pod go before
//! its deletion is asked for.

use super::{
    super::{
        annotations,
        api::WriteMode,
        instant::Timestamp,
        pod::{Pod, PodName},
        protocol::{Answer, Effect, Machine, MountOperation, PodLock, Policy},
    },
    pods::{Deletion, conditions, deletion, only_reference},
    publish_2022::TRIES,
    request::{Mend, PublishedOutcome, PublishedRequest, get, pods_of},
};

/// Unpublishes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Unpublish2026 {
    request: PublishedRequest,
    at: At,
    tries: u8,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Unmounting,
    RemovingTarget,
    Finding,
    Locking(PodName),
    Reading(PodName),
    Dropping(PodName),
    Counting(PodName),
    Arming,
    TearingDown(Box<Pod>),
    Deleting(PodName),
    Releasing(Result<(), &'static str>),
    Ended,
}

type Next = (Unpublish2026, Effect<PublishedOutcome>);

impl Unpublish2026 {
    /// A new request.
    pub const fn new(request: PublishedRequest) -> Self {
        Self { request, at: At::Start, tries: 0 }
    }

    fn go(mut self, at: At, effect: Effect<PublishedOutcome>) -> Next {
        self.at = at;
        (self, effect)
    }

    fn get(self, at: At) -> Next {
        let effect = Effect::List(pods_of(&self.request.key));
        self.go(at, effect)
    }

    fn release(self, then: Result<(), &'static str>) -> Next {
        let effect = Effect::Release(PodLock(self.request.key.clone()));
        self.go(At::Releasing(then), effect)
    }

    fn reply(self, outcome: PublishedOutcome) -> Next {
        self.go(At::Ended, Effect::Reply(outcome))
    }

    fn everywhere(&self) -> bool {
        self.request.mend == Some(Mend::DropEverywhere)
    }

    fn found(self, pods: &[Pod]) -> Next {
        let holds = |pod: &&Pod| annotations::refers_to(pod, &self.request.target);
        let holder = pods.iter().filter(|pod| self.everywhere() || pod.is_live()).find(holds);
        let Some(name) = holder.map(|pod| pod.name.clone()) else { return self.reply(PublishedOutcome::Unpublished) };
        let effect = Effect::Acquire(PodLock(self.request.key.clone()));
        self.go(At::Locking(name), effect)
    }

    fn drop_reference(mut self, name: PodName, pods: &[Pod]) -> Next {
        let Some(pod) = get(pods, &name) else { return self.release(Ok(())) };
        if !annotations::refers_to(pod, &self.request.target) {
            return self.get(At::Counting(name));
        }
        self.tries += 1;
        let patch = only_reference(pod, std::slice::from_ref(&self.request.target));
        self.go(At::Dropping(name), Effect::Update(patch, WriteMode::RemoveAnnotations))
    }

    fn judge(self, name: &PodName, pods: &[Pod], now: Timestamp) -> Next {
        let Some(pod) = get(pods, name).filter(|pod| !annotations::is_referenced(pod) && pod.is_live()) else {
            return self.release(Ok(()));
        };
        match deletion(pod, now) {
            Deletion::Later => self.release(Ok(())),
            Deletion::Arm(pod) => self.go(At::Arming, Effect::Update(pod, WriteMode::MergeAnnotations)),
            Deletion::Now => {
                let effect = Effect::Mount(MountOperation::Teardown(Box::new(pod.identity())));
                self.go(At::TearingDown(Box::new(pod.clone())), effect)
            }
        }
    }
}

impl Machine for Unpublish2026 {
    type Reply = PublishedOutcome;

    fn step(mut self, _: &Policy, now: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) => {
                let operation = MountOperation::UnmountAll(self.request.target.clone());
                self.go(At::Unmounting, Effect::Mount(operation))
            }
            (At::Unmounting, Answer::Done) => {
                let operation = MountOperation::RemoveTarget(self.request.target.clone());
                self.go(At::RemovingTarget, Effect::Mount(operation))
            }
            (At::RemovingTarget, Answer::Done) => self.get(At::Finding),
            (At::Finding, Answer::Pods(pods)) => self.found(&pods),
            (At::Locking(name), _) => self.get(At::Reading(name)),
            (At::Reading(name), Answer::Pods(pods)) => self.drop_reference(name, &pods),
            (At::Dropping(name), Answer::Written(_)) => self.get(At::Counting(name)),
            (At::Dropping(name), Answer::Refused) if self.tries < TRIES => self.get(At::Reading(name)),
            (At::Counting(name), Answer::Pods(pods)) => self.judge(&name, &pods, now),
            (At::TearingDown(pod), _) => {
                let effect = Effect::Delete(pod.name.clone(), conditions(&pod, self.request.mend));
                self.go(At::Deleting(pod.name), effect)
            }
            (At::Arming | At::Deleting(_), Answer::Written(_)) => self.release(Ok(())),
            (At::Deleting(name), Answer::Refused) if self.tries < TRIES => {
                self.tries += 1;
                self.get(At::Counting(name))
            }
            // The mend looks for another pod that holds the reference.
            (At::Releasing(Ok(())), _) if self.everywhere() => self.get(At::Finding),
            (At::Releasing(Ok(())), _) => self.reply(PublishedOutcome::Unpublished),
            (At::Releasing(Err(text)), _) => self.reply(PublishedOutcome::Failed(text)),
            (At::Unmounting | At::RemovingTarget, _) => {
                self.reply(PublishedOutcome::Failed("the target cannot be freed"))
            }
            (At::Finding, _) => self.reply(PublishedOutcome::Failed("the pod API failed")),
            _ => self.release(Err("the pod API failed")),
        }
    }
}
