//! Decides the next write of a publish from one list of pods, until exactly one live pod holds the reference.
//!
//! Creation is a race that names alone cannot settle: a creator that read a list long ago may use the name of a generation
//! that has come and gone. So a pod is created *unconfirmed*, no daemon runs for it, and it is confirmed by a
//! compare-and-swap only after a list showed it as the only live pod of its key. Of two pods that live at once, the one
//! created later can only be listed together with the other, so at most one is ever confirmed.

use super::{
    super::{
        admission::{Admission, admit},
        annotations,
        api::{Preconditions, WriteMode},
        instant::format_duration,
        pod::{Pod, PodName},
    },
    LockScope, Policy, PublishRequest,
};

/// What a publish does next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Settlement {
    /// Answer with a refusal.
    Refused(Admission),
    /// Create a pod that holds the reference.
    Create(Box<Pod>),
    /// Write a pod.
    Update(Box<Pod>, WriteMode),
    /// Delete a pod that lost the race of creation.
    Delete(PodName, Preconditions),
    /// Wait for a terminating pod to vanish.
    WaitForPredecessor,
    /// This pod holds the reference and is the only one of its key.
    Settled(Box<Pod>),
}

/// Decides the next write. `fresh` says that the reference was added by this very call and nothing is bound yet: then the
/// other references are looked at again, because they may have been added to another pod at the same time.
pub(super) fn settle(pods: &[Pod], request: &PublishRequest, fresh: bool, policy: &Policy) -> Settlement {
    let admission = judge(pods, request, fresh, policy);
    if !matches!(admission, Admission::Admitted | Admission::AlreadyThere) {
        return Settlement::Refused(admission);
    }
    let target = &request.target;
    let holds = |pod: &&Pod| annotations::refers_to(pod, target);
    let live_of_volume = |pod: &&Pod| pod.is_live() && pod.spec.key.volume == request.key.volume;

    // A target that is held stays with its pod, also when the settings have changed meanwhile.
    let holder = pods.iter().filter(live_of_volume).filter(holds).find(|pod| !annotations::is_unconfirmed(pod));
    if let Some(holder) = holder {
        // A creation that came late, after a terminating pod has handed the reference to another one: nobody else
        // would take it away before the unpublish.
        let is_late = |pod: &&Pod| pod.uid != holder.uid && annotations::is_unconfirmed(pod);
        if let Some(late) = pods.iter().filter(live_of_volume).filter(holds).find(is_late) {
            let mut cleared = late.clone();
            annotations::drop_reference(&mut cleared, target);
            return Settlement::Update(Box::new(cleared), policy.drop_reference);
        }
        let mut renewed = holder.clone();
        annotations::add_reference(&mut renewed, target, Some(&request.detail()));
        return match renewed == *holder {
            true => Settlement::Settled(Box::new(renewed)),
            false => Settlement::Update(Box::new(renewed), policy.add_reference),
        };
    }

    let of_key: Vec<&Pod> = pods.iter().filter(|pod| pod.spec.key == request.key).collect();
    let live: Vec<&Pod> = of_key.iter().copied().filter(|pod| pod.is_live()).collect();
    match live.as_slice() {
        [] if policy.lock == LockScope::HeldWhileWaiting && !of_key.is_empty() => Settlement::WaitForPredecessor,
        [] => {
            let mut pod = successor(&of_key, request, policy);
            annotations::add_reference(&mut pod, target, Some(&request.detail()));
            Settlement::Create(Box::new(pod))
        }
        [only] => {
            let mut pod = (*only).clone();
            annotations::confirm(&mut pod);
            annotations::add_reference(&mut pod, target, Some(&request.detail()));
            Settlement::Update(Box::new(pod), policy.add_reference)
        }
        several => settle_twins(several, request, policy),
    }
}

/// The pod that comes after those of its key that are still terminating.
fn successor(of_key: &[&Pod], request: &PublishRequest, policy: &Policy) -> Pod {
    let generation = of_key.iter().map(|pod| pod.spec.generation + 1).max().unwrap_or(0);
    let mut pod = Pod::new(request.key.clone(), generation, request.content.clone());
    if let Some(delay) = policy.delete_delay {
        pod.annotations.insert(annotations::DELETE_DELAY.to_owned(), format_duration(delay));
    }
    pod
}

/// What an update that removes a pod without references compares.
pub(super) fn preconditions(pod: &Pod, policy: &Policy) -> Preconditions {
    match policy.delete_precondition {
        super::DeletePrecondition::UidAndVersion => {
            Preconditions { uid: Some(pod.uid.clone()), version: Some(pod.version.clone()) }
        }
        super::DeletePrecondition::Nothing => Preconditions::default(),
    }
}

fn judge(pods: &[Pod], request: &PublishRequest, fresh: bool, policy: &Policy) -> Admission {
    let others: Vec<Pod>;
    let pods = if fresh {
        others = pods
            .iter()
            .cloned()
            .map(|mut pod| {
                if pod.spec.key.volume == request.key.volume {
                    annotations::drop_reference(&mut pod, &request.target);
                }
                pod
            })
            .collect();
        others.as_slice()
    } else {
        pods
    };
    let switch = policy.single_node_writer_second_target;
    admit(pods, &request.key.volume, &request.target, request.role, &request.fingerprint, switch)
}

fn settle_twins(live: &[&Pod], request: &PublishRequest, policy: &Policy) -> Settlement {
    match yield_twin(live, policy) {
        Some(Yielding::Clear(pod)) => Settlement::Update(pod, policy.drop_reference),
        Some(Yielding::Delete(name, preconditions)) => Settlement::Delete(name, preconditions),
        None => {
            let mut pod = live[0].clone();
            annotations::add_reference(&mut pod, &request.target, Some(&request.detail()));
            Settlement::Update(Box::new(pod), policy.add_reference)
        }
    }
}

/// How a pod that lost the race of creation gives way.
pub(super) enum Yielding {
    /// Its references go first.
    Clear(Box<Pod>),
    /// It goes.
    Delete(PodName, Preconditions),
}

/// Several live pods of one key: a confirmed one stays, or else the latest generation; the others were never served and
/// give way. Whoever referred to one of them is still in the middle of its publish and will see that it has to move.
pub(super) fn yield_twin(live: &[&Pod], policy: &Policy) -> Option<Yielding> {
    let rank = |pod: &&&Pod| (!annotations::is_unconfirmed(pod), pod.spec.generation);
    let winner = live.iter().max_by_key(rank)?.uid.clone();
    let loser = live.iter().find(|pod| annotations::is_unconfirmed(pod) && pod.uid != winner)?;
    if !annotations::is_referenced(loser) {
        return Some(Yielding::Delete(loser.name.clone(), preconditions(loser, policy)));
    }
    let mut cleared = (*loser).clone();
    for reference in annotations::references(loser) {
        annotations::drop_reference(&mut cleared, &reference.target);
    }
    Some(Yielding::Clear(Box::new(cleared)))
}
