//! NodeUnpublishVolume of 2022: mounts and directory first, then the reference, then the pod, found empty by another read.

use super::{
    super::{
        annotations,
        api::WriteMode,
        instant::Timestamp,
        pod::Pod,
        protocol::{Answer, Effect, Machine, MountOperation, PodLock, Policy},
    },
    pods::{Deletion, conditions, deletion},
    publish_2022::TRIES,
    request::{PublishedOutcome, PublishedRequest, get, pods_of},
};

/// Unpublishes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Unpublish2022 {
    request: PublishedRequest,
    at: At,
    tries: u8,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Unmounting,
    RemovingTarget,
    Locking,
    Finding,
    Reading,
    Dropping,
    Counting,
    Judging,
    Arming,
    Deleting,
    Releasing(Result<(), &'static str>),
    Ended,
}

type Next = (Unpublish2022, Effect<PublishedOutcome>);

impl Unpublish2022 {
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

    fn drop_reference(mut self, pod: &Pod) -> Next {
        if !annotations::refers_to(pod, &self.request.target) {
            return self.get(At::Counting);
        }
        let mut pod = pod.clone();
        annotations::drop_reference(&mut pod, &self.request.target);
        self.tries += 1;
        self.go(At::Dropping, Effect::Update(Box::new(pod), WriteMode::CompareAndSwap))
    }

    fn judge(mut self, pod: &Pod, now: Timestamp) -> Next {
        if annotations::is_referenced(pod) {
            return self.release(Ok(()));
        }
        match deletion(pod, now) {
            Deletion::Later => self.release(Ok(())),
            Deletion::Arm(pod) => {
                self.tries += 1;
                self.go(At::Arming, Effect::Update(pod, WriteMode::CompareAndSwap))
            }
            Deletion::Now => {
                let effect = Effect::Delete(pod.name.clone(), conditions(pod, self.request.mend));
                self.go(At::Deleting, effect)
            }
        }
    }

    fn read(self, pods: &[Pod], now: Timestamp) -> Next {
        let Some(pod) = get(pods, &self.request.key.pod_name(0)) else { return self.release(Ok(())) };
        match self.at {
            At::Finding => self.get(At::Reading),
            At::Reading => self.drop_reference(pod),
            At::Counting if !annotations::is_referenced(pod) => self.get(At::Judging),
            At::Judging => self.judge(pod, now),
            _ => self.release(Ok(())),
        }
    }
}

impl Machine for Unpublish2022 {
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
            (At::RemovingTarget, Answer::Done) => {
                let effect = Effect::Acquire(PodLock(self.request.key.clone()));
                self.go(At::Locking, effect)
            }
            (At::Locking, _) => self.get(At::Finding),
            (At::Finding | At::Reading | At::Counting | At::Judging, Answer::Pods(pods)) => self.read(&pods, now),
            (At::Dropping, Answer::Written(_)) => {
                self.tries = 0;
                self.get(At::Counting)
            }
            (At::Arming | At::Deleting, Answer::Written(_)) => self.release(Ok(())),
            (At::Dropping, Answer::Refused) if self.tries < TRIES => self.get(At::Reading),
            (At::Arming | At::Deleting, Answer::Refused) if self.tries < TRIES => {
                self.tries += 1;
                self.get(At::Judging)
            }
            (At::Releasing(Ok(())), _) => self.reply(PublishedOutcome::Unpublished),
            (At::Releasing(Err(text)), _) => self.reply(PublishedOutcome::Failed(text)),
            (At::Unmounting | At::RemovingTarget, _) => {
                self.reply(PublishedOutcome::Failed("the target cannot be freed"))
            }
            _ => self.release(Err("the pod API failed")),
        }
    }
}
