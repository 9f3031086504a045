//! One gRPC call over HTTP/2, read by hand: what the driver sent is told from what a client library would make up.

use std::time::Duration;

use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, Full};
use prost::{
    Message as _,
    bytes::{BufMut as _, Bytes, BytesMut},
};
use tokio::time::Instant;
use tonic::body::Body;
use tower::{ServiceExt as _, util::BoxCloneService};

use super::Answer;
use crate::{
    history::{Lost, Reply, Request},
    spec::Rpc,
};

/// The largest answer that is taken, all messages together.
pub const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// The most messages of a stream that are taken.
const LONGEST_STREAM: usize = 100_000;

/// What carries an HTTP request to the driver and brings its response back.
pub(crate) type Transport = BoxCloneService<http::Request<Body>, http::Response<Body>, tower::BoxError>;

/// Sends a request and reads the answer to its end, however long that takes: deadlines are the caller's.
///
/// The deadline is told to the driver. One that keeps to it may reset the stream at that moment, and its reset be here
/// before the caller's own clock strikes: a call that breaks off after its deadline was given up, not cut off.
pub(super) async fn exchange(transport: Transport, request: &Request, deadline: Duration) -> Answer {
    exchange_bytes(transport, request.rpc(), &request.encode(), deadline).await
}

/// As [`exchange`], with a message that is encoded already.
pub(super) async fn exchange_bytes(transport: Transport, rpc: Rpc, message: &[u8], deadline: Duration) -> Answer {
    let begun = Instant::now();
    match pass(transport, rpc, message, deadline).await {
        Answer::Lost(Lost::Connection) if begun.elapsed() >= told(deadline) => Answer::Lost(Lost::Deadline),
        answer => answer,
    }
}

/// The deadline as the header says it: in milliseconds, of which at most eight digits are allowed.
fn told(deadline: Duration) -> Duration {
    Duration::from_millis(deadline.as_millis().clamp(1, 99_999_999) as u64)
}

async fn pass(transport: Transport, rpc: Rpc, message: &[u8], deadline: Duration) -> Answer {
    let response = match transport.oneshot(http_request(rpc, message, deadline)).await {
        Ok(response) => response,
        Err(error) if is_timeout(&*error) => return Answer::Lost(Lost::Deadline),
        Err(_) => return Answer::Lost(Lost::Connection),
    };
    let (head, body) = response.into_parts();
    if head.status != http::StatusCode::OK {
        return Answer::Garbage(format!("HTTP status {}", head.status));
    }
    let content_type = head.headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if !content_type.as_deref().is_some_and(|value| value.starts_with("application/grpc")) {
        return Answer::Garbage(format!("content-type {:?}", content_type.as_deref().unwrap_or("missing")));
    }
    if head.headers.contains_key("grpc-status") {
        // A response of trailers only: the status stands in the headers, and there is no message.
        return conclude(rpc, &head.headers, &[]);
    }
    match collect(body).await {
        Ok((messages, trailers)) => conclude(rpc, &trailers, &messages),
        Err(answer) => answer,
    }
}

fn http_request(rpc: Rpc, message: &[u8], deadline: Duration) -> http::Request<Body> {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    let mut http_request = http::Request::new(Body::new(Full::new(frame.freeze())));
    *http_request.method_mut() = http::Method::POST;
    *http_request.uri_mut() = http::Uri::from_static(rpc.path());
    *http_request.version_mut() = http::Version::HTTP_2;
    let headers = http_request.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
    if let Ok(value) = http::HeaderValue::try_from(format!("{}m", told(deadline).as_millis())) {
        headers.insert("grpc-timeout", value);
    }
    http_request
}

/// Reads all messages and the trailers; `Err` holds the answer where there is no more to read.
async fn collect(mut body: Body) -> Result<(Vec<Vec<u8>>, HeaderMap), Answer> {
    let mut buffer = BytesMut::new();
    let mut taken = 0;
    let mut messages = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Answer::Lost(Lost::Connection))?;
        match frame.into_data() {
            Ok(data) => {
                taken += data.len();
                if taken > LARGEST_ANSWER {
                    return Err(Answer::Garbage(format!("an answer of more than {LARGEST_ANSWER} bytes")));
                }
                buffer.extend_from_slice(&data);
                split(&mut buffer, &mut messages).map_err(Answer::Garbage)?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return match buffer.is_empty() {
                        true => Ok((messages, trailers)),
                        false => Err(Answer::Garbage(format!("a message cut off after {} bytes", buffer.len()))),
                    };
                }
            }
        }
    }
    Err(Answer::Garbage("the stream ended without a status".to_owned()))
}

/// Takes complete gRPC messages from the front of the buffer.
pub(crate) fn split(buffer: &mut BytesMut, messages: &mut Vec<Vec<u8>>) -> Result<(), String> {
    while let [compressed, a, b, c, d, ..] = buffer[..] {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 {
            return Err("a compressed message, which was not asked for".to_owned());
        }
        if length > LARGEST_ANSWER {
            return Err(format!("a message of {length} bytes"));
        }
        if buffer.len() < 5 + length {
            break;
        }
        let message: Bytes = buffer.split_to(5 + length).split_off(5).freeze();
        messages.push(message.to_vec());
        if messages.len() > LONGEST_STREAM {
            return Err(format!("a stream of more than {LONGEST_STREAM} messages"));
        }
    }
    Ok(())
}

