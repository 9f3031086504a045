//! Mounts a target again whose daemon was lost: the new layer first, then the dead ones beneath it go, so that nobody
//! ever sees the bare directory of the host.

use super::{
    super::{
        TargetPath, annotations,
        api::Selector,
        instant::Timestamp,
        pod::{NodeId, Pod},
    },
    Answer, Effect, Liveness, Machine, MountOperation, Policy, TargetState,
};

/// Repairs one target. The caller holds the target's guard.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Rebind {
    node: NodeId,
    target: TargetPath,
    at: At,
    rebound: bool,
}

/// How a repair ended.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum RebindOutcome {
    /// Nothing is to be repaired: the target is well, bare, or nobody refers to it.
    Nothing,
    /// The target is served again.
    Rebound,
    /// The new daemon does not serve yet.
    Later,
    /// The node could not mount.
    Failed(String),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Listing,
    Looking(Box<Pod>),
    Verifying(Box<Pod>),
    Binding(Box<Pod>),
    Uncovering,
    Confirming,
    Retracting,
    Ended,
}

type Next = (Rebind, Effect<RebindOutcome>);

impl Rebind {
    /// Looks at the target.
    pub fn new(node: NodeId, target: TargetPath) -> Self {
        Self { node, target, at: At::Start, rebound: false }
    }

    fn go(mut self, at: At, effect: Effect<RebindOutcome>) -> Next {
        self.at = at;
        (self, effect)
    }

    fn mount(self, at: At, operation: MountOperation) -> Next {
        self.go(at, Effect::Mount(operation))
    }

    fn list(self, at: At) -> Next {
        let selector = Selector { node: self.node.clone(), volume: None };
        self.go(at, Effect::List(selector))
    }

    fn end(self, outcome: RebindOutcome) -> Next {
        self.go(At::Ended, Effect::Reply(outcome))
    }

    fn holder(&self, pods: Vec<Pod>) -> Option<Box<Pod>> {
        let serves = |pod: &Pod| pod.is_live() && !annotations::is_unconfirmed(pod);
        let mut pods = pods.into_iter();
        pods.find(|pod| serves(pod) && annotations::refers_to(pod, &self.target)).map(Box::new)
    }

    fn looked(self, pod: Box<Pod>, state: TargetState) -> Next {
        let target = self.target.clone();
        match state {
            TargetState::Ours { top, layers } if top.alive == Liveness::Alive && top.daemon.pod == pod.uid => {
                match layers {
                    1 => self.end(RebindOutcome::Nothing),
                    _ => self.mount(At::Uncovering, MountOperation::UnmountBeneath(target)),
                }
            }
            TargetState::Ours { .. } => self.mount(At::Verifying(pod.clone()), MountOperation::Verify(pod)),
            TargetState::Bare | TargetState::Foreign => self.end(RebindOutcome::Nothing),
        }
    }

    /// The reference may have gone while the layer was mounted, by another process that does not share our guard.
    fn confirm(self, pods: Vec<Pod>) -> Next {
        match pods.iter().any(|pod| annotations::refers_to(pod, &self.target)) {
            true => self.end(RebindOutcome::Rebound),
            false => {
                let target = self.target.clone();
                self.mount(At::Retracting, MountOperation::UnmountAll(target))
            }
        }
    }
}

impl Machine for Rebind {
    type Reply = RebindOutcome;

    fn step(mut self, _: &Policy, _: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) => self.list(At::Listing),
            (At::Listing, Answer::Pods(pods)) => match self.holder(pods) {
                Some(pod) => {
                    let target = self.target.clone();
                    self.mount(At::Looking(pod), MountOperation::Look(target))
                }
                None => self.end(RebindOutcome::Nothing),
            },
            (At::Looking(pod), Answer::Target(state)) => self.looked(pod, state),
            (At::Verifying(pod), Answer::Serving(daemon)) => {
                let read_only = annotations::reference(&pod, &self.target)
                    .and_then(|reference| reference.detail)
                    .is_some_and(|detail| detail.fingerprint.read_only);
                let target = self.target.clone();
                let operation = MountOperation::Bind { daemon, target, read_only, from_descriptor: true };
                self.mount(At::Binding(pod), operation)
            }
            (At::Binding(_), Answer::Done) => {
                self.rebound = true;
                let target = self.target.clone();
                self.mount(At::Uncovering, MountOperation::UnmountBeneath(target))
            }
            (At::Uncovering, Answer::Done) if self.rebound => self.list(At::Confirming),
            (At::Uncovering | At::Retracting, Answer::Done) => self.end(RebindOutcome::Nothing),
            (At::Confirming, Answer::Pods(pods)) => self.confirm(pods),
            (_, Answer::NotServing) => self.end(RebindOutcome::Later),
            (_, Answer::Failed(text)) => self.end(RebindOutcome::Failed(text)),
            _ => self.end(RebindOutcome::Later),
        }
    }
}
