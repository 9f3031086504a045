//! What the steps so far leave open: which lanes are taken, which handles there are.

use super::{
    super::schedule::Trouble,
    step::{Call, HOUSEKEEPING, Lane, Step, Variation},
};
use crate::spec::Rpc;

/// How many lanes calls have.
pub(super) const LANES: u8 = HOUSEKEEPING;
/// How many volumes a program knows.
pub(super) const VOLUMES: u8 = 2;
/// How many targets a volume has.
pub(super) const TARGETS: u8 = 3;
/// How many snapshots a program knows.
pub(super) const SNAPSHOTS: u8 = 2;

/// What the steps so far leave open. Whether a call ends before its pause is known only to who runs the program.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    lanes: [bool; LANES as usize + 1],
    /// The calls that have paused.
    calls: [Option<Call>; LANES as usize + 1],
    deleted: [bool; VOLUMES as usize],
    volumes: [bool; VOLUMES as usize],
    snapshots: [bool; SNAPSHOTS as usize],
    groups: [bool; SNAPSHOTS as usize],
    attached: [bool; VOLUMES as usize],
    staged: [bool; VOLUMES as usize],
    gone: [[bool; TARGETS as usize]; VOLUMES as usize],
}

impl Course {
    pub(super) fn after(steps: &[Step]) -> Self {
        let mut course = Self::default();
        for step in steps {
            course.note(step);
        }
        course
    }

    fn note(&mut self, step: &Step) {
        match *step {
            Step::Call { lane, call, pause, .. } => {
                self.take(lane, pause);
                if let Some(place) = self.calls.get_mut(usize::from(lane)) {
                    *place = Some(call);
                }
                if let Some(deleted) = self.deleted.get_mut(usize::from(call.volume))
                    && matches!(call.rpc, Rpc::CreateVolume | Rpc::DeleteVolume)
                    && call.variation.is_plain()
                {
                    *deleted = call.rpc == Rpc::DeleteVolume;
                }
                let place = match call.rpc {
                    Rpc::CreateVolume => self.volumes.get_mut(usize::from(call.volume)),
                    Rpc::CreateSnapshot => self.snapshots.get_mut(usize::from(call.snapshot)),
                    Rpc::CreateVolumeGroupSnapshot => self.groups.get_mut(usize::from(call.snapshot)),
                    Rpc::ControllerPublishVolume => self.attached.get_mut(usize::from(call.volume)),
                    Rpc::NodeStageVolume => self.staged.get_mut(usize::from(call.volume)),
                    _ => None,
                };
                if let (Some(place), false) = (place, call.variation == Variation::Incomplete) {
                    *place = true;
                }
            }
            Step::Resume { lane, pause } => self.take(lane, pause),
            Step::Cancel { lane } => self.take(lane, None),
            Step::Housekeeping { pause } => self.take(HOUSEKEEPING, pause),
            Step::Crash | Step::Trouble { trouble: Trouble::Reboot, .. } => self.lanes = Default::default(),
            Step::Trouble { volume, trouble: Trouble::RemoveWorkload { target } } => {
                let place = self.gone.get_mut(usize::from(volume)).and_then(|it| it.get_mut(usize::from(target)));
                if let Some(place) = place {
                    *place = true;
                }
            }
            Step::Trouble { .. } | Step::Fault { .. } | Step::Time { .. } => {}
        }
    }

    fn take(&mut self, lane: Lane, pause: Option<u8>) {
        if let Some(taken) = self.lanes.get_mut(usize::from(lane)) {
            *taken = pause.is_some();
        }
    }

    /// Whether the lane may hold a call that has not ended.
    pub(super) fn is_taken(&self, lane: Lane) -> bool {
        self.lanes.get(usize::from(lane)).is_some_and(|taken| *taken)
    }

    /// The calls that may not have ended.
    pub(super) fn open_calls(&self) -> impl Iterator<Item = Call> {
        self.calls.iter().zip(self.lanes).filter(|(_, taken)| *taken).filter_map(|(call, _)| *call)
    }

    /// Whether somebody asked to delete the volume, and nobody to make it anew.
    pub(super) fn is_deleted(&self, volume: u8) -> bool {
        self.deleted.get(usize::from(volume)).is_some_and(|deleted| *deleted)
    }

    pub(super) fn is_quiet(&self) -> bool {
        !self.lanes.contains(&true)
    }

    pub(super) fn has_volume(&self, number: u8) -> bool {
        self.volumes.get(usize::from(number)).is_some_and(|there| *there)
    }

    /// Whether somebody asked to attach the volume.
    pub(super) fn is_attached(&self, volume: u8) -> bool {
        self.attached.get(usize::from(volume)).is_some_and(|there| *there)
    }

    /// Whether somebody asked to stage the volume.
    pub(super) fn is_staged(&self, volume: u8) -> bool {
        self.staged.get(usize::from(volume)).is_some_and(|there| *there)
    }

    pub(super) fn has_snapshot(&self, number: u8) -> bool {
        self.snapshots.get(usize::from(number)).is_some_and(|there| *there)
    }

    fn has_group(&self, number: u8) -> bool {
        self.groups.get(usize::from(number)).is_some_and(|there| *there)
    }

    /// Whether the workload of a target has gone: a path belongs to one workload, for ever.
    pub(super) fn is_gone(&self, volume: u8, target: u8) -> bool {
        let place = self.gone.get(usize::from(volume)).and_then(|it| it.get(usize::from(target)));
        place.is_some_and(|gone| *gone)
    }

    /// Whether the call can be made: its handles are there, and nobody has gone who would make it.
    pub(super) fn allows(&self, call: Call) -> bool {
        let absent = call.variation == Variation::Absent;
        let known = call.variation.is_plain() || Call::variations(call.rpc).contains(&call.variation);
        let volume = match (call.rpc, call.variation) {
            (Rpc::CreateVolume, Variation::FromVolume) => self.has_volume((call.volume + 1) % VOLUMES),
            (Rpc::CreateVolume, _) => true,
            _ => !call.has_volume() || absent || self.has_volume(call.volume),
        };
        let snapshot = match call.rpc {
            Rpc::CreateSnapshot | Rpc::CreateVolumeGroupSnapshot => true,
            Rpc::DeleteVolumeGroupSnapshot | Rpc::GetVolumeGroupSnapshot => self.has_group(call.snapshot),
            _ => !call.has_snapshot() || absent || self.has_snapshot(call.snapshot),
        };
        let late = call.rpc == Rpc::NodePublishVolume && self.is_gone(call.volume, call.target);
        let bounds = call.volume < VOLUMES && call.target < TARGETS && call.snapshot < SNAPSHOTS;
        known && bounds && volume && snapshot && !late
    }
}
