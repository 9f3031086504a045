//! Deletes pods that nothing refers to, at once or after their delay; also what a delay timer runs.

use super::{
    super::{
        VolumeId, annotations,
        api::{Selector, WriteMode},
        instant::Timestamp,
        pod::{NodeId, Pod, PodName, Uid},
    },
    Answer, Effect, EmptinessEvidence, Machine, MountOperation, Policy, TeardownOrder, UnreadableDeleteAt, Waiting,
    settle::preconditions,
};

/// Retires the pods of one volume that have no references.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Retire {
    node: NodeId,
    volume: VolumeId,
    found: Retirement,
    at: At,
}

/// What became of the pods without references.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Retirement {
    /// How many deletions were accepted.
    pub deleted: u32,
    /// The earliest moment at which a pod will be due.
    pub due: Option<Timestamp>,
    /// Pods that stay because their delay cannot be read, with what is wrong.
    pub unreadable: Vec<(PodName, String)>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum At {
    Start,
    Listing,
    TearingDown(Box<Pod>),
    ReadingVersion(Uid),
    Deleting,
    Arming,
    Pausing,
    Ended,
}

/// What is to be done with one pod.
enum Verdict {
    Keep,
    DueAt(Timestamp),
    Arm(Box<Pod>),
    Unreadable(String),
    Delete,
}

impl Retire {
    /// Looks at the volume's pods on the node.
    pub fn new(node: NodeId, volume: VolumeId) -> Self {
        Self { node, volume, found: Retirement::default(), at: At::Start }
    }

    fn list(mut self) -> (Self, Effect<Retirement>) {
        self.at = At::Listing;
        let selector = Selector { node: self.node.clone(), volume: Some(self.volume.clone()) };
        (self, Effect::List(selector))
    }

    fn pause(mut self) -> (Self, Effect<Retirement>) {
        self.at = At::Pausing;
        (self, Effect::Wait(Waiting::Retry))
    }

    fn delete(mut self, pod: &Pod, policy: &Policy) -> (Self, Effect<Retirement>) {
        self.at = At::Deleting;
        (self, Effect::Delete(pod.name.clone(), preconditions(pod, policy)))
    }

    fn decide(mut self, policy: &Policy, now: Timestamp, pods: &[Pod]) -> (Self, Effect<Retirement>) {
        self.found.due = None;
        self.found.unreadable.clear();
        for pod in pods {
            match judge(pod, pods, policy, now) {
                Verdict::Keep => {}
                Verdict::DueAt(at) => self.found.due = Some(self.found.due.map_or(at, |due| due.min(at))),
                Verdict::Unreadable(text) => self.found.unreadable.push((pod.name.clone(), text)),
                Verdict::Arm(pod) => {
                    self.at = At::Arming;
                    return (self, Effect::Update(pod, WriteMode::CompareAndSwap));
                }
                Verdict::Delete if policy.teardown == TeardownOrder::BeforeDelete => {
                    self.at = At::TearingDown(Box::new(pod.clone()));
                    return (self, Effect::Mount(MountOperation::Teardown(Box::new(pod.clone()))));
                }
                Verdict::Delete if policy.emptiness == EmptinessEvidence::EarlierRead => {
                    let uid = pod.uid.clone();
                    let (mut machine, effect) = self.list();
                    machine.at = At::ReadingVersion(uid);
                    return (machine, effect);
                }
                Verdict::Delete => return self.delete(pod, policy),
            }
        }
        self.at = At::Ended;
        let reply = self.found.clone();
        (self, Effect::Reply(reply))
    }
}

impl Machine for Retire {
    type Reply = Retirement;

    fn simplified(mut self) -> Self {
        self.found = Retirement::default();
        self
    }

    fn step(mut self, policy: &Policy, now: Timestamp, answer: Answer) -> (Self, Effect<Retirement>) {
        match (self.at.clone(), answer) {
            (At::Listing, Answer::Pods(pods)) => self.decide(policy, now, &pods),
            (At::ReadingVersion(uid), Answer::Pods(pods)) => match pods.iter().find(|pod| pod.uid == uid) {
                Some(pod) if pod.is_live() => self.delete(pod, policy),
                _ => self.list(),
            },
            (At::TearingDown(pod), _) => self.delete(&pod, policy),
            (At::Deleting, Answer::Written(_)) => {
                self.found.deleted += 1;
                self.list()
            }
            (At::Start | At::Pausing, _) | (_, Answer::Refused | Answer::Written(_)) => self.list(),
            _ => self.pause(),
        }
    }
}

fn judge(pod: &Pod, pods: &[Pod], policy: &Policy, now: Timestamp) -> Verdict {
    if pod.deleting || annotations::is_referenced(pod) {
        return Verdict::Keep;
    }
    // The references of a terminating pod are about to move here.
    let heir =
        pods.iter().any(|other| other.deleting && other.spec.key == pod.spec.key && annotations::is_referenced(other));
    if heir {
        return Verdict::Keep;
    }
    let unreadable = |text: String| match policy.unreadable_delete_at {
        UnreadableDeleteAt::KeepsThePod => Verdict::Unreadable(text),
        UnreadableDeleteAt::DeletesThePod => Verdict::Delete,
    };
    let delay = match annotations::delete_delay(pod) {
        _ if annotations::is_unconfirmed(pod) => return Verdict::Delete,
        Ok(None) => return Verdict::Delete,
        Ok(Some(delay)) => delay,
        Err(error) => return unreadable(format!("{}: {error}", annotations::DELETE_DELAY)),
    };
    match read_delete_at(pod, policy) {
        Ok(Some(at)) if now >= at => Verdict::Delete,
        Ok(Some(at)) => Verdict::DueAt(at),
        Ok(None) => {
            let mut armed = pod.clone();
            let at = now.after(delay);
            let text = policy.local_time.map_or_else(|| at.to_string(), |offset| at.wall_clock(offset));
            armed.annotations.insert(annotations::DELETE_AT.to_owned(), text);
            Verdict::Arm(Box::new(armed))
        }
        Err(error) => unreadable(error),
    }
}

/// Reads the due moment; a protocol that writes local time without a zone also reads it, as if it were UTC.
fn read_delete_at(pod: &Pod, policy: &Policy) -> Result<Option<Timestamp>, String> {
    let text = pod.annotations.get(annotations::DELETE_AT);
    let as_utc = text.filter(|_| policy.local_time.is_some()).and_then(|text| format!("{text}Z").parse().ok());
    if let Some(at) = as_utc {
        return Ok(Some(at));
    }
    annotations::delete_at(pod).map_err(|error| format!("{}: {error}", annotations::DELETE_AT))
}
