//! The edge to the driver: one call with its limit, recorded, and what its answer means to whoever called.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use thiserror::Error;
use tokio::sync::{Notify, OwnedMutexGuard};

use super::{
    context::{Context, Fate},
    departure::Departure,
};
use crate::{
    history::{Lost, Request},
    spec::Rpc,
    sut::{Answer, Code, Driver, Unary},
};

/// An answer other than OK.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{rpc} answers {answer}")]
pub struct RpcError {
    /// Which RPC.
    pub rpc: Rpc,
    /// The code of the status that a gRPC client would report; `None` for what is no gRPC answer.
    pub code: Option<i32>,
    /// The answer for people.
    pub answer: String,
}

impl RpcError {
    const CANCELLED: i32 = 1;
    const DEADLINE_EXCEEDED: i32 = 4;
    const RESOURCE_EXHAUSTED: i32 = 8;

    fn of(rpc: Rpc, answer: &Answer) -> Self {
        let code = match answer {
            Answer::Status { code, .. } => Some(*code),
            Answer::Lost(Lost::Deadline) => Some(Self::DEADLINE_EXCEEDED),
            Answer::Lost(Lost::Cancelled) => Some(Self::CANCELLED),
            Answer::Lost(Lost::Connection | Lost::Dropped) => Some(Code::UNAVAILABLE.0),
            Answer::Garbage(_) | Answer::Reply(_) => None,
        };
        Self { rpc, code, answer: answer.to_string() }
    }

    /// Whether it has this code.
    pub fn is(&self, code: Code) -> bool {
        self.code == Some(code.0)
    }

    /// Whether resources were exhausted.
    pub fn is_exhausted(&self) -> bool {
        self.code == Some(Self::RESOURCE_EXHAUSTED)
    }

    /// Whether only time had run out.
    pub fn is_deadline(&self) -> bool {
        self.code == Some(Self::DEADLINE_EXCEEDED)
    }

    /// Whether the precondition failed, which for expansions means that the volume is in use.
    pub fn is_failed_precondition(&self) -> bool {
        self.code == Some(9)
    }

    /// Whether a resize can never work as it was asked for.
    pub fn is_infeasible_resize(&self) -> bool {
        matches!(self.code, Some(3 | 5 | 11))
    }

    /// Whether something broke, perhaps half way: what was asked for may be there all the same.
    pub fn is_broken_off(&self) -> bool {
        matches!(self.code, Some(2 | 13 | 15))
    }

    /// Whether the provisioner counts the call as still running in the background.
    pub fn is_in_background(&self) -> bool {
        matches!(self.code, None | Some(1 | 4 | 10 | 14))
    }

    /// Whether all others count the call as maybe done, maybe still running.
    pub fn is_uncertain(&self) -> bool {
        self.is_in_background() || self.is_exhausted()
    }
}

/// Whether the RPC only asks what the driver is like: its success says nothing of what comes after it.
const fn is_query(rpc: Rpc) -> bool {
    matches!(rpc, Rpc::GetPluginInfo | Rpc::ControllerGetCapabilities | Rpc::NodeGetCapabilities)
}

/// Lets the calls for one volume come one after the other, whoever makes them.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl Turns {
    /// Waits for the turn of a call; `None` for one that is about no volume.
    async fn take(&self, request: &Request) -> Option<OwnedMutexGuard<()>> {
        let volume = volume_of(request).filter(|volume| !volume.is_empty())?;
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(volume.to_owned()).or_default().clone()
        };
        Some(turn.lock_owned().await)
    }
}

/// The volume that a call is about.
fn volume_of(request: &Request) -> Option<&String> {
    match request {
        Request::CreateSnapshot(request) => Some(&request.source_volume_id),
        request => request.volume_id(),
    }
}

/// The connection of one component to one of the driver's processes.
#[derive(Clone)]
pub(super) struct CsiClient {
    pub(super) driver: Arc<Driver>,
    pub(super) component: String,
    pub(super) context: Context,
    /// Told when the connection breaks: sidecars exit then.
    pub(super) disconnected: Arc<Notify>,
}

impl CsiClient {
    pub(super) fn new(driver: Arc<Driver>, component: impl Into<String>, context: &Context) -> Self {
        let disconnected = Arc::new(Notify::new());
        Self { driver, component: component.into(), context: context.clone(), disconnected }
    }

    /// Calls for an object; the component's troubles follow from the answer.
    pub(super) async fn call<R: Unary>(
        &self,
        subject: &str,
        request: R,
        limit: Duration,
    ) -> Result<R::Reply, RpcError> {
        let request: Request = request.into();
        let rpc = request.rpc();
        let limit = self.context.timing.call_limit(limit);
        let _turn = match self.context.departs(Departure::CallSideBySide) {
            true => None,
            false => self.context.turns.take(&request).await,
        };
        let (driver, recorder, component) = (&self.driver, &self.context.recorder, &self.component);
        let asks_again = self.context.departs(Departure::AskAgain);
        if !asks_again && let Some(refusal) = self.context.refusals.find(driver, &request) {
            return Err(refusal);
        }
        let attempts = (!self.context.departs(Departure::ReadAnew)).then_some(&self.context.attempts);
        let request = match attempts {
            Some(attempts) => attempts.begin(component, request),
            None => request,
        };
        let answer = match self.context.nemesis.fate(&request) {
            Fate::Calm => driver.call(recorder, component, &request, limit).await,
            Fate::LoseAnswer => match driver.call_dropping_answer(recorder, component, &request, limit).await {
                Answer::Lost(lost) => Answer::Lost(lost),
                // For the component there was no answer.
                _ => Answer::Lost(Lost::Dropped),
            },
            Fate::Hurry(patience) => driver.call_in_a_hurry(recorder, component, &request, patience.min(limit)).await,
        };
        if answer == Answer::Lost(Lost::Connection) {
            self.disconnected.notify_waiters();
        }
        let result = match answer {
            Answer::Reply(reply) => {
                R::reply(reply).ok_or_else(|| RpcError { rpc, code: None, answer: "a reply of another RPC".to_owned() })
            }
            answer => Err(RpcError::of(rpc, &answer)),
        };
        if let Some(attempts) = attempts {
            attempts.end(component, &request, result.as_ref().err());
        }
        match &result {
            Ok(_) if is_query(rpc) => {}
            Ok(_) => self.context.troubles.over(component, subject),
            Err(failure) => {
                self.context.troubles.failed(component, subject, rpc, failure.answer.clone());
                if !asks_again {
                    self.context.refusals.note(driver, &request, failure);
                }
            }
        }
        result
    }

    /// The secrets of an RPC as they are now.
    pub(super) fn secrets(&self, rpc: Rpc) -> BTreeMap<String, String> {
        self.context.secrets(rpc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhausted_resources_are_final_for_the_provisioner_alone() {
        let status = Answer::Status { code: 8, message: String::new(), details: 0 };
        let error = RpcError::of(Rpc::CreateVolume, &status);
        assert!(!error.is_in_background() && error.is_uncertain());
    }

    #[test]
    fn what_is_no_grpc_answer_leaves_everything_open() {
        let error = RpcError::of(Rpc::CreateVolume, &Answer::Garbage("HTTP status 502".into()));
        assert!(error.is_in_background() && error.is_uncertain() && !error.is_infeasible_resize());
    }
}
