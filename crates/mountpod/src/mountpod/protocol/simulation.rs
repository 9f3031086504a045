//! A world in which any number of actors take turns, one effect at a time; for the protocol's tests.

use std::collections::BTreeMap;

use super::{
    super::{
        AccessMode, AccessType, Fingerprint, Role, TargetPath, VolumeContent, annotations,
        api::{ApiError, Selector},
        instant::Timestamp,
        memory::World,
        pod::{ConfigurationHash, NodeId, Pod, PodKey},
    },
    Answer, Effect, Machine, Policy, Publish, PublishRequest, Terminate, TerminateOutcome, Unpublish, UnpublishRequest,
    WorkloadState,
};

/// What the actors share.
#[derive(Clone, Debug, Default)]
pub(super) struct Simulation {
    pub(super) world: World,
    pub(super) policy: Policy,
    pub(super) now: Timestamp,
    pub(super) workloads: BTreeMap<TargetPath, WorkloadState>,
}

/// A machine with the effect that it asks for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Actor<M: Machine> {
    machine: M,
    effect: Effect<M::Reply>,
}

/// What happens to an effect on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Performed,
    /// It takes effect, and the reply is lost.
    LostAfter,
    /// It takes no effect, and nobody knows.
    LostBefore,
    /// The API says that somebody was faster.
    Conflict,
    /// The API is out of order.
    Failed,
}

impl<M: Machine> Actor<M> {
    pub(super) fn new(machine: M, simulation: &Simulation) -> Self {
        let (machine, effect) = machine.step(&simulation.policy, simulation.now, Answer::Begin);
        Self { machine, effect }
    }

    pub(super) fn reply(&self) -> Option<&M::Reply> {
        match &self.effect {
            Effect::Reply(reply) => Some(reply),
            _ => None,
        }
    }

    pub(super) fn effect(&self) -> &Effect<M::Reply> {
        &self.effect
    }

    /// Performs the effect and takes one step; says nothing once the actor has replied.
    pub(super) fn step(&mut self, simulation: &mut Simulation, fate: Fate) {
        if self.reply().is_some() {
            return;
        }
        let is_request = !matches!(self.effect, Effect::Mount(_) | Effect::Wait(_) | Effect::Workloads(_));
        let fate = if is_request { fate } else { Fate::Performed };
        let is_list = matches!(self.effect, Effect::List(_));
        let answer = match fate {
            Fate::Performed => simulation.perform(&self.effect),
            Fate::Conflict if !is_list => Answer::Refused,
            Fate::LostBefore => Answer::Unknown,
            Fate::LostAfter => {
                let _ = simulation.perform(&self.effect);
                Answer::Unknown
            }
            Fate::Conflict | Fate::Failed => Answer::Failed("out of order".to_owned()),
        };
        let (machine, effect) = self.machine.clone().step(&simulation.policy, simulation.now, answer);
        *self = Self { machine, effect };
    }
}

impl Simulation {
    pub(super) fn perform<R>(&mut self, effect: &Effect<R>) -> Answer {
        match effect {
            Effect::List(selector) => Answer::Pods(self.world.list(selector)),
            Effect::Create(pod) => answer(self.world.create((**pod).clone()).map(Some)),
            Effect::Update(pod, mode) => answer(self.world.update((**pod).clone(), *mode)),
            Effect::Delete(name, preconditions) => answer(self.world.delete(name, preconditions)),
            Effect::Mount(operation) => self.world.perform(operation.clone()),
            Effect::Workloads(targets) => Answer::Workloads(
                targets.iter().map(|t| self.workloads.get(t).copied().unwrap_or(WorkloadState::Unknown)).collect(),
            ),
            Effect::Wait(_) | Effect::Acquire(_) | Effect::Release(_) | Effect::Reply(_) => Answer::Done,
        }
    }

