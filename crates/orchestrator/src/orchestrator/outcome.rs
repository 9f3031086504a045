//! How a workload ended: what runs, what is stuck, and which answer keeps it stuck.

use std::{collections::BTreeSet, fmt, path::PathBuf, time::Duration};

use super::{
    attach_detach_controller::FAILED_DETACH,
    context::{Context, Trouble},
    external_attacher, external_provisioner,
    kubelet::component,
    names,
    object::{Node, Pod, PodVolume},
    store::Tables,
};

/// How a workload ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WorkloadOutcome {
    /// How many claims were made.
    pub claims: usize,
    /// How many pods.
    pub pods: usize,
    /// How many snapshots.
    pub snapshots: usize,
    /// How many components were restarted and nodes lost.
    pub faults: usize,
    /// How many pods ran in the end.
    pub running: usize,
    /// How long it took from the first object until all was as it should be.
    pub steady_after: Duration,
    /// How long it took from there until nothing was left.
    pub gone_after: Duration,
    /// Pods that an orchestrator's duties kept from a volume which another pod had: no fault of the driver.
    pub waiting: Vec<Stuck>,
    /// What did not come about.
    pub stuck: Vec<Stuck>,
}

/// Something that did not come about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stuck {
    /// The object.
    pub object: String,
    /// What it waits for.
    pub waits_for: String,
    /// The answer that keeps it waiting, where there is one.
    pub because: Option<Trouble>,
    /// The moment of the report, in milliseconds of the cluster's life.
    pub at: u64,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} waits for {}", self.object, self.waits_for)?;
        let Some(trouble) = &self.because else { return Ok(()) };
        let tries = if trouble.tries == 1 { "1 try".to_owned() } else { format!("{} tries", trouble.tries) };
        write!(f, ": {} answers {}, {tries}", trouble.rpc, trouble.answer)?;
        match trouble.next.map(|next| next.saturating_sub(self.at) / 1000) {
            Some(seconds) => write!(f, ", next in {seconds} s"),
            None => Ok(()),
        }
    }
}

/// Whether pods are as far as they can be: each runs, is going, or waits until others have given up its volumes.
pub(super) fn has_settled(tables: &Tables) -> bool {
    tables.pods.values().all(|pod| pod.containers_run || pod.metadata.is_deleting() || pod.waits_for.is_some())
}

/// The pods that wait until others have given up their volumes.
pub(super) fn waiting_pods(context: &Context) -> Vec<Stuck> {
    let at = context.store.now();
    context.store.read(|tables| {
        let waiting = tables.pods.values().filter_map(|pod| {
            let (object, waits_for) = (format!("pod {}", pod.metadata.name), pod.waits_for.clone()?);
            Some(Stuck { object, waits_for, because: None, at })
        });
        waiting.collect()
    })
}

/// What keeps all other pods from running.
pub(super) fn stuck_pods(context: &Context) -> Vec<Stuck> {
    let troubles = context.troubles.list();
    let at = context.store.now();
    context.store.read(|tables| {
        let is_stuck = |pod: &&Pod| !pod.containers_run && !pod.metadata.is_deleting() && pod.waits_for.is_none();
        tables.pods.values().filter(is_stuck).map(|pod| why(pod, tables, &troubles, at)).collect()
    })
}

fn why(pod: &Pod, tables: &Tables, troubles: &[Trouble], at: u64) -> Stuck {
    let object = format!("pod {}", pod.metadata.name);
    let find = |component: &str, subject: String| {
        troubles.iter().find(|trouble| trouble.component == component && trouble.subject == subject).cloned()
    };
    let stuck = |waits_for: String, because| Stuck { object: object.clone(), waits_for, because, at };
    for name in pod.volumes.iter().filter_map(PodVolume::claim) {
        let Some(claim) = tables.claims.get(name) else {
            return stuck(format!("claim {name}, which is gone"), None);
        };
        if !claim.is_bound {
            let trouble = find(external_provisioner::NAME, format!("claim {name}"));
            return stuck(format!("claim {name}"), trouble);
        }
        if pod.node_name.is_empty() {
            continue;
        }
        let place = format!("volume {} on {}", claim.volume_name, pod.node_name);
        let attacher = find(external_attacher::NAME, place.clone());
        let mount = attacher.or_else(|| find(&component(&pod.node_name), place.clone()));
        if let Some(trouble) = mount {
            return stuck(format!("volume {}", claim.volume_name), Some(trouble));
        }
        let elsewhere = tables
            .attachments
            .values()
            .find(|attachment| attachment.volume_name == claim.volume_name && attachment.node_name != pod.node_name);
        if let Some(elsewhere) = elsewhere {
            let name = &claim.volume_name;
            return stuck(format!("volume {name}, which is attached to {}", elsewhere.node_name), None);
        }
    }
    match pod.node_name.is_empty() {
        true => stuck("a node that it can run on".to_owned(), None),
        false => stuck("its volumes".to_owned(), None),
    }
}

