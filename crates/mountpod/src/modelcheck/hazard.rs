//! The hazards of the published protocols that a search finds: for each the scenario that shows it, the promise that it
//! breaks, and the smallest mend.

use super::{
    super::mountpod::published::Mend,
    Invariant, Protocol,
    scenario::{Scenario, Trouble, Watch},
    scenarios::{COLLECT, RETIRE, TERMINATE, publish, unpublish},
};

/// A hazard of a published protocol; `docs/refcount.md` tells each one's story.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hazard {
    /// A pod is deleted on a read that is older than the lock.
    H1,
    /// A pod is deleted by name after another instance has added a reference.
    H2,
    /// Two patches of all annotations lose a reference.
    H3,
    /// A reference is added to a pod that is being deleted, after its references were copied.
    H4,
    /// References that were to be merged into a successor are dropped with a conflict.
    H5,
    /// The record goes before its successor exists, and the driver crashes between the two.
    H6,
    /// A reference that was dropped meanwhile comes back with the successor.
    H7,
    /// A reference is collected by a list of workloads that is older than the reference.
    H8,
}

impl Hazard {
    /// All of them.
    pub const ALL: &[Self] = &[Self::H1, Self::H2, Self::H3, Self::H4, Self::H5, Self::H6, Self::H7, Self::H8];

    /// The name of its scenario.
    pub const fn id(self) -> &'static str {
        match self {
            Self::H1 => "H1",
            Self::H2 => "H2",
            Self::H3 => "H3",
            Self::H4 => "H4",
            Self::H5 => "H5",
            Self::H6 => "H6",
            Self::H7 => "H7",
            Self::H8 => "H8",
        }
    }

    /// The protocols that have it.
    pub const fn protocols(self) -> &'static [Protocol] {
        match self {
            Self::H1 | Self::H2 | Self::H7 | Self::H8 => &[Protocol::Published2022, Protocol::Published2026],
            Self::H3 | Self::H4 => &[Protocol::Published2026],
            Self::H5 | Self::H6 => &[Protocol::Published2022],
        }
    }

    /// The promise that it breaks.
    pub const fn breaks(self) -> Invariant {
        match self {
            Self::H1 | Self::H2 => Invariant::I2,
            Self::H3 | Self::H4 | Self::H5 | Self::H6 | Self::H8 => Invariant::I1,
            Self::H7 => Invariant::I4,
        }
    }

    /// The smallest change that removes the hazard. `None`: the protocol of 2022 cannot create a successor first, because
    /// it has the same name; the later protocol, which can, is the mend.
    pub const fn mend(self, protocol: Protocol) -> Option<Mend> {
        Some(match (self, protocol) {
            (Self::H1 | Self::H2, _) => Mend::ConditionalDelete,
            (Self::H3 | Self::H4, _) => Mend::VersionedAdd,
            (Self::H5, _) => Mend::RetryMerge,
            (Self::H6, _) => return None,
            (Self::H7, Protocol::Published2022) => Mend::RecordUnderLock,
            (Self::H7, _) => Mend::DropEverywhere,
            (Self::H8, _) => Mend::RecordFirst,
        })
    }

    /// The scenario after the mend, which is searched to its end without finding the hazard.
    pub fn mended(self, protocol: Protocol) -> (Protocol, Scenario) {
        match self.mend(protocol) {
            Some(mend) => (protocol, Scenario { mend: Some(mend), ..self.scenario(protocol) }),
            None => (Protocol::Published2026, self.scenario(protocol)),
        }
    }

    /// The scenario that shows it.
    pub fn scenario(self, protocol: Protocol) -> Scenario {
        let first = Scenario {
            name: self.id(),
            published: vec![0],
            instances: 1,
            chores: TERMINATE,
            watch: Watch::Only(self.breaks()),
            ..Scenario::default()
        };
        match self {
            Self::H1 => Scenario {
                about: "the deletion of an empty pod comes due while another target is published",
                requests: vec![unpublish(0, 0), publish(1, 0)],
                chores: RETIRE,
                delayed_deletion: true,
                trouble: vec![(Trouble::ClockStep, 1)],
                ..first
            },
            Self::H2 => Scenario {
                about: "one driver instance unpublishes the last target while another publishes the next",
                requests: vec![unpublish(0, 0), publish(1, 1)],
                instances: 2,
                ..first
            },
            Self::H3 => Scenario {
                about: "two driver instances publish two targets",
                requests: vec![publish(1, 0), publish(2, 1)],
                instances: 2,
                ..first
            },
            Self::H4 | Self::H5 => Scenario {
                about: "a mount pod in use is deleted while another target is published",
                requests: vec![publish(1, 0)],
                trouble: vec![(Trouble::Eviction, 1)],
                ..first
            },
            Self::H6 => Scenario {
                about: "a mount pod in use is deleted, and the driver crashes while it makes a successor",
                trouble: vec![(Trouble::Eviction, 1), (Trouble::Crash, 1)],
                ..first
            },
            Self::H7 => Scenario {
                about: "a mount pod in use is deleted while one of its two targets is unpublished",
                requests: vec![unpublish(1, 0)],
                published: vec![0, 1],
                trouble: vec![(Trouble::Eviction, 1)],
                ..first
            },
            Self::H8 => {
                let lost =
                    if protocol == Protocol::Published2022 { vec![(Trouble::WorkloadLoss, 1)] } else { Vec::new() };
                Scenario {
                    about: "references are collected while another target is published",
                    requests: vec![publish(1, 0)],
                    chores: COLLECT,
                    workloads: true,
                    trouble: lost,
                    ..first
                }
            }
        }
    }
}
