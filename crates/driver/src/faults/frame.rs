//! gRPC's frames: messages with their length before them.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};
use http_body_util::{BodyExt as _, Full};
use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tonic::{Code, Status, body::Body};

use super::past::Answer;
use crate::{
    history::{Reply, Request},
    spec::Rpc,
};

/// The request in a body; `None` when it is none.
pub(super) fn read_request(rpc: Rpc, mut body: Bytes) -> Option<Request> {
    Request::decode(rpc, &message(&mut body)?).ok()
}

/// A request to the driver.
pub(super) fn http_request(request: &Request, timeout: Option<HeaderValue>) -> http::Request<Body> {
    let mut sent = http::Request::new(Body::new(Full::new(framed([request.encode()]))));
    *sent.method_mut() = Method::POST;
    *sent.uri_mut() = Uri::from_static(request.rpc().path());
    *sent.version_mut() = Version::HTTP_2;
    sent.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    if let Some(timeout) = timeout {
        sent.headers_mut().insert("grpc-timeout", timeout);
    }
    sent
}

/// The answer in a response.
pub(super) async fn read_answer(rpc: Rpc, response: http::Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return Err(status);
    }
    let collected = body.collect().await?;
    let status = collected.trailers().and_then(Status::from_header_map);
    if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
        return Err(status);
    }
    let mut bytes = collected.to_bytes();
    let messages: Vec<Vec<u8>> = std::iter::from_fn(|| message(&mut bytes)).collect();
    Reply::decode(rpc, &messages).map_err(|error| Status::internal(error.to_string()))
}

/// An answer as a response.
pub(super) fn response(answer: Answer) -> http::Response<Body> {
    let reply = match answer {
        Ok(reply) => reply,
        Err(status) => return status.into_http(),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(framed(reply.encode())).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// The time in a `grpc-timeout` header.
pub(super) fn timeout(header: &HeaderValue) -> Option<Duration> {
    let text = header.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let nanoseconds = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    Some(Duration::from_nanos(number.parse::<u64>().ok()?.saturating_mul(nanoseconds)))
}

fn message(bytes: &mut Bytes) -> Option<Vec<u8>> {
    if bytes.len() < PREFIX {
        return None;
    }
    // The first byte says whether the message is compressed; nobody here does that.
    bytes.advance(1);
    let length = bytes.get_u32() as usize;
    (bytes.len() >= length).then(|| bytes.split_to(length).to_vec())
}

fn framed(messages: impl IntoIterator<Item = Vec<u8>>) -> Bytes {
    let mut frames = BytesMut::new();
    for message in messages {
        frames.put_u8(0);
        frames.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        frames.put_slice(&message);
    }
    frames.freeze()
}

const PREFIX: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_number_and_its_unit() {
        let read = |text| timeout(&HeaderValue::from_static(text));
        assert_eq!(read("1000000u"), Some(Duration::from_secs(1)));
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("20m"), Some(Duration::from_millis(20)));
        assert_eq!((read(""), read("S"), read("1x")), (None, None, None));
    }
}
