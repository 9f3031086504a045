//! Drops the references of one pod whose workloads are gone: the record is read first, then the evidence, then one
//! compare-and-swap on the version of the record.
//!
//! A reference that the record holds at version r was added before r, so its workload existed before any evidence that is
//! read later; what is absent from that evidence is gone. Where nobody knows the workload, the mount table is the
//! evidence, in two rounds: a target without a mount is first marked, and its reference goes only if a later round
//! finds the mark at the same version and still no mount. A publish that is under way clears the mark before it answers.

use super::{
    super::{
        Role, TargetPath, VolumeId, annotations,
        api::{Selector, WriteMode},
        instant::Timestamp,
        pod::{NodeId, Pod, Uid},
    },
    Answer, Effect, EvidenceOrder, Machine, MountOperation, Policy, Retire, Retirement, TargetState,
    TerminatingWorkload, WorkloadState,
};

/// Collects the dead references of one pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Collect {
    node: NodeId,
    volume: VolumeId,
    pod: Uid,
    evidence: Vec<(TargetPath, WorkloadState)>,
    at: At,
    found: Collected,
}

/// What a collection did.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Collected {
    /// Targets whose references were dropped.
    pub dropped: Vec<TargetPath>,
    /// What became of pods without references.
    pub retirement: Retirement,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    ListingForEvidence,
    AskingFirst,
    Listing,
    Asking(Box<Pod>),
    Looking(Round),
    Unmounting(Round),
    Writing(Round),
    UnmountingAgain(Round, annotations::Reference),
    Removing(Round),
    Retiring(Box<Retire>),
    Ended,
}

/// One pass over the record's references.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Round {
    record: Box<Pod>,
    /// References still to be judged, last first.
    left: Vec<annotations::Reference>,
    /// References whose workloads are gone.
    gone: Vec<annotations::Reference>,
    /// References whose targets were seen without a mount for too long.
    dead: Vec<annotations::Reference>,
    write: Box<Pod>,
}

type Next = (Collect, Effect<Collected>);

impl Collect {
    /// Looks at the pod of this identity.
    pub fn new(node: NodeId, volume: VolumeId, pod: Uid) -> Self {
        Self { node, volume, pod, evidence: Vec::new(), at: At::Start, found: Collected::default() }
    }

    fn go(mut self, at: At, effect: Effect<Collected>) -> Next {
        self.at = at;
        (self, effect)
    }

    fn list(self, at: At) -> Next {
        let selector = Selector { node: self.node.clone(), volume: Some(self.volume.clone()) };
        self.go(at, Effect::List(selector))
    }

    fn own(&self, pods: Vec<Pod>) -> Option<Box<Pod>> {
        pods.into_iter().find(|pod| pod.uid == self.pod && pod.is_live()).map(Box::new)
    }

    fn ask(self, pod: Box<Pod>, at: impl FnOnce(Box<Pod>) -> At) -> Next {
        let targets = annotations::references(&pod).into_iter().map(|reference| reference.target).collect();
        self.go(at(pod), Effect::Workloads(targets))
    }

    fn remember(&mut self, pod: &Pod, states: Vec<WorkloadState>) {
        let targets = annotations::references(pod).into_iter().map(|reference| reference.target);
        self.evidence = targets.zip(states).collect();
    }

    fn judge(self, record: Box<Pod>, policy: &Policy, now: Timestamp) -> Next {
        let left = annotations::references(&record);
        let round = Round { write: record.clone(), record, left, gone: Vec::new(), dead: Vec::new() };
        self.next_reference(round, policy, now)
    }

    fn next_reference(mut self, mut round: Round, policy: &Policy, now: Timestamp) -> Next {
        while let Some(reference) = round.left.last() {
            match self.workload(&reference.target, policy) {
                WorkloadState::Gone => {
                    let target = reference.target.clone();
                    return self.go(At::Unmounting(round), Effect::Mount(MountOperation::UnmountAll(target)));
                }
                WorkloadState::Lives | WorkloadState::Terminating => {
                    round.left.pop();
                }
                WorkloadState::Unknown => {
                    let target = reference.target.clone();
                    return self.go(At::Looking(round), Effect::Mount(MountOperation::Look(target)));
                }
            }
        }
        if round.write == round.record {
            return self.retire(policy, now, None, Answer::Begin);
        }
        self.found.dropped.clear();
        let write = round.write.clone();
        self.go(At::Writing(round), Effect::Update(write, WriteMode::CompareAndSwap))
    }

    fn workload(&self, target: &TargetPath, policy: &Policy) -> WorkloadState {
        let seen = self.evidence.iter().find(|(known, _)| known == target).map(|(_, state)| *state);
        match seen {
            Some(WorkloadState::Terminating) if policy.terminating_workload == TerminatingWorkload::CountsAsGone => {
                WorkloadState::Gone
            }
            Some(state) => state,
            // Only evidence that is older than the record can miss a reference; the mistake is to call that death.
            None if policy.evidence == EvidenceOrder::EvidenceFirst => WorkloadState::Gone,
            None => WorkloadState::Unknown,
        }
    }

