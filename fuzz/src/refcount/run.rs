//! Runs a schedule step by step, and looks at the promises (I1 to I9) after each of them and at the end.

use std::collections::BTreeSet;

use csi_certify_mountpod::mountpod::{
    annotations,
    api::{Preconditions, WriteMode},
    pod::{Pod, PodKey},
    protocol::{
        Collect, Policy, Publish, PublishOutcome, Rebind, Retire, Terminate, Unpublish, UnpublishOutcome, Waiting,
        WorkloadState,
    },
};
use csi_certify_suite::explore::{
    Failure, Program, Source, draw,
    schedule::{Environment, Schedules, Target, Task, Trouble, Turn},
};

use super::{
    actor::{Anybody, Conclusion, Progress, Running},
    stage::{DELAY, GARBAGE, HOUSEKEEPING, Stage, holds, key, path, publish_request, unpublish_request},
};

const TARGETS: std::ops::Range<Target> = 0..3;
/// More effects than any actor takes that gets on.
const ENOUGH: usize = 200;

/// Runs a schedule under a policy; says which promise was broken first.
pub fn run(policy: &Policy, program: &Program<Environment, Turn>) -> Option<Failure> {
    let mut play = Play {
        stage: Stage::new(policy, program.environment),
        paused: [const { None }; 4],
        published: BTreeSet::new(),
        unpublished: BTreeSet::new(),
        owed: BTreeSet::new(),
    };
    for (step, turn) in program.steps.iter().enumerate() {
        if let Err(message) = play.turn(*turn).and_then(|()| play.look()) {
            return Some(failure(step, message));
        }
    }
    play.settle().err().map(|message| failure(program.steps.len(), message))
}

/// Draws a schedule of up to `steps` steps, and runs it.
pub fn run_drawn(
    policy: &Policy,
    source: &mut dyn Source,
    steps: usize,
) -> (Program<Environment, Turn>, Option<Failure>) {
    let program = draw::<Schedules>(source, steps);
    let failure = run(policy, &program);
    (program, failure)
}

fn failure(step: usize, message: String) -> Failure {
    let kind = message.split(':').next().unwrap_or_default().to_owned();
    Failure { step, kind, message }
}

/// A task whose actor has paused.
struct Paused {
    task: Task,
    actor: Anybody,
}

struct Play {
    stage: Stage,
    paused: [Option<Paused>; 4],
    /// Published with success, and no unpublish has begun.
    published: BTreeSet<Target>,
    /// Unpublished with success, and no publish has begun.
    unpublished: BTreeSet<Target>,
    /// The orchestrator remembers that it has to unpublish.
    owed: BTreeSet<Target>,
}

impl Play {
    fn turn(&mut self, turn: Turn) -> Result<(), String> {
        match turn {
            Turn::Start { actor, task, pause } => match self.begin(task) {
                Some(began) => self.go_on(actor, Paused { task, actor: began }, pause),
                None => Ok(()),
            },
            Turn::Resume { actor, pause } => match self.paused[usize::from(actor) % 4].take() {
                Some(paused) => self.go_on(actor, paused, pause),
                None => Ok(()),
            },
            Turn::Crash => {
                self.crash();
                Ok(())
            }
            Turn::Trouble(trouble) => {
                self.trouble(trouble);
                Ok(())
            }
            Turn::Fault { after, fate } => {
                self.stage.faults.push((after, fate));
                Ok(())
            }
            Turn::Time { seconds } => {
                self.stage.now = self.stage.now.after(std::time::Duration::from_secs(seconds.into()));
                Ok(())
            }
        }
    }

    fn begin(&mut self, task: Task) -> Option<Anybody> {
        let PodKey { node, volume, .. } = key().clone();
        let (stage, any) = (&mut self.stage, |pod: &&Pod| pod.is_live());
        Some(match task {
            Task::Publish { target, read_only } => {
                self.unpublished.remove(&target);
                self.owed.insert(target);
                stage.workloads.entry(path(target).clone()).or_insert(WorkloadState::Lives);
                Anybody::Publish(Running::new(Publish::new(publish_request(target, read_only)), stage))
            }
            Task::Unpublish { target } => {
                self.published.remove(&target);
                self.unpublished.remove(&target);
                // From here on a restarted orchestrator goes by the directory, where there was one.
                if stage.world.targets.contains(path(target)) {
                    self.owed.remove(&target);
                }
                Anybody::Unpublish(Running::new(Unpublish::new(unpublish_request(target)), stage))
            }
            Task::Rebind { target } => Anybody::Rebind(Running::new(Rebind::new(node, path(target).clone()), stage)),
            Task::Terminate => {
                let pod = stage.pods().find(|pod| pod.deleting)?.clone();
                Anybody::Terminate(Running::new(Terminate::new(&pod), stage))
            }
            Task::Collect => {
                let uid = stage.pods().find(any)?.uid.clone();
                Anybody::Collect(Running::new(Collect::new(node, volume, uid), stage))
            }
            Task::Retire => Anybody::Retire(Running::new(Retire::new(node, volume), stage)),
        })
    }

