//! What a kubelet does next: unmount, then mount or expand, then unmount devices. Plain decisions over the two worlds.

use std::collections::BTreeSet;

use super::{
    super::object::AccessMode, ActualStateOfWorld, ActualVolume, DesiredPod, DesiredStateOfWorld, DeviceState,
    MountState, Operation, VolumeSpec, habits::Habits,
};

/// What is to be done, in order.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Step {
    /// An operation with calls.
    Start(Operation),
    /// The volume is attached, as the node's status says.
    MarkAttached(VolumeSpec),
    /// Nobody needs it and nothing is mounted.
    MarkDetached(String),
    /// A pod is kept from a volume that others have.
    Wait {
        /// The pod's identity.
        pod: String,
        /// What it waits for.
        waits_for: String,
    },
}

/// What of the node's status matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attachments<'a> {
    /// Whether volumes are attached at all.
    pub(super) are_required: bool,
    /// What the attach/detach controller says is attached.
    pub(super) attached: &'a BTreeSet<String>,
}

/// The steps of one pass.
///
/// Nothing is unmounted before all pods were looked at: a pod that was not seen yet may need what is mounted.
pub(super) fn plan(
    desired: &DesiredStateOfWorld,
    actual: &ActualStateOfWorld,
    attachments: Attachments<'_>,
    habits: Habits,
) -> Vec<Step> {
    let mut steps = Vec::new();
    if desired.is_complete {
        steps.extend(unmounts(desired, actual));
    }
    steps.extend(mounts(desired, actual, attachments, habits));
    if desired.is_complete {
        steps.extend(device_unmounts(desired, actual, habits));
    }
    steps
}

fn unmounts(desired: &DesiredStateOfWorld, actual: &ActualStateOfWorld) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, volume) in &actual.volumes {
        let unwanted = volume.pods.iter().filter(|(pod, _)| !desired.wants(name, pod));
        steps.extend(
            unwanted.map(|(pod, mount)| Step::Start(Operation::Unmount { spec: mount.spec.clone(), pod: pod.clone() })),
        );
    }
    steps
}

fn mounts(
    desired: &DesiredStateOfWorld,
    actual: &ActualStateOfWorld,
    attachments: Attachments<'_>,
    habits: Habits,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, volume) in &desired.volumes {
        let Some((_, first)) = volume.pods.first_key_value() else { continue };
        let known = actual.volumes.get(name);
        let Some(known) = known.filter(|known| known.is_attached) else {
            let is_attached = volume.is_reported_in_use && attachments.attached.contains(name);
            if is_attached || !attachments.are_required || first.spec.is_inline {
                steps.push(Step::MarkAttached(first.spec.clone()));
            }
            continue;
        };
        for (pod, wanted) in &volume.pods {
            let mount = known.pods.get(pod);
            // What is mounted with another label has to be unmounted and unstaged first.
            if known.device != DeviceState::NotMounted && known.selinux_label != wanted.selinux_label {
                continue;
            }
            // What a pod has, or may have, is published to it again beside whatever others have.
            let mut others = known.pods.iter().filter(|(other, _)| *other != pod);
            if mount.is_none()
                && let Some((other, how)) = others.find_map(|(uid, other)| Some((uid, habits.excludes(wanted, other)?)))
            {
                let named = volume.pods.get(other).map(|other| format!("pod {}", other.name));
                let holder = named.unwrap_or_else(|| "a pod that is about to go".to_owned());
                let waits_for = format!("volume {}, which {holder} has {how}", wanted.spec.volume_name);
                steps.push(Step::Wait { pod: pod.clone(), waits_for });
                continue;
            }
            // A volume for a single pod waits until the one before has given it up.
            let is_single = wanted.spec.access_modes == [AccessMode::ReadWriteOncePod];
            if is_single && known.pods.keys().any(|other| other != pod) {
                continue;
            }
            if mount.is_none_or(|mount| mount.state == MountState::Uncertain || mount.wants_remount) {
                steps.push(Step::Start(Operation::Mount {
                    pod: pod.clone(),
                    wanted: DesiredPod { spec: habits.placed(&wanted.spec, known), ..wanted.clone() },
                    stages: known.device != DeviceState::GloballyMounted && !wanted.spec.is_inline,
                    is_first: mount.is_none(),
                    size: volume.size,
                }));
            } else if known.size < volume.size && !known.refuses_expansion && !wanted.read_only {
                steps.push(Step::Start(Operation::Expand {
                    spec: habits.placed(&wanted.spec, known),
                    pod: pod.clone(),
                    size: volume.size,
                }));
            }
        }
    }
    steps
}