    fn looked(self, mut round: Round, state: &TargetState, policy: &Policy, now: Timestamp) -> Next {
        let Some(reference) = round.left.pop() else { return self.next_reference(round, policy, now) };
        let since = annotations::unmounted_since(&round.record, &reference.target);
        let grace = u128::from(policy.limits.unmounted_grace_milliseconds);
        match (state, since) {
            (TargetState::Bare, None) => annotations::suspect(&mut round.write, &reference.target, now),
            (TargetState::Bare, Some(since)) if now.since(since).as_millis() >= grace => {
                annotations::drop_reference(&mut round.write, &reference.target);
                round.dead.push(reference);
            }
            (TargetState::Bare, Some(_)) => {}
            _ => annotations::acquit(&mut round.write, &reference.target),
        }
        self.next_reference(round, policy, now)
    }

    fn unmounted(self, mut round: Round, policy: &Policy, now: Timestamp) -> Next {
        if let Some(reference) = round.left.pop() {
            annotations::drop_reference(&mut round.write, &reference.target);
            round.gone.push(reference);
        }
        self.next_reference(round, policy, now)
    }

    /// A publish whose workload went in the meantime may have mounted between the unmount and the write; it sees no
    /// reference any more, so nobody else would take that mount away.
    fn remove_targets(mut self, mut round: Round, policy: &Policy, now: Timestamp) -> Next {
        if let Some(reference) = round.gone.pop() {
            self.found.dropped.push(reference.target.clone());
            let effect = Effect::Mount(MountOperation::UnmountAll(reference.target.clone()));
            return self.go(At::UnmountingAgain(round, reference), effect);
        }
        while let Some(reference) = round.dead.pop() {
            self.found.dropped.push(reference.target.clone());
            if reference.role() == Role::Target {
                let effect = Effect::Mount(MountOperation::RemoveTarget(reference.target));
                return self.go(At::Removing(round), effect);
            }
        }
        self.retire(policy, now, None, Answer::Begin)
    }

    fn retire(mut self, policy: &Policy, now: Timestamp, retire: Option<Retire>, answer: Answer) -> Next {
        let retire = retire.unwrap_or_else(|| Retire::new(self.node.clone(), self.volume.clone()));
        let (retire, effect) = retire.step(policy, now, answer);
        match effect.lift() {
            Ok(effect) => self.go(At::Retiring(Box::new(retire)), effect),
            Err(retirement) => {
                self.found.retirement = retirement;
                self.end()
            }
        }
    }

    fn end(self) -> Next {
        let reply = self.found.clone();
        self.go(At::Ended, Effect::Reply(reply))
    }
}

impl Machine for Collect {
    type Reply = Collected;

    fn simplified(mut self) -> Self {
        self.found = Collected::default();
        if let At::Retiring(retire) = self.at {
            self.at = At::Retiring(Box::new(retire.simplified()));
        }
        self
    }

    fn step(mut self, policy: &Policy, now: Timestamp, answer: Answer) -> Next {
        match (self.at.clone(), answer) {
            (At::Start, _) if policy.evidence == EvidenceOrder::EvidenceFirst => self.list(At::ListingForEvidence),
            (At::Start, _) => self.list(At::Listing),
            (At::ListingForEvidence, Answer::Pods(pods)) => match self.own(pods) {
                Some(pod) => {
                    self.remember(&pod, Vec::new());
                    self.evidence =
                        annotations::references(&pod).into_iter().map(|r| (r.target, WorkloadState::Unknown)).collect();
                    self.ask(pod, |_| At::AskingFirst)
                }
                None => self.end(),
            },
            (At::AskingFirst, Answer::Workloads(states)) => {
                for ((_, known), state) in self.evidence.iter_mut().zip(states) {
                    *known = state;
                }
                self.list(At::Listing)
            }
            (At::Listing, Answer::Pods(pods)) => match self.own(pods) {
                Some(pod) if policy.evidence == EvidenceOrder::EvidenceFirst => self.judge(pod, policy, now),
                Some(pod) => self.ask(pod, At::Asking),
                None => self.end(),
            },
            (At::Asking(pod), Answer::Workloads(states)) => {
                self.remember(&pod, states);
                self.judge(pod, policy, now)
            }
            (At::Looking(round), Answer::Target(state)) => self.looked(round, &state, policy, now),
            (At::Unmounting(round), Answer::Done) => self.unmounted(round, policy, now),
            (At::Writing(round), Answer::Written(_)) => self.remove_targets(round, policy, now),
            (At::UnmountingAgain(round, reference), _) if reference.role() == Role::Target => {
                let effect = Effect::Mount(MountOperation::RemoveTarget(reference.target));
                self.go(At::Removing(round), effect)
            }
            (At::Removing(round) | At::UnmountingAgain(round, _), _) => self.remove_targets(round, policy, now),
            (At::Retiring(retire), answer) => self.retire(policy, now, Some(*retire), answer),
            // Somebody wrote the record meanwhile, or the world is in trouble: the next round begins anew.
            _ => self.end(),
        }
    }
}
