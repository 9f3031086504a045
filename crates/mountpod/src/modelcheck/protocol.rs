//! The protocols that can be searched: which machine answers a request, and which background work is worth starting.

use std::collections::BTreeMap;

use super::{
    super::mountpod::{
        AccessMode, AccessType, Fingerprint, Protocol, Role, TargetPath, VolumeContent, VolumeId, annotations,
        pod::{ConfigurationHash, NodeId, Pod, PodKey},
        protocol::{Collect, Policy, Publish, PublishRequest, Rebind, Retire, Terminate, Unpublish, UnpublishRequest},
        published::{
            Mend, Publish2022, Publish2026, PublishedRequest, Reconcile2022, Reconcile2026, Reconciliation,
            Unpublish2022, Unpublish2026,
        },
    },
    actor::{AnyMachine, Job},
    records::Records,
    scenario::{Request, RequestKind, Scenario, target_text},
};

/// The names that all machines of a search use.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    protocol: Protocol,
    node: NodeId,
    volume: VolumeId,
    key: PodKey,
    content: VolumeContent,
    mend: Option<Mend>,
    pub(super) targets: Vec<TargetPath>,
}

impl Cast {
    /// The names of the scenario. They are constants, so they parse.
    pub(super) fn new(protocol: Protocol, scenario: &Scenario) -> Option<Self> {
        let (node, volume) = (NodeId::new("node"), "volume".parse::<VolumeId>().ok()?);
        let content = VolumeContent::Directory("/content".into());
        let configuration = ConfigurationHash::of(&BTreeMap::new(), &content);
        let key = PodKey { node: node.clone(), volume: volume.clone(), configuration };
        let targets: Option<Vec<_>> = (0..scenario.targets()).map(|target| target_text(target).parse().ok()).collect();
        Some(Self { protocol, node, volume, key, content, mend: scenario.mend, targets: targets? })
    }

    pub(super) fn target(&self, target: u8) -> &TargetPath {
        &self.targets[usize::from(target)]
    }

    /// The machine that answers the request.
    pub(super) fn machine(&self, request: Request) -> AnyMachine {
        let target = self.target(request.target).clone();
        let read_only = request.kind == RequestKind::PublishReadOnly;
        let is_publish = request.kind != RequestKind::Unpublish;
        let published = || PublishedRequest {
            key: self.key.clone(),
            content: self.content.clone(),
            target: target.clone(),
            read_only,
            letters: LETTERS * (u32::from(request.target) + 1),
            mend: self.mend,
        };
        match (self.protocol, is_publish) {
            (Protocol::Current, true) => Publish::new(PublishRequest {
                key: self.key.clone(),
                content: self.content.clone(),
                target: target.clone(),
                role: Role::Target,
                fingerprint: fingerprint(read_only),
                mount_group: None,
            })
            .into(),
            (Protocol::Current, false) => {
                let (node, volume) = (self.node.clone(), self.volume.clone());
                Unpublish::new(UnpublishRequest { node, volume, target, role: Role::Target }).into()
            }
            (Protocol::Published2022, true) => Publish2022::new(published()).into(),
            (Protocol::Published2022, false) => Unpublish2022::new(published()).into(),
            (Protocol::Published2026, true) => Publish2026::new(published()).into(),
            (Protocol::Published2026, false) => Unpublish2026::new(published()).into(),
        }
    }

    /// The background work that has something to do, one piece for each subject.
    pub(super) fn chores(
        &self,
        scenario: &Scenario,
        records: &Records,
        is_well: impl Fn(&Pod, &TargetPath) -> bool,
    ) -> Vec<(Job, AnyMachine)> {
        let mut found = Vec::new();
        let mut add = |machine: AnyMachine| found.push((Job::Housekeeping, machine));
        let chores = scenario.chores;
        for pod in records.pods.values() {
            let live = pod.is_live();
            let due = if live { chores.collect || chores.retire } else { chores.terminate };
            match self.protocol {
                Protocol::Current if !live && chores.terminate => add(Terminate::new(pod).into()),
                Protocol::Current if live && chores.collect && annotations::is_referenced(pod) => {
                    add(Collect::new(self.node.clone(), self.volume.clone(), pod.uid.clone()).into());
                }
                Protocol::Published2022 if due => add(Reconcile2022::new(self.round(scenario, pod)).into()),
                Protocol::Published2026 if due => add(Reconcile2026::new(self.round(scenario, pod)).into()),
                _ => {}
            }
        }
        if self.protocol != Protocol::Current {
            return found;
        }
        let idle = |pod: &Pod| pod.is_live() && !annotations::is_referenced(pod);
        if chores.retire && records.pods.values().any(idle) {
            add(Retire::new(self.node.clone(), self.volume.clone()).into());
        }
        if chores.rebind {
            for (number, target) in self.targets.iter().enumerate() {
                let ill = |pod: &Pod| annotations::refers_to(pod, target) && !is_well(pod, target);
                if records.pods.values().any(|pod| pod.is_live() && !annotations::is_unconfirmed(pod) && ill(pod)) {
                    let job = Job::Target(u8::try_from(number).unwrap_or(u8::MAX));
                    found.push((job, Rebind::new(self.node.clone(), target.clone()).into()));
                }
            }
        }
        found
    }

    fn round(&self, scenario: &Scenario, pod: &Pod) -> Reconciliation {
        Reconciliation {
            key: self.key.clone(),
            pod: pod.name.clone(),
            candidates: if scenario.chores.collect { self.targets.clone() } else { Vec::new() },
            letters: 0,
            mend: self.mend,
        }
    }

    /// Whether a reference may be absent while a reconciler moves it, as long as it does so in the end.
    pub(super) fn moves_references(&self) -> bool {
        self.protocol != Protocol::Current
    }

    /// Deletes what nothing refers to, whatever the scenario's chores are.
    pub(super) fn retire(&self) -> Option<AnyMachine> {
        let current = self.protocol == Protocol::Current;
        current.then(|| Retire::new(self.node.clone(), self.volume.clone()).into())
    }
}

/// The choices of the protocol with waits that are short, so that a search sees their ends.
pub(super) fn bounded(mut policy: Policy, scenario: &Scenario) -> Policy {
    policy.limits.readiness_polls = 1;
    policy.limits.predecessor_polls = 2;
    if scenario.delayed_deletion {
        policy.delete_delay = Some(DELAY);
    }
    policy
}

/// How long a pod stays in scenarios with a delay.
pub(super) const DELAY: std::time::Duration = std::time::Duration::from_secs(60);

/// Keeps the letters apart that requests for different targets begin with.
const LETTERS: u32 = 16;

fn fingerprint(read_only: bool) -> Fingerprint {
    Fingerprint {
        access_type: AccessType::Mount,
        access_mode: AccessMode::MultiNodeMultiWriter,
        read_only,
        fs_type: String::new(),
        mount_flags: String::new(),
        mount_group: String::new(),
    }
}
