//! Makes a volume appear at a target: reference first, then the verified daemon, then the mount, and a last look.

use super::{
    super::{
        Fingerprint, Role, TargetPath, VolumeContent,
        admission::Admission,
        annotations::{self, Detail},
        api::Selector,
        instant::Timestamp,
        pod::{Pod, PodKey},
    },
    Answer, BindFailure, BindSource, DaemonId, Effect, Liveness, LockScope, Machine, MountOperation, MountedAlready,
    PodLock, Policy, Readiness, TargetState, Waiting,
    settle::{Settlement, settle},
    withdraw::Withdraw,
};

/// What is to be published.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PublishRequest {
    /// Node, volume and settings.
    pub key: PodKey,
    /// What is served.
    pub content: VolumeContent,
    /// Where it is to appear.
    pub target: TargetPath,
    /// Whose path that is.
    pub role: Role,
    /// What the request asked for.
    pub fingerprint: Fingerprint,
    /// The group that owns the mount.
    pub mount_group: Option<u32>,
}

impl PublishRequest {
    /// What is recorded beside the reference.
    pub fn detail(&self) -> Detail {
        Detail { role: self.role, fingerprint: self.fingerprint.clone() }
    }
}

/// How a publish ended.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PublishOutcome {
    /// The volume is at the target, served by the daemon of a live pod that holds the reference.
    Published,
    /// It may not be there.
    Refused(Admission),
    /// A wait reached its bound.
    TimedOut(Waiting),
    /// The node could not mount it.
    Failed(String),
}

/// The publish machine.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Publish {
    request: PublishRequest,
    at: At,
    /// Whether this call added the reference and may take it back.
    added: bool,
    /// Whether a list was seen yet; the first says whether the reference was there before.
    listed: bool,
    bound: bool,
    prepared: bool,
    locked: bool,
    polls: u16,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Locking,
    Glancing,
    Listing,
    Writing,
    Pausing,
    Looking(Box<Pod>),
    Verifying(Box<Pod>, u32),
    Preparing(DaemonId, u32),
    Binding(DaemonId, u32),
    Uncovering(DaemonId),
    Confirming(DaemonId),
    Withdrawing(Box<Withdraw>, Box<PublishOutcome>),
    Clearing(Box<PublishOutcome>),
    Releasing(Box<PublishOutcome>),
    Ended,
}

type Next = (Publish, Effect<PublishOutcome>);

impl Publish {
    /// A new request.
    pub fn new(request: PublishRequest) -> Self {
        let [added, listed, bound, prepared, locked] = [false; 5];
        Self { request, at: At::Start, added, listed, bound, prepared, locked, polls: 0 }
    }

    fn go(mut self, at: At, effect: Effect<PublishOutcome>) -> Next {
        self.at = at;
        (self, effect)
    }

    fn list(self, at: At) -> Next {
        let selector = Selector { node: self.request.key.node.clone(), volume: None };
        self.go(at, Effect::List(selector))
    }

    /// Waits for something that has a bound of its own.
    fn poll(mut self, policy: &Policy, now: Timestamp, waiting: Waiting) -> Next {
        let limit = match waiting {
            Waiting::Readiness => policy.limits.readiness_polls,
            Waiting::Predecessor | Waiting::Retry => policy.limits.predecessor_polls,
        };
        if self.polls >= limit {
            return self.fail(policy, now, PublishOutcome::TimedOut(waiting));
        }
        self.polls += 1;
        self.go(At::Pausing, Effect::Wait(waiting))
    }

