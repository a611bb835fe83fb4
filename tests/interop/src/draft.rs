//! The protocol drafts the suite speaks, and the few messages it encodes by hand.

use std::fmt;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};

/// A draft of moq-lite, or of the IETF's moq-transport. Each client is restricted to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Draft {
    Lite01,
    Lite02,
    Lite03,
    Lite04,
    Lite05,
    Lite06,
    Moqt18,
}

impl Draft {
    /// Those with an ALPN token of their own.
    pub const ALL: [Draft; 4] = [Draft::Lite03, Draft::Lite04, Draft::Lite05, Draft::Lite06];

    /// Those and the ones that are agreed on in band.
    pub const EVERY: [Draft; 6] = [
        Draft::Lite01,
        Draft::Lite02,
        Draft::Lite03,
        Draft::Lite04,
        Draft::Lite05,
        Draft::Lite06,
    ];

    /// Those of moq-transport.
    pub const TRANSPORT: [Draft; 1] = [Draft::Moqt18];

    /// Whether there is a binding of it to WebSocket.
    pub fn is_lite(self) -> bool {
        self < Draft::Moqt18
    }

    pub fn alpn(self) -> &'static str {
        match self {
            Draft::Lite01 | Draft::Lite02 => "moql",
            Draft::Moqt18 => "moqt-18",
            _ => self.name(),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Draft::Lite01 => "moq-lite-01",
            Draft::Lite02 => "moq-lite-02",
            Draft::Lite03 => "moq-lite-03",
            Draft::Lite04 => "moq-lite-04",
            Draft::Lite05 => "moq-lite-05",
            Draft::Lite06 => "moq-lite-06",
            Draft::Moqt18 => "moq-transport-18",
        }
    }

    /// The peer crate's name for this draft.
    pub fn version(self) -> Result<moq_net::Version> {
        self.name()
            .parse()
            .map_err(|error| anyhow::anyhow!("peer does not know {self}: {error:?}"))
    }

    /// Whether the draft has FETCH answered by a publisher, SETUP, and datagrams (all came with 05).
    pub fn is_05_or_later(self) -> bool {
        self >= Draft::Lite05
    }

    /// The unidirectional SETUP stream with no parameters, or nothing before draft 05.
    pub fn setup_stream(self) -> Option<Bytes> {
        self.is_05_or_later().then(|| Bytes::from_static(&[SETUP_STREAM, 1, 0]))
    }

    /// A whole SUBSCRIBE stream opening: type, length, message. Asks for everything from the latest
    /// group on.
    pub fn subscribe_stream(self, id: u64, broadcast: &str, track: &str) -> Bytes {
        let mut body = BytesMut::new();
        put_varint(&mut body, id);
        put_text(&mut body, broadcast);
        put_text(&mut body, track);
        body.put_u8(0); // Priority.
        if self < Draft::Lite06 {
            body.put_u8(0); // Ordered, which the released draft 06 no longer carries.
        }
        put_varint(&mut body, MAX_LATENCY_MS); // Subscriber Max Latency.
        put_varint(&mut body, 0); // Group Start: latest, or no floor.
        put_varint(&mut body, 0); // Group End: none.
        if self >= Draft::Lite06 {
            put_varint(&mut body, 0); // Frame Start.
            put_varint(&mut body, 0); // Frame End: none.
        }

        let mut stream = BytesMut::new();
        stream.put_u8(SUBSCRIBE_STREAM);
        put_varint(&mut stream, body.len() as u64);
        stream.put(body);
        stream.freeze()
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

/// QUIC variable-length integer (RFC 9000, section 16); the suite needs no more than four bytes.
fn put_varint(out: &mut BytesMut, value: u64) {
    match value {
        0..0x40 => out.put_uint(value, 1),
        0x40..0x4000 => out.put_uint(value | 0x4000, 2),
        0x4000..0x4000_0000 => out.put_uint(value | 0x8000_0000, 4),
        _ => panic!("{value} is more than the suite ever encodes"),
    }
}

const SETUP_STREAM: u8 = 0x1;
const SUBSCRIBE_STREAM: u8 = 0x2;
const MAX_LATENCY_MS: u64 = 60_000;
