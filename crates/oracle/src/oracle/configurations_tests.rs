//! The set of worlds against brute force: an independent enumeration of all orders says the same.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    configurations::{Applied, Branch, Calls, Configurations, Verdict},
    ruling::{Mark, Strike},
};
use crate::{history::CallId, rule};

/// Two registers that can be written, read, and swapped if they hold a value; some calls may leave them either way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Op {
    Write(usize, u8),
    Read(usize, u8),
    /// Answered `true` only if it held the first value.
    Swap(usize, u8, u8, bool),
    /// The outcome is open: it wrote, or not.
    Perhaps(usize, u8),
    /// Looks at both registers at once.
    ReadBoth(u8, u8),
}

impl Op {
    /// The registers that it is about.
    fn registers(self) -> [bool; 2] {
        match self {
            Self::Write(at, _) | Self::Read(at, _) | Self::Swap(at, ..) | Self::Perhaps(at, _) => [at == 0, at == 1],
            Self::ReadBoth(..) => [true, true],
        }
    }
}

type State = [u8; 2];

/// What happens to a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Answered,
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Start(usize),
    End(usize),
    /// The process ends: lost calls that have started have taken effect by now, or never will.
    Kill,
}

#[derive(Clone, Debug)]
struct Case {
    ops: Vec<(Op, Fate)>,
    steps: Vec<Step>,
}

fn strike() -> Strike {
    Strike::new(rule!("GEN-ERR-001"), "not permitted", "", "")
}

/// All states after the op; none when its answer is not permitted.
fn after(state: State, op: Op) -> Vec<State> {
    let with = |at: usize, value: u8| {
        let mut changed = state;
        changed[at] = value;
        changed
    };
    match op {
        Op::Write(at, value) => vec![with(at, value)],
        Op::Read(at, value) if value == state[at] => vec![state],
        Op::Swap(at, from, to, true) if state[at] == from => vec![with(at, to)],
        Op::Swap(at, from, _, false) if state[at] != from => vec![state],
        Op::Perhaps(at, value) => vec![state, with(at, value)],
        Op::ReadBoth(a, b) if state == [a, b] => vec![state],
        Op::Read(..) | Op::Swap(..) | Op::ReadBoth(..) => vec![],
    }
}

/// A lost call may have done its work, whatever it would have answered.
fn after_lost(state: State, op: Op) -> Vec<State> {
    match op {
        Op::Write(at, value) | Op::Perhaps(at, value) => after(state, Op::Write(at, value)),
        Op::Swap(at, from, to, _) => after(state, Op::Swap(at, from, to, true)),
        Op::Read(..) | Op::ReadBoth(..) => vec![],
    }
}

fn applied(states: Vec<State>) -> Applied<State> {
    if states.is_empty() {
        return Err(strike());
    }
    let marks = vec![Mark::Held(rule!("GEN-ERR-001"))];
    Ok(states.into_iter().map(|state| Branch { state, marks: marks.clone() }).collect())
}

impl Case {
    fn ended(&self, op: CallId) -> usize {
        self.steps.iter().position(|step| matches!(step, Step::End(it) if *it as u64 == op.0)).unwrap_or(usize::MAX)
    }
}

impl Calls<State> for Case {
    fn apply(&self, state: &State, call: CallId) -> Applied<State> {
        let (op, fate) = self.ops[call.0 as usize];
        match fate {
            Fate::Answered => applied(after(*state, op)),
            Fate::Lost => applied(after_lost(*state, op)),
        }
    }

    fn depend(&self, a: CallId, b: CallId) -> bool {
        let (a, b) = (self.ops[a.0 as usize].0.registers(), self.ops[b.0 as usize].0.registers());
        a.iter().zip(b).any(|(a, b)| *a && b)
    }

    fn is_twin_before(&self, first: CallId, second: CallId) -> bool {
        self.ops[first.0 as usize] == self.ops[second.0 as usize] && self.ended(first) < self.ended(second)
    }

    fn cut_off(&self, state: State, _: CallId) -> State {
        state
    }
}

