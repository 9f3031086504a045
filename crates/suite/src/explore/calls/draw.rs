//! How programs of calls are drawn and made smaller.

use super::{
    super::{Entity, Language, Source, schedule::Fate, schedule::Trouble},
    course::{Course, LANES, SNAPSHOTS, TARGETS, VOLUMES},
    step::{Call, Environment, Focus, HOUSEKEEPING, Lane, Step, Use, Variation},
};
use crate::spec::Rpc;

/// The language of calls.
#[derive(Clone, Copy, Debug)]
pub struct Calls;

/// No call takes more effects than this without waiting for somebody.
const LONGEST: usize = 12;
const LANE: &str = "lane";
const VOLUME: &str = "volume";
const TARGET: &str = "target";
const SNAPSHOT: &str = "snapshot";

impl Language for Calls {
    type Environment = Environment;
    type Step = Step;

    fn environment(source: &mut dyn Source) -> Environment {
        Environment {
            staging: source.below(4) == 1,
            attachment: source.below(4) == 1,
            delayed_deletion: source.below(4) == 1,
            lazy_kubelet: source.below(4) == 1,
            repeated: source.below(4) == 1,
            usage: [Use::Shared, Use::Shared, Use::Shared, Use::Single, Use::Block][source.below(5)],
            focus: if source.below(2) == 1 { Focus::Everything } else { Focus::Publications },
        }
    }

    fn step(environment: &Environment, before: &[Step], source: &mut dyn Source) -> Step {
        let course = Course::after(before);
        match source.below(22) {
            0..=9 => start(environment, before, &course, source),
            10..=13 => {
                let taken: Vec<Lane> = (0..=HOUSEKEEPING).filter(|&lane| course.is_taken(lane)).collect();
                match taken.get(source.below(taken.len())) {
                    Some(&lane) if lane != HOUSEKEEPING && source.once_in(12) => Step::Cancel { lane },
                    Some(&lane) => Step::Resume { lane, pause: pause(source) },
                    None => start(environment, before, &course, source),
                }
            }
            14 => Step::Crash,
            15 | 16 => Step::Housekeeping { pause: pause(source) },
            17 => Step::Fault { after: number(source, 8), fate: fate(source) },
            18 => Step::Time { seconds: [10, 30, 60, 120][source.below(4)] },
            _ => trouble(environment, &course, source),
        }
    }

    fn makes_sense(_: &Environment, before: &[Step], step: &Step) -> bool {
        let course = Course::after(before);
        match *step {
            Step::Call { lane, call, .. } => lane < LANES && !course.is_taken(lane) && course.allows(call),
            Step::Resume { lane, .. } => course.is_taken(lane),
            Step::Cancel { lane } => lane < LANES && course.is_taken(lane),
            Step::Housekeeping { .. } => !course.is_taken(HOUSEKEEPING),
            Step::Trouble { volume, trouble } => {
                trouble.target().is_none_or(|target| target < TARGETS && !course.is_gone(volume, target))
            }
            // Calls that have paused would run into their deadlines.
            Step::Time { .. } => course.is_quiet(),
            Step::Crash | Step::Fault { .. } => true,
        }
    }

    fn entities(step: &Step) -> Vec<Entity> {
        let entity = |kind, number| Entity { kind, number };
        match *step {
            Step::Call { lane, call, .. } => {
                let mut found = vec![entity(LANE, lane)];
                found.extend(call.has_volume().then(|| entity(VOLUME, call.volume)));
                found.extend(call.has_target().then(|| entity(TARGET, call.target)));
                found.extend(call.has_snapshot().then(|| entity(SNAPSHOT, call.snapshot)));
                found
            }
            Step::Resume { lane, .. } | Step::Cancel { lane } => vec![entity(LANE, lane)],
            Step::Housekeeping { .. } => vec![entity(LANE, HOUSEKEEPING)],
            Step::Trouble { volume, trouble } => match trouble.target() {
                Some(target) => vec![entity(VOLUME, volume), entity(TARGET, target)],
                None => vec![entity(VOLUME, volume)],
            },
            Step::Crash | Step::Fault { .. } | Step::Time { .. } => Vec::new(),
        }
    }

