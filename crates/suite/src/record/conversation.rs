//! What is understood of one connection by listening to both of its directions; nothing is held up for that.

use std::collections::HashMap;

use http::{HeaderMap, HeaderName, HeaderValue};
use loona_hpack::Decoder;
use prost::bytes::{Bytes, BytesMut};

use super::{
    call::Call,
    frames::{Frame, Frames},
};
use crate::{
    history::{Lost, Request},
    spec::Rpc,
    sut::Answer,
};

/// The largest header block that is read.
const LARGEST_BLOCK: usize = 1 << 20;

/// The largest table of headers that the two sides may agree upon.
const LARGEST_TABLE: usize = 1 << 20;

/// Which way bytes pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// From the orchestrator to the driver.
    Request,
    /// From the driver to the orchestrator.
    Answer,
}

/// Something that was understood.
#[derive(Debug, PartialEq)]
pub enum Heard {
    /// A request has passed whole.
    Request {
        /// Its stream, which names the call within the connection.
        stream: u32,
        /// The request.
        request: Request,
    },
    /// A call whose request was understood has ended.
    Answer {
        /// Its stream.
        stream: u32,
        /// How it ended.
        answer: Answer,
    },
    /// A request passed that is no message of this interface.
    NotUnderstood {
        /// Where it was sent.
        rpc: Rpc,
        /// Why.
        problem: String,
    },
    /// Nothing more can be understood of the connection.
    Unreadable {
        /// Why.
        problem: String,
    },
}

/// One connection, from its first byte to its last.
pub struct Conversation {
    client: Reader,
    driver: Reader,
    /// Calls under way, by their stream.
    calls: HashMap<u32, Call>,
    unreadable: bool,
}

impl Default for Conversation {
    fn default() -> Self {
        Self {
            client: Reader::of(Frames::of_client()),
            driver: Reader::of(Frames::of_server()),
            calls: HashMap::new(),
            unreadable: false,
        }
    }
}

impl Conversation {
    /// Bytes pass; what is understood with them.
    pub fn hear(&mut self, way: Way, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        if self.unreadable {
            return heard;
        }
        let reader = match way {
            Way::Request => &mut self.client,
            Way::Answer => &mut self.driver,
        };
        reader.frames.push(bytes);
        loop {
            let reader = match way {
                Way::Request => &mut self.client,
                Way::Answer => &mut self.driver,
            };
            match (reader.next(), way) {
                (Ok(None), _) => return heard,
                (Ok(Some(piece)), Way::Request) => self.asked(piece, &mut heard),
                (Ok(Some(piece)), Way::Answer) => self.answered(piece, &mut heard),
                (Err(problem), _) => {
                    heard.push(Heard::Unreadable { problem });
                    heard.extend(self.end(Lost::Connection));
                    self.unreadable = true;
                    self.client.forget();
                    self.driver.forget();
                    return heard;
                }
            }
        }
    }

    /// The connection is gone, and with it the calls that were under way.
    pub fn end(&mut self, lost: Lost) -> Vec<Heard> {
        let mut left: Vec<(u32, Call)> = self.calls.drain().collect();
        left.sort_unstable_by_key(|(stream, _)| *stream);
        let ended = left.into_iter().filter(|(_, call)| call.is_understood());
        ended.map(|(stream, _)| Heard::Answer { stream, answer: Answer::Lost(lost) }).collect()
    }

    /// How many calls are under way.
    pub fn under_way(&self) -> usize {
        self.calls.len()
    }

    fn asked(&mut self, piece: Piece, heard: &mut Vec<Heard>) {
        match piece {
            Piece::Head { stream, head, .. } => {
                // A method that this version of the interface does not know passes unread.
                let rpc = Rpc::ALL.iter().copied().find(|rpc| head.path.as_deref() == Some(rpc.path()));
                if let Some(rpc) = rpc {
                    self.calls.entry(stream).or_insert_with(|| Call::new(rpc));
                }
            }
            Piece::Data { stream, bytes, .. } => match self.calls.get_mut(&stream).map(|call| call.request(&bytes)) {
                Some(Ok(Some(request))) => heard.push(Heard::Request { stream, request }),
                Some(Err(problem)) => {
                    if let Some(call) = self.calls.remove(&stream) {
                        heard.push(Heard::NotUnderstood { rpc: call.rpc(), problem });
                    }
                }
                Some(Ok(None)) | None => {}
            },
            Piece::Reset { stream } => self.close(stream, Answer::Lost(Lost::Cancelled), heard),
            Piece::GoAway { .. } | Piece::Nothing => {}
        }
    }