/// The engine's word: the position of the first end that no world explains.
fn by_configurations(case: &Case) -> Option<usize> {
    let mut worlds = Configurations::new([0, 0]);
    for (position, step) in case.steps.iter().enumerate() {
        match *step {
            Step::Start(op) => worlds.start(CallId(op as u64)),
            Step::Kill => {
                let started =
                    |op: &usize| case.steps[..position].iter().any(|it| matches!(it, Step::Start(it) if it == op));
                let lost = (0..case.ops.len()).filter(|&op| case.ops[op].1 == Fate::Lost).filter(started);
                worlds.end(&lost.map(|op| CallId(op as u64)).collect::<Vec<_>>(), case);
            }
            Step::End(op) if case.ops[op].1 == Fate::Lost => worlds.lose(CallId(op as u64)),
            Step::End(op) => {
                if let Verdict::Impossible(..) = worlds.finish(CallId(op as u64), case) {
                    return Some(position);
                }
            }
        }
    }
    None
}

/// Brute force: is there an order of the answered calls up to a position, with any of the lost and open ones between,
/// that keeps real time and explains each answer?
fn explained_up_to(case: &Case, position: usize) -> bool {
    let (mut starts, mut ends): (BTreeMap<usize, usize>, BTreeMap<usize, usize>) = Default::default();
    for (at, step) in case.steps.iter().enumerate().take(position + 1) {
        match *step {
            Step::Start(op) => starts.insert(op, at),
            Step::End(op) => ends.insert(op, at),
            Step::Kill => None,
        };
    }
    let must: Vec<usize> = ends.keys().copied().filter(|&op| case.ops[op].1 == Fate::Answered).collect();
    let may: Vec<usize> = starts.keys().copied().filter(|op| !must.contains(op)).collect();
    let before = |a: usize, b: usize| {
        case.ops[a].1 == Fate::Answered
            && ends.get(&a).is_some_and(|end| starts.get(&b).is_some_and(|start| end < start))
    };
    // A lost call from before the end of the process takes effect before what starts after it, or never.
    let kill = case.steps.iter().position(|step| matches!(step, Step::Kill)).unwrap_or(usize::MAX);
    let too_late = |a: usize, b: usize| case.ops[a].1 == Fate::Lost && starts[&a] < kill && kill < starts[&b];
    type Order<'a> = &'a dyn Fn(usize, usize) -> bool;
    fn search(
        case: &Case,
        state: State,
        must: &[usize],
        may: &[usize],
        before: Order<'_>,
        too_late: Order<'_>,
    ) -> bool {
        if must.is_empty() {
            return true;
        }
        let without = |list: &[usize], op: usize| -> Vec<usize> {
            list.iter().copied().filter(|&it| it != op && (must.contains(&it) || !too_late(it, op))).collect()
        };
        let next = must.iter().any(|&op| {
            !must.iter().any(|&other| other != op && before(other, op))
                && after(state, case.ops[op].0)
                    .into_iter()
                    .any(|state| search(case, state, &without(must, op), &without(may, op), before, too_late))
        });
        next || may.iter().any(|&op| {
            // An open call that will be answered takes effect with that answer; a lost one with any.
            let (kind, fate) = case.ops[op];
            let states = if fate == Fate::Lost { after_lost(state, kind) } else { after(state, kind) };
            !must.iter().any(|&other| before(other, op))
                && states.into_iter().any(|state| search(case, state, must, &without(may, op), before, too_late))
        })
    }
    search(case, [0, 0], &must, &may, &before, &too_late)
}

