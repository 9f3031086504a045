//! One call as it passes: its messages are read from copies of the bytes, which go on untouched.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use prost::bytes::{Bytes, BytesMut};

use super::journal::{Entry, Journal};
use crate::{
    history::{CallId, Lost, Request},
    spec::Rpc,
    sut::{Answer, LARGEST_ANSWER, reading},
};

/// What is known of a call that is under way; shared by its two directions.
#[derive(Clone)]
pub(super) struct Tap(Arc<Mutex<State>>);

struct State {
    rpc: Rpc,
    journal: Journal,
    /// Bytes of a message that has not come whole.
    buffer: BytesMut,
    /// Set once the request was understood and journalled.
    call: Option<CallId>,
    /// Messages of the answer.
    messages: Vec<Vec<u8>>,
    /// How many bytes of the answer were kept.
    taken: usize,
    /// Nothing more of the call is journalled.
    closed: bool,
}

impl Tap {
    pub(super) fn new(rpc: Rpc, journal: Journal) -> Self {
        Self(Arc::new(Mutex::new(State {
            rpc,
            journal,
            buffer: BytesMut::new(),
            call: None,
            messages: Vec::new(),
            taken: 0,
            closed: false,
        })))
    }

    /// Bytes of the request are about to go on to the driver.
    pub(super) fn request(&self, bytes: &Bytes) {
        let mut state = self.state();
        if state.closed || state.call.is_some() {
            return;
        }
        state.buffer.extend_from_slice(bytes);
        let mut messages = Vec::new();
        let read = match state.buffer.len() > LARGEST_ANSWER {
            true => Err("a request that is too large to be kept".to_owned()),
            false => reading::split(&mut state.buffer, &mut messages),
        };
        let request = match (read, messages.first()) {
            (Ok(()), None) => return,
            (Ok(()), Some(message)) => Request::decode(state.rpc, message).map_err(|error| error.to_string()),
            (Err(problem), _) => Err(problem),
        };
        state.buffer.clear();
        match request {
            // It is in the journal's queue before the driver can have seen its last byte.
            Ok(request) => state.call = Some(state.journal.call(request)),
            Err(problem) => {
                state.closed = true;
                state.journal.enter(Entry::NotUnderstood { rpc: state.rpc, problem });
            }
        }
    }

    /// Bytes of the answer pass.
    pub(super) fn answer(&self, bytes: &Bytes) {
        let mut guard = self.state();
        let state = &mut *guard;
        if state.closed || state.call.is_none() {
            return;
        }
        state.taken += bytes.len();
        if state.taken > LARGEST_ANSWER {
            return state.close(Answer::Garbage(format!("an answer of more than {LARGEST_ANSWER} bytes")));
        }
        state.buffer.extend_from_slice(bytes);
        if let Err(problem) = reading::split(&mut state.buffer, &mut state.messages) {
            state.close(Answer::Garbage(problem));
        }
    }

    /// The status has come: in trailers, or in the headers of an answer without a message.
    pub(super) fn status(&self, trailers: &HeaderMap) {
        let mut state = self.state();
        let answer = match state.buffer.is_empty() {
            true => reading::conclude(state.rpc, trailers, &state.messages),
            false => Answer::Garbage(format!("a message cut off after {} bytes", state.buffer.len())),
        };
        state.close(answer);
    }

    /// Something came in place of a gRPC answer.
    pub(super) fn garbage(&self, what: String) {
        self.state().close(Answer::Garbage(what));
    }

    /// Nothing more will be known of the call.
    pub(super) fn lost(&self, lost: Lost) {
        self.state().close(Answer::Lost(lost));
    }

    /// A panic elsewhere leaves at worst a call that is journalled as cancelled.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, answer: Answer) {
        if let (false, Some(call)) = (self.closed, self.call) {
            self.journal.enter(Entry::Answer { call, answer });
        }
        self.closed = true;
        self.messages = Vec::new();
        self.buffer = BytesMut::new();
    }
}

impl Drop for State {
    /// The client went away: both directions were dropped before a status had passed.
    fn drop(&mut self) {
        self.close(Answer::Lost(Lost::Cancelled));
    }
}
