//! The named scenarios: each small enough to be searched to its end.

use super::{
    Hazard, Protocol,
    scenario::{Chores, Request, RequestKind, Scenario, Trouble},
};

/// The scenarios of a protocol.
pub fn scenarios(protocol: Protocol) -> Vec<Scenario> {
    match protocol {
        Protocol::Current => current(),
        Protocol::Published2022 | Protocol::Published2026 => {
            let hazards = Hazard::ALL.iter().filter(|hazard| hazard.protocols().contains(&protocol));
            hazards.map(|hazard| hazard.scenario(protocol)).collect()
        }
    }
}

pub(super) const TERMINATE: Chores = Chores { terminate: true, rebind: false, collect: false, retire: false };
const RECOVER: Chores = Chores { terminate: true, rebind: true, collect: false, retire: false };
pub(super) const COLLECT: Chores = Chores { terminate: true, rebind: false, collect: true, retire: false };
pub(super) const RETIRE: Chores = Chores { terminate: true, rebind: false, collect: false, retire: true };

pub(super) fn publish(target: u8, instance: u8) -> Request {
    Request { kind: RequestKind::Publish, target, instance }
}

pub(super) fn unpublish(target: u8, instance: u8) -> Request {
    Request { kind: RequestKind::Unpublish, target, instance }
}

/// This many publishes and as many unpublishes of two targets, some of which are cut off.
pub fn clients(number: u8, crashes: u8) -> Scenario {
    let requests = (0..number).flat_map(|request| [publish(request % 2, 0), unpublish(request % 2, 0)]).collect();
    Scenario {
        name: "clients",
        about: "publishes and unpublishes of two targets",
        requests,
        instances: 1,
        chores: TERMINATE,
        trouble: vec![(Trouble::CutOff, crashes)],
        ..Scenario::default()
    }
}

/// Searches that take longer than the others: they run when they are asked for by name.
pub fn large_scenarios(protocol: Protocol) -> Vec<Scenario> {
    match protocol {
        Protocol::Current => vec![Scenario {
            name: "everything-twice",
            about: "as everything, with two publishes and two unpublishes from the beginning",
            requests: vec![publish(0, 0), unpublish(0, 0), publish(1, 1), unpublish(1, 1)],
            published: Vec::new(),
            ..everything()
        }],
        Protocol::Published2022 | Protocol::Published2026 => Vec::new(),
    }
}

/// Everything at once, each kind of trouble once: one driver instance unpublishes a target and another publishes the next while
/// references are collected, deletions are delayed, a pod is evicted and a reply is lost. The second instance is one that is
/// being replaced: it ends its requests and does no background work.
fn everything() -> Scenario {
    Scenario {
        name: "everything",
        about: "two instances, a collector, delayed deletion, an eviction and a lost reply in one scenario",
        published: vec![0],
        requests: vec![unpublish(0, 0), publish(1, 1)],
        instances: 2,
        leaving: 1,
        chores: Chores { terminate: true, rebind: true, collect: true, retire: true },
        delayed_deletion: true,
        workloads: true,
        trouble: vec![(Trouble::ClockStep, 1), (Trouble::Eviction, 1), (Trouble::LostReply, 1)],
        ..Scenario::default()
    }
}