    fn go_on(&mut self, place: u8, mut paused: Paused, pause: Option<u8>) -> Result<(), String> {
        let most = pause.map_or(ENOUGH, usize::from);
        match (paused.actor.advance(&mut self.stage, place, most)?, pause) {
            (Progress::Ended, _) => self.conclude(paused.task, paused.actor.conclusion()),
            (Progress::Moved, None) => Err(format!("I8: no end of {:?} within {ENOUGH} effects", paused.task)),
            (Progress::Moved | Progress::Blocked, _) => {
                self.paused[usize::from(place) % 4] = Some(paused);
                Ok(())
            }
        }
    }

    fn conclude(&mut self, task: Task, conclusion: Conclusion) -> Result<(), String> {
        match (task, conclusion) {
            (_, Conclusion::Published(PublishOutcome::TimedOut(Waiting::Predecessor))) => {
                Err("I8: a publish waited in vain for a pod whose deletion needs what the publish holds".to_owned())
            }
            (Task::Publish { target, read_only }, Conclusion::Published(PublishOutcome::Published)) => {
                // Nobody is there to be promised anything once the workload is gone.
                if self.stage.workloads.get(path(target)) == Some(&WorkloadState::Gone) {
                    return Ok(());
                }
                self.published.insert(target);
                let top = self.stage.world.layers.get(path(target)).and_then(|layers| layers.last());
                match top {
                    None => Err("I3: OK, and nothing is mounted".to_owned()),
                    Some(layer) if layer.read_only != read_only => {
                        Err(format!("I9: OK for read-only {read_only}, and the mount is the opposite"))
                    }
                    Some(_) => Ok(()),
                }
            }
            (Task::Unpublish { target }, Conclusion::Unpublished(UnpublishOutcome::Unpublished(_))) => {
                self.unpublished.insert(target);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn crash(&mut self) {
        self.paused = [const { None }; 4];
        self.stage.crash();
    }

    fn trouble(&mut self, trouble: Trouble) {
        let world = &mut self.stage.world;
        let live = world.pods.values().find(|pod| pod.is_live()).cloned();
        match (trouble, live) {
            (Trouble::Evict, Some(pod)) => drop(world.delete(&pod.name, &Preconditions::default())),
            (Trouble::KillDaemon, Some(pod)) => world.kill_daemon(&pod.uid),
            (Trouble::Reboot, _) => {
                self.stage.world.reboot();
                // Whoever ran on the node begins anew.
                self.published.clear();
                self.crash();
            }
            (Trouble::WriteStatus, Some(pod)) => {
                let _ = world.update_status(&pod.name, &pod.uid, pod.status);
            }
            (Trouble::RemoveDirectory { target }, _)
                if !world.layers.contains_key(path(target)) && world.targets.remove(path(target)) =>
            {
                self.owed.insert(target);
            }
            (Trouble::ShutDown { target }, _) => {
                self.stage.workloads.insert(path(target).clone(), WorkloadState::Terminating);
            }
            (Trouble::RemoveWorkload { target }, _) => {
                self.stage.workloads.insert(path(target).clone(), WorkloadState::Gone);
                self.published.remove(&target);
            }
            (Trouble::GarbleDeletion, Some(mut pod)) => {
                if let Some(moment) = pod.annotations.get_mut(annotations::DELETE_AT) {
                    GARBAGE.clone_into(moment);
                    let _ = world.update(pod, WriteMode::CompareAndSwap);
                }
            }
            _ => {}
        }
    }

    /// What holds at every moment.
    fn look(&self) -> Result<(), String> {
        let world = &self.stage.world;
        for &target in &self.published {
            if !self.stage.pods().any(|pod| holds(pod, target)) {
                return Err(format!("I1: nobody holds the published target {target}"));
            }
        }
        if world.layers.values().flatten().any(|layer| layer.daemon.is_none()) {
            return Err("I3: the directory of the host is seen".to_owned());
        }
        for &target in &self.unpublished {
            self.gone(target)?;
        }
        let mut live = self.stage.pods().filter(|pod| pod.is_live() && !annotations::is_unconfirmed(pod));
        match (live.next(), live.next()) {
            (Some(_), Some(_)) => Err("I6: two confirmed pods of one volume live at once".to_owned()),
            _ => Ok(()),
        }
    }

    fn gone(&self, target: Target) -> Result<(), String> {
        let world = &self.stage.world;
        if world.layers.contains_key(path(target)) || world.targets.contains(path(target)) {
            return Err(format!("I4: the unpublished target {target} is there"));
        }
        match self.stage.pods().any(|pod| holds(pod, target)) {
            true => Err(format!("I4: the unpublished target {target} is held")),
            false => Ok(()),
        }
    }

    fn perform(&mut self, task: Task) -> Result<Conclusion, String> {
        let Some(mut actor) = self.begin(task) else { return Ok(Conclusion::Nothing) };
        match actor.advance(&mut self.stage, HOUSEKEEPING, ENOUGH)? {
            Progress::Ended => Ok(actor.conclusion()),
            Progress::Moved | Progress::Blocked => Err(format!("I8: no end of {task:?} at rest")),
        }
    }

    /// Lets every loose end be tied up, looks at what was promised, and clears the node.
    fn settle(&mut self) -> Result<(), String> {
        self.crash();
        self.stage.faults.clear();
        for _ in 0..3 {
            self.stage.world.run_kubelet();
            while self.stage.pods().any(|pod| pod.deleting) {
                let before = self.stage.world.pods.len();
                self.stage.finish_deletions();
                self.stage.world.run_kubelet();
                if self.stage.pods().filter(|pod| pod.deleting).count() >= before {
                    return Err("I8: a deletion is never finished".to_owned());
                }
            }
            for target in TARGETS {
                // Without a reference there is nothing to repair.
                if self.stage.pods().any(|pod| holds(pod, target)) {
                    self.perform(Task::Rebind { target })?;
                }
            }
        }
        self.look()?;
        for &target in &self.published {
            self.serves(target)?;
        }
        for target in TARGETS {
            if self.owed.contains(&target) || self.stage.world.targets.contains(path(target)) {
                let Conclusion::Unpublished(UnpublishOutcome::Unpublished(_)) =
                    self.perform(Task::Unpublish { target })?
                else {
                    return Err(format!("I8: the target {target} cannot be freed"));
                };
                self.gone(target)?;
            }
        }
        self.clear()
    }

    /// I1 at rest: one layer, of the live daemon of the live pod that holds the target.
    fn serves(&self, target: Target) -> Result<(), String> {
        let world = &self.stage.world;
        let layers = world.layers.get(path(target)).map_or(&[][..], Vec::as_slice);
        let [layer] = layers else { return Err(format!("I1: {} layers at the target {target}", layers.len())) };
        let Some(daemon) = layer.daemon.as_ref().filter(|daemon| world.is_alive(daemon)) else {
            return Err(format!("I1: a dead daemon serves the target {target}"));
        };
        let mut holders = self.stage.pods().filter(|pod| holds(pod, target));
        match (holders.next(), holders.next()) {
            (Some(pod), None) if pod.is_live() && pod.uid == daemon.pod => Ok(()),
            _ => Err(format!("I1: the target {target} is not held by exactly the pod that serves it")),
        }
    }

    /// I5: when everybody has left, nothing is left.
    fn clear(&mut self) -> Result<(), String> {
        let garbled: Vec<Pod> = self.stage.pods().filter(|pod| pod.is_live()).cloned().collect();
        for mut pod in garbled {
            // Whoever garbled the moment is told, and repairs it.
            if pod.annotations.get(annotations::DELETE_AT).is_some_and(|moment| moment == GARBAGE) {
                pod.annotations.insert(annotations::DELETE_AT.to_owned(), self.stage.now.to_string());
                let _ = self.stage.world.update(pod, WriteMode::CompareAndSwap);
            }
        }
        self.stage.now = self.stage.now.after(DELAY);
        for _ in 0..2 {
            self.perform(Task::Retire)?;
            self.stage.finish_deletions();
        }
        let world = &self.stage.world;
        if let Some(pod) = world.pods.values().next() {
            return Err(format!("I5: {} is left, though nobody needs it", pod.name));
        }
        match world.layers.is_empty() && world.targets.is_empty() && world.daemons.is_empty() {
            true => Ok(()),
            false => Err("I5: mounts, directories or daemons are left".to_owned()),
        }
    }
}
