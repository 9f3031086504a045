//! One call as it passes: its messages are put together from what its stream carries.

use http::{HeaderMap, HeaderValue, header};
use prost::bytes::BytesMut;

use crate::{
    history::Request,
    spec::Rpc,
    sut::{Answer, LARGEST_ANSWER, reading},
};

/// What is known of a call that is under way.
pub(super) struct Call {
    rpc: Rpc,
    /// Bytes of a message that has not come whole.
    buffer: BytesMut,
    /// Whether its request was understood.
    understood: bool,
    /// Whether the answer has begun.
    begun: bool,
    /// Messages of the answer.
    messages: Vec<Vec<u8>>,
    /// How many bytes of the answer were kept.
    taken: usize,
}

impl Call {
    pub(super) fn new(rpc: Rpc) -> Self {
        Self { rpc, buffer: BytesMut::new(), understood: false, begun: false, messages: Vec::new(), taken: 0 }
    }

    /// Where it was sent.
    pub(super) const fn rpc(&self) -> Rpc {
        self.rpc
    }

    /// Whether its request was understood; of others nothing is said.
    pub(super) const fn is_understood(&self) -> bool {
        self.understood
    }

    /// Bytes of the request pass: the request, once it is whole.
    ///
    /// # Errors
    ///
    /// When they are no request of this RPC.
    pub(super) fn request(&mut self, bytes: &[u8]) -> Result<Option<Request>, String> {
        if self.understood {
            return Ok(None);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > LARGEST_ANSWER {
            return Err("a request that is too large to be kept".to_owned());
        }
        let mut messages = Vec::new();
        reading::split(&mut self.buffer, &mut messages)?;
        let Some(message) = messages.first() else { return Ok(None) };
        let request = Request::decode(self.rpc, message).map_err(|error| error.to_string())?;
        self.buffer.clear();
        self.understood = true;
        Ok(Some(request))
    }

    /// Headers of the answer pass, its first ones or its last: how the call ended, if they say so.
    pub(super) fn head(&mut self, status: Option<u16>, fields: &HeaderMap) -> Option<Answer> {
        if !self.begun {
            match status {
                // What comes before the answer proper.
                Some(100..200) => return None,
                Some(200) => {}
                Some(other) => return Some(Answer::Garbage(format!("HTTP status {other}"))),
                None => return Some(Answer::Garbage("an answer without an HTTP status".to_owned())),
            }
            self.begun = true;
            let content_type = fields.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
            if !content_type.starts_with(b"application/grpc") {
                return Some(Answer::Garbage(format!("content-type {:?}", String::from_utf8_lossy(content_type))));
            }
            // The head may be the whole of it.
            if !fields.contains_key("grpc-status") {
                return None;
            }
        }
        Some(match self.buffer.is_empty() {
            true => reading::conclude(self.rpc, fields, &self.messages),
            false => Answer::Garbage(format!("a message cut off after {} bytes", self.buffer.len())),
        })
    }

    /// Bytes of the answer pass: how the call ended, if they are nothing that can be kept.
    pub(super) fn answer(&mut self, bytes: &[u8]) -> Option<Answer> {
        if !self.understood {
            return None;
        }
        self.taken += bytes.len();
        if self.taken > LARGEST_ANSWER {
            return Some(Answer::Garbage(format!("an answer of more than {LARGEST_ANSWER} bytes")));
        }
        self.buffer.extend_from_slice(bytes);
        reading::split(&mut self.buffer, &mut self.messages).err().map(Answer::Garbage)
    }
}
