//! Takes a volume away from a target: layers, then references, then the pod, and the target's directory last.

use super::{
    super::{
        Role, TargetPath, VolumeId, annotations,
        api::Selector,
        instant::Timestamp,
        pod::{NodeId, Pod},
    },
    Answer, Effect, Machine, MountOperation, Policy, RemoveTarget, Retirement, Waiting,
    withdraw::Withdraw,
};

/// What is to be unpublished.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct UnpublishRequest {
    /// The node.
    pub node: NodeId,
    /// The volume.
    pub volume: VolumeId,
    /// The target.
    pub target: TargetPath,
    /// Whose the target's directory is.
    pub role: Role,
}

/// How an unpublish ended.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum UnpublishOutcome {
    /// The volume is not at the target, and no pod refers to it.
    Unpublished(Retirement),
    /// The target could not be freed.
    Failed(String),
}

/// The unpublish machine.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Unpublish {
    request: UnpublishRequest,
    at: At,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Listing,
    Pausing,
    Unmounting,
    RemovingFirst,
    Withdrawing(Box<Withdraw>),
    RemovingLast(Retirement),
    Ended,
}

impl Unpublish {
    /// A new request.
    pub fn new(request: UnpublishRequest) -> Self {
        Self { request, at: At::Start }
    }

    fn list(mut self) -> (Self, Effect<UnpublishOutcome>) {
        self.at = At::Listing;
        let selector = Selector { node: self.request.node.clone(), volume: None };
        (self, Effect::List(selector))
    }

    fn reply(mut self, outcome: UnpublishOutcome) -> (Self, Effect<UnpublishOutcome>) {
        self.at = At::Ended;
        (self, Effect::Reply(outcome))
    }

    /// A target that another volume holds is not ours to touch: this volume is not published there.
    fn unmount(mut self, pods: &[Pod]) -> (Self, Effect<UnpublishOutcome>) {
        let UnpublishRequest { volume, target, .. } = &self.request;
        let holders = pods.iter().filter(|pod| annotations::refers_to(pod, target));
        let (own, foreign): (Vec<&Pod>, Vec<&Pod>) = holders.partition(|pod| pod.spec.key.volume == *volume);
        if own.is_empty() && !foreign.is_empty() {
            return self.reply(UnpublishOutcome::Unpublished(Retirement::default()));
        }
        self.at = At::Unmounting;
        let operation = MountOperation::UnmountAll(self.request.target.clone());
        (self, Effect::Mount(operation))
    }

    fn withdraw(
        mut self,
        policy: &Policy,
        now: Timestamp,
        withdraw: Withdraw,
        answer: Answer,
    ) -> (Self, Effect<UnpublishOutcome>) {
        let (withdraw, effect) = withdraw.step(policy, now, answer);
        match effect.lift() {
            Ok(effect) => {
                self.at = At::Withdrawing(Box::new(withdraw));
                (self, effect)
            }
            Err(retirement) if self.removes_target() && policy.remove_target == RemoveTarget::AfterReferenceDrop => {
                self.at = At::RemovingLast(retirement);
                let operation = MountOperation::RemoveTarget(self.request.target.clone());
                (self, Effect::Mount(operation))
            }
            Err(retirement) => self.reply(UnpublishOutcome::Unpublished(retirement)),
        }
    }

    fn removes_target(&self) -> bool {
        self.request.role == Role::Target
    }

    fn begin_withdrawal(self, policy: &Policy, now: Timestamp) -> (Self, Effect<UnpublishOutcome>) {
        let UnpublishRequest { node, volume, target, .. } = self.request.clone();
        self.withdraw(policy, now, Withdraw::new(node, volume, target), Answer::Begin)
    }
}

impl Machine for Unpublish {
    type Reply = UnpublishOutcome;

    fn simplified(mut self) -> Self {
        self.at = match self.at {
            At::Withdrawing(withdraw) => At::Withdrawing(Box::new(withdraw.simplified())),
            At::RemovingLast(_) => At::RemovingLast(Retirement::default()),
            at => at,
        };
        self
    }

    fn step(mut self, policy: &Policy, now: Timestamp, answer: Answer) -> (Self, Effect<UnpublishOutcome>) {
        match (self.at.clone(), answer) {
            (At::Start | At::Pausing, _) => self.list(),
            (At::Listing, Answer::Pods(pods)) => self.unmount(&pods),
            (At::Withdrawing(withdraw), answer) => self.withdraw(policy, now, *withdraw, answer),
            (At::Unmounting | At::RemovingFirst | At::RemovingLast(_), Answer::Failed(text)) => {
                self.reply(UnpublishOutcome::Failed(text))
            }
            (At::Unmounting, _) => {
                if self.removes_target() && policy.remove_target == RemoveTarget::BeforeReferenceDrop {
                    self.at = At::RemovingFirst;
                    let operation = MountOperation::RemoveTarget(self.request.target.clone());
                    return (self, Effect::Mount(operation));
                }
                self.begin_withdrawal(policy, now)
            }
            (At::RemovingFirst, _) => self.begin_withdrawal(policy, now),
            (At::RemovingLast(retirement), _) => self.reply(UnpublishOutcome::Unpublished(retirement)),
            (At::Listing | At::Ended, _) => {
                self.at = At::Pausing;
                (self, Effect::Wait(Waiting::Retry))
            }
        }
    }
}
