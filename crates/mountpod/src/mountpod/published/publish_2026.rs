//! NodePublishVolume of 2026: a pod found by a list, or a new one under a random name; the reference is written by a patch
//! of all annotations that compares nothing.
//!
//! A volume has one configuration here, so the removal of the target's reference from pods of other configurations is
//! left out.

use super::{
    super::{
        Role, annotations,
        api::WriteMode,
        instant::Timestamp,
        pod::{Phase, Pod, PodName},
        protocol::{
            Answer, DaemonId, Effect, Liveness, Machine, MountOperation, PodLock, Policy, TargetState, Waiting,
        },
    },
    pods::{free_letters, new_pod},
    publish_2022::TRIES,
    request::{Mend, PublishedOutcome, PublishedRequest, get, pods_of},
};

/// Publishes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Publish2026 {
    request: PublishedRequest,
    at: At,
    polls: u16,
    tries: u8,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Looking,
    Preparing,
    Locking,
    Finding,
    Getting(PodName),
    Creating(PodName),
    Reading(PodName),
    Adding(PodName),
    Releasing(Result<PodName, &'static str>),
    Watching(PodName),
    AwaitingPhase(PodName),
    FindingOwner,
    Verifying,
    AwaitingMount,
    Binding,
    Ended,
}

type Next = (Publish2026, Effect<PublishedOutcome>);

impl Publish2026 {
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

    fn release(self, then: Result<PodName, &'static str>) -> Next {
        let effect = Effect::Release(PodLock(self.request.key.clone()));
        self.go(At::Releasing(then), effect)
    }

    fn reply(self, outcome: PublishedOutcome) -> Next {
        self.go(At::Ended, Effect::Reply(outcome))
    }

    /// Whatever is mounted on the target counts, if it answers; a dead one is an error before anything could repair it.
    fn looked(self, state: &TargetState) -> Next {
        match state {
            TargetState::Bare => {
                let PublishedRequest { target, content, .. } = self.request.clone();
                let operation = MountOperation::Prepare { target, role: Role::Target, content, mount_group: None };
                self.go(At::Preparing, Effect::Mount(operation))
            }
            TargetState::Ours { top, .. } if top.alive == Liveness::Dead => {
                self.reply(PublishedOutcome::Failed("the target cannot be looked at"))
            }
            TargetState::Ours { .. } | TargetState::Foreign => self.reply(PublishedOutcome::Published),
        }
    }

    fn found(self, pods: &[Pod]) -> Next {
        let own = pods.iter().find(|pod| pod.is_live() && pod.spec.key == self.request.key);
        let letters = || free_letters(pods, self.request.letters);
        let name = own.map_or_else(|| self.request.key.pod_name(letters()), |pod| pod.name.clone());
        self.get(At::Getting(name))
    }

    fn got(self, name: PodName, pods: &[Pod], policy: &Policy) -> Next {
        if get(pods, &name).is_some() {
            return self.get(At::Reading(name));
        }
        let PublishedRequest { key, content, target, letters, .. } = &self.request;
        let letters = free_letters(pods, *letters);
        let pod = new_pod(key, letters, content, std::slice::from_ref(target), policy);
        self.go(At::Creating(pod.name.clone()), Effect::Create(pod))
    }

    fn add(mut self, name: PodName, pods: &[Pod]) -> Next {
        let Some(pod) = get(pods, &name).filter(|pod| pod.is_live()) else {
            return self.release(Err("the pod is being deleted"));
        };
        if annotations::refers_to(pod, &self.request.target) {
            return self.release(Ok(name));
        }
        let mut pod = pod.clone();
        annotations::add_reference(&mut pod, &self.request.target, None);
        self.tries += 1;
        let mode = match self.request.mend {
            Some(Mend::VersionedAdd) => WriteMode::CompareAndSwap,
            _ => WriteMode::PatchAnnotations,
        };
        self.go(At::Adding(name), Effect::Update(Box::new(pod), mode))
    }