fn device_unmounts(desired: &DesiredStateOfWorld, actual: &ActualStateOfWorld, habits: Habits) -> Vec<Step> {
    let is_unused = |name: &String, volume: &ActualVolume| match desired.volumes.get(name) {
        None => true,
        // Staged with a label that nobody wants any more.
        Some(wanted) => {
            volume.device != DeviceState::NotMounted
                && wanted.pods.values().all(|pod| pod.selinux_label != volume.selinux_label)
        }
    };
    let unused = actual.volumes.iter().filter(|(name, volume)| volume.pods.is_empty() && is_unused(name, volume));
    unused
        .map(|(name, volume)| match volume.device {
            DeviceState::NotMounted => Step::MarkDetached(name.clone()),
            DeviceState::Uncertain | DeviceState::GloballyMounted => {
                Step::Start(Operation::UnmountDevice { spec: habits.placed(&volume.spec, volume) })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::kubelet::habits::NodeAbilities;

    const KUBERNETES: Habits = Habits {
        shares_single_writer: true,
        mixes_capabilities: true,
        guesses_staging: true,
        abilities: NodeAbilities { single_node_multi_writer: false, volume_mount_group: false },
    };

    fn spec() -> VolumeSpec {
        VolumeSpec { unique_name: "u".into(), ..VolumeSpec::default() }
    }

    fn desired(pods: &[&str]) -> DesiredStateOfWorld {
        let mut desired = DesiredStateOfWorld { is_complete: true, ..DesiredStateOfWorld::default() };
        for pod in pods {
            desired.add(pod, DesiredPod { name: (*pod).into(), spec: spec(), ..DesiredPod::default() }, 0);
        }
        desired
    }

    fn attached(volumes: &BTreeSet<String>) -> Attachments<'_> {
        Attachments { are_required: true, attached: volumes }
    }

    #[test]
    fn a_volume_is_verified_only_after_it_was_reported_in_use() {
        let volumes = ["u".to_owned()].into();
        let mut desired = desired(&["p"]);
        let actual = ActualStateOfWorld::default();
        assert_eq!(plan(&desired, &actual, attached(&volumes), KUBERNETES), []);
        desired.volumes.get_mut("u").unwrap().is_reported_in_use = true;
        assert_eq!(plan(&desired, &actual, attached(&BTreeSet::new()), KUBERNETES), []);
        assert_eq!(plan(&desired, &actual, attached(&volumes), KUBERNETES), [Step::MarkAttached(spec())]);
    }

    #[test]
    fn nothing_is_unmounted_before_all_pods_were_seen() {
        let none = BTreeSet::new();
        let mut actual = ActualStateOfWorld::default();
        actual.reconstructed(spec(), "p");
        let mut desired = desired(&[]);
        desired.is_complete = false;
        assert_eq!(plan(&desired, &actual, attached(&none), KUBERNETES), []);
        desired.is_complete = true;
        let unmount = Step::Start(Operation::Unmount { spec: spec(), pod: "p".into() });
        assert_eq!(plan(&desired, &actual, attached(&none), KUBERNETES), [unmount]);
    }

    #[test]
    fn a_device_goes_after_the_last_pod_and_only_if_it_may_be_there() {
        let none = BTreeSet::new();
        let mut actual = ActualStateOfWorld::default();
        actual.attached(&spec());
        assert_eq!(plan(&desired(&[]), &actual, attached(&none), KUBERNETES), [Step::MarkDetached("u".into())]);
        actual.volumes.get_mut("u").unwrap().device = DeviceState::Uncertain;
        let unmount = Step::Start(Operation::UnmountDevice { spec: spec() });
        assert_eq!(plan(&desired(&[]), &actual, attached(&none), KUBERNETES), [unmount]);
        assert!(matches!(
            plan(&desired(&["p"]), &actual, attached(&none), KUBERNETES).as_slice(),
            [Step::Start(Operation::Mount { stages: true, .. })]
        ));
    }

    #[test]
    fn a_volume_with_another_label_is_unstaged_before_it_is_mounted_again() {
        let none = BTreeSet::new();
        let label = |text: &str| Some(text.to_owned());
        let mut actual = ActualStateOfWorld::default();
        actual.attached(&spec());
        let volume = actual.volumes.get_mut("u").unwrap();
        volume.device = DeviceState::GloballyMounted;
        volume.selinux_label = label("a");
        let wants = |text| {
            let mut desired = desired(&["p"]);
            desired.volumes.get_mut("u").unwrap().pods.get_mut("p").unwrap().selinux_label = label(text);
            desired
        };
        let unmount = Step::Start(Operation::UnmountDevice { spec: spec() });
        assert_eq!(plan(&wants("b"), &actual, attached(&none), KUBERNETES), [unmount]);
        assert!(matches!(
            plan(&wants("a"), &actual, attached(&none), KUBERNETES).as_slice(),
            [Step::Start(Operation::Mount { stages: false, .. })]
        ));
    }
}