/// What is left after everything was deleted.
pub(super) fn leftovers(context: &Context, remains: &BTreeSet<PathBuf>) -> Vec<Stuck> {
    let troubles = context.troubles.list();
    let at = context.store.now();
    let mut left = Vec::new();
    let mut add = |object: String, waits_for: &str, names: &[&str]| {
        // A subject is a list of words, one of which is the object's name.
        let concerns =
            |trouble: &&Trouble| names.iter().any(|name| trouble.subject.split(' ').any(|word| word == *name));
        let because = troubles.iter().find(concerns).cloned();
        left.push(Stuck { object, waits_for: waits_for.to_owned(), because, at });
    };
    context.store.read(|tables| {
        for pod in tables.pods.values() {
            let volumes: Vec<&str> = pod
                .volumes
                .iter()
                .filter_map(|volume| tables.claims.get(volume.claim()?))
                .map(|claim| claim.volume_name.as_str())
                .collect();
            add(format!("pod {}", pod.metadata.name), "its volumes to be unmounted", &volumes);
        }
        for (name, attachment) in &tables.attachments {
            let volume = attachment.volume_name.as_str();
            let object = format!("attachment of {volume} to {}", attachment.node_name);
            let told = tables.volumes.get(volume).and_then(|volume| {
                let unique = names::unique_volume(&volume.driver, &volume.handle);
                tables.events.values().find(|one| one.regarding == unique && one.reason == FAILED_DETACH)
            });
            let why = told.map(|event| format!(": {}", event.message)).unwrap_or_default();
            add(object, &format!("the volume to be detached{why}"), &[name, volume]);
        }
        for (name, claim) in &tables.claims {
            add(format!("claim {name}"), "its last user to go", &[name, &claim.volume_name]);
        }
        for name in tables.volumes.keys() {
            add(format!("volume {name}"), "DeleteVolume to succeed", &[name]);
        }
        for name in tables.snapshots.keys() {
            add(format!("snapshot {name}"), "its content to go", &[name]);
        }
        for name in tables.snapshot_contents.keys() {
            add(format!("snapshot content {name}"), "DeleteSnapshot to succeed", &[name]);
        }
        for Node { metadata, volumes_in_use, .. } in tables.nodes.values() {
            for volume in volumes_in_use {
                add(format!("node {}", metadata.name), &format!("{volume} to be given up"), &[]);
            }
        }
    });
    let paths = remains.iter().map(|path| Stuck {
        object: format!("path {}", path.display()),
        waits_for: "its volume to be unmounted".to_owned(),
        because: None,
        at,
    });
    left.extend(paths);
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Rpc;

    #[test]
    fn a_pod_that_waits_is_told_with_the_answer_that_keeps_it_waiting() {
        let trouble = Trouble {
            component: "kubelet@n1".into(),
            subject: "volume v3 on n1".into(),
            rpc: Rpc::NodeStageVolume,
            answer: "INTERNAL (13): no daemon".into(),
            tries: 9,
            next: Some(65_000),
        };
        let stuck = Stuck { object: "pod p7".into(), waits_for: "volume v3".into(), because: Some(trouble), at: 1000 };
        let expected =
            "pod p7 waits for volume v3: NodeStageVolume answers INTERNAL (13): no daemon, 9 tries, next in 64 s";
        assert_eq!(stuck.to_string(), expected);
    }
}
