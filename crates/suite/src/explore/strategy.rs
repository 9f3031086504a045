//! Programs as a proptest strategy: any property of programs can be tested, and a failing one is made small, by proptest.

use std::{fmt, marker::PhantomData};

use proptest::{
    strategy::{NewTree, Strategy, ValueTree},
    test_runner::{TestRng, TestRunner},
};
use rand::Rng as _;

use super::{Candidates, Language, Program, Source, draw};

/// Programs of up to so many steps of a language.
pub struct Programs<L> {
    steps: usize,
    language: PhantomData<fn() -> L>,
}

/// A program, and those that are smaller: what is left out or simplified is repaired, so that each is a program.
#[derive(Debug)]
pub struct ProgramTree<L: Language> {
    current: Program<L::Environment, L::Step>,
    /// Its best program is the last that failed.
    candidates: Candidates<L>,
}

impl<L> Programs<L> {
    /// Programs of up to so many steps.
    pub const fn of_up_to(steps: usize) -> Self {
        Self { steps, language: PhantomData }
    }
}

impl<L> Clone for Programs<L> {
    fn clone(&self) -> Self {
        Self::of_up_to(self.steps)
    }
}

impl<L> fmt::Debug for Programs<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "programs of up to {} steps", self.steps)
    }
}

impl<L: Language> Strategy for Programs<L> {
    type Tree = ProgramTree<L>;
    type Value = Program<L::Environment, L::Step>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        Ok(ProgramTree::of(draw::<L>(&mut Random(runner.rng()), self.steps)))
    }
}

impl<L: Language> ProgramTree<L> {
    /// The program, and what is smaller.
    pub fn of(program: Program<L::Environment, L::Step>) -> Self {
        Self { current: program.clone(), candidates: Candidates::of(program) }
    }

    /// Turns to the next smaller neighbour of the last program that failed; when there is none, back to that program.
    fn turn(&mut self) -> bool {
        let next = self.candidates.next();
        let is_there = next.is_some();
        self.current = next.unwrap_or_else(|| self.candidates.best().clone());
        is_there
    }
}

impl<L: Language> ValueTree for ProgramTree<L> {
    type Value = Program<L::Environment, L::Step>;

    fn current(&self) -> Self::Value {
        self.current.clone()
    }

    /// The current program fails: goes on from it.
    fn simplify(&mut self) -> bool {
        if self.current != *self.candidates.best() {
            self.candidates.accept(self.current.clone());
        }
        self.turn()
    }

    /// The current program does not fail: tries another one.
    fn complicate(&mut self) -> bool {
        self.turn()
    }
}

/// The choices of proptest.
struct Random<'a>(&'a mut TestRng);

impl Source for Random<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.0.next_u64() % bound).unwrap_or_default()
    }
}
