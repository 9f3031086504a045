//! How schedules are drawn and made smaller.

use super::{
    super::{Entity, Language, Source},
    Actor, Environment, Fate, Target, Task, Trouble, Turn,
};

/// The language of schedules.
#[derive(Clone, Copy, Debug)]
pub struct Schedules;

const TARGETS: u8 = 3;
const ACTORS: u8 = 3;
/// No task takes more effects than this without waiting for somebody.
const LONGEST: usize = 12;
const ACTOR: &str = "actor";
const TARGET: &str = "target";

impl Language for Schedules {
    type Environment = Environment;
    type Step = Turn;

    fn environment(source: &mut dyn Source) -> Environment {
        Environment { delayed_deletion: source.below(4) == 1, lazy_kubelet: source.below(4) == 1 }
    }

    fn step(_: &Environment, before: &[Turn], source: &mut dyn Source) -> Turn {
        match source.below(16) {
            0..=7 => {
                let task = task(source);
                let busy = Paused::after(before);
                let actor = (0..ACTORS).find(|&actor| busy.task(actor).is_none()).unwrap_or_default();
                Turn::Start { actor, task, pause: pause(source) }
            }
            8..=11 => {
                let busy = Paused::after(before);
                let paused: Vec<Actor> = (0..ACTORS).filter(|&actor| busy.task(actor).is_some()).collect();
                match paused.get(source.below(paused.len())) {
                    Some(&actor) => Turn::Resume { actor, pause: pause(source) },
                    None => Turn::Start { actor: 0, task: task(source), pause: pause(source) },
                }
            }
            12 => Turn::Crash,
            13 => Turn::Fault { after: number(source, 8), fate: fate(source) },
            14 => Turn::Time { seconds: [10, 30, 60, 120][source.below(4)] },
            _ => Turn::Trouble(trouble(source)),
        }
    }

    fn makes_sense(_: &Environment, before: &[Turn], step: &Turn) -> bool {
        let gone = |target: Target| before.contains(&Turn::Trouble(Trouble::RemoveWorkload { target }));
        match *step {
            Turn::Start { actor, task, .. } => {
                let paused = Paused::after(before);
                // One request at a time works on a target; and a path belongs to one workload, for ever.
                let locked = task.target().is_some_and(|target| paused.holds(target));
                let late = matches!(task, Task::Publish { target, .. } if gone(target));
                actor < ACTORS && paused.task(actor).is_none() && !locked && !late
            }
            Turn::Resume { actor, .. } => Paused::after(before).task(actor).is_some(),
            Turn::Trouble(trouble) => trouble.target().is_none_or(|target| !gone(target)),
            Turn::Crash | Turn::Fault { .. } | Turn::Time { .. } => true,
        }
    }

    fn entities(step: &Turn) -> Vec<Entity> {
        let actor = |number| Entity { kind: ACTOR, number };
        let target = |number| Entity { kind: TARGET, number };
        match *step {
            Turn::Start { actor: number, task, .. } => {
                std::iter::once(actor(number)).chain(task.target().map(target)).collect()
            }
            Turn::Resume { actor: number, .. } => vec![actor(number)],
            Turn::Trouble(trouble) => trouble.target().map(target).into_iter().collect(),
            Turn::Crash | Turn::Fault { .. } | Turn::Time { .. } => Vec::new(),
        }
    }

    fn renamed(step: &Turn, from: Entity, to: u8) -> Turn {
        let mut step = *step;
        let rename = |number: &mut u8| {
            if *number == from.number {
                *number = to;
            }
        };
        match (&mut step, from.kind) {
            (Turn::Start { actor, .. } | Turn::Resume { actor, .. }, ACTOR) => rename(actor),
            (
                Turn::Start {
                    task: Task::Publish { target, .. } | Task::Unpublish { target } | Task::Rebind { target },
                    ..
                }
                | Turn::Trouble(
                    Trouble::RemoveDirectory { target }
                    | Trouble::ShutDown { target }
                    | Trouble::RemoveWorkload { target },
                ),
                TARGET,
            ) => rename(target),
            _ => {}
        }
        step
    }

    fn simpler(step: &Turn) -> Vec<Turn> {
        match *step {
            Turn::Start { actor, task, pause } => {
                let mut found: Vec<Turn> =
                    shorter(pause).into_iter().map(|pause| Turn::Start { actor, task, pause }).collect();
                if let Task::Publish { target, read_only: true } = task {
                    found.push(Turn::Start { actor, task: Task::Publish { target, read_only: false }, pause });
                }
                found
            }
            Turn::Resume { actor, pause } => {
                shorter(pause).into_iter().map(|pause| Turn::Resume { actor, pause }).collect()
            }
            Turn::Fault { after, fate } => {
                smaller(after).into_iter().map(|after| Turn::Fault { after, fate }).collect()
            }
            Turn::Time { seconds } if seconds > 10 => vec![Turn::Time { seconds: seconds / 2 }],
            Turn::Crash | Turn::Trouble(_) | Turn::Time { .. } => Vec::new(),
        }
    }

