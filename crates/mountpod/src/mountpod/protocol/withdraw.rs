//! Drops a target's reference from every pod that holds it, and then retires what nothing refers to any more.
//!
//! While a pod is terminating, somebody may be about to copy its references to a successor. A reference that is dropped
//! from the terminating pod alone could come back that way, so each live pod is written once after the drop: a
//! copy that was decided before it fails.

use std::collections::BTreeSet;

use super::{
    super::{
        TargetPath, VolumeId, annotations,
        api::{Selector, WriteMode},
        instant::Timestamp,
        pod::{NodeId, Pod, Uid},
    },
    Answer, Effect, Machine, Policy, Retire, Retirement, UnpublishScope, Waiting,
};

/// Withdraws one target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Withdraw {
    node: NodeId,
    volume: VolumeId,
    target: TargetPath,
    saw_terminating: bool,
    written_since_drop: BTreeSet<Uid>,
    at: At,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Listing,
    Dropping,
    Touching(Uid),
    Pausing,
    Retiring(Box<Retire>),
}

impl Withdraw {
    pub(super) fn new(node: NodeId, volume: VolumeId, target: TargetPath) -> Self {
        let written_since_drop = BTreeSet::new();
        Self { node, volume, target, saw_terminating: false, written_since_drop, at: At::Start }
    }

    fn list(mut self) -> (Self, Effect<Retirement>) {
        self.at = At::Listing;
        let selector = Selector { node: self.node.clone(), volume: Some(self.volume.clone()) };
        (self, Effect::List(selector))
    }

    fn decide(mut self, policy: &Policy, now: Timestamp, pods: &[Pod]) -> (Self, Effect<Retirement>) {
        let every = policy.unpublish_scope == UnpublishScope::EveryPod;
        // A pod that has vanished never comes back.
        self.written_since_drop.retain(|uid| pods.iter().any(|pod| pod.uid == *uid));
        self.saw_terminating |= every && pods.iter().any(|pod| pod.deleting);
        let mut holders: Vec<&Pod> = pods
            .iter()
            .filter(|pod| every || pod.is_live())
            .filter(|pod| annotations::refers_to(pod, &self.target))
            .collect();
        holders.sort_by_key(|pod| pod.is_live());
        if let Some(holder) = holders.first() {
            let mut pod = (*holder).clone();
            annotations::drop_reference(&mut pod, &self.target);
            self.written_since_drop.clear();
            self.at = At::Dropping;
            return (self, Effect::Update(Box::new(pod), policy.drop_reference));
        }
        let unwritten = |pod: &&Pod| pod.is_live() && !self.written_since_drop.contains(&pod.uid);
        if let Some(pod) = pods.iter().filter(|_| self.saw_terminating).find(unwritten) {
            let mut pod = pod.clone();
            annotations::touch(&mut pod);
            self.at = At::Touching(pod.uid.clone());
            return (self, Effect::Update(Box::new(pod), WriteMode::CompareAndSwap));
        }
        let retire = Retire::new(self.node.clone(), self.volume.clone());
        self.retire(policy, now, retire, Answer::Begin)
    }

    fn retire(mut self, policy: &Policy, now: Timestamp, retire: Retire, answer: Answer) -> (Self, Effect<Retirement>) {
        let (retire, effect) = retire.step(policy, now, answer);
        self.at = At::Retiring(Box::new(retire));
        (self, effect)
    }
}

impl Machine for Withdraw {
    type Reply = Retirement;

    fn simplified(mut self) -> Self {
        if let At::Retiring(retire) = self.at {
            self.at = At::Retiring(Box::new(retire.simplified()));
            self.saw_terminating = false;
            self.written_since_drop.clear();
        }
        self
    }

    fn step(mut self, policy: &Policy, now: Timestamp, answer: Answer) -> (Self, Effect<Retirement>) {
        match (self.at.clone(), answer) {
            (At::Listing, Answer::Pods(pods)) => self.decide(policy, now, &pods),
            (At::Retiring(retire), answer) => self.retire(policy, now, *retire, answer),
            (At::Touching(uid), Answer::Written(_)) => {
                self.written_since_drop.insert(uid);
                self.list()
            }
            (At::Start | At::Pausing, _) | (_, Answer::Refused | Answer::Written(_)) => self.list(),
            _ => {
                self.at = At::Pausing;
                (self, Effect::Wait(Waiting::Retry))
            }
        }
    }
}
