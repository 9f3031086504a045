//! An actor of any kind, and the one way in which it takes a step.

use csi_certify_mountpod::mountpod::protocol::{
    Answer, Collect, Effect, Machine, Publish, PublishOutcome, Rebind, Retire, Terminate, Unpublish, UnpublishOutcome,
};

use super::stage::Stage;

/// A machine with the effect that it asks for.
pub struct Running<M: Machine> {
    /// Gone with the last effect, which is the reply.
    machine: Option<M>,
    effect: Effect<M::Reply>,
}

/// How far an actor has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// It took a step.
    Moved,
    /// Somebody else has the lock that it needs.
    Blocked,
    /// It has replied.
    Ended,
}

/// An actor of any kind.
pub enum Anybody {
    Publish(Running<Publish>),
    Unpublish(Running<Unpublish>),
    Terminate(Running<Terminate>),
    Rebind(Running<Rebind>),
    Collect(Running<Collect>),
    Retire(Running<Retire>),
}

/// What an actor concluded, as far as anybody was promised anything.
pub enum Conclusion {
    Published(PublishOutcome),
    Unpublished(UnpublishOutcome),
    Nothing,
}

impl<M: Machine> Running<M> {
    pub fn new(machine: M, stage: &Stage) -> Self {
        Self::after(machine.step(&stage.policy, stage.now, Answer::Begin))
    }

    fn after((machine, effect): (M, Effect<M::Reply>)) -> Self {
        let machine = (!matches!(effect, Effect::Reply(_))).then_some(machine);
        Self { machine, effect }
    }

    fn reply(&self) -> Option<&M::Reply> {
        match &self.effect {
            Effect::Reply(reply) => Some(reply),
            _ => None,
        }
    }

    fn step(&mut self, stage: &mut Stage, me: u8) -> Result<Progress, String> {
        if self.machine.is_none() {
            return Ok(Progress::Ended);
        }
        let Some(answer) = stage.perform(&self.effect, me)? else { return Ok(Progress::Blocked) };
        if let Some(machine) = self.machine.take() {
            *self = Self::after(machine.step(&stage.policy, stage.now, answer));
        }
        Ok(if self.machine.is_none() { Progress::Ended } else { Progress::Moved })
    }
}

macro_rules! every_kind {
    ($anybody:expr, $running:ident => $body:expr) => {
        match $anybody {
            Anybody::Publish($running) => $body,
            Anybody::Unpublish($running) => $body,
            Anybody::Terminate($running) => $body,
            Anybody::Rebind($running) => $body,
            Anybody::Collect($running) => $body,
            Anybody::Retire($running) => $body,
        }
    };
}

impl Anybody {
    /// Takes one step; the error is a broken promise.
    pub fn step(&mut self, stage: &mut Stage, me: u8) -> Result<Progress, String> {
        every_kind!(self, running => running.step(stage, me))
    }

    /// Takes steps until it has replied, cannot go on, or has taken `most`; says how many it took.
    pub fn advance(&mut self, stage: &mut Stage, me: u8, most: usize) -> Result<Progress, String> {
        let mut progress = Progress::Moved;
        for _ in 0..most {
            progress = self.step(stage, me)?;
            if progress != Progress::Moved {
                break;
            }
        }
        Ok(progress)
    }

    pub fn conclusion(&self) -> Conclusion {
        match self {
            Self::Publish(running) => running.reply().cloned().map_or(Conclusion::Nothing, Conclusion::Published),
            Self::Unpublish(running) => running.reply().cloned().map_or(Conclusion::Nothing, Conclusion::Unpublished),
            _ => Conclusion::Nothing,
        }
    }
}
