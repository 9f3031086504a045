//! What a program is made of, and how one is drawn.

use std::{fmt::Debug, hash::Hash};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Source;

/// Steps in an environment that was fixed before the first of them.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program<E, S> {
    /// What holds for the whole program.
    pub environment: E,
    /// What is done, in order.
    pub steps: Vec<S>,
}

/// Something that steps speak about: a kind, and a number of that kind.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Entity {
    /// `volume`, `target`.
    pub kind: &'static str,
    /// Counted from zero.
    pub number: u8,
}

/// A kind of programs. Everything in it is a function of its arguments.
pub trait Language {
    /// What holds for a whole program.
    type Environment: Clone + Debug + Eq + Hash + Serialize + DeserializeOwned;
    /// What is done at once.
    type Step: Clone + Debug + Eq + Hash + Serialize + DeserializeOwned;

    /// Draws what holds for the whole program.
    fn environment(source: &mut dyn Source) -> Self::Environment;

    /// Draws one step that makes sense after the others.
    fn step(environment: &Self::Environment, before: &[Self::Step], source: &mut dyn Source) -> Self::Step;

    /// Whether the step makes sense after the others; a program consists of such steps only.
    fn makes_sense(environment: &Self::Environment, before: &[Self::Step], step: &Self::Step) -> bool;

    /// What the step speaks about.
    fn entities(step: &Self::Step) -> Vec<Entity>;

    /// The step about another entity of the same kind.
    fn renamed(step: &Self::Step, from: Entity, to: u8) -> Self::Step;

    /// The same step with less in it, the simplest first. It may not lead back here.
    fn simpler(step: &Self::Step) -> Vec<Self::Step>;

    /// The same step with any other number in it: how far a number reaches depends on the steps before it.
    fn alternatives(step: &Self::Step) -> Vec<Self::Step>;

    /// One step that does what two did, the second of which came later.
    fn folded(first: &Self::Step, second: &Self::Step) -> Option<Self::Step>;

    /// The same environment with less in it, the simplest first. It may not lead back here.
    fn simpler_environment(environment: &Self::Environment) -> Vec<Self::Environment>;
}

/// Draws a program of up to `steps` steps; a source that runs out ends it earlier.
pub fn draw<L: Language>(source: &mut dyn Source, steps: usize) -> Program<L::Environment, L::Step> {
    let environment = L::environment(source);
    let mut program = Program { environment, steps: Vec::with_capacity(steps) };
    while program.steps.len() < steps && !source.is_exhausted() {
        let step = L::step(&program.environment, &program.steps, source);
        if L::makes_sense(&program.environment, &program.steps, &step) {
            program.steps.push(step);
        } else if source.below(8) == 7 {
            // A language that finds nothing to do must not be asked for ever.
            break;
        }
    }
    program
}

impl<E, S> Program<E, S> {
    /// The program without the steps that have lost their precondition.
    #[must_use]
    pub fn repaired<L: Language<Environment = E, Step = S>>(self) -> Self {
        let mut kept: Vec<S> = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            if L::makes_sense(&self.environment, &kept, &step) {
                kept.push(step);
            }
        }
        Self { environment: self.environment, steps: kept }
    }
}
