//! When the volumes of pods are measured: each once in one to two minutes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{ActualStateOfWorld, MountState, VolumeSpec};
use crate::orchestrator::object::VolumeMode;

/// The least pause between two measurements of a volume; up to as much again is added at random.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// When each volume of each pod is measured next.
#[derive(Clone, Debug, Default)]
pub(super) struct Statistics(BTreeMap<(String, String), Duration>);

impl Statistics {
    /// The volumes that are due, with the pod's identity. A volume that has just come is measured after its first pause.
    pub(super) fn due(
        &mut self,
        actual: &ActualStateOfWorld,
        now: Duration,
        pause: impl Fn() -> Duration,
    ) -> Vec<(VolumeSpec, String)> {
        let mut mounted = BTreeSet::new();
        let mut due = Vec::new();
        for (name, volume) in &actual.volumes {
            for (uid, pod) in &volume.pods {
                if pod.state != MountState::Mounted || pod.spec.volume_mode == VolumeMode::Block {
                    continue;
                }
                let key = (name.clone(), uid.clone());
                let next = self.0.entry(key.clone()).or_insert_with(|| now + pause());
                mounted.insert(key);
                if *next <= now {
                    *next = now + pause();
                    due.push((pod.spec.clone(), uid.clone()));
                }
            }
        }
        self.0.retain(|key, _| mounted.contains(key));
        due
    }

    /// When the next is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.0.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orchestrator::kubelet::actual_state_of_world::ActualPod;

    #[test]
    fn what_is_mounted_is_measured_in_each_period_and_what_is_gone_is_forgotten() {
        let mut actual = ActualStateOfWorld::default();
        let spec = VolumeSpec { unique_name: "u".into(), ..VolumeSpec::default() };
        actual.reconstructed(spec.clone(), "p");
        let mut statistics = Statistics::default();
        let at = Duration::from_secs;
        assert_eq!(statistics.due(&actual, at(0), || PERIOD), [], "it may not be there");
        let mounted = ActualPod {
            spec: spec.clone(),
            fs_group: None,
            state: MountState::Mounted,
            is_reconstructed: false,
            wants_remount: false,
        };
        actual.volumes.get_mut("u").unwrap().pods.insert("p".into(), mounted);
        assert_eq!(statistics.due(&actual, at(0), || PERIOD), []);
        assert_eq!(statistics.next_due(), Some(PERIOD));
        assert_eq!(statistics.due(&actual, at(60), || PERIOD), [(spec, "p".to_owned())]);
        assert_eq!(statistics.next_due(), Some(PERIOD * 2));
        actual.volumes.clear();
        assert_eq!(statistics.due(&actual, at(120), || PERIOD), []);
        assert_eq!(statistics.next_due(), None);
    }
}
