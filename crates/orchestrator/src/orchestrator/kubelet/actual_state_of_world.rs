//! What a kubelet knows, or has to fear, of the mounts of its node.

use std::collections::BTreeMap;

use super::{Certainty, DesiredPod, MountOutcome, Operation, Outcome, VolumeSpec};

/// The device, or the staging mount, of a volume.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) enum DeviceState {
    /// No unstage call is ever made.
    #[default]
    NotMounted,
    /// It may be there: staged again if it is wanted, unstaged if not.
    Uncertain,
    /// It is there.
    GloballyMounted,
}

/// The mount for one pod.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum MountState {
    /// It may be there: published again if it is wanted, unpublished if not.
    Uncertain,
    /// It is there.
    Mounted,
}

/// A volume for one pod.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ActualPod {
    /// The volume as its claim has it.
    pub spec: VolumeSpec,
    /// The group that it is to belong to.
    pub fs_group: Option<u32>,
    /// Whether it is there.
    pub state: MountState,
    /// Found on disk after a restart: no error proves that it is not there.
    pub is_reconstructed: bool,
    /// To be published again although it is there.
    pub wants_remount: bool,
}

/// A volume of the node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ActualVolume {
    /// The volume, as the first pod wanted it, with the staging path that it was staged at last.
    pub spec: VolumeSpec,
    /// Whether it is known to be attached.
    pub is_attached: bool,
    /// Whether it is staged.
    pub device: DeviceState,
    /// Found on disk after a restart.
    pub is_reconstructed: bool,
    /// The pods that have it, by identity.
    pub pods: BTreeMap<String, ActualPod>,
    /// The SELinux label that it is, or may be, mounted with.
    pub selinux_label: Option<String>,
    /// Its size on this node; zero until it is known.
    pub size: i64,
    /// It refused to grow while it is in use here.
    pub refuses_expansion: bool,
}

/// The volumes of the node, by unique name.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct ActualStateOfWorld {
    /// The volumes.
    pub volumes: BTreeMap<String, ActualVolume>,
}

impl ActualStateOfWorld {
    /// Notes that a volume is attached.
    pub(crate) fn attached(&mut self, spec: &VolumeSpec) {
        let volume = self.volumes.entry(spec.unique_name.clone()).or_insert_with(|| ActualVolume {
            spec: spec.clone(),
            is_attached: false,
            device: DeviceState::NotMounted,
            is_reconstructed: false,
            pods: BTreeMap::new(),
            selinux_label: None,
            size: 0,
            refuses_expansion: false,
        });
        volume.is_attached = true;
    }

    /// Notes that a volume may be staged and mounted for a pod, as was found on disk.
    pub(crate) fn reconstructed(&mut self, spec: VolumeSpec, pod: &str) {
        let volume = self.volumes.entry(spec.unique_name.clone()).or_insert_with(|| ActualVolume {
            spec: spec.clone(),
            is_attached: false,
            device: DeviceState::Uncertain,
            is_reconstructed: true,
            pods: BTreeMap::new(),
            selinux_label: None,
            size: 0,
            refuses_expansion: false,
        });
        let mount = ActualPod {
            spec,
            fs_group: None,
            state: MountState::Uncertain,
            is_reconstructed: true,
            wants_remount: false,
        };
        volume.pods.insert(pod.to_owned(), mount);
    }

    /// Notes with which label a volume that was found on disk is mounted.
    pub(crate) fn labelled(&mut self, volume: &str, label: &str) {
        if let Some(volume) = self.volumes.get_mut(volume).filter(|_| !label.is_empty()) {
            volume.selinux_label = Some(label.to_owned());
        }
    }

    /// Notes that a volume may be staged, as was found on disk.
    pub(crate) fn staged(&mut self, spec: VolumeSpec) {
        let staged_as = spec.staged_as.clone();
        let volume = self.volumes.entry(spec.unique_name.clone()).or_insert_with(|| ActualVolume {
            spec,
            is_attached: false,
            device: DeviceState::Uncertain,
            is_reconstructed: true,
            pods: BTreeMap::new(),
            selinux_label: None,
            size: 0,
            refuses_expansion: false,
        });
        volume.spec.staged_as = staged_as;
    }

