//! What must never be seen, in words that the author of a driver understands.

use std::fmt;

use super::{
    super::mountpod::{
        TargetPath, annotations,
        memory::World,
        pod::{Pod, PodKey},
    },
    ledger::{Ledger, Promise},
    records::Records,
};

/// The promises of the protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Invariant {
    /// Published, and not being unpublished: a pod holds the reference, and its daemon serves the target.
    I1,
    /// A deletion takes effect only on a pod without references.
    I2,
    /// A target never shows the host's file system.
    I3,
    /// Unpublished: no mount, no directory and no reference is left.
    I4,
    /// When all have left, nothing is left.
    I5,
    /// One confirmed pod for a node, volume and configuration.
    I6,
    /// No pod is deleted before its delay has passed, and none is kept beyond it.
    I7,
    /// Every request ends, and made again it succeeds.
    I8,
    /// Requests that contradict each other do not both succeed.
    I9,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5, Self::I6, Self::I7, Self::I8, Self::I9];

    /// The promise in one sentence.
    pub const fn promise(self) -> &'static str {
        match self {
            Self::I1 => {
                "a published target is held by a pod and served by that pod's daemon until its unpublish begins"
            }
            Self::I2 => "the driver deletes a mount pod only while nothing refers to it",
            Self::I3 => "a target shows the volume or nothing, never the file system of the host",
            Self::I4 => "after an unpublish nothing is mounted at the target, and no pod refers to it",
            Self::I5 => "when every workload has left, no pod, daemon, mount or directory is left",
            Self::I6 => "one mount pod at a time serves a volume in one configuration on a node",
            Self::I7 => "a pod without references stays for its delay, and not longer",
            Self::I8 => "every request ends, and one that failed succeeds when it is made again",
            Self::I9 => "of two publishes of one target that contradict each other one is refused",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub text: String,
}

impl Violation {
    pub(super) fn new(invariant: Invariant, text: impl Into<String>) -> Self {
        Self { invariant, text: text.into() }
    }
}

/// Looks for what no state may show.
pub(super) fn check(records: &Records, node: &World, ledger: &Ledger, targets: &[TargetPath]) -> Option<Violation> {
    for (target, promise) in targets.iter().zip(&ledger.promises) {
        let held = records.pods.values().any(|pod| annotations::refers_to(pod, target));
        let violation = match promise {
            Promise::Published { .. } if !held => Some(Violation::new(
                Invariant::I1,
                format!(
                    "{target} was published and not unpublished, and no pod refers to it: its mount is not counted"
                ),
            )),
            Promise::Published { .. } if !node.layers.contains_key(target) => Some(Violation::new(
                Invariant::I1,
                format!("{target} was published and not unpublished, and nothing is mounted there"),
            )),
            Promise::Unpublished => not_gone(node, target, held),
            _ => None,
        };
        if violation.is_some() {
            return violation;
        }
    }
    if let Some(target) = node.layers.iter().find(|(_, layers)| layers.iter().any(|layer| layer.daemon.is_none())) {
        let text = format!("{} shows the file system of the host: data is written to the node's disk", target.0);
        return Some(Violation::new(Invariant::I3, text));
    }
    twins(records).map(|key| {
        Violation::new(Invariant::I6, format!("two confirmed pods serve volume {} in one configuration", key.volume))
    })
}

/// Looks for one broken promise of a published protocol, by what a user loses: a record that is about to vanish does no harm
/// by what it still names.
pub(super) fn check_one(
    invariant: Invariant,
    records: &Records,
    node: &World,
    ledger: &Ledger,
    targets: &[TargetPath],
) -> Option<Violation> {
    let mut live = records.clone();
    if invariant == Invariant::I4 {
        live.pods.retain(|_, pod| pod.is_live());
    }
    check(&live, node, ledger, targets).filter(|broken| broken.invariant == invariant)
}

fn twins(records: &Records) -> Option<&PodKey> {
    let mut confirmed: Vec<&PodKey> = Vec::new();
    for pod in records.pods.values().filter(|pod| pod.is_live() && !annotations::is_unconfirmed(pod)) {
        if confirmed.contains(&&pod.spec.key) {
            return Some(&pod.spec.key);
        }
        confirmed.push(&pod.spec.key);
    }
    None
}

/// What an unpublish that was answered with success left behind.
fn not_gone(node: &World, target: &TargetPath, held: bool) -> Option<Violation> {
    let left = match (held, node.layers.contains_key(target), node.targets.contains(target)) {
        (true, _, _) => "a pod still refers to it: the pod will never be deleted",
        (_, true, _) => "something is still mounted there",
        (_, _, true) => "its directory is still there",
        _ => return None,
    };
    Some(Violation::new(Invariant::I4, format!("{target} was unpublished, and {left}")))
}

/// What has to hold when everything has come to rest: each published target is served by the live pod that holds it.
pub(super) fn check_at_rest(
    records: &Records,
    node: &World,
    ledger: &Ledger,
    targets: &[TargetPath],
) -> Option<Violation> {
    for (target, promise) in targets.iter().zip(&ledger.promises) {
        if !matches!(promise, Promise::Published { .. }) {
            continue;
        }
        let holders: Vec<&Pod> = records.pods.values().filter(|pod| annotations::refers_to(pod, target)).collect();
        let text = match holders.as_slice() {
            [holder] if holder.is_live() && is_well(node, holder, target) => continue,
            [holder] if holder.is_live() => "the daemon of the pod that refers to it does not serve it",
            [] => "no pod refers to it",
            [_] => "only a terminating pod refers to it",
            _ => "several pods refer to it",
        };
        let text = format!("{target} was published, and after all trouble has ended {text}");
        return Some(Violation::new(Invariant::I1, text));
    }
    None
}

/// Whether the target has one layer, and that of the pod's running daemon.
pub(super) fn is_well(node: &World, pod: &Pod, target: &TargetPath) -> bool {
    match node.layers.get(target).map(Vec::as_slice) {
        Some([layer]) => layer.daemon.as_ref().is_some_and(|daemon| daemon.pod == pod.uid && node.is_alive(daemon)),
        _ => false,
    }
}

/// What is left when everybody has left.
///
/// A bare directory whose publish failed while its workload went is swept by the orchestrator with the workload's own.
pub(super) fn check_empty(records: &Records, node: &World, abandoned: &[TargetPath]) -> Option<Violation> {
    if records.pods.values().any(|pod| annotations::delete_at(pod).is_err()) {
        // Such a pod is kept and reported until somebody mends it.
        return None;
    }
    let left = if let Some(pod) = records.pods.values().next() {
        match annotations::references(pod).first() {
            Some(reference) => format!("a pod that refers to {} is left", reference.target),
            None => "a pod without references is left".to_owned(),
        }
    } else if let Some(target) = node.layers.keys().next() {
        format!("a mount on {target} is left")
    } else if let Some(target) = node.targets.iter().find(|target| !abandoned.contains(target)) {
        format!("the directory {target} is left")
    } else if node.daemons.values().any(|(_, alive)| *alive) {
        "a daemon is left".to_owned()
    } else {
        return None;
    };
    Some(Violation::new(Invariant::I5, format!("every workload has left, and {left}")))
}