    fn renamed(step: &Step, from: Entity, to: u8) -> Step {
        let mut step = *step;
        let rename = |number: &mut u8| {
            if *number == from.number {
                *number = to;
            }
        };
        match (&mut step, from.kind) {
            // Housekeeping has a lane of its own.
            (Step::Call { lane, .. } | Step::Resume { lane, .. } | Step::Cancel { lane }, LANE)
                if from.number != HOUSEKEEPING =>
            {
                rename(lane);
            }
            (Step::Call { call, .. }, VOLUME) => rename(&mut call.volume),
            (Step::Call { call, .. }, TARGET) => rename(&mut call.target),
            (Step::Call { call, .. }, SNAPSHOT) => rename(&mut call.snapshot),
            (Step::Trouble { volume, .. }, VOLUME) => rename(volume),
            (
                Step::Trouble {
                    trouble:
                        Trouble::RemoveDirectory { target }
                        | Trouble::ShutDown { target }
                        | Trouble::RemoveWorkload { target },
                    ..
                },
                TARGET,
            ) => rename(target),
            _ => {}
        }
        step
    }

    fn simpler(step: &Step) -> Vec<Step> {
        match *step {
            Step::Call { lane, call, pause, lost } => {
                let mut found: Vec<Step> =
                    shorter(pause).into_iter().map(|pause| Step::Call { lane, call, pause, lost }).collect();
                if lost {
                    found.push(Step::Call { lane, call, pause, lost: false });
                }
                if !call.variation.is_plain() {
                    let call = Call { variation: Variation::Plain, ..call };
                    found.push(Step::Call { lane, call, pause, lost });
                }
                found
            }
            Step::Resume { lane, pause } => {
                shorter(pause).into_iter().map(|pause| Step::Resume { lane, pause }).collect()
            }
            Step::Housekeeping { pause } => {
                shorter(pause).into_iter().map(|pause| Step::Housekeeping { pause }).collect()
            }
            Step::Cancel { lane } => vec![Step::Resume { lane, pause: None }],
            Step::Fault { after, fate } => {
                smaller(after).into_iter().map(|after| Step::Fault { after, fate }).collect()
            }
            Step::Time { seconds } if seconds > 10 => vec![Step::Time { seconds: seconds / 2 }],
            Step::Crash | Step::Trouble { .. } | Step::Time { .. } => Vec::new(),
        }
    }

    fn alternatives(step: &Step) -> Vec<Step> {
        let pauses = (1..=2 * LONGEST).filter_map(|effects| u8::try_from(effects).ok()).map(Some).rev();
        let mut found: Vec<Step> = match *step {
            Step::Call { lane, call, lost, .. } if call.rpc.is_node() => {
                pauses.map(|pause| Step::Call { lane, call, pause, lost }).collect()
            }
            Step::Resume { lane, .. } => pauses.map(|pause| Step::Resume { lane, pause }).collect(),
            Step::Housekeeping { .. } => pauses.map(|pause| Step::Housekeeping { pause }).collect(),
            Step::Fault { fate, .. } => (0..8).map(|after| Step::Fault { after, fate }).collect(),
            _ => Vec::new(),
        };
        found.retain(|other| other != step);
        found
    }

    fn folded(first: &Step, second: &Step) -> Option<Step> {
        let sum = |one: Option<u8>, other: Option<u8>| Some(one?.saturating_add(other?));
        match (*first, *second) {
            (Step::Call { lane, call, pause, lost }, Step::Resume { lane: other, pause: more }) if lane == other => {
                Some(Step::Call { lane, call, pause: Some(sum(pause, more)?), lost })
            }
            (Step::Resume { lane, pause }, Step::Resume { lane: other, pause: more }) if lane == other => {
                Some(Step::Resume { lane, pause: Some(sum(pause, more)?) })
            }
            (Step::Housekeeping { pause }, Step::Resume { lane: HOUSEKEEPING, pause: more }) => {
                Some(Step::Housekeeping { pause: Some(sum(pause, more)?) })
            }
            _ => None,
        }
    }

    fn simpler_environment(environment: &Environment) -> Vec<Environment> {
        let simplest = Environment::default();
        let candidates = [
            simplest,
            Environment { staging: false, ..*environment },
            Environment { attachment: false, ..*environment },
            Environment { lazy_kubelet: false, ..*environment },
            Environment { delayed_deletion: false, ..*environment },
            Environment { repeated: false, ..*environment },
            Environment { usage: Use::Shared, ..*environment },
            Environment { focus: Focus::Publications, ..*environment },
        ];
        candidates.into_iter().filter(|candidate| candidate != environment).collect()
    }
}

/// A call on a free lane: a new one, or one that was made before.
fn start(environment: &Environment, before: &[Step], course: &Course, source: &mut dyn Source) -> Step {
    let lane = (0..LANES).find(|&lane| !course.is_taken(lane)).unwrap_or_default();
    let earlier = before.iter().rev().find_map(|step| match step {
        Step::Call { call, .. } => Some(*call),
        _ => None,
    });
    let call = match earlier {
        Some(call) if source.once_in(8) => call,
        _ => call(environment, course, source),
    };
    Step::Call { lane, call, pause: pause(source), lost: source.once_in(24) }
}