    fn settle(mut self, policy: &Policy, now: Timestamp, pods: &[Pod], mounted_by: Option<&DaemonId>) -> Next {
        if !self.listed {
            self.listed = true;
            let volume = &self.request.key.volume;
            self.added = !pods
                .iter()
                .any(|pod| pod.spec.key.volume == *volume && annotations::refers_to(pod, &self.request.target));
        }
        match settle(pods, &self.request, self.added && !self.bound, policy) {
            Settlement::Refused(admission) => self.fail(policy, now, PublishOutcome::Refused(admission)),
            Settlement::Create(pod) => self.go(At::Writing, Effect::Create(pod)),
            Settlement::Update(pod, mode) => self.go(At::Writing, Effect::Update(pod, mode)),
            Settlement::Delete(name, preconditions) => self.go(At::Writing, Effect::Delete(name, preconditions)),
            Settlement::WaitForPredecessor => self.poll(policy, now, Waiting::Predecessor),
            Settlement::Settled(pod) if mounted_by.is_some_and(|daemon| daemon.pod == pod.uid) => {
                self.reply(PublishOutcome::Published)
            }
            Settlement::Settled(pod) => {
                let by_status = policy.readiness == Readiness::Status;
                let pod = if by_status { pod } else { Box::new(pod.identity()) };
                let effect = Effect::Mount(MountOperation::Look(self.request.target.clone()));
                self.go(At::Looking(pod), effect)
            }
        }
    }

    /// Decides from the mount table: the right mount needs no other; what is stale is covered first and removed then.
    fn mount(mut self, policy: &Policy, now: Timestamp, pod: Box<Pod>, state: TargetState) -> Next {
        let layers = match state {
            TargetState::Ours { top, layers: 1 }
                if top.daemon.pod == pod.uid
                    && top.alive == Liveness::Alive
                    && top.read_only == self.request.fingerprint.read_only =>
            {
                self.bound = true;
                return self.list(At::Confirming(top.daemon));
            }
            TargetState::Ours { layers, .. } => layers,
            TargetState::Bare => 0,
            TargetState::Foreign => {
                let text = format!("{} is covered by a mount that is not of this driver", self.request.target);
                return self.fail(policy, now, PublishOutcome::Failed(text));
            }
        };
        if policy.readiness == Readiness::Status {
            let daemon = DaemonId { pod: pod.uid.clone(), run: 0 };
            return match pod.status.ready {
                true => self.prepare(daemon, layers),
                false => self.poll(policy, now, Waiting::Readiness),
            };
        }
        let effect = Effect::Mount(MountOperation::Verify(pod.clone()));
        self.go(At::Verifying(pod, layers), effect)
    }

    fn prepare(mut self, daemon: DaemonId, layers: u32) -> Next {
        self.prepared = true;
        let operation = MountOperation::Prepare {
            target: self.request.target.clone(),
            role: self.request.role,
            content: self.request.content.clone(),
            mount_group: self.request.mount_group,
        };
        self.go(At::Preparing(daemon, layers), Effect::Mount(operation))
    }

    fn bind(self, policy: &Policy, daemon: DaemonId, layers: u32) -> Next {
        let by_status = policy.readiness == Readiness::Status;
        let operation = MountOperation::Bind {
            daemon: daemon.clone(),
            target: self.request.target.clone(),
            read_only: self.request.fingerprint.read_only,
            from_descriptor: policy.bind_source == BindSource::Descriptor && !by_status,
        };
        self.go(At::Binding(daemon, layers), Effect::Mount(operation))
    }

    fn was_bound(mut self, daemon: DaemonId, layers: u32) -> Next {
        self.bound = true;
        if layers == 0 {
            return self.list(At::Confirming(daemon));
        }
        let effect = Effect::Mount(MountOperation::UnmountBeneath(self.request.target.clone()));
        self.go(At::Uncovering(daemon), effect)
    }

    /// Ends without success; the reference goes if this call brought it and nothing was bound.
    fn fail(self, policy: &Policy, now: Timestamp, outcome: PublishOutcome) -> Next {
        if !self.added || self.bound {
            return self.reply(outcome);
        }
        let PodKey { node, volume, .. } = self.request.key.clone();
        let withdraw = Withdraw::new(node, volume, self.request.target.clone());
        self.withdraw(policy, now, withdraw, outcome, Answer::Begin)
    }

