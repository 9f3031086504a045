//! The protocol's machines as a model of stateright: the simulated world, who is under way, and who may begin.

use std::collections::BTreeMap;

use csi_certify_mountpod::mountpod::{
    AccessMode, AccessType, Fingerprint, Role, TargetPath, VolumeContent, annotations,
    api::ApiError,
    instant::Timestamp,
    memory::World,
    pod::{ConfigurationHash, NodeId, Pod, PodKey, Uid},
    protocol::{
        Answer, Effect, Limits, Machine, Policy, Publish, PublishRequest, Terminate, Unpublish, UnpublishRequest,
        WorkloadState,
    },
};
use stateright::{Model, Property};

/// Publishes and unpublishes two targets, each once.
pub struct Mountpods {
    policy: Policy,
    key: PodKey,
    targets: Vec<TargetPath>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    world: World,
    /// Requests that have not begun.
    waiting: Vec<bool>,
    actors: BTreeMap<Who, Actor>,
}

/// A request by number, or the housekeeping of a pod.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Who {
    Request(usize),
    Pod(Uid),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Actor {
    Publish(Publish, Effect<()>),
    Unpublish(Unpublish, Effect<()>),
    Terminate(Terminate, Effect<()>),
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    Begin(usize),
    Handle(Box<Pod>),
    Advance(Who),
    Kubelet,
}

impl Default for Mountpods {
    fn default() -> Self {
        let content = VolumeContent::Directory("/content".into());
        let key = PodKey {
            node: NodeId::new("node"),
            volume: "volume".parse().expect("a valid volume id"),
            configuration: ConfigurationHash::of(&BTreeMap::new(), &content),
        };
        let limits = Limits { readiness_polls: 1, predecessor_polls: 2, ..Limits::default() };
        let targets = ["/target/a", "/target/b"].map(|path| path.parse().expect("a valid path"));
        Self { policy: Policy { limits, ..Policy::default() }, key, targets: targets.into() }
    }
}

impl Mountpods {
    /// Even requests publish, odd ones unpublish; two for each target.
    fn actor(&self, number: usize) -> Actor {
        let target = self.targets[number / 2].clone();
        if number % 2 == 1 {
            let PodKey { node, volume, .. } = self.key.clone();
            let machine = Unpublish::new(UnpublishRequest { node, volume, target, role: Role::Target });
            return self.unpublish(machine, Answer::Begin);
        }
        let fingerprint = Fingerprint {
            access_type: AccessType::Mount,
            access_mode: AccessMode::MultiNodeMultiWriter,
            read_only: false,
            fs_type: String::new(),
            mount_flags: String::new(),
            mount_group: String::new(),
        };
        let content = VolumeContent::Directory("/content".into());
        let key = self.key.clone();
        let request = PublishRequest { key, content, target, role: Role::Target, fingerprint, mount_group: None };
        self.publish(Publish::new(request), Answer::Begin)
    }

    fn publish(&self, machine: Publish, answer: Answer) -> Actor {
        let (machine, effect) = machine.step(&self.policy, Timestamp(0), answer);
        Actor::Publish(machine, effect.lift().unwrap_or(Effect::Reply(())))
    }

    fn unpublish(&self, machine: Unpublish, answer: Answer) -> Actor {
        let (machine, effect) = machine.step(&self.policy, Timestamp(0), answer);
        Actor::Unpublish(machine, effect.lift().unwrap_or(Effect::Reply(())))
    }

    fn terminate(&self, machine: Terminate, answer: Answer) -> Actor {
        let (machine, effect) = machine.step(&self.policy, Timestamp(0), answer);
        Actor::Terminate(machine, effect.lift().unwrap_or(Effect::Reply(())))
    }

    fn advance(&self, world: &mut World, actor: Actor) -> Option<Actor> {
        let next = match actor {
            Actor::Publish(machine, effect) => self.publish(machine, perform(world, effect)),
            Actor::Unpublish(machine, effect) => self.unpublish(machine, perform(world, effect)),
            Actor::Terminate(machine, effect) => self.terminate(machine, perform(world, effect)),
        };
        match &next {
            Actor::Publish(_, Effect::Reply(()))
            | Actor::Unpublish(_, Effect::Reply(()))
            | Actor::Terminate(_, Effect::Reply(())) => None,
            // Whatever may happen during a wait may as well happen before it.
            Actor::Publish(_, Effect::Wait(_))
            | Actor::Unpublish(_, Effect::Wait(_))
            | Actor::Terminate(_, Effect::Wait(_)) => self.advance(world, next),
            _ => Some(next),
        }
    }
}

fn perform(world: &mut World, effect: Effect<()>) -> Answer {
    match effect {
        Effect::List(selector) => Answer::Pods(world.list(&selector)),
        Effect::Create(pod) => written(world.create(*pod).map(Some)),
        Effect::Update(pod, mode) => written(world.update(*pod, mode)),
        Effect::Delete(name, conditions) => written(world.delete(&name, &conditions)),
        Effect::Mount(operation) => world.perform(operation),
        Effect::Workloads(targets) => Answer::Workloads(vec![WorkloadState::Unknown; targets.len()]),
        Effect::Wait(_) | Effect::Acquire(_) | Effect::Release(_) | Effect::Reply(()) => Answer::Done,
    }
}

fn written(result: Result<Option<Pod>, ApiError>) -> Answer {
    match result {
        Ok(pod) => Answer::Written(pod.map(Box::new)),
        Err(ApiError::Failed(text)) => Answer::Failed(text),
        Err(_) => Answer::Refused,
    }
}

impl Model for Mountpods {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let waiting = vec![true; 2 * self.targets.len()];
        vec![State { world: World::default(), waiting, actors: BTreeMap::new() }]
    }

    /// One request at a time for each target, and the housekeeping of one pod at a time, as in csi-certify's search.
    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.actors.keys().cloned().map(Action::Advance));
        let is_busy =
            |target: usize| state.actors.keys().any(|who| matches!(who, Who::Request(number) if number / 2 == target));
        let waiting = (0..state.waiting.len()).filter(|number| state.waiting[*number] && !is_busy(number / 2));
        actions.extend(waiting.map(Action::Begin));
        if !state.actors.keys().any(|who| matches!(who, Who::Pod(_))) {
            let deleting = state.world.pods.values().filter(|pod| pod.deleting);
            actions.extend(deleting.map(|pod| Action::Handle(Box::new(pod.clone()))));
        }
        if state.world.kubelet_is_due() {
            actions.push(Action::Kubelet);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let (who, actor) = match action {
            Action::Kubelet => {
                state.world.run_kubelet();
                return Some(state);
            }
            Action::Begin(number) => {
                state.waiting[number] = false;
                (Who::Request(number), self.actor(number))
            }
            Action::Handle(pod) => (Who::Pod(pod.uid.clone()), self.terminate(Terminate::new(&pod), Answer::Begin)),
            Action::Advance(who) => {
                let actor = state.actors.remove(&who)?;
                (who, actor)
            }
        };
        // Beginning and the first effect are one step, as in csi-certify's search.
        if let Some(next) = self.advance(&mut state.world, actor) {
            state.actors.insert(who, next);
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a target never shows the file system of the host", |_, state: &State| {
                state.world.layers.values().flatten().all(|layer| layer.daemon.is_some())
            }),
            Property::always("one confirmed pod at a time", |_, state: &State| {
                let confirmed = |pod: &&Pod| pod.is_live() && !annotations::is_unconfirmed(pod);
                state.world.pods.values().filter(confirmed).count() <= 1
            }),
        ]
    }
}