    fn alternatives(step: &Turn) -> Vec<Turn> {
        let pauses = (1..=2 * LONGEST).filter_map(|effects| u8::try_from(effects).ok()).map(Some).rev();
        let mut found: Vec<Turn> = match *step {
            Turn::Start { actor, task, .. } => pauses.map(|pause| Turn::Start { actor, task, pause }).collect(),
            Turn::Resume { actor, .. } => pauses.map(|pause| Turn::Resume { actor, pause }).collect(),
            Turn::Fault { fate, .. } => (0..8).map(|after| Turn::Fault { after, fate }).collect(),
            _ => Vec::new(),
        };
        found.retain(|other| other != step);
        found
    }

    fn folded(first: &Turn, second: &Turn) -> Option<Turn> {
        let sum = |one: Option<u8>, other: Option<u8>| Some(one?.saturating_add(other?));
        match (*first, *second) {
            (Turn::Start { actor, task, pause }, Turn::Resume { actor: other, pause: more }) if actor == other => {
                Some(Turn::Start { actor, task, pause: Some(sum(pause, more)?) })
            }
            (Turn::Resume { actor, pause }, Turn::Resume { actor: other, pause: more }) if actor == other => {
                Some(Turn::Resume { actor, pause: Some(sum(pause, more)?) })
            }
            _ => None,
        }
    }

    fn simpler_environment(environment: &Environment) -> Vec<Environment> {
        let simplest = Environment::default();
        let candidates = [
            simplest,
            Environment { lazy_kubelet: false, ..*environment },
            Environment { delayed_deletion: false, ..*environment },
        ];
        candidates.into_iter().filter(|candidate| candidate != environment).collect()
    }
}

/// The actors that may not have ended: whether one ends before its pause is known only to who runs the schedule.
struct Paused([Option<Task>; ACTORS as usize]);

impl Paused {
    fn after(steps: &[Turn]) -> Self {
        let mut paused = [None; ACTORS as usize];
        for step in steps {
            match *step {
                Turn::Start { actor, task, pause: Some(_) } => paused[usize::from(actor)] = Some(task),
                Turn::Resume { actor, pause: None } => paused[usize::from(actor)] = None,
                Turn::Crash | Turn::Trouble(Trouble::Reboot) => paused = [None; ACTORS as usize],
                _ => {}
            }
        }
        Self(paused)
    }

    fn task(&self, actor: Actor) -> Option<Task> {
        self.0.get(usize::from(actor)).copied().flatten()
    }

    fn holds(&self, target: Target) -> bool {
        self.0.iter().flatten().any(|task| task.target() == Some(target))
    }
}

fn number(source: &mut dyn Source, bound: usize) -> u8 {
    u8::try_from(source.below(bound)).unwrap_or_default()
}

fn target(source: &mut dyn Source) -> Target {
    number(source, usize::from(TARGETS))
}

fn pause(source: &mut dyn Source) -> Option<u8> {
    match source.below(2 * LONGEST) {
        0 => Some(1),
        effects if effects < LONGEST => u8::try_from(effects).ok(),
        _ => None,
    }
}

fn task(source: &mut dyn Source) -> Task {
    match source.below(12) {
        0..=3 => Task::Publish { target: target(source), read_only: source.below(6) == 5 },
        4..=6 => Task::Unpublish { target: target(source) },
        7 => Task::Rebind { target: target(source) },
        8 | 9 => Task::Terminate,
        10 => Task::Collect,
        _ => Task::Retire,
    }
}

fn fate(source: &mut dyn Source) -> Fate {
    [Fate::LostAfter, Fate::LostBefore, Fate::Conflict, Fate::Failed][source.below(4)]
}

fn trouble(source: &mut dyn Source) -> Trouble {
    match source.below(10) {
        0..=1 => Trouble::Evict,
        2..=3 => Trouble::KillDaemon,
        4 => Trouble::Reboot,
        5 => Trouble::WriteStatus,
        6 => Trouble::RemoveDirectory { target: target(source) },
        7 => Trouble::ShutDown { target: target(source) },
        8 => Trouble::RemoveWorkload { target: target(source) },
        _ => Trouble::GarbleDeletion,
    }
}

fn smaller(number: u8) -> Vec<u8> {
    let mut found = vec![0, number / 2, number.saturating_sub(1)];
    found.retain(|&candidate| candidate < number);
    found.dedup();
    found
}

/// No pause is simpler than a pause, and an early one simpler than a late one.
fn shorter(pause: Option<u8>) -> Vec<Option<u8>> {
    let Some(effects) = pause else { return Vec::new() };
    std::iter::once(None).chain(smaller(effects).into_iter().filter(|&effects| effects > 0).map(Some)).collect()
}