    fn withdraw(
        self,
        policy: &Policy,
        now: Timestamp,
        withdraw: Withdraw,
        outcome: PublishOutcome,
        answer: Answer,
    ) -> Next {
        let (withdraw, effect) = withdraw.step(policy, now, answer);
        match effect.lift() {
            Ok(effect) => self.go(At::Withdrawing(Box::new(withdraw), Box::new(outcome)), effect),
            Err(_) if self.prepared && self.request.role == Role::Target => {
                let effect = Effect::Mount(MountOperation::RemoveTarget(self.request.target.clone()));
                self.go(At::Clearing(Box::new(outcome)), effect)
            }
            Err(_) => self.reply(outcome),
        }
    }

    fn reply(mut self, outcome: PublishOutcome) -> Next {
        if self.locked {
            self.locked = false;
            let effect = Effect::Release(PodLock(self.request.key.clone()));
            return self.go(At::Releasing(Box::new(outcome)), effect);
        }
        self.go(At::Ended, Effect::Reply(outcome))
    }

    fn begin(self, policy: &Policy) -> Next {
        if policy.mounted_already == MountedAlready::ReplyAtOnce {
            let effect = Effect::Mount(MountOperation::Look(self.request.target.clone()));
            return self.go(At::Glancing, effect);
        }
        self.lock(policy)
    }

    fn lock(self, policy: &Policy) -> Next {
        match policy.lock {
            LockScope::Nothing => self.list(At::Listing),
            LockScope::HeldWhileWaiting => {
                let effect = Effect::Acquire(PodLock(self.request.key.clone()));
                self.go(At::Locking, effect)
            }
        }
    }
}

impl Machine for Publish {
    type Reply = PublishOutcome;

    fn simplified(mut self) -> Self {
        if let At::Withdrawing(withdraw, outcome) = self.at {
            self.at = At::Withdrawing(Box::new(withdraw.simplified()), outcome);
        }
        // Only a failure before the bind takes back what this call has brought.
        self.added &= !self.bound;
        self.prepared &= self.added;
        self
    }

    fn step(mut self, policy: &Policy, now: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) => self.begin(policy),
            (At::Glancing, Answer::Target(TargetState::Ours { .. })) => self.reply(PublishOutcome::Published),
            (At::Glancing, _) => self.lock(policy),
            (At::Locking, _) => {
                self.locked = true;
                self.list(At::Listing)
            }
            (At::Withdrawing(withdraw, outcome), answer) => self.withdraw(policy, now, *withdraw, *outcome, answer),
            (At::Clearing(outcome) | At::Releasing(outcome), _) => self.reply(*outcome),
            (At::Listing, Answer::Pods(pods)) => self.settle(policy, now, &pods, None),
            (At::Confirming(daemon), Answer::Pods(pods)) => self.settle(policy, now, &pods, Some(&daemon)),
            (At::Writing, answer) if !answer.is_trouble() => self.list(At::Listing),
            (At::Looking(pod), Answer::Target(state)) => self.mount(policy, now, pod, state),
            (At::Verifying(_, layers), Answer::Serving(daemon)) => self.prepare(daemon, layers),
            (At::Verifying(..), Answer::NotServing) => self.poll(policy, now, Waiting::Readiness),
            (At::Preparing(daemon, layers), Answer::Done) => self.bind(policy, daemon, layers),
            (At::Binding(daemon, layers), Answer::Done) => self.was_bound(daemon, layers),
            // The daemon went between the look and the bind: nothing was mounted, look again.
            (At::Binding(..), Answer::NotServing) => self.poll(policy, now, Waiting::Readiness),
            (At::Binding(..), _) if policy.bind_failure == BindFailure::IsIgnored => {
                self.reply(PublishOutcome::Published)
            }
            (At::Uncovering(daemon), Answer::Done) => self.list(At::Confirming(daemon)),
            (At::Pausing, _) => self.list(At::Listing),
            (
                At::Looking(_) | At::Verifying(..) | At::Preparing(..) | At::Binding(..) | At::Uncovering(_),
                Answer::Failed(text),
            ) => self.fail(policy, now, PublishOutcome::Failed(text)),
            // The pod API is in trouble: the next list shows what took effect.
            _ => self.poll(policy, now, Waiting::Retry),
        }
    }
}
