//! A conduct that differs from the honest one: what is done before the driver hears a request, and after it has answered.

use std::{sync::Arc, time::Duration};

use tonic::{Code, Status};

use super::{
    past::{Answer, Past},
    running::PausePoint,
};
use crate::{
    history::{Reply, Request},
    spec::Rpc,
};

/// What becomes of a request.
#[derive(Debug)]
pub enum Step {
    /// The driver answers this request, and the answer goes back.
    Ask(Request),
    /// The driver is given these requests first, whatever it answers.
    AskAlso(Vec<Request>, Request),
    /// The driver is given this request, and these afterwards.
    AskThen(Request, Vec<Request>),
    /// This is the answer; the driver hears nothing.
    Answer(Answer),
    /// The driver answers this request, but not at once.
    Late(Request, Duration),
    /// No answer ever comes.
    Hang,
}

type Before = dyn Fn(Request, &Past) -> Step + Send + Sync;
type Hurried = dyn Fn(&Request, &Past) -> Option<Answer> + Send + Sync;
type After = dyn Fn(&Request, Answer, &Past) -> Answer + Send + Sync;

/// A conduct. Each process has a new one, so what it remembers is gone at a restart.
#[derive(Clone)]
pub struct Conduct {
    hurried: Arc<Hurried>,
    before: Arc<Before>,
    after: Arc<After>,
    pause: Option<PausePoint>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            hurried: Arc::new(|_, _| None),
            before: Arc::new(|request, _| Step::Ask(request)),
            after: Arc::new(|_, answer, _| answer),
            pause: None,
        }
    }
}

impl Conduct {
    /// Decides what becomes of each request.
    pub fn before(decide: impl Fn(Request, &Past) -> Step + Send + Sync + 'static) -> Self {
        Self { before: Arc::new(decide), ..Self::default() }
    }

    /// Decides what becomes of each answer.
    pub fn after(decide: impl Fn(&Request, Answer, &Past) -> Answer + Send + Sync + 'static) -> Self {
        Self { after: Arc::new(decide), ..Self::default() }
    }

    /// Both.
    pub fn and_after(mut self, decide: impl Fn(&Request, Answer, &Past) -> Answer + Send + Sync + 'static) -> Self {
        self.after = Arc::new(decide);
        self
    }

    /// Decides first what is answered at once to a caller who does not wait.
    pub fn and_hurried(mut self, decide: impl Fn(&Request, &Past) -> Option<Answer> + Send + Sync + 'static) -> Self {
        self.hurried = Arc::new(decide);
        self
    }

    /// Lets requests wait at a point, before anything is decided, for those that they race with.
    pub fn and_pausing_at(mut self, point: PausePoint) -> Self {
        self.pause = Some(point);
        self
    }

    /// The point at which requests wait for those that they race with.
    pub const fn pause_point(&self) -> Option<&PausePoint> {
        self.pause.as_ref()
    }

    /// Refuses requests for which a condition holds.
    pub fn refuse(code: Code, when: impl Fn(&Request, &Past) -> bool + Send + Sync + 'static) -> Self {
        Self::before(move |request, past| match when(&request, past) {
            true => Step::Answer(Err(status(code))),
            false => Step::Ask(request),
        })
    }

    /// Says OK to requests for which a condition holds, and does nothing.
    pub fn pretend(when: impl Fn(&Request, &Past) -> bool + Send + Sync + 'static) -> Self {
        Self::before(move |request, past| match when(&request, past) {
            true => Step::Answer(Ok(empty(request.rpc()))),
            false => Step::Ask(request),
        })
    }

    /// Changes requests on their way to the driver.
    pub fn rewrite(change: impl Fn(&mut Request, &Past) + Send + Sync + 'static) -> Self {
        Self::before(move |mut request, past| {
            change(&mut request, past);
            Step::Ask(request)
        })
    }

    /// Changes replies on their way back.
    pub fn edit(change: impl Fn(&Request, &mut Reply, &Past) + Send + Sync + 'static) -> Self {
        Self::after(move |request, answer, past| {
            answer.map(|mut reply| {
                change(request, &mut reply, past);
                reply
            })
        })
    }

    /// Answers one RPC with another code in place of one.
    pub fn recode(rpc: Rpc, from: Code, to: Code) -> Self {
        Self::after(move |request, answer, _| {
            answer.map_err(|refusal| match request.rpc() == rpc && refusal.code() == from {
                true => Status::new(to, refusal.message()),
                false => refusal,
            })
        })
    }

    pub(super) fn decide(&self, request: Request, in_a_hurry: bool, past: &Past) -> Step {
        match in_a_hurry.then(|| (self.hurried)(&request, past)).flatten() {
            Some(answer) => Step::Answer(answer),
            None => (self.before)(request, past),
        }
    }

    pub(super) fn conclude(&self, request: &Request, answer: Answer, past: &Past) -> Answer {
        (self.after)(request, answer, past)
    }
}

/// A refusal as a careless driver words it.
pub(super) fn status(code: Code) -> Status {
    Status::new(code, "the operation failed")
}

/// The reply of an RPC with every field at its default.
pub(super) fn empty(rpc: Rpc) -> Reply {
    Reply::decode(rpc, &[Vec::new()]).expect("no bytes are the empty message of any type")
}