fn by_brute_force(case: &Case) -> Option<usize> {
    (0..case.steps.len()).find(|&position| {
        matches!(case.steps[position], Step::End(op) if case.ops[op].1 == Fate::Answered)
            && !explained_up_to(case, position)
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let value = || 0..3u8;
    let at = || 0..2usize;
    let op = prop_oneof![
        (at(), value()).prop_map(|(at, value)| Op::Write(at, value)),
        (at(), value()).prop_map(|(at, value)| Op::Read(at, value)),
        (at(), value(), value(), any::<bool>()).prop_map(|(at, from, to, done)| Op::Swap(at, from, to, done)),
        (at(), value()).prop_map(|(at, value)| Op::Perhaps(at, value)),
        (value(), value()).prop_map(|(a, b)| Op::ReadBoth(a, b)),
    ];
    let fate = prop_oneof![4 => Just(Fate::Answered), 1 => Just(Fate::Lost)];
    prop::collection::vec((op, fate), 1..=6).prop_flat_map(|ops| {
        let count = ops.len();
        // Each number appears twice: first its start, then its end.
        let order: Vec<usize> = (0..count).chain(0..count).collect();
        // Some calls are repeats of the first.
        let ops = (Just(ops), prop::collection::vec(prop::bool::weighted(0.3), count)).prop_map(
            |(ops, twin): (Vec<(Op, Fate)>, Vec<bool>)| {
                ops.iter().zip(twin).map(|(op, twin)| if twin { ops[0] } else { *op }).collect::<Vec<_>>()
            },
        );
        (ops, Just(order).prop_shuffle(), 0..4 * count).prop_map(|(ops, order, kill)| {
            let mut started = vec![false; ops.len()];
            let mut steps: Vec<Step> = order
                .into_iter()
                .map(|op| if std::mem::replace(&mut started[op], true) { Step::End(op) } else { Step::Start(op) })
                .collect();
            // In half of the cases, the process ends once.
            if kill < steps.len() {
                steps.insert(kill, Step::Kill);
            }
            Case { ops, steps }
        })
    })
}

#[test]
fn the_verdict_equals_that_of_an_enumeration_of_all_orders() {
    let mut runner = TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let rejected = std::cell::Cell::new(0);
    runner
        .run(&cases(), |case| {
            let (ours, theirs) = (by_configurations(&case), by_brute_force(&case));
            if theirs.is_some() {
                rejected.set(rejected.get() + 1);
            }
            prop_assert_eq!(ours, theirs);
            Ok(())
        })
        .unwrap();
    assert!(rejected.get() > 400, "too few impossible histories to tell: {}", rejected.get());
}

#[test]
fn a_lost_call_may_still_act_until_its_process_has_ended() {
    let ops = [(Op::Write(0, 2), Fate::Lost), (Op::Read(0, 2), Fate::Answered), (Op::Read(0, 0), Fate::Answered)];
    let case = Case { ops: ops.to_vec(), steps: Vec::new() };
    let lost = || {
        let mut worlds = Configurations::new([0, 0]);
        worlds.start(CallId(0));
        worlds.lose(CallId(0));
        worlds
    };
    let mut worlds = lost();
    // Not yet, then it has.
    for call in [CallId(2), CallId(1)] {
        worlds.start(call);
        assert!(matches!(worlds.finish(call, &case), Verdict::Explained(_)));
    }
    let mut worlds = lost();
    worlds.start(CallId(2));
    assert!(matches!(worlds.finish(CallId(2), &case), Verdict::Explained(_)));
    worlds.end(&[CallId(0)], &case);
    let states: Vec<State> = worlds.states().copied().collect();
    assert_eq!(states, [[0, 0], [2, 0]], "done or not done, and nothing pending");
    assert!(!worlds.is_busy());
}

/// Each call sets a bit of its own: no two orders meet before the end.
struct Bits;

impl Calls<u64> for Bits {
    fn apply(&self, state: &u64, call: CallId) -> Applied<u64> {
        Ok(vec![Branch { state: state | 1 << call.0, marks: Vec::new() }])
    }

    fn depend(&self, _: CallId, _: CallId) -> bool {
        true
    }

    fn is_twin_before(&self, _: CallId, _: CallId) -> bool {
        false
    }

    fn cut_off(&self, state: u64, _: CallId) -> u64 {
        state
    }
}

#[test]
fn past_the_budget_the_object_is_inconclusive_and_never_guessed() {
    let mut worlds = Configurations::new(0u64);
    for call in 0..40 {
        worlds.start(CallId(call));
    }
    assert!(matches!(worlds.finish(CallId(0), &Bits), Verdict::Inconclusive));
    assert!(worlds.is_exhausted());
    assert!(matches!(worlds.finish(CallId(1), &Bits), Verdict::Inconclusive));
}