    fn answered(&mut self, piece: Piece, heard: &mut Vec<Heard>) {
        let (stream, answer, ends) = match piece {
            Piece::Head { stream, head, last } => {
                let answer = self.calls.get_mut(&stream).and_then(|call| call.head(head.status, &head.fields));
                (stream, answer, last)
            }
            Piece::Data { stream, bytes, last } => {
                (stream, self.calls.get_mut(&stream).and_then(|call| call.answer(&bytes)), last)
            }
            Piece::Reset { stream } => (stream, Some(Answer::Lost(Lost::Connection)), true),
            Piece::GoAway { last } => {
                // The driver has not seen them, and will not.
                let mut refused: Vec<u32> = self.calls.keys().copied().filter(|stream| *stream > last).collect();
                refused.sort_unstable();
                refused.into_iter().for_each(|stream| self.close(stream, Answer::Lost(Lost::Connection), heard));
                return;
            }
            Piece::Nothing => return,
        };
        let silent = || Answer::Garbage("the stream ended without a status".to_owned());
        if let Some(answer) = answer.or_else(|| ends.then(silent)) {
            self.close(stream, answer, heard);
        }
    }

    fn close(&mut self, stream: u32, answer: Answer, heard: &mut Vec<Heard>) {
        if self.calls.remove(&stream).is_some_and(|call| call.is_understood()) {
            heard.push(Heard::Answer { stream, answer });
        }
    }
}

/// What one side says, a piece at a time.
enum Piece {
    Head { stream: u32, head: Head, last: bool },
    Data { stream: u32, bytes: Bytes, last: bool },
    Reset { stream: u32 },
    GoAway { last: u32 },
    Nothing,
}

/// A list of headers.
#[derive(Default)]
struct Head {
    path: Option<String>,
    status: Option<u16>,
    fields: HeaderMap,
}

/// One direction: frames, and the table by which headers are packed.
struct Reader {
    frames: Frames,
    unpacker: Decoder<'static>,
    block: Option<Block>,
}

/// A header block that has not come whole.
struct Block {
    stream: u32,
    bytes: BytesMut,
    last_of_stream: bool,
    is_promise: bool,
}

impl Reader {
    fn of(frames: Frames) -> Self {
        let mut unpacker = Decoder::new();
        unpacker.set_max_allowed_table_size(LARGEST_TABLE);
        Self { frames, unpacker, block: None }
    }

    /// Gives up what it holds.
    fn forget(&mut self) {
        *self = Self::of(Frames::of_server());
    }

    fn next(&mut self) -> Result<Option<Piece>, String> {
        let Some(frame) = self.frames.next()? else { return Ok(None) };
        let (mut block, part, whole) = match (frame, self.block.take()) {
            (Frame::Headers { stream, block, last_of_block, last_of_stream }, None) => {
                (Block { stream, bytes: BytesMut::new(), last_of_stream, is_promise: false }, block, last_of_block)
            }
            (Frame::Promise { stream, block, last_of_block }, None) => {
                let begun = Block { stream, bytes: BytesMut::new(), last_of_stream: false, is_promise: true };
                (begun, block, last_of_block)
            }
            (Frame::Continuation { stream, block, last_of_block }, Some(begun)) if stream == begun.stream => {
                (begun, block, last_of_block)
            }
            (Frame::Data { stream, bytes, last_of_stream }, None) => {
                return Ok(Some(Piece::Data { stream, bytes, last: last_of_stream }));
            }
            (Frame::Reset { stream }, None) => return Ok(Some(Piece::Reset { stream })),
            (Frame::GoAway { last }, None) => return Ok(Some(Piece::GoAway { last })),
            _ => return Err("a header block that another frame breaks into".to_owned()),
        };
        block.bytes.extend_from_slice(&part);
        if block.bytes.len() > LARGEST_BLOCK {
            return Err(format!("headers of more than {LARGEST_BLOCK} bytes"));
        }
        if !whole {
            self.block = Some(block);
            return Ok(Some(Piece::Nothing));
        }
        let head = self.unpack(&block.bytes)?;
        Ok(Some(match block.is_promise {
            true => Piece::Nothing,
            false => Piece::Head { stream: block.stream, head, last: block.last_of_stream },
        }))
    }