    /// Whether a volume is, or may be, mounted for a pod.
    pub(crate) fn has(&self, volume: &str, pod: &str) -> bool {
        self.volumes.get(volume).is_some_and(|volume| volume.pods.contains_key(pod))
    }

    /// Whether a pod has, or may have, any volume.
    pub(crate) fn has_any(&self, pod: &str) -> bool {
        self.volumes.values().any(|volume| volume.pods.contains_key(pod))
    }

    /// Whether a volume is there for a pod.
    pub(crate) fn is_mounted(&self, volume: &str, pod: &str) -> bool {
        let mount = self.volumes.get(volume).and_then(|volume| volume.pods.get(pod));
        mount.is_some_and(|mount| mount.state == MountState::Mounted)
    }

    /// Takes in how an operation ended.
    pub(crate) fn apply(&mut self, operation: &Operation, outcome: &Outcome) {
        match (operation, outcome) {
            (Operation::Mount { pod, wanted, size, .. }, Outcome::Mount(outcome)) => {
                self.apply_mount(wanted, pod, *size, outcome);
            }
            (Operation::Unmount { spec, pod }, Outcome::Unmount(result)) => {
                let Some(volume) = self.volumes.get_mut(&spec.unique_name) else { return };
                match (result, volume.pods.get_mut(pod)) {
                    (Ok(()), _) => {
                        volume.pods.remove(pod);
                    }
                    (Err(_), Some(mount)) => mount.state = MountState::Uncertain,
                    (Err(_), None) => {}
                }
            }
            (Operation::UnmountDevice { spec }, Outcome::UnmountDevice(result)) => {
                let Some(volume) = self.volumes.get_mut(&spec.unique_name) else { return };
                match result {
                    Ok(()) => {
                        volume.device = DeviceState::NotMounted;
                        volume.selinux_label = None;
                        volume.is_reconstructed = false;
                        volume.refuses_expansion = false;
                    }
                    Err(_) => volume.device = DeviceState::Uncertain,
                }
            }
            (Operation::Expand { spec, size, .. }, Outcome::Expand(result)) => {
                let Some(volume) = self.volumes.get_mut(&spec.unique_name) else { return };
                match result {
                    Ok(()) => volume.size = *size,
                    Err(error) => volume.refuses_expansion |= error.is_final_here,
                }
            }
            _ => {}
        }
    }

