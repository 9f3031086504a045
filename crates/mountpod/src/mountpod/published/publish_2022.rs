//! NodePublishVolume of 2022: one pod for each volume, by its name, under an in-process lock of that name.

use super::{
    super::{
        Role, annotations,
        api::WriteMode,
        instant::Timestamp,
        pod::{Pod, PodName, Uid},
        protocol::{Answer, DaemonId, Effect, Machine, MountOperation, PodLock, Policy, Waiting},
    },
    pods::new_pod,
    request::{PublishedOutcome, PublishedRequest, get, pods_of},
};

/// Publishes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Publish2022 {
    request: PublishedRequest,
    at: At,
    polls: u16,
    tries: u8,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Preparing,
    Locking,
    Finding,
    AwaitingDeletion,
    Creating,
    Reading,
    Adding,
    Releasing(Result<(), &'static str>),
    Watching,
    AwaitingReadiness,
    Binding,
    RemovingTarget,
    Ended,
}

type Next = (Publish2022, Effect<PublishedOutcome>);

impl Publish2022 {
    /// A new request.
    pub const fn new(request: PublishedRequest) -> Self {
        Self { request, at: At::Start, polls: 0, tries: 0 }
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

    fn name(&self) -> PodName {
        self.request.key.pod_name(0)
    }

    /// A pod that is being deleted is waited for under the lock.
    fn found(mut self, pods: &[Pod], policy: &Policy) -> Next {
        match get(pods, &self.name()) {
            None => {
                let PublishedRequest { key, content, target, .. } = &self.request;
                let pod = new_pod(key, 0, content, std::slice::from_ref(target), policy);
                self.go(At::Creating, Effect::Create(pod))
            }
            Some(pod) if pod.is_live() => self.get(At::Reading),
            Some(_) if self.polls < policy.limits.predecessor_polls => {
                self.polls += 1;
                self.go(At::AwaitingDeletion, Effect::Wait(Waiting::Predecessor))
            }
            Some(_) => self.release(Err("the pod has been deleting for a minute")),
        }
    }

    /// A reference that is there already changes nothing, not even a pending deletion.
    fn add(mut self, pods: &[Pod]) -> Next {
        let Some(pod) = get(pods, &self.name()).filter(|pod| pod.is_live()) else {
            return self.release(Err("the pod is being deleted"));
        };
        if annotations::refers_to(pod, &self.request.target) {
            return self.release(Ok(()));
        }
        let mut pod = pod.clone();
        annotations::add_reference(&mut pod, &self.request.target, None);
        self.tries += 1;
        self.go(At::Adding, Effect::Update(Box::new(pod), WriteMode::CompareAndSwap))
    }

    /// The status of the pod says whether it serves. The reference stays when the wait ends without success.
    fn watch(mut self, pods: &[Pod], policy: &Policy) -> Next {
        match get(pods, &self.name()) {
            Some(pod) if pod.status.ready => {
                let pod = pod.uid.clone();
                self.bind(pod)
            }
            _ if self.polls < policy.limits.readiness_polls => {
                self.polls += 1;
                self.go(At::AwaitingReadiness, Effect::Wait(Waiting::Readiness))
            }
            _ => self.reply(PublishedOutcome::Failed("the pod is not ready in time")),
        }
    }

    /// Mounts the path of the daemon, whatever it leads to by now.
    fn bind(self, pod: Uid) -> Next {
        let operation = MountOperation::Bind {
            daemon: DaemonId { pod, run: 0 },
            target: self.request.target.clone(),
            read_only: false,
            from_descriptor: false,
        };
        self.go(At::Binding, Effect::Mount(operation))
    }
}

impl Machine for Publish2022 {
    type Reply = PublishedOutcome;

    fn step(mut self, policy: &Policy, _: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) => {
                let PublishedRequest { target, content, .. } = self.request.clone();
                let operation = MountOperation::Prepare { target, role: Role::Target, content, mount_group: None };
                self.go(At::Preparing, Effect::Mount(operation))
            }
            (At::Preparing, Answer::Done) => {
                let effect = Effect::Acquire(PodLock(self.request.key.clone()));
                self.go(At::Locking, effect)
            }
            (At::Locking | At::AwaitingDeletion, _) => self.get(At::Finding),
            (At::Finding, Answer::Pods(pods)) => self.found(&pods, policy),
            (At::Reading, Answer::Pods(pods)) => self.add(&pods),
            (At::Creating | At::Adding, Answer::Written(_)) => {
                self.polls = 0;
                self.release(Ok(()))
            }
            (At::Adding, Answer::Refused) if self.tries < TRIES => self.get(At::Reading),
            (At::Finding | At::Creating | At::Reading | At::Adding, _) => self.release(Err("the pod API failed")),
            (At::Releasing(Ok(())) | At::AwaitingReadiness, _) => self.get(At::Watching),
            (At::Releasing(Err(text)), _) => self.reply(PublishedOutcome::Failed(text)),
            (At::Watching, Answer::Pods(pods)) => self.watch(&pods, policy),
            (At::Binding, Answer::Done) => self.reply(PublishedOutcome::Published),
            (At::Binding, _) => {
                let operation = MountOperation::RemoveTarget(self.request.target.clone());
                self.go(At::RemovingTarget, Effect::Mount(operation))
            }
            _ => self.reply(PublishedOutcome::Failed("the node could not mount")),
        }
    }
}

/// How often a write is tried that meets conflicts.
pub(super) const TRIES: u8 = 4;
