//! What the published protocols read out of a pod, and the pods that they create.

use super::{
    super::{
        TargetPath, VolumeContent, annotations,
        api::Preconditions,
        instant::{Timestamp, format_duration},
        pod::{FINALIZER, Pod, PodKey},
        protocol::{Policy, WorkloadState},
    },
    request::Mend,
};

/// What becomes of a pod without references.
pub(super) enum Deletion {
    /// It is deleted.
    Now,
    /// It stays until its moment has come.
    Later,
    /// It gets a moment: this pod is to be written.
    Arm(Box<Pod>),
}

/// Decides by the delay of the pod; a delay or moment that cannot be read means now.
pub(super) fn deletion(pod: &Pod, now: Timestamp) -> Deletion {
    let Ok(Some(delay)) = annotations::delete_delay(pod) else { return Deletion::Now };
    match annotations::delete_at(pod) {
        Ok(Some(at)) if now < at => Deletion::Later,
        Ok(None) => {
            let mut armed = pod.clone();
            armed.annotations.insert(annotations::DELETE_AT.to_owned(), now.after(delay).to_string());
            Deletion::Arm(Box::new(armed))
        }
        _ => Deletion::Now,
    }
}

/// Nothing, unless the mend is tried.
pub(super) fn conditions(pod: &Pod, mend: Option<Mend>) -> Preconditions {
    match mend {
        Some(Mend::ConditionalDelete) => {
            Preconditions { uid: Some(pod.uid.clone()), version: Some(pod.version.clone()) }
        }
        _ => Preconditions::default(),
    }
}

/// A pod to create with these references.
pub(super) fn new_pod(
    key: &PodKey,
    letters: u32,
    content: &VolumeContent,
    targets: &[TargetPath],
    policy: &Policy,
) -> Box<Pod> {
    let mut pod = Pod::new(key.clone(), letters, content.clone());
    annotations::confirm(&mut pod);
    for target in targets {
        annotations::add_reference(&mut pod, target, None);
    }
    if let Some(delay) = policy.delete_delay {
        pod.annotations.insert(annotations::DELETE_DELAY.to_owned(), format_duration(delay));
    }
    Box::new(pod)
}

/// The first letters, from these on, that no listed pod has: random letters do not repeat.
pub(super) fn free_letters(pods: &[Pod], letters: u32) -> u32 {
    let is_free = |letters: &u32| pods.iter().all(|pod| pod.spec.generation != *letters);
    (letters..).find(is_free).unwrap_or(letters)
}

/// The targets that refer to the pod.
pub(super) fn targets(pod: &Pod) -> Vec<TargetPath> {
    annotations::references(pod).into_iter().map(|reference| reference.target).collect()
}

/// The pod without its finalizer.
pub(super) fn without_finalizer(pod: &Pod) -> Box<Pod> {
    let mut pod = pod.clone();
    pod.finalizers.remove(FINALIZER);
    Box::new(pod)
}

/// A pod that has only those annotations of this one that a JSON patch has to name to drop the reference.
pub(super) fn only_reference(pod: &Pod, targets: &[TargetPath]) -> Box<Pod> {
    let mut rest = pod.clone();
    for target in targets {
        annotations::drop_reference(&mut rest, target);
    }
    let mut patch = pod.clone();
    patch.annotations.retain(|key, _| !rest.annotations.contains_key(key));
    Box::new(patch)
}

/// What a list of workloads says of a target: absent means gone.
pub(super) fn is_gone(
    evidence: &[(TargetPath, WorkloadState)],
    target: &TargetPath,
    gone: impl Fn(WorkloadState) -> bool,
) -> bool {
    evidence.iter().find(|(known, _)| known == target).is_none_or(|(_, state)| gone(*state))
}
