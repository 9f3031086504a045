//! An effect in words: what a read sees, what a write changes, and whether the pod API refuses it.

use std::fmt::Display;

use super::{
    super::mountpod::{
        annotations,
        api::{Preconditions, WriteMode},
        pod::{Pod, PodName},
        protocol::{Effect, MountOperation},
    },
    records::Records,
};

/// The effect, as it would be performed on these records.
pub(super) fn effect<Reply>(effect: &Effect<Reply>, records: &Records) -> String {
    match effect {
        Effect::List(selector) => match records.list(selector).as_slice() {
            [] => "reads: no pod".to_owned(),
            pods => format!("reads: {}", join(pods.iter().map(whole), "; ")),
        },
        Effect::Create(pod) if records.pods.contains_key(&pod.name) => {
            format!("creates {} (refused: the name is taken)", whole(pod))
        }
        Effect::Create(pod) => format!("creates {}", whole(pod)),
        Effect::Update(pod, mode) => format!("{}{}", update(pod, *mode, records), refusal(pod, *mode, records)),
        Effect::Delete(name, conditions) => delete(name, conditions, records),
        Effect::Workloads(_) => "asks which workloads exist".to_owned(),
        Effect::Acquire(_) => "takes the lock".to_owned(),
        Effect::Release(_) => "gives the lock back".to_owned(),
        Effect::Wait(_) => "waits".to_owned(),
        Effect::Reply(_) => "replies".to_owned(),
        Effect::Mount(operation) => mount(operation),
    }
}

fn mount(operation: &MountOperation) -> String {
    match operation {
        MountOperation::Look(target) => format!("looks at {target}"),
        MountOperation::Verify(_) => "checks the daemon".to_owned(),
        MountOperation::Prepare { target, .. } => format!("makes {target}"),
        MountOperation::Bind { target, .. } => format!("mounts on {target}"),
        MountOperation::UnmountBeneath(target) => format!("removes the layers beneath {target}"),
        MountOperation::UnmountAll(target) => format!("unmounts {target}"),
        MountOperation::RemoveTarget(target) => format!("removes {target}"),
        MountOperation::Teardown(_) => "stops the pod's daemon".to_owned(),
    }
}

fn update(pod: &Pod, mode: WriteMode, records: &Records) -> String {
    let label = label(pod);
    let before = records.pods.get(&pod.name);
    match mode {
        WriteMode::RemoveAnnotations => format!("removes {} from {label}", references(pod)),
        WriteMode::MergeAnnotations => format!("sets the moment of deletion of {label}"),
        _ if before.is_some_and(|before| before.finalizers != pod.finalizers) => {
            format!("removes the finalizer of {label}")
        }
        _ => {
            let compares = if mode == WriteMode::CompareAndSwap { "" } else { ", comparing nothing" };
            format!("writes {}{compares}", whole(pod))
        }
    }
}

fn refusal(pod: &Pod, mode: WriteMode, records: &Records) -> &'static str {
    match records.pods.get(&pod.name) {
        None => " (refused: it is gone)",
        Some(before) if mode == WriteMode::CompareAndSwap && before.version != pod.version => {
            " (refused: it was written meanwhile)"
        }
        Some(_) => "",
    }
}

fn delete(name: &PodName, conditions: &Preconditions, records: &Records) -> String {
    let Some(pod) = records.pods.get(name) else { return "deletes a pod (refused: it is gone)".to_owned() };
    let conditional = conditions.version.is_some();
    let refused =
        conditional && (conditions.version.as_ref(), conditions.uid.as_ref()) != (Some(&pod.version), Some(&pod.uid));
    let how = match (conditional, refused) {
        (_, true) => " (refused: it was written meanwhile)",
        (true, false) => "",
        (false, false) => ", comparing nothing",
    };
    format!("deletes {}{how}", whole(pod))
}

/// The pod with its references and what sets it apart.
fn whole(pod: &Pod) -> String {
    let marks = [
        (annotations::is_unconfirmed(pod), " unconfirmed"),
        (pod.annotations.contains_key(annotations::DELETE_AT), " delete-at"),
        (pod.deleting, " deleting"),
    ];
    let marks = marks.iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| *mark);
    format!("{} {}{}", label(pod), references(pod), join(marks, ""))
}

/// Pods have long names; their generation tells them apart.
fn label(pod: &Pod) -> String {
    format!("pod {}", pod.spec.generation)
}

fn references(pod: &Pod) -> String {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut targets: Vec<String> =
        annotations::references(pod).iter().map(|reference| last(reference.target.as_str())).collect();
    targets.sort();
    format!("{{{}}}", targets.join(", "))
}

fn join(parts: impl IntoIterator<Item = impl Display>, separator: &str) -> String {
    let parts: Vec<String> = parts.into_iter().map(|part| part.to_string()).collect();
    parts.join(separator)
}