/// The answer that a status and the messages before it make.
pub(crate) fn conclude(rpc: Rpc, trailers: &HeaderMap, messages: &[Vec<u8>]) -> Answer {
    let Some(status) = trailers.get("grpc-status") else {
        return Answer::Garbage("trailers without grpc-status".to_owned());
    };
    let Some(code) = status.to_str().ok().and_then(|text| text.parse::<i32>().ok()) else {
        return Answer::Garbage(format!("grpc-status {:?}", String::from_utf8_lossy(status.as_bytes())));
    };
    if code != 0 {
        let message = trailers.get("grpc-message").map(|value| percent_decode(value.as_bytes())).unwrap_or_default();
        let details = trailers.get("grpc-status-details-bin").map_or(0, |value| count_details(value.as_bytes()));
        return Answer::Status { code, message, details };
    }
    if !rpc.streams() && messages.len() != 1 {
        return Answer::Garbage(format!("status OK with {} messages instead of one", messages.len()));
    }
    match Reply::decode(rpc, messages) {
        Ok(reply) => Answer::Reply(reply),
        Err(error) => Answer::Garbage(format!("status OK with a message that does not decode: {error}")),
    }
}

/// Undoes the percent-encoding of `grpc-message`; what is no UTF-8 is replaced.
fn percent_decode(bytes: &[u8]) -> String {
    let hex = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The part of `google.rpc.Status` that is of interest.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// How many details there are; what cannot be decoded counts as one, for it is not empty.
fn count_details(value: &[u8]) -> u32 {
    base64(value).and_then(|bytes| RpcStatus::decode(&*bytes).ok()).map_or(1, |status| status.details.len() as u32)
}

/// Reads base64 with or without padding, as gRPC's binary headers use it.
fn base64(value: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let digits: Option<Vec<u8>> = value.iter().take_while(|&&byte| byte != b'=').map(|&byte| digit(byte)).collect();
    let mut bytes = Vec::new();
    for group in digits?.chunks(4) {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (at, &digit)| bits | u32::from(digit) << (18 - 6 * at));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        entries.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_reset_after_the_deadline_was_given_up_and_not_cut_off() {
        let breaks_after = |milliseconds| {
            let broken = tower::service_fn(move |_: http::Request<Body>| async move {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                Err::<http::Response<Body>, tower::BoxError>("reset".into())
            });
            BoxCloneService::new(broken)
        };
        let request = Request::empty(Rpc::Probe);
        // 2 ms are told to the driver.
        let deadline = Duration::from_micros(2900);
        for (after, lost) in [(1, Lost::Connection), (2, Lost::Deadline), (3, Lost::Deadline)] {
            let answer = exchange(breaks_after(after), &request, deadline).await;
            assert_eq!(answer, Answer::Lost(lost), "after {after} ms");
        }
    }

    #[test]
    fn the_number_on_the_wire_is_kept_even_if_grpc_has_no_such_code() {
        let trailers = trailers(&[("grpc-status", "77"), ("grpc-message", "caf%C3%A9 100%")]);
        let expected = Answer::Status { code: 77, message: "café 100%".into(), details: 0 };
        assert_eq!(conclude(Rpc::Probe, &trailers, &[]), expected);
    }

    #[test]
    fn details_are_counted_or_taken_for_one_when_unreadable() {
        let any = prost_types::Any { type_url: "t".into(), value: vec![1] };
        let bytes = RpcStatus { details: vec![any.clone(), any] }.encode_to_vec();
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = Vec::new();
        for chunk in bytes.chunks(3) {
            let bits =
                chunk.iter().enumerate().fold(0_u32, |bits, (at, &byte)| bits | u32::from(byte) << (16 - 8 * at));
            text.extend((0..=chunk.len()).map(|at| alphabet[(bits >> (18 - 6 * at) & 63) as usize]));
        }
        assert_eq!(base64(&text).unwrap(), bytes);
        assert_eq!(count_details(&text), 2);
        assert_eq!(count_details(b"!!!"), 1);
        assert_eq!(count_details(b""), 0);
    }

    #[test]
    fn what_has_no_readable_status_is_garbage() {
        let garbage = |answer| matches!(answer, Answer::Garbage(_));
        assert!(garbage(conclude(Rpc::Probe, &HeaderMap::new(), &[vec![]])));
        assert!(garbage(conclude(Rpc::Probe, &trailers(&[("grpc-status", "OK")]), &[vec![]])));
        assert!(garbage(conclude(Rpc::Probe, &trailers(&[("grpc-status", "0")]), &[])));
        assert!(garbage(conclude(Rpc::Probe, &trailers(&[("grpc-status", "0")]), &[vec![], vec![]])));
        assert!(garbage(conclude(Rpc::Probe, &trailers(&[("grpc-status", "0")]), &[vec![0xff; 3]])));
    }

    #[test]
    fn messages_are_split_wherever_the_network_cut_them() {
        let wire = [0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 8, 9];
        for cut in 0..wire.len() {
            let (mut buffer, mut messages) = (BytesMut::from(&wire[..cut]), Vec::new());
            split(&mut buffer, &mut messages).unwrap();
            buffer.extend_from_slice(&wire[cut..]);
            split(&mut buffer, &mut messages).unwrap();
            assert_eq!(messages, [vec![7], vec![], vec![8, 9]]);
        }
        let mut huge = BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(split(&mut huge, &mut Vec::new()).is_err());
    }
}