fn current() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "publish-unpublish-crash",
            about: "a target is published and unpublished, both of which may be cut off at any point",
            requests: vec![publish(0, 0), unpublish(0, 0)],
            instances: 1,
            chores: TERMINATE,
            trouble: vec![(Trouble::CutOff, 2)],
            ..Scenario::default()
        },
        Scenario {
            name: "second-instance",
            about: "one driver instance unpublishes a target while another, without a common lock, publishes the next",
            published: vec![0],
            requests: vec![unpublish(0, 0), publish(1, 1)],
            instances: 2,
            chores: TERMINATE,
            ..Scenario::default()
        },
        Scenario {
            name: "eviction",
            about: "a mount pod in use is deleted while another target is published and one is unpublished",
            published: vec![0],
            requests: vec![publish(1, 0), unpublish(0, 0)],
            instances: 1,
            chores: RECOVER,
            trouble: vec![(Trouble::Eviction, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "eviction-crash",
            about: "a mount pod in use is deleted, and the driver crashes while it makes a successor",
            published: vec![0],
            requests: vec![publish(1, 0)],
            instances: 1,
            chores: RECOVER,
            trouble: vec![(Trouble::Eviction, 1), (Trouble::Crash, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "daemon-loss",
            about: "daemons die while a volume is published and repaired",
            published: vec![0],
            requests: vec![publish(1, 0), unpublish(0, 0)],
            instances: 1,
            chores: RECOVER,
            trouble: vec![(Trouble::DaemonLoss, 1), (Trouble::SlowDaemon, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "lost-replies",
            about: "requests to the pod API are lost before or after they take effect, conflict and fail",
            published: vec![0],
            requests: vec![publish(1, 0), unpublish(0, 0)],
            instances: 1,
            chores: TERMINATE,
            trouble: vec![
                (Trouble::LostReply, 1),
                (Trouble::LostRequest, 1),
                (Trouble::Conflict, 1),
                (Trouble::ApiFailure, 1),
            ],
            ..Scenario::default()
        },
        Scenario {
            name: "delayed-deletion",
            about: "a pod stays for a while after its last reference; the clock, and somebody's hand, go on meanwhile",
            published: vec![0],
            requests: vec![unpublish(0, 0), publish(1, 0)],
            instances: 1,
            chores: RETIRE,
            delayed_deletion: true,
            trouble: vec![(Trouble::ClockStep, 2), (Trouble::Scribble, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "garbage-collector",
            about: "references are collected while one workload comes and another shuts down",
            published: vec![0],
            requests: vec![publish(1, 0)],
            instances: 1,
            chores: COLLECT,
            workloads: true,
            trouble: vec![(Trouble::WorkloadShutdown, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "workload-loss",
            about: "references are collected while workloads come, and go without an unpublish",
            published: vec![0],
            requests: vec![publish(1, 0)],
            instances: 1,
            chores: COLLECT,
            workloads: true,
            trouble: vec![(Trouble::WorkloadLoss, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "failed-mount",
            about: "a mount on a target fails",
            requests: vec![publish(0, 0), publish(1, 0), unpublish(0, 0)],
            instances: 1,
            chores: TERMINATE,
            trouble: vec![(Trouble::FailedMount, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "slow-daemon",
            about: "a daemon does not serve before its publish gives up, and the publish takes its reference back",
            requests: vec![publish(0, 0), publish(1, 0), unpublish(0, 0)],
            instances: 1,
            chores: TERMINATE,
            trouble: vec![(Trouble::SlowDaemon, 2)],
            ..Scenario::default()
        },
        Scenario {
            name: "contradiction",
            about: "one target is published for writing and read-only",
            requests: vec![
                publish(0, 0),
                Request { kind: RequestKind::PublishReadOnly, target: 0, instance: 0 },
                unpublish(0, 0),
            ],
            instances: 1,
            chores: TERMINATE,
            ..Scenario::default()
        },
        Scenario {
            name: "status-writes",
            about: "the kubelet's status writes make every compare-and-swap fail once",
            published: vec![0],
            requests: vec![publish(1, 0), unpublish(0, 0)],
            instances: 1,
            chores: TERMINATE,
            trouble: vec![(Trouble::StatusWrite, 2)],
            ..Scenario::default()
        },
        Scenario {
            name: "reboot",
            about: "the node restarts while a volume is published and unpublished; records and stale status stay",
            published: vec![0],
            requests: vec![publish(0, 0), unpublish(0, 0)],
            instances: 1,
            chores: RECOVER,
            trouble: vec![(Trouble::Reboot, 1)],
            ..Scenario::default()
        },
        Scenario {
            name: "three-clients",
            about: "three publishes and three unpublishes of two targets, one of them cut off",
            ..clients(3, 1)
        },
        everything(),
    ]
}