    /// The phase of the pod is read by its name, and stays as it was while the pod is being deleted.
    fn watch(mut self, name: PodName, pods: &[Pod], policy: &Policy) -> Next {
        match get(pods, &name) {
            Some(pod) if pod.status.phase == Phase::Running => self.verify(pods, Some(name)),
            Some(_) if self.polls < policy.limits.readiness_polls => {
                self.polls += 1;
                self.go(At::AwaitingPhase(name), Effect::Wait(Waiting::Readiness))
            }
            Some(_) => self.reply(PublishedOutcome::Failed("the pod does not run in time")),
            None => self.reply(PublishedOutcome::Failed("the pod is gone")),
        }
    }

    /// A mount path outlives its pod: a successor mounts on the path of the pod that it replaces. So the path is looked
    /// at through the pod that mounts there by now.
    fn verify(self, pods: &[Pod], name: Option<PodName>) -> Next {
        let live = pods.iter().find(|pod| pod.is_live() && pod.spec.key == self.request.key);
        match live.or_else(|| name.and_then(|name| get(pods, &name))) {
            Some(owner) => {
                let operation = MountOperation::Verify(Box::new(owner.identity()));
                self.go(At::Verifying, Effect::Mount(operation))
            }
            None => self.reply(PublishedOutcome::Failed("the mount path is not mounted in time")),
        }
    }

    fn unverified(mut self, policy: &Policy) -> Next {
        if self.polls >= policy.limits.readiness_polls {
            return self.reply(PublishedOutcome::Failed("the mount path is not mounted in time"));
        }
        self.polls += 1;
        self.go(At::AwaitingMount, Effect::Wait(Waiting::Readiness))
    }

    fn bind(self, daemon: DaemonId) -> Next {
        let target = self.request.target.clone();
        let operation = MountOperation::Bind { daemon, target, read_only: false, from_descriptor: false };
        self.go(At::Binding, Effect::Mount(operation))
    }
}

impl Machine for Publish2026 {
    type Reply = PublishedOutcome;

    fn step(self, policy: &Policy, _: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) => {
                let operation = MountOperation::Look(self.request.target.clone());
                self.go(At::Looking, Effect::Mount(operation))
            }
            (At::Looking, Answer::Target(state)) => self.looked(&state),
            (At::Preparing, Answer::Done) => {
                let effect = Effect::Acquire(PodLock(self.request.key.clone()));
                self.go(At::Locking, effect)
            }
            (At::Locking, _) => self.get(At::Finding),
            (At::Finding, Answer::Pods(pods)) => self.found(&pods),
            (At::Getting(name), Answer::Pods(pods)) => self.got(name, &pods, policy),
            (At::Reading(name), Answer::Pods(pods)) => self.add(name, &pods),
            (At::Creating(name) | At::Adding(name), Answer::Written(_)) => self.release(Ok(name)),
            (At::Adding(name), Answer::Refused) if self.tries < TRIES => self.get(At::Reading(name)),
            (At::Finding | At::Getting(_) | At::Creating(_) | At::Reading(_) | At::Adding(_), _) => {
                self.release(Err("the pod API failed"))
            }
            (At::Releasing(Ok(name)) | At::AwaitingPhase(name), _) => self.get(At::Watching(name)),
            (At::Releasing(Err(text)), _) => self.reply(PublishedOutcome::Failed(text)),
            (At::Watching(name), Answer::Pods(pods)) => self.watch(name, &pods, policy),
            (At::Verifying, Answer::Serving(daemon)) => self.bind(daemon),
            (At::Verifying, Answer::NotServing) => self.unverified(policy),
            (At::AwaitingMount, _) => self.get(At::FindingOwner),
            (At::FindingOwner, Answer::Pods(pods)) => self.verify(&pods, None),
            (At::Binding, Answer::Done) => self.reply(PublishedOutcome::Published),
            // A target that is not there any more is taken for a workload that is not there any more.
            (At::Binding, Answer::Failed(text)) if text.contains("does not exist") => {
                self.reply(PublishedOutcome::Published)
            }
            _ => self.reply(PublishedOutcome::Failed("the node could not mount")),
        }
    }
}
