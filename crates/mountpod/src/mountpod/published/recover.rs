//! The end of a reconciler's round over a pod that serves: targets whose daemon was lost are mounted again, by path.

use super::{
    super::{
        TargetPath,
        instant::Timestamp,
        pod::{Pod, Uid},
        protocol::{Answer, DaemonId, Effect, Liveness, Machine, MountOperation, Policy, TargetState},
    },
    pods::targets,
    request::PublishedOutcome,
};

/// Looks at one target after the other, without a lock.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Recover {
    pod: Uid,
    left: Vec<TargetPath>,
    at: At,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Looking(TargetPath),
    Unmounting(TargetPath),
    Binding,
}

impl Recover {
    pub(super) fn new(pod: &Pod) -> Self {
        Self { pod: pod.uid.clone(), left: targets(pod), at: At::Start }
    }

    fn next(mut self) -> (Self, Effect<PublishedOutcome>) {
        match self.left.pop() {
            Some(target) => {
                self.at = At::Looking(target.clone());
                (self, Effect::Mount(MountOperation::Look(target)))
            }
            None => (self, Effect::Reply(PublishedOutcome::Done)),
        }
    }
}

impl Machine for Recover {
    type Reply = PublishedOutcome;

    fn step(mut self, _: &Policy, _: Timestamp, answer: Answer) -> (Self, Effect<PublishedOutcome>) {
        match (self.at.clone(), answer) {
            (At::Looking(target), Answer::Target(TargetState::Ours { top, .. })) if top.alive == Liveness::Dead => {
                self.at = At::Unmounting(target.clone());
                (self, Effect::Mount(MountOperation::UnmountAll(target)))
            }
            (At::Unmounting(target), Answer::Done) => {
                self.at = At::Binding;
                let daemon = DaemonId { pod: self.pod.clone(), run: 0 };
                let operation = MountOperation::Bind { daemon, target, read_only: false, from_descriptor: false };
                (self, Effect::Mount(operation))
            }
            _ => self.next(),
        }
    }
}
