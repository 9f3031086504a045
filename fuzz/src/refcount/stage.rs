//! What the actors share: the simulated node, the clock, the locks, and the promises that each effect has to keep.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use csi_certify_mountpod::mountpod::{
    AccessMode, AccessType, Fingerprint, Role, TargetPath, VolumeContent, VolumeId, annotations,
    api::ApiError,
    instant::Timestamp,
    memory::World,
    pod::{ConfigurationHash, NodeId, Pod, PodKey, Uid},
    protocol::{
        Answer, Effect, Limits, MountOperation, Policy, PublishRequest, Terminate, UnpublishRequest, Waiting,
        WorkloadState,
    },
};
use csi_certify_suite::explore::schedule::{Environment, Fate, Target};

use super::actor::{Anybody, Running};

/// The delay of delayed deletion.
pub const DELAY: Duration = Duration::from_secs(60);
/// What somebody writes as the moment of a deletion.
pub const GARBAGE: &str = "tomorrow";
/// The number under which whoever finishes deletions takes locks.
pub const HOUSEKEEPING: u8 = u8::MAX;

/// What the actors share.
pub struct Stage {
    pub world: World,
    pub policy: Policy,
    pub now: Timestamp,
    pub workloads: BTreeMap<TargetPath, WorkloadState>,
    pub faults: Vec<(u8, Fate)>,
    lazy_kubelet: bool,
    locks: BTreeMap<PodKey, u8>,
    /// Since when nothing refers to a pod.
    emptied: BTreeMap<Uid, Timestamp>,
}

struct Fixture {
    key: PodKey,
    content: VolumeContent,
    targets: Vec<(TargetPath, String)>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let content = VolumeContent::Directory("/volumes/v".into());
    let configuration = ConfigurationHash::of(&BTreeMap::new(), &content);
    let volume: VolumeId = "v".parse().expect("a letter is an id");
    let targets = (0..3).map(|number| {
        let target: TargetPath = format!("/t/{number}").parse().expect("an absolute path is a target");
        let key = annotations::reference_key(&target);
        (target, key)
    });
    Fixture { key: PodKey { node: NodeId::new("node"), volume, configuration }, content, targets: targets.collect() }
});

/// The only volume.
pub fn key() -> &'static PodKey {
    &FIXTURE.key
}

pub fn path(target: Target) -> &'static TargetPath {
    &FIXTURE.targets[usize::from(target) % FIXTURE.targets.len()].0
}

/// Whether the pod refers to the target.
pub fn holds(pod: &Pod, target: Target) -> bool {
    pod.annotations.contains_key(&FIXTURE.targets[usize::from(target) % FIXTURE.targets.len()].1)
}

pub fn publish_request(target: Target, read_only: bool) -> PublishRequest {
    PublishRequest {
        key: FIXTURE.key.clone(),
        content: FIXTURE.content.clone(),
        target: path(target).clone(),
        role: Role::Target,
        fingerprint: Fingerprint {
            access_type: AccessType::Mount,
            access_mode: AccessMode::MultiNodeMultiWriter,
            read_only,
            fs_type: String::new(),
            mount_flags: String::new(),
            mount_group: String::new(),
        },
        mount_group: None,
    }
}

pub fn unpublish_request(target: Target) -> UnpublishRequest {
    let PodKey { node, volume, .. } = FIXTURE.key.clone();
    UnpublishRequest { node, volume, target: path(target).clone(), role: Role::Target }
}