    /// Runs the machine to its reply while the kubelet does its work.
    pub(super) fn run<M: Machine>(&mut self, machine: M) -> M::Reply {
        let mut actor = Actor::new(machine, self);
        for _ in 0..1000 {
            if let Some(reply) = actor.reply() {
                return reply.clone();
            }
            actor.step(self, Fate::Performed);
            self.world.run_kubelet();
        }
        panic!("no reply within 1000 steps: {actor:?}");
    }

    pub(super) fn pods(&self) -> Vec<Pod> {
        self.world.list(&Selector { node: node(), volume: None })
    }

    /// The targets that live pods refer to.
    pub(super) fn references(&self) -> Vec<String> {
        let pods = self.pods();
        let live = pods.iter().filter(|pod| pod.is_live());
        live.flat_map(annotations::references).map(|reference| reference.target.to_string()).collect()
    }
}

fn answer(result: Result<Option<Pod>, ApiError>) -> Answer {
    match result {
        Ok(pod) => Answer::Written(pod.map(Box::new)),
        Err(ApiError::Failed(text)) => Answer::Failed(text),
        Err(_) => Answer::Refused,
    }
}

pub(super) fn node() -> NodeId {
    NodeId::new("node")
}

pub(super) fn publish_request(volume: &str, target: &str, access_mode: AccessMode) -> PublishRequest {
    let content = VolumeContent::Directory(format!("/volumes/{volume}").into());
    let configuration = ConfigurationHash::of(&BTreeMap::new(), &content);
    PublishRequest {
        key: PodKey { node: node(), volume: volume.parse().unwrap(), configuration },
        content,
        target: target.parse().unwrap(),
        role: Role::Target,
        fingerprint: Fingerprint {
            access_type: AccessType::Mount,
            access_mode,
            read_only: false,
            fs_type: String::new(),
            mount_flags: String::new(),
            mount_group: String::new(),
        },
        mount_group: None,
    }
}

pub(super) fn unpublish_request(volume: &str, target: &str) -> UnpublishRequest {
    UnpublishRequest {
        node: node(),
        volume: volume.parse().unwrap(),
        target: target.parse().unwrap(),
        role: Role::Target,
    }
}

pub(super) const MODE: AccessMode = AccessMode::MultiNodeMultiWriter;

pub(super) fn publish(target: &str) -> Publish {
    Publish::new(publish_request("v", target, MODE))
}

pub(super) fn unpublish(target: &str) -> Unpublish {
    Unpublish::new(unpublish_request("v", target))
}

pub(super) fn terminate_all(simulation: &mut Simulation) {
    for pod in simulation.pods().iter().filter(|pod| pod.deleting) {
        assert_eq!(simulation.run(Terminate::new(pod)), TerminateOutcome::Vanished);
    }
}

pub(super) fn assert_published(simulation: &Simulation, target: &str, context: &str) {
    let target: TargetPath = target.parse().unwrap();
    let layers = simulation.world.layers.get(&target).map_or(&[][..], Vec::as_slice);
    assert_eq!(layers.len(), 1, "{context}: one layer at {target}: {layers:?}");
    let daemon = layers[0].daemon.as_ref().unwrap_or_else(|| panic!("{context}: the host's directory at {target}"));
    assert!(simulation.world.is_alive(daemon), "{context}: {target} is served by a dead daemon");
    let pods = simulation.pods();
    let holders: Vec<_> = pods.iter().filter(|pod| annotations::refers_to(pod, &target)).collect();
    assert_eq!(holders.len(), 1, "{context}: one pod holds {target}: {pods:#?}");
    assert!(holders[0].is_live() && holders[0].uid == daemon.pod, "{context}: {target} is held by the pod that serves");
}

pub(super) fn assert_gone(simulation: &Simulation, target: &str, context: &str) {
    let target: TargetPath = target.parse().unwrap();
    assert!(!simulation.world.layers.contains_key(&target), "{context}: {target} is mounted");
    assert!(!simulation.world.targets.contains(&target), "{context}: {target} exists");
    for pod in simulation.pods() {
        assert!(!annotations::refers_to(&pod, &target), "{context}: {} holds {target}", pod.name);
    }
}
