//! Makes a failing program small: each candidate differs by one edit, is repaired, and is judged by running it.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use super::{Language, Program};

/// The smaller neighbours of a program, one after the other, none twice; knows what was tried before.
#[derive(Debug)]
pub struct Candidates<L: Language> {
    best: Program<L::Environment, L::Step>,
    waiting: VecDeque<Program<L::Environment, L::Step>>,
    passes: std::ops::Range<usize>,
    seen: HashSet<u64>,
}

/// How a program failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The step after which it showed; as many as there are steps when it showed at the end.
    pub step: usize,
    /// What was broken, such as the id of a rule. A candidate that breaks something else is not the same failure.
    pub kind: String,
    /// For people.
    pub message: String,
}

const PASSES: usize = 7;

/// Up to this many steps, removals are also tried together with another number elsewhere.
const FEW: usize = 8;

impl<L: Language> Candidates<L> {
    /// The neighbours of this program.
    pub fn of(program: Program<L::Environment, L::Step>) -> Self {
        let seen = HashSet::from([fingerprint(&program)]);
        Self { best: program, waiting: VecDeque::new(), passes: 0..PASSES, seen }
    }

    /// The smallest program so far.
    pub const fn best(&self) -> &Program<L::Environment, L::Step> {
        &self.best
    }

    /// Goes on from a candidate that failed as well.
    pub fn accept(&mut self, program: Program<L::Environment, L::Step>) {
        self.seen.insert(fingerprint(&program));
        self.best = program;
        self.waiting.clear();
        self.passes = 0..PASSES;
    }

    fn fill(&mut self, pass: usize) {
        let found = match pass {
            0 => chunks(&self.best),
            1 => without_an_entity::<L>(&self.best),
            2 => renamed::<L>(&self.best),
            3 => simpler::<L>(&self.best),
            4 => pairs(&self.best),
            5 => folded::<L>(&self.best),
            _ => removed_and_renumbered::<L>(&self.best),
        };
        self.waiting.extend(found);
    }
}

impl<L: Language> Iterator for Candidates<L> {
    type Item = Program<L::Environment, L::Step>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            while let Some(candidate) = self.waiting.pop_front() {
                let candidate = candidate.repaired::<L>();
                if candidate.steps.len() <= self.best.steps.len() && self.seen.insert(fingerprint(&candidate)) {
                    return Some(candidate);
                }
            }
            let pass = self.passes.next()?;
            self.fill(pass);
        }
    }
}

impl<E, S> Program<E, S> {
    /// The program up to the step after which it failed: nothing later has a part in that.
    #[must_use]
    pub fn up_to(mut self, failure: &Failure) -> Self {
        self.steps.truncate(failure.step.saturating_add(1));
        self
    }
}

fn fingerprint<E: std::hash::Hash, S: std::hash::Hash>(program: &Program<E, S>) -> u64 {
    let mut hasher = DefaultHasher::new();
    program.hash(&mut hasher);
    hasher.finish()
}

fn with_steps<E: Clone, S>(program: &Program<E, S>, steps: Vec<S>) -> Program<E, S> {
    Program { environment: program.environment.clone(), steps }
}

fn without<E: Clone, S: Clone>(program: &Program<E, S>, gone: impl Fn(usize) -> bool) -> Program<E, S> {
    let kept = program.steps.iter().enumerate().filter(|(at, _)| !gone(*at)).map(|(_, step)| step.clone());
    with_steps(program, kept.collect())
}

/// Without a run of steps: half of them, a quarter, down to one.
fn chunks<E: Clone, S: Clone>(program: &Program<E, S>) -> Vec<Program<E, S>> {
    let count = program.steps.len();
    let mut found = Vec::new();
    let mut size = count.div_ceil(2);
    while size > 0 {
        // What is late is least likely to be needed by the rest.
        for start in (0..count).step_by(size).rev() {
            found.push(without(program, |at| (start..start + size).contains(&at)));
        }
        size /= 2;
    }
    found
}

fn without_an_entity<L: Language>(program: &Program<L::Environment, L::Step>) -> Vec<Program<L::Environment, L::Step>> {
    let entities: BTreeSet<_> = program.steps.iter().flat_map(|step| L::entities(step)).collect();
    let speaks = |at: usize, entity| L::entities(&program.steps[at]).contains(entity);
    entities.iter().rev().map(|entity| without(program, |at| speaks(at, entity))).collect()
}

fn renamed<L: Language>(program: &Program<L::Environment, L::Step>) -> Vec<Program<L::Environment, L::Step>> {
    let entities: BTreeSet<_> = program.steps.iter().flat_map(|step| L::entities(step)).collect();
    let mut found = Vec::new();
    for entity in entities {
        for to in 0..entity.number {
            let steps = program.steps.iter().map(|step| L::renamed(step, entity, to)).collect();
            found.push(with_steps(program, steps));
        }
    }
    found
}

fn simpler<L: Language>(program: &Program<L::Environment, L::Step>) -> Vec<Program<L::Environment, L::Step>> {
    let environments = L::simpler_environment(&program.environment).into_iter();
    let mut found: Vec<_> =
        environments.map(|environment| Program { environment, steps: program.steps.clone() }).collect();
    for (at, step) in program.steps.iter().enumerate() {
        for simpler in L::simpler(step) {
            let mut candidate = program.clone();
            candidate.steps[at] = simpler;
            found.push(candidate);
        }
    }
    found
}

/// Without two steps that only go together.
fn pairs<E: Clone, S: Clone>(program: &Program<E, S>) -> Vec<Program<E, S>> {
    let count = program.steps.len();
    let mut found = Vec::new();
    for first in 0..count {
        for second in first + 1..count {
            found.push(without(program, |at| at == first || at == second));
        }
    }
    found
}

/// With a later step in the place of an earlier one, or with one that does what both did.
fn folded<L: Language>(program: &Program<L::Environment, L::Step>) -> Vec<Program<L::Environment, L::Step>> {
    let count = program.steps.len();
    let mut found = Vec::new();
    for first in 0..count {
        for second in first + 1..count {
            let both = L::folded(&program.steps[first], &program.steps[second]);
            let later = Some(program.steps[second].clone());
            for step in [both, later].into_iter().flatten() {
                let mut candidate = without(program, |at| at == second);
                candidate.steps[first] = step;
                found.push(candidate);
            }
        }
    }
    found
}

/// Without one or two steps, and with another number in a third: what went before decides how far a number reaches.
fn removed_and_renumbered<L: Language>(
    program: &Program<L::Environment, L::Step>,
) -> Vec<Program<L::Environment, L::Step>> {
    let count = program.steps.len();
    if count > FEW {
        return Vec::new();
    }
    let mut found = Vec::new();
    for at in 0..count {
        for alternative in L::alternatives(&program.steps[at]) {
            let mut candidate = program.clone();
            candidate.steps[at] = alternative;
            let others = || (0..count).filter(move |&other| other != at);
            for first in others() {
                for second in others().filter(|&second| second >= first) {
                    found.push(without(&candidate, |gone| gone == first || gone == second));
                }
            }
        }
    }
    found.sort_by_key(|candidate| candidate.steps.len());
    found
}