impl Stage {
    pub fn new(policy: &Policy, environment: Environment) -> Self {
        let mut policy = policy.clone();
        // Few polls: whoever waits longer in vain waits for ever here.
        policy.limits = Limits { predecessor_polls: 3, readiness_polls: 3, ..policy.limits };
        if environment.delayed_deletion {
            policy.delete_delay = Some(DELAY);
        }
        Self {
            world: World::default(),
            policy,
            now: Timestamp(1_769_860_800_000),
            workloads: BTreeMap::new(),
            faults: Vec::new(),
            lazy_kubelet: environment.lazy_kubelet,
            locks: BTreeMap::new(),
            emptied: BTreeMap::new(),
        }
    }

    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.world.pods.values()
    }

    /// The process of all actors has ended.
    pub fn crash(&mut self) {
        self.locks.clear();
    }

    /// Performs an effect on behalf of an actor; nothing when it has to wait for a lock.
    pub fn perform<R>(&mut self, effect: &Effect<R>, me: u8) -> Result<Option<Answer>, String> {
        self.judge(effect)?;
        let answer = match (self.fate(effect), effect) {
            (None, _) => self.really(effect, me),
            (Some(Fate::LostAfter), _) => {
                let _ = self.really(effect, me);
                Some(Answer::Unknown)
            }
            (Some(Fate::LostBefore), _) => Some(Answer::Unknown),
            (Some(Fate::Conflict), Effect::Create(_) | Effect::Update(..) | Effect::Delete(..)) => {
                Some(Answer::Refused)
            }
            (Some(Fate::Conflict | Fate::Failed), _) => Some(Answer::Failed("out of order".to_owned())),
        };
        if !self.lazy_kubelet || matches!(effect, Effect::Wait(_)) {
            self.world.run_kubelet();
        }
        Ok(answer)
    }

    fn fate<R>(&mut self, effect: &Effect<R>) -> Option<Fate> {
        let request = matches!(effect, Effect::List(_) | Effect::Create(_) | Effect::Update(..) | Effect::Delete(..));
        let (after, fate) = self.faults.first_mut().filter(|_| request)?;
        match after.checked_sub(1) {
            Some(left) => {
                *after = left;
                None
            }
            None => {
                let fate = *fate;
                self.faults.remove(0);
                Some(fate)
            }
        }
    }

    fn really<R>(&mut self, effect: &Effect<R>, me: u8) -> Option<Answer> {
        Some(match effect {
            Effect::List(selector) => Answer::Pods(self.world.list(selector)),
            Effect::Create(pod) => answer(self.world.create((**pod).clone()).map(Some)),
            Effect::Update(pod, mode) => {
                let written = self.world.update((**pod).clone(), *mode);
                if let Ok(Some(pod)) = &written {
                    self.note_references(pod);
                }
                answer(written)
            }
            Effect::Delete(name, preconditions) => answer(self.world.delete(name, preconditions)),
            Effect::Mount(operation) => self.world.perform(operation.clone()),
            Effect::Workloads(targets) => {
                let state = |target| self.workloads.get(target).copied().unwrap_or(WorkloadState::Unknown);
                Answer::Workloads(targets.iter().map(state).collect())
            }
            Effect::Wait(waiting) => {
                if *waiting == Waiting::Predecessor {
                    self.finish_deletions();
                }
                Answer::Done
            }
            Effect::Acquire(lock) => match self.locks.get(&lock.0) {
                Some(&holder) if holder != me => return None,
                _ => {
                    self.locks.insert(lock.0.clone(), me);
                    Answer::Done
                }
            },
            Effect::Release(lock) => {
                self.locks.remove(&lock.0);
                Answer::Done
            }
            Effect::Reply(_) => Answer::Done,
        })
    }

    /// Lets housekeeping finish every deletion that it can.
    pub fn finish_deletions(&mut self) {
        let deleting: Vec<Pod> = self.pods().filter(|pod| pod.deleting).cloned().collect();
        for pod in deleting {
            let mut actor = Anybody::Terminate(Running::new(Terminate::new(&pod), self));
            // A broken promise shows again when the world is looked at.
            let _ = actor.advance(self, HOUSEKEEPING, 200);
        }
    }

    fn note_references(&mut self, pod: &Pod) {
        if (0..3).any(|target| holds(pod, target)) {
            self.emptied.remove(&pod.uid);
        } else {
            self.emptied.entry(pod.uid.clone()).or_insert(self.now);
        }
    }

    /// The promises that an effect itself can break.
    fn judge<R>(&self, effect: &Effect<R>) -> Result<(), String> {
        match effect {
            Effect::Delete(name, conditions) => {
                let Some(pod) = self.world.pods.get(name).filter(|pod| pod.is_live()) else { return Ok(()) };
                let matches = conditions.uid.as_ref().is_none_or(|uid| *uid == pod.uid)
                    && conditions.version.as_ref().is_none_or(|version| *version == pod.version);
                if !matches {
                    return Ok(());
                }
                if (0..3).any(|target| holds(pod, target)) {
                    return Err("I2: a deletion that takes effect finds references".to_owned());
                }
                self.judge_delay(pod)
            }
            Effect::Mount(MountOperation::Teardown(pod)) => {
                let live = self.world.pods.get(&pod.name).is_some_and(|found| found.uid == pod.uid && found.is_live());
                if live { Err("R4: mounts are torn down before the deletion was accepted".to_owned()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn judge_delay(&self, pod: &Pod) -> Result<(), String> {
        if self.policy.delete_delay.is_none() || annotations::is_unconfirmed(pod) {
            return Ok(());
        }
        if pod.annotations.get(annotations::DELETE_AT).is_some_and(|moment| moment == GARBAGE) {
            return Err("I7: a pod goes whose moment of deletion cannot be read".to_owned());
        }
        match self.emptied.get(&pod.uid) {
            Some(&since) if self.now.since(since) < DELAY => {
                Err(format!("I7: a pod goes after {:?} instead of {DELAY:?}", self.now.since(since)))
            }
            _ => Ok(()),
        }
    }
}

fn answer(result: Result<Option<Pod>, ApiError>) -> Answer {
    match result {
        Ok(pod) => Answer::Written(pod.map(Box::new)),
        Err(ApiError::Failed(text)) => Answer::Failed(text),
        Err(_) => Answer::Refused,
    }
}