    fn apply_mount(&mut self, wanted: &DesiredPod, pod: &str, size: i64, outcome: &MountOutcome) {
        let spec = &wanted.spec;
        let Some(volume) = self.volumes.get_mut(&spec.unique_name) else { return };
        match &outcome.device {
            None => {}
            Some(Ok(())) => {
                volume.device = DeviceState::GloballyMounted;
                volume.spec.staged_as.clone_from(&spec.staged_as);
                volume.selinux_label.clone_from(&wanted.selinux_label);
                volume.is_reconstructed = false;
            }
            Some(Err(error)) => {
                if error.certainty == Certainty::Uncertain {
                    volume.spec.staged_as.clone_from(&spec.staged_as);
                    volume.selinux_label.clone_from(&wanted.selinux_label);
                }
                volume.device = match (error.certainty, volume.device) {
                    (Certainty::Uncertain, DeviceState::NotMounted) => DeviceState::Uncertain,
                    (Certainty::Final, DeviceState::Uncertain) if !volume.is_reconstructed => DeviceState::NotMounted,
                    (_, device) => device,
                };
            }
        }
        let uncertain = || ActualPod {
            spec: spec.clone(),
            fs_group: wanted.fs_group,
            state: MountState::Uncertain,
            is_reconstructed: false,
            wants_remount: false,
        };
        match &outcome.mount {
            None => {}
            Some(Ok(())) => {
                let state = if outcome.expansion.is_err() { MountState::Uncertain } else { MountState::Mounted };
                volume.size = volume.size.max(size);
                volume.pods.insert(pod.to_owned(), ActualPod { state, ..uncertain() });
            }
            Some(Err(error)) => match (error.certainty, volume.pods.get(pod).cloned()) {
                (Certainty::Uncertain, None) => {
                    volume.pods.insert(pod.to_owned(), uncertain());
                }
                (Certainty::Final, Some(mount)) if mount.state == MountState::Uncertain && !mount.is_reconstructed => {
                    volume.pods.remove(pod);
                }
                // A pod that runs keeps its mount when publishing it again fails.
                (_, Some(mount)) if mount.state == MountState::Mounted => {
                    volume.pods.insert(pod.to_owned(), ActualPod { wants_remount: false, ..mount });
                }
                _ => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::operation_executor::OperationError, *};

    fn spec() -> VolumeSpec {
        VolumeSpec { unique_name: "u".into(), ..VolumeSpec::default() }
    }

    fn world() -> ActualStateOfWorld {
        let mut world = ActualStateOfWorld::default();
        world.attached(&spec());
        world
    }

    fn mount(world: &mut ActualStateOfWorld, device: Option<Certainty>, mount: Option<Certainty>) {
        let result = |certainty: Option<Certainty>| certainty.map_or(Ok(()), |c| Err(OperationError::plain(c, "x")));
        let outcome = MountOutcome {
            device: Some(result(device)),
            mount: device.is_none().then(|| result(mount)),
            expansion: Ok(()),
        };
        let operation = Operation::Mount {
            pod: "p".into(),
            wanted: DesiredPod { name: "p".into(), spec: spec(), ..DesiredPod::default() },
            stages: true,
            is_first: true,
            size: 0,
        };
        world.apply(&operation, &Outcome::Mount(outcome));
    }

    #[test]
    fn a_final_error_proves_that_nothing_is_mounted_and_an_uncertain_one_that_something_may_be() {
        let mut world = world();
        mount(&mut world, Some(Certainty::Final), None);
        assert_eq!(world.volumes["u"].device, DeviceState::NotMounted);
        mount(&mut world, Some(Certainty::Uncertain), None);
        assert_eq!(world.volumes["u"].device, DeviceState::Uncertain);
        mount(&mut world, Some(Certainty::Transient), None);
        assert_eq!(world.volumes["u"].device, DeviceState::Uncertain);
        mount(&mut world, Some(Certainty::Final), None);
        assert_eq!(world.volumes["u"].device, DeviceState::NotMounted);
        mount(&mut world, None, Some(Certainty::Final));
        assert!(!world.has("u", "p"));
        mount(&mut world, None, Some(Certainty::Uncertain));
        assert!(world.has("u", "p") && !world.is_mounted("u", "p"));
        mount(&mut world, None, None);
        assert!(world.is_mounted("u", "p"));
        mount(&mut world, None, Some(Certainty::Final));
        assert!(world.is_mounted("u", "p"), "a pod that runs keeps its mount");
    }

    #[test]
    fn no_error_takes_away_what_was_found_on_disk() {
        let mut world = ActualStateOfWorld::default();
        world.reconstructed(spec(), "p");
        mount(&mut world, Some(Certainty::Final), None);
        assert_eq!(world.volumes["u"].device, DeviceState::Uncertain);
        mount(&mut world, None, Some(Certainty::Final));
        assert!(world.has("u", "p"));
    }

    #[test]
    fn a_failed_unmount_is_tried_again() {
        let mut world = world();
        mount(&mut world, None, None);
        let operation = Operation::Unmount { spec: spec(), pod: "p".into() };
        let failed = Err(OperationError::plain(Certainty::Uncertain, "x"));
        world.apply(&operation, &Outcome::Unmount(failed));
        assert!(world.has("u", "p") && !world.is_mounted("u", "p"));
        world.apply(&operation, &Outcome::Unmount(Ok(())));
        assert!(!world.has_any("p"));
    }
}
