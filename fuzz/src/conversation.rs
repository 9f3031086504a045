//! What passes over one connection, in pieces: whatever it is, listening to it does no harm, says the same however the bytes
//! are cut, and answers no call that was not asked.

use std::collections::BTreeSet;

use csi_certify_history::history::Lost;
use csi_certify_suite::{
    record::{Conversation, Heard, Way},
    sut::Answer,
};

/// Pieces of bytes, each with a byte for the way and one for the length before it.
pub fn run(bytes: &[u8]) {
    let pieces = pieces(bytes);
    let (mut whole, mut cut) = (Conversation::default(), Conversation::default());
    let (mut heard, mut heard_cut) = (Vec::new(), Vec::new());
    for (way, piece) in &pieces {
        heard.extend(whole.hear(*way, piece));
        for byte in *piece {
            heard_cut.extend(cut.hear(*way, &[*byte]));
        }
    }
    heard.extend(whole.end(Lost::Connection));
    heard_cut.extend(cut.end(Lost::Connection));
    assert_eq!(heard, heard_cut, "how the bytes are cut makes a difference");
    assert_eq!(whole.under_way(), 0);
    let mut open = BTreeSet::new();
    for one in heard {
        match one {
            Heard::Request { stream, .. } => assert!(open.insert(stream), "stream {stream} is asked twice at once"),
            Heard::Answer { stream, answer } => {
                assert!(open.remove(&stream), "stream {stream} is answered {answer:?} without having asked");
                if let Answer::Garbage(what) = answer {
                    assert!(!what.is_empty());
                }
            }
            Heard::NotUnderstood { problem, .. } | Heard::Unreadable { problem } => assert!(!problem.is_empty()),
        }
    }
    assert!(open.is_empty(), "{open:?} are never heard of again");
}

fn pieces(mut bytes: &[u8]) -> Vec<(Way, &[u8])> {
    let mut pieces = Vec::new();
    while let [way, length, rest @ ..] = bytes {
        let (piece, later) = rest.split_at(usize::from(*length).min(rest.len()));
        pieces.push((if way % 2 == 0 { Way::Request } else { Way::Answer }, piece));
        bytes = later;
    }
    pieces
}
