//! HTTP/2 as it stands on the wire, cut into frames (RFC 9113, section 4), with what they carry taken out of its padding.

use prost::bytes::{Buf as _, Bytes, BytesMut};

/// What a client sends before its first frame (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The head of a frame: length, type, flags, stream.
const HEAD: usize = 9;

/// Flags (RFC 9113, section 6).
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A frame that matters to those who only listen.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// The first part of a header block.
    Headers { stream: u32, block: Bytes, last_of_block: bool, last_of_stream: bool },
    /// The first part of the headers of a request that nobody made.
    Promise { stream: u32, block: Bytes, last_of_block: bool },
    /// A further part of a header block.
    Continuation { stream: u32, block: Bytes, last_of_block: bool },
    /// A part of a body.
    Data { stream: u32, bytes: Bytes, last_of_stream: bool },
    /// The stream is given up.
    Reset { stream: u32 },
    /// Streams after the last one are not served.
    GoAway { last: u32 },
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    /// What of the preface is still to come.
    preface: &'static [u8],
}

impl Frames {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self { buffer: BytesMut::new(), preface: PREFACE }
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self { buffer: BytesMut::new(), preface: &[] }
    }

    /// Takes further bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame that has come whole; frames of other kinds are passed over.
    ///
    /// # Errors
    ///
    /// When this is no HTTP/2.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, String> {
        let shared = self.preface.len().min(self.buffer.len());
        if self.buffer[..shared] != self.preface[..shared] {
            return Err("a connection that does not begin as HTTP/2 does".to_owned());
        }
        self.buffer.advance(shared);
        self.preface = &self.preface[shared..];
        while let [a, b, c, kind, flags, s, t, u, v, ..] = self.buffer[..] {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if self.buffer.len() < HEAD + length {
                break;
            }
            let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
            let mut payload = self.buffer.split_to(HEAD + length).freeze();
            payload.advance(HEAD);
            if let Some(frame) = read(kind, flags, stream, payload)? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

fn read(kind: u8, flags: u8, stream: u32, payload: Bytes) -> Result<Option<Frame>, String> {
    let last_of_block = flags & END_HEADERS != 0;
    let last_of_stream = flags & END_STREAM != 0;
    Ok(match kind {
        0 => Some(Frame::Data { stream, bytes: without_padding(flags, payload)?, last_of_stream }),
        1 => {
            let mut block = without_padding(flags, payload)?;
            if flags & PRIORITY != 0 {
                block = after(block, 5)?;
            }
            Some(Frame::Headers { stream, block, last_of_block, last_of_stream })
        }
        3 => Some(Frame::Reset { stream }),
        5 => {
            let block = after(without_padding(flags, payload)?, 4)?;
            Some(Frame::Promise { stream, block, last_of_block })
        }
        7 => match payload[..] {
            [a, b, c, d, ..] => Some(Frame::GoAway { last: u32::from_be_bytes([a & 0x7f, b, c, d]) }),
            _ => return Err(short()),
        },
        9 => Some(Frame::Continuation { stream, block: payload, last_of_block }),
        _ => None,
    })
}

fn without_padding(flags: u8, payload: Bytes) -> Result<Bytes, String> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let padding = usize::from(*payload.first().ok_or_else(short)?);
    let mut inner = after(payload, 1)?;
    inner.truncate(inner.len().checked_sub(padding).ok_or_else(short)?);
    Ok(inner)
}

fn after(mut bytes: Bytes, count: usize) -> Result<Bytes, String> {
    match bytes.len() < count {
        true => Err(short()),
        false => Ok(bytes.split_off(count)),
    }
}

fn short() -> String {
    "an HTTP/2 frame that is shorter than its kind".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0x80, 0, 0, stream], payload].concat()
    }

    fn all(mut frames: Frames, bytes: &[u8]) -> Vec<Frame> {
        let mut found = Vec::new();
        // However the bytes are cut.
        for byte in bytes {
            frames.push(&[*byte]);
            found.extend(std::iter::from_fn(|| frames.next().unwrap()));
        }
        found
    }

    #[test]
    fn frames_are_found_however_the_bytes_come_and_without_their_padding() {
        let bytes = [
            PREFACE,
            // SETTINGS and a frame of a kind that is yet to come.
            &frame(4, 0, 0, &[0, 1, 0, 0, 16, 0]),
            &frame(99, 0xff, 1, b"whatever"),
            &frame(1, PADDED | PRIORITY, 1, &[2, 0, 0, 0, 0, 9, b'h', 0, 0]),
            &frame(9, END_HEADERS, 1, b"i"),
            &frame(0, PADDED | END_STREAM, 1, &[1, b'd', 0]),
            &frame(3, 0, 1, &[0, 0, 0, 8]),
            &frame(7, 0, 0, &[0x80, 0, 0, 5, 0, 0, 0, 0]),
        ]
        .concat();
        let block = |text: &'static [u8]| Bytes::from_static(text);
        let expected = [
            Frame::Headers { stream: 1, block: block(b"h"), last_of_block: false, last_of_stream: false },
            Frame::Continuation { stream: 1, block: block(b"i"), last_of_block: true },
            Frame::Data { stream: 1, bytes: block(b"d"), last_of_stream: true },
            Frame::Reset { stream: 1 },
            Frame::GoAway { last: 5 },
        ];
        assert_eq!(all(Frames::of_client(), &bytes), expected);
    }

    #[test]
    fn what_is_no_http2_is_an_error() {
        let mut other = Frames::of_client();
        other.push(b"GET / HTTP/1.1\r\n");
        assert!(other.next().is_err());
        for nonsense in [
            frame(0, PADDED, 1, &[]),
            frame(0, PADDED, 1, &[3, 1, 1]),
            frame(1, PRIORITY, 1, &[1]),
            frame(5, 0, 1, &[1]),
            frame(7, 0, 0, &[1]),
        ] {
            let mut frames = Frames::of_server();
            frames.push(&nonsense);
            assert!(frames.next().is_err(), "{nonsense:?}");
        }
    }
}
