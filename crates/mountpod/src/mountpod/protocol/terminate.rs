//! Handles a pod whose deletion was accepted: its references move to a successor, its mounts go, and its record last.
//!
//! A successor is created empty and unconfirmed, because a creation cannot be conditional on the old record: it must
//! do no harm when it comes late. References are copied by compare-and-swap on a version of the successor that was listed
//! together with the old record, and the old record vanishes only at the very version that was copied.

use super::{
    super::{
        annotations,
        api::{Selector, WriteMode},
        instant::{Timestamp, format_duration},
        pod::{FINALIZER, NodeId, Pod, PodKey, Uid},
    },
    Answer, Effect, FinalizerOrder, LockScope, Machine, MountOperation, PodLock, Policy, Waiting,
    settle::{Yielding, yield_twin},
};

/// Brings one terminating pod to its end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Terminate {
    node: NodeId,
    key: PodKey,
    pod: Uid,
    locked: bool,
    torn_down: bool,
    at: At,
}

/// How the handling ended.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum TerminateOutcome {
    /// The record is gone.
    Vanished,
    /// The pod is not terminating.
    NotTerminating,
    /// The mounts could not be removed yet.
    Failed(String),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Locking,
    Listing,
    Writing,
    Pausing,
    TearingDown,
    Finishing,
    /// The record went before its successor: only a seeded fault comes here.
    Vanishing(Box<Pod>),
    Replacing(Box<Pod>),
    Releasing(TerminateOutcome),
    Ended,
}

type Next = (Terminate, Effect<TerminateOutcome>);

impl Terminate {
    /// Handles this pod.
    pub fn new(pod: &Pod) -> Self {
        let key = pod.spec.key.clone();
        Self { node: key.node.clone(), key, pod: pod.uid.clone(), locked: false, torn_down: false, at: At::Start }
    }

    fn go(mut self, at: At, effect: Effect<TerminateOutcome>) -> Next {
        self.at = at;
        (self, effect)
    }

    fn list(self) -> Next {
        let selector = Selector { node: self.node.clone(), volume: Some(self.key.volume.clone()) };
        self.go(At::Listing, Effect::List(selector))
    }

    fn reply(mut self, outcome: TerminateOutcome) -> Next {
        if self.locked {
            self.locked = false;
            let effect = Effect::Release(PodLock(self.key.clone()));
            return self.go(At::Releasing(outcome), effect);
        }
        self.go(At::Ended, Effect::Reply(outcome))
    }

    fn decide(self, pods: &[Pod], policy: &Policy) -> Next {
        let Some(pod) = pods.iter().find(|pod| pod.uid == self.pod) else {
            return self.reply(TerminateOutcome::Vanished);
        };
        if pod.is_live() {
            return self.reply(TerminateOutcome::NotTerminating);
        }
        if policy.finalizer == FinalizerOrder::BeforeSuccessor {
            let gone = without_finalizer(pod);
            return self.go(At::Vanishing(Box::new(pod.clone())), Effect::Update(gone, WriteMode::CompareAndSwap));
        }
        let of_key: Vec<&Pod> = pods.iter().filter(|other| other.spec.key == self.key).collect();
        let live: Vec<&Pod> = of_key.iter().copied().filter(|other| other.is_live()).collect();
        let confirmed = live.iter().find(|heir| !annotations::is_unconfirmed(heir));
        match (live.as_slice(), confirmed) {
            ([], _) if annotations::is_referenced(pod) => {
                let generation = of_key.iter().map(|other| other.spec.generation + 1).max().unwrap_or(0);
                let heir = heir(pod, generation, policy);
                self.go(At::Writing, Effect::Create(Box::new(heir)))
            }
            (_, Some(heir)) if !annotations::took_over(heir, pod) => self.hand_over(heir, pod),
            ([only], None) => self.hand_over(only, pod),
            ([_, ..], None) => match yield_twin(&live, policy) {
                Some(Yielding::Clear(pod)) => self.go(At::Writing, Effect::Update(pod, WriteMode::CompareAndSwap)),
                Some(Yielding::Delete(name, preconditions)) => {
                    self.go(At::Writing, Effect::Delete(name, preconditions))
                }
                None => self.go(At::Pausing, Effect::Wait(Waiting::Retry)),
            },
            _ => self.finish(pod),
        }
    }

    fn hand_over(self, heir: &Pod, pod: &Pod) -> Next {
        let mut heir = heir.clone();
        annotations::confirm(&mut heir);
        annotations::take_over(&mut heir, pod);
        self.go(At::Writing, Effect::Update(Box::new(heir), WriteMode::CompareAndSwap))
    }

    /// Tears down once, then drops the finalizer of the version that was just listed.
    fn finish(self, pod: &Pod) -> Next {
        if !self.torn_down {
            let effect = Effect::Mount(MountOperation::Teardown(Box::new(pod.identity())));
            return self.go(At::TearingDown, effect);
        }
        let effect = Effect::Update(without_finalizer(pod), WriteMode::CompareAndSwap);
        self.go(At::Finishing, effect)
    }

    fn replace(self, pod: &Pod, policy: &Policy) -> Next {
        if !annotations::is_referenced(pod) {
            let effect = Effect::Mount(MountOperation::Teardown(Box::new(pod.clone())));
            return self.go(At::Replacing(Box::new(pod.clone())), effect);
        }
        let mut heir = heir(pod, pod.spec.generation, policy);
        annotations::confirm(&mut heir);
        annotations::take_over(&mut heir, pod);
        self.go(At::Replacing(Box::new(pod.clone())), Effect::Create(Box::new(heir)))
    }
}

impl Machine for Terminate {
    type Reply = TerminateOutcome;

    fn step(mut self, policy: &Policy, _: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) if policy.lock == LockScope::HeldWhileWaiting => {
                let effect = Effect::Acquire(PodLock(self.key.clone()));
                self.go(At::Locking, effect)
            }
            (At::Locking, _) => {
                self.locked = true;
                self.list()
            }
            (At::Listing, Answer::Pods(pods)) => self.decide(&pods, policy),
            (At::TearingDown, Answer::Failed(text)) => self.reply(TerminateOutcome::Failed(text)),
            (At::TearingDown, _) => {
                self.torn_down = true;
                self.list()
            }
            (At::Finishing, Answer::Written(None)) | (At::Replacing(_), _) => self.reply(TerminateOutcome::Vanished),
            (At::Vanishing(pod), Answer::Written(_)) => self.replace(&pod, policy),
            (At::Releasing(outcome), _) => self.reply(outcome),
            (At::Start | At::Pausing, _) => self.list(),
            (_, answer) if !answer.is_trouble() => self.list(),
            _ => self.go(At::Pausing, Effect::Wait(Waiting::Retry)),
        }
    }
}

fn heir(pod: &Pod, generation: u32, policy: &Policy) -> Pod {
    let mut heir = Pod::new(pod.spec.key.clone(), generation, pod.spec.content.clone());
    let inherited = pod.annotations.get(annotations::DELETE_DELAY).cloned();
    if let Some(delay) = inherited.or_else(|| policy.delete_delay.map(format_duration)) {
        heir.annotations.insert(annotations::DELETE_DELAY.to_owned(), delay);
    }
    heir
}

fn without_finalizer(pod: &Pod) -> Box<Pod> {
    let mut pod = pod.clone();
    pod.finalizers.remove(FINALIZER);
    Box::new(pod)
}
