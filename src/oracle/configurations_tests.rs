//! The set of worlds against brute force: an independent enumeration of all orders says the same.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    configurations::{Applied, Branch, Configurations, Verdict},
    ruling::{Mark, Strike},
};
use crate::{history::CallId, rule};

/// A register that can be written, read, and swapped if it holds a value; some calls may leave it either way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Op {
    Write(u8),
    Read(u8),
    /// Answered `true` only if it held the first value.
    Swap(u8, u8, bool),
    /// The outcome is open: it wrote, or not.
    Perhaps(u8),
}

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
fn after(state: u8, op: Op) -> Vec<u8> {
    match op {
        Op::Write(value) => vec![value],
        Op::Read(value) => {
            if value == state {
                vec![state]
            } else {
                vec![]
            }
        }
        Op::Swap(from, to, true) => {
            if state == from {
                vec![to]
            } else {
                vec![]
            }
        }
        Op::Swap(from, _, false) => {
            if state == from {
                vec![]
            } else {
                vec![state]
            }
        }
        Op::Perhaps(value) => vec![state, value],
    }
}

/// A lost call may have done its work, whatever it would have answered.
fn after_lost(state: u8, op: Op) -> Vec<u8> {
    match op {
        Op::Write(value) | Op::Perhaps(value) => vec![value],
        Op::Swap(from, to, _) if state == from => vec![to],
        _ => vec![],
    }
}

fn applied(states: Vec<u8>) -> Applied<u8> {
    if states.is_empty() {
        return Err(strike());
    }
    let marks = vec![Mark::Held(rule!("GEN-ERR-001"))];
    Ok(states.into_iter().map(|state| Branch { state, marks: marks.clone() }).collect())
}

/// The engine's word: the position of the first end that no world explains.
fn by_configurations(case: &Case) -> Option<usize> {
    let mut worlds = Configurations::new(0u8);
    let apply = |state: &u8, call: CallId| {
        let (op, fate) = case.ops[call.0 as usize];
        match fate {
            Fate::Answered => applied(after(*state, op)),
            Fate::Lost => applied(after_lost(*state, op)),
        }
    };
    for (position, step) in case.steps.iter().enumerate() {
        match *step {
            Step::Start(op) => worlds.start(CallId(op as u64)),
            Step::End(op) if case.ops[op].1 == Fate::Lost => worlds.lose(CallId(op as u64)),
            Step::End(op) => {
                if let Verdict::Impossible(..) = worlds.finish(CallId(op as u64), &apply) {
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
        };
    }
    let must: Vec<usize> = ends.keys().copied().filter(|&op| case.ops[op].1 == Fate::Answered).collect();
    let may: Vec<usize> = starts.keys().copied().filter(|op| !must.contains(op)).collect();
    let before = |a: usize, b: usize| {
        case.ops[a].1 == Fate::Answered
            && ends.get(&a).is_some_and(|end| starts.get(&b).is_some_and(|start| end < start))
    };
    fn search(case: &Case, state: u8, must: &[usize], may: &[usize], before: &dyn Fn(usize, usize) -> bool) -> bool {
        if must.is_empty() {
            return true;
        }
        let without = |list: &[usize], op: usize| list.iter().copied().filter(|&it| it != op).collect::<Vec<_>>();
        let next = must.iter().any(|&op| {
            !must.iter().any(|&other| other != op && before(other, op))
                && after(state, case.ops[op].0)
                    .into_iter()
                    .any(|state| search(case, state, &without(must, op), may, before))
        });
        next || may.iter().any(|&op| {
            // An open call that will be answered takes effect with that answer; a lost one with any.
            let (kind, fate) = case.ops[op];
            let states = if fate == Fate::Lost { after_lost(state, kind) } else { after(state, kind) };
            !must.iter().any(|&other| before(other, op))
                && states.into_iter().any(|state| search(case, state, must, &without(may, op), before))
        })
    }
    search(case, 0, &must, &may, &before)
}

fn by_brute_force(case: &Case) -> Option<usize> {
    (0..case.steps.len()).find(|&position| {
        matches!(case.steps[position], Step::End(op) if case.ops[op].1 == Fate::Answered)
            && !explained_up_to(case, position)
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let value = || 0..3u8;
    let op = prop_oneof![
        value().prop_map(Op::Write),
        value().prop_map(Op::Read),
        (value(), value(), any::<bool>()).prop_map(|(from, to, done)| Op::Swap(from, to, done)),
        value().prop_map(Op::Perhaps),
    ];
    let fate = prop_oneof![4 => Just(Fate::Answered), 1 => Just(Fate::Lost)];
    prop::collection::vec((op, fate), 1..=6).prop_flat_map(|ops| {
        let count = ops.len();
        // Each number appears twice: first its start, then its end.
        let order: Vec<usize> = (0..count).chain(0..count).collect();
        (Just(ops), Just(order).prop_shuffle()).prop_map(|(ops, order)| {
            let mut started = vec![false; ops.len()];
            let steps = order
                .into_iter()
                .map(|op| if std::mem::replace(&mut started[op], true) { Step::End(op) } else { Step::Start(op) })
                .collect();
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
    let ops = [Op::Write(2), Op::Read(2), Op::Read(0)];
    let apply = |state: &u8, call: CallId| match call.0 {
        0 => applied(after_lost(*state, ops[0])),
        other => applied(after(*state, ops[other as usize])),
    };
    let mut worlds = Configurations::new(0u8);
    worlds.start(CallId(0));
    worlds.lose(CallId(0));
    // Not yet, then it has.
    for call in [CallId(2), CallId(1)] {
        worlds.start(call);
        assert!(matches!(worlds.finish(call, &apply), Verdict::Explained(_)));
    }
    let mut worlds = Configurations::new(0u8);
    worlds.start(CallId(0));
    worlds.lose(CallId(0));
    worlds.start(CallId(2));
    assert!(matches!(worlds.finish(CallId(2), &apply), Verdict::Explained(_)));
    worlds.end(&[CallId(0)], &apply);
    assert_eq!(worlds.states().copied().collect::<Vec<_>>(), [0, 2], "done or not done, and nothing pending");
    assert!(!worlds.is_busy());
}

#[test]
fn past_the_budget_the_object_is_inconclusive_and_never_guessed() {
    // Sixteen overlapping writes of different values, none answered, and reads between.
    let apply = |state: &u64, call: CallId| -> Applied<u64> {
        Ok(vec![Branch { state: state | 1 << call.0, marks: Vec::new() }])
    };
    let mut worlds = Configurations::new(0u64);
    for call in 0..40 {
        worlds.start(CallId(call));
    }
    assert!(matches!(worlds.finish(CallId(0), &apply), Verdict::Inconclusive));
    assert!(worlds.is_exhausted());
    assert!(matches!(worlds.finish(CallId(1), &apply), Verdict::Inconclusive));
}
