//! Where a program of calls is run: what happens between the calls, and what is promised beside the answers.

use std::future::Future;

use thiserror::Error;
use tokio::task::JoinHandle;

use super::{
    super::schedule::{Fate, Trouble},
    Lane, Surroundings,
};
use crate::{
    history::{Recorder, Request},
    sut::{Answer, Driver},
};

/// Why a program cannot go on. None of these says anything about the driver.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SceneError {
    /// The driver cannot be started again.
    #[error("the driver cannot be killed and started again: {0}")]
    Restart(String),
    /// The driver is gone.
    #[error("the driver does not answer any more: look at what it wrote last")]
    Gone,
}

/// Where a program is run. What a scene cannot do, it leaves out.
///
/// An error of `ended`, `look` and `settle` is a broken promise, with what it is called before a colon.
pub trait Scene {
    /// Whether a program ends with a crash of the driver when calls have not ended.
    const ENDS_IN_A_CRASH: bool;

    /// A call is about to be sent.
    fn began(&mut self, request: &Request);

    /// A call has ended, as its caller can tell.
    fn ended(&mut self, request: &Request, answer: &Answer) -> Result<(), String>;

    /// Lets the call on the lane go on to its end, or to its pause, when there is no answer yet.
    fn go_on(
        &mut self,
        lane: Lane,
        pause: Option<u8>,
        call: &mut JoinHandle<Answer>,
    ) -> impl Future<Output = Option<Answer>>;

    /// The caller has gone; whatever the driver does for it goes on without a pause.
    fn abandoned(&mut self, lane: Lane) -> impl Future<Output = ()>;

    /// Lets the driver look after its mounts, to the end or to a pause; or lets it go on after one.
    fn housekeeping(&mut self, pause: Option<u8>) -> impl Future<Output = ()>;

    /// Ends the driver's process and starts it again.
    fn crash(&mut self, driver: &Driver, recorder: &Recorder) -> impl Future<Output = Result<(), SceneError>>;

    /// Something happens to the node; whether the driver's process has to end with it.
    fn trouble(&mut self, volume: u8, trouble: Trouble, surroundings: &Surroundings) -> bool;

    /// A request to the pod API will fail.
    fn fault(&mut self, after: u8, fate: Fate);

    /// Time passes.
    fn pass(&mut self, seconds: u16) -> impl Future<Output = ()>;

    /// Looks at the node after a step.
    fn look(&mut self, request: Option<&Request>, recorder: &Recorder) -> impl Future<Output = Result<(), String>>;

    /// A fingerprint of what a call can change, when nothing is under way that changes it; nothing where that cannot be told.
    fn portrait(&self) -> Option<u64>;

    /// Lets every loose end be tied up before everything is removed.
    fn settle(&mut self) -> impl Future<Output = Result<(), String>>;

    /// Whether the orchestrator still knows that it has to make this call that removes something.
    fn owes(&self, request: &Request) -> bool;

    /// Looks whether anything is left when everything was removed.
    fn vacated(&mut self) -> impl Future<Output = Result<(), String>>;
}