    fn unpack(&mut self, block: &[u8]) -> Result<Head, String> {
        let mut head = Head::default();
        let unpacked = self.unpacker.decode_with_cb(block, |name, value| match &*name {
            b":path" => head.path = String::from_utf8(value.into_owned()).ok(),
            b":status" => head.status = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()),
            name => {
                // Pseudo-headers are no names of fields, and of no use here.
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(&value)) {
                    head.fields.append(name, value);
                }
            }
        });
        unpacked.map(|()| head).map_err(|error| format!("headers that do not unpack: {error:?}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use loona_hpack::Encoder;
    use proptest::prelude::*;

    use super::*;
    use crate::csi::v1;

    /// Both sides of a connection, as they stand on the wire.
    #[derive(Default)]
    pub(in crate::record) struct Wire {
        asking: Encoder<'static>,
        answering: Encoder<'static>,
    }

    impl Wire {
        /// What a client sends first.
        pub(in crate::record) fn preface(&self) -> Bytes {
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat().into()
        }

        /// A request with this body.
        pub(in crate::record) fn request(&mut self, stream: u32, rpc: Rpc, body: &[u8]) -> Bytes {
            let fields = [(":method", "POST"), (":path", rpc.path()), ("content-type", "application/grpc")];
            [headers(&mut self.asking, stream, &fields, false), frame(0, 1, stream, body)].concat().into()
        }

        /// An answer with this body and status.
        pub(in crate::record) fn answer(&mut self, stream: u32, body: &[u8], status: &str) -> Bytes {
            let fields = [(":status", "200"), ("content-type", "application/grpc")];
            let head = headers(&mut self.answering, stream, &fields, false);
            let trailers =
                headers(&mut self.answering, stream, &[("grpc-status", status), ("grpc-message", "no")], true);
            [head, frame(0, 0, stream, body), trailers].concat().into()
        }
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = &(payload.len() as u32).to_be_bytes()[1..];
        [length, &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// The fields in two frames.
    fn headers(packer: &mut Encoder<'_>, stream: u32, fields: &[(&str, &str)], last: bool) -> Vec<u8> {
        let block = packer.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let (first, rest) = block.split_at(block.len() / 2);
        [frame(1, u8::from(last), stream, first), frame(9, 4, stream, rest)].concat()
    }

    const EMPTY: &[u8] = b"\0\0\0\0\0";

    fn request(stream: u32) -> Heard {
        Heard::Request { stream, request: v1::ProbeRequest {}.into() }
    }

    fn lost(stream: u32, lost: Lost) -> Heard {
        Heard::Answer { stream, answer: Answer::Lost(lost) }
    }

    #[test]
    fn calls_are_heard_with_their_answers() {
        let (mut wire, mut conversation) = (Wire::default(), Conversation::default());
        assert_eq!(conversation.hear(Way::Request, &wire.preface()), []);
        assert_eq!(conversation.hear(Way::Request, &wire.request(1, Rpc::Probe, EMPTY)), [request(1)]);
        assert_eq!(conversation.hear(Way::Request, &wire.request(3, Rpc::Probe, EMPTY)), [request(3)]);
        assert_eq!(conversation.under_way(), 2);
        let status = Answer::Status { code: 9, message: "no".into(), details: 0 };
        let heard = conversation.hear(Way::Answer, &wire.answer(3, &[], "9"));
        assert_eq!(heard, [Heard::Answer { stream: 3, answer: status }]);
        let reply = Answer::Reply(v1::ProbeResponse::default().into());
        let heard = conversation.hear(Way::Answer, &wire.answer(1, EMPTY, "0"));
        assert_eq!(heard, [Heard::Answer { stream: 1, answer: reply }]);
        assert_eq!(conversation.under_way(), 0);
    }

    #[test]
    fn calls_that_nobody_answers_are_lost_for_the_reason_that_was_heard() {
        let (mut wire, mut conversation) = (Wire::default(), Conversation::default());
        conversation.hear(Way::Request, &wire.preface());
        for stream in [1, 3, 5, 7, 9] {
            conversation.hear(Way::Request, &wire.request(stream, Rpc::Probe, EMPTY));
        }
        assert_eq!(conversation.hear(Way::Request, &frame(3, 0, 1, &[0; 4])), [lost(1, Lost::Cancelled)]);
        assert_eq!(conversation.hear(Way::Answer, &frame(3, 0, 3, &[0; 4])), [lost(3, Lost::Connection)]);
        let away = frame(7, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 0]);
        assert_eq!(conversation.hear(Way::Answer, &away), [lost(9, Lost::Connection)]);
        let silent = Answer::Garbage("the stream ended without a status".into());
        let fields = [(":status", "200"), ("content-type", "application/grpc")];
        conversation.hear(Way::Answer, &headers(&mut wire.answering, 5, &fields, false));
        let heard = conversation.hear(Way::Answer, &frame(0, 1, 5, EMPTY));
        assert_eq!(heard, [Heard::Answer { stream: 5, answer: silent }]);
        assert_eq!(conversation.end(Lost::Cancelled), [lost(7, Lost::Cancelled)]);
    }

    #[test]
    fn what_is_not_understood_is_said_once_and_ends_the_listening() {
        let (mut wire, mut conversation) = (Wire::default(), Conversation::default());
        conversation.hear(Way::Request, &wire.preface());
        let heard = conversation.hear(Way::Request, &wire.request(1, Rpc::Probe, b"\x01\0\0\0\0"));
        assert!(matches!(&heard[..], [Heard::NotUnderstood { rpc: Rpc::Probe, .. }]), "{heard:?}");
        assert_eq!(conversation.hear(Way::Answer, &wire.answer(1, EMPTY, "0")), []);
        conversation.hear(Way::Request, &wire.request(3, Rpc::Probe, EMPTY));
        // A header block that refers to what is in no table.
        let heard = conversation.hear(Way::Answer, &frame(1, 5, 3, &[0xff, 0x7f]));
        assert!(matches!(&heard[..], [Heard::Unreadable { .. }, Heard::Answer { stream: 3, .. }]), "{heard:?}");
        assert_eq!(conversation.hear(Way::Request, &wire.request(5, Rpc::Probe, EMPTY)), []);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(cuts in proptest::collection::vec(1..40usize, 1..60)) {
            let mut wire = Wire::default();
            let asked = [wire.preface(), wire.request(1, Rpc::Probe, EMPTY), wire.request(3, Rpc::Probe, EMPTY)].concat();
            let answered = [wire.answer(3, EMPTY, "0"), wire.answer(1, EMPTY, "13")].concat();
            let mut once = Conversation::default();
            let mut expected = once.hear(Way::Request, &asked);
            expected.extend(once.hear(Way::Answer, &answered));
            let mut cut = Conversation::default();
            let mut heard = Vec::new();
            for (way, mut bytes) in [(Way::Request, &asked[..]), (Way::Answer, &answered[..])] {
                for at in cuts.iter().cycle() {
                    let (first, rest) = bytes.split_at((*at).min(bytes.len()));
                    heard.extend(cut.hear(way, first));
                    bytes = rest;
                    if bytes.is_empty() {
                        break;
                    }
                }
            }
            prop_assert_eq!(heard, expected);
        }

        #[test]
        fn nonsense_does_no_harm(
            pieces in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..64)), 0..40),
            kinds in proptest::collection::vec((0..12u8, any::<u8>(), 0..8u32, proptest::collection::vec(any::<u8>(), 0..32)), 0..40),
        ) {
            let mut conversation = Conversation::default();
            conversation.hear(Way::Request, &Wire::default().preface());
            for (kind, flags, stream, payload) in kinds {
                let way = if flags % 2 == 0 { Way::Request } else { Way::Answer };
                conversation.hear(way, &frame(kind, flags, stream, &payload));
            }
            for (asked, bytes) in pieces {
                conversation.hear(if asked { Way::Request } else { Way::Answer }, &bytes);
            }
            conversation.end(Lost::Connection);
        }
    }
}
