//! Bytes as requests of any shape to a driver with a volume: it answers each, in words, and repeats no secret.

use csi_certify_history::{
    history::{Reply, Request},
    spec::Rpc,
};
use csi_certify_mountpod::mountpod::protocol::Policy;
use csi_certify_suite::{
    explore::{Bytes, Source as _},
    sut::Answer,
};

use super::{
    driver::{Bare, with_a_volume},
    message::{CANARY, message},
};

/// How many requests are sent at most.
const REQUESTS: usize = 8;
/// How deep messages are nested.
const DEPTH: u8 = 6;

/// Sends the requests in the bytes.
pub fn run(bytes: &[u8]) {
    let mut source = Bytes::new(bytes);
    let mut requests = Vec::new();
    while !source.is_exhausted() && requests.len() < REQUESTS {
        let rpc = Rpc::ALL[source.below(Rpc::ALL.len())];
        let message = message(Request::descriptor(rpc), &mut source, DEPTH);
        requests.push(Request::from_dynamic(rpc, &message).expect("a message of its own type"));
    }
    with_a_volume(&Policy::default(), async |bare: &Bare| {
        for request in &requests {
            let answer = bare.call(request).await;
            check(request, &answer);
        }
    });
}

fn check(request: &Request, answer: &Answer) {
    match answer {
        Answer::Reply(reply) => {
            assert_eq!(reply.rpc(), request.rpc());
            assert!(!text_of(reply).contains(CANARY), "{request:?}: {reply:?}");
        }
        Answer::Status { code, message, .. } => {
            assert!((1..=16).contains(code), "{request:?}: {answer}");
            // A driver that fails by itself has a fault of its own.
            assert!(![2, 15].contains(code), "{request:?}: {answer}");
            assert!(!message.is_empty(), "{request:?}: {answer}");
            assert!(!message.contains(CANARY), "{request:?}: {answer}");
        }
        Answer::Lost(_) | Answer::Garbage(_) => panic!("{request:?}: {answer}"),
    }
}

fn text_of(reply: &Reply) -> String {
    format!("{reply:?}")
}