fn call(environment: &Environment, course: &Course, source: &mut dyn Source) -> Call {
    let volume = volume(environment, source);
    let rpc = match (course.has_volume(volume), environment.focus) {
        (false, _) => Rpc::CreateVolume,
        // Without a volume nothing else can go wrong.
        _ if course.is_deleted(volume) && source.below(4) > 0 => Rpc::CreateVolume,
        // Most of what can go wrong needs a volume that has come so far.
        _ if environment.attachment && !course.is_attached(volume) && source.below(4) > 0 => {
            Rpc::ControllerPublishVolume
        }
        _ if environment.staging && !course.is_staged(volume) && source.below(4) > 0 => Rpc::NodeStageVolume,
        (true, Focus::Publications) => publication(environment, source),
        (true, Focus::Everything) if source.below(2) == 0 => publication(environment, source),
        (true, Focus::Everything) => ALL[source.below(ALL.len())],
    };
    let variations = Call::variations(rpc);
    let often = if rpc == Rpc::NodePublishVolume || environment.focus == Focus::Everything { 6 } else { 24 };
    let variation = match source.once_in(often) {
        true => variations.get(source.below(variations.len())).copied().unwrap_or_default(),
        false => Variation::Plain,
    };
    let mut call = Call { rpc, volume, target: number(source, usize::from(TARGETS)), snapshot: 0, variation };
    if call.has_snapshot() {
        call.snapshot = number(source, usize::from(SNAPSHOTS));
        if !course.allows(call) && !course.has_snapshot(call.snapshot) {
            call = Call { rpc: Rpc::CreateSnapshot, variation: Variation::Plain, ..call };
        }
    }
    normalized(call)
}

/// Without numbers that mean nothing: equal calls shall be equal.
fn normalized(call: Call) -> Call {
    Call {
        volume: if call.has_volume() { call.volume } else { 0 },
        target: if call.has_target() { call.target } else { 0 },
        snapshot: if call.has_snapshot() { call.snapshot } else { 0 },
        ..call
    }
}

/// An RPC of the way to a mount and back.
fn publication(environment: &Environment, source: &mut dyn Source) -> Rpc {
    match source.below(13) {
        0..=4 => Rpc::NodePublishVolume,
        5..=8 | 12 => Rpc::NodeUnpublishVolume,
        9 if environment.staging => Rpc::NodeStageVolume,
        10 if environment.staging => Rpc::NodeUnstageVolume,
        9 if environment.attachment => Rpc::ControllerPublishVolume,
        10 if environment.attachment => Rpc::ControllerUnpublishVolume,
        9 => Rpc::NodePublishVolume,
        10 => Rpc::NodeGetVolumeStats,
        _ => {
            if source.below(2) == 0 {
                Rpc::NodePublishVolume
            } else {
                Rpc::DeleteVolume
            }
        }
    }
}

const ALL: &[Rpc] = Rpc::ALL;

fn volume(environment: &Environment, source: &mut dyn Source) -> u8 {
    match environment.focus {
        Focus::Publications => u8::from(source.once_in(8)),
        Focus::Everything => number(source, usize::from(VOLUMES)),
    }
}

fn number(source: &mut dyn Source, bound: usize) -> u8 {
    u8::try_from(source.below(bound)).unwrap_or_default()
}

fn pause(source: &mut dyn Source) -> Option<u8> {
    match source.below(3 * LONGEST / 2) {
        0 => None,
        effects if effects < LONGEST => u8::try_from(effects).ok(),
        _ => None,
    }
}

fn fate(source: &mut dyn Source) -> Fate {
    [Fate::LostAfter, Fate::LostBefore, Fate::Conflict, Fate::Failed][source.below(4)]
}

/// Trouble, often for somebody who is half way.
fn trouble(environment: &Environment, course: &Course, source: &mut dyn Source) -> Step {
    let kind = source.below(12);
    let mut volume = volume(environment, source);
    let mut target = number(source, usize::from(TARGETS));
    let paused: Vec<Call> = course.open_calls().filter(|call| call.has_target()).collect();
    if let Some(call) = paused.get(source.below(paused.len()))
        && source.below(2) == 0
    {
        (volume, target) = (call.volume, call.target);
    }
    let trouble = match kind {
        0..=1 => Trouble::Evict,
        2..=3 => Trouble::KillDaemon,
        4 => Trouble::Reboot,
        5 => Trouble::WriteStatus,
        6 | 7 => Trouble::RemoveDirectory { target },
        8 => Trouble::ShutDown { target },
        9 => Trouble::RemoveWorkload { target },
        _ => Trouble::GarbleDeletion,
    };
    Step::Trouble { volume, trouble }
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
