//! QX_TRANSPORT_PARAMETERS: those of QUIC (RFC 9000, section 18.2) that QMux keeps, and its own.

use bytes::{Bytes, BytesMut};

use crate::wire::varint;

use super::error::{FRAME_ENCODING_ERROR, TRANSPORT_PARAMETER_ERROR, Violation};
use super::integer::{put, take};
use super::limits::RECORD_BYTES_MAX;

/// What one side allows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) idle_timeout_ms: u64,
    pub(super) data: u64,
    /// Streams that the declaring side opened.
    pub(super) stream_data_bidi_local: u64,
    pub(super) stream_data_bidi_remote: u64,
    pub(super) stream_data_uni: u64,
    pub(super) streams_bidi: u64,
    pub(super) streams_uni: u64,
    /// 0: takes no datagrams.
    pub(super) datagram_frame_bytes: u64,
    pub(super) record_bytes: u64,
}

impl Default for Parameters {
    /// What a peer that declares nothing allows.
    fn default() -> Self {
        Self {
            idle_timeout_ms: 0,
            data: 0,
            stream_data_bidi_local: 0,
            stream_data_bidi_remote: 0,
            stream_data_uni: 0,
            streams_bidi: 0,
            streams_uni: 0,
            datagram_frame_bytes: 0,
            record_bytes: RECORD_BYTES_MAX as u64,
        }
    }
}

impl Parameters {
    /// Appends them, each as id, length and value; those at their default are left out.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let default = Self::default();
        for (id, value, unsaid) in [
            (IDLE_TIMEOUT, self.idle_timeout_ms, default.idle_timeout_ms),
            (DATA, self.data, default.data),
            (STREAM_DATA_BIDI_LOCAL, self.stream_data_bidi_local, 0),
            (STREAM_DATA_BIDI_REMOTE, self.stream_data_bidi_remote, 0),
            (STREAM_DATA_UNI, self.stream_data_uni, 0),
            (STREAMS_BIDI, self.streams_bidi, 0),
            (STREAMS_UNI, self.streams_uni, 0),
            (DATAGRAM_FRAME_BYTES, self.datagram_frame_bytes, 0),
            (RECORD_BYTES, self.record_bytes, default.record_bytes),
        ] {
            if value != unsaid {
                put(out, id);
                put(out, varint::len(value) as u64);
                put(out, value);
            }
        }
    }

    pub(super) fn decode(mut input: Bytes) -> Result<Self, Violation> {
        let mut parameters = Self::default();
        let mut seen = 0_u32;
        while !input.is_empty() {
            let id = take(&mut input)?;
            let length = usize::try_from(take(&mut input)?).unwrap_or(usize::MAX);
            if length > input.len() {
                return Err(Violation::new(FRAME_ENCODING_ERROR, "a transport parameter is cut off"));
            }
            let mut value = input.split_to(length);
            let Some((bit, field)) = parameters.field(id) else {
                if is_prohibited(id) {
                    return Err(wrong("a transport parameter that QMux prohibits"));
                }
                continue;
            };
            if seen & 1 << bit != 0 {
                return Err(wrong("a transport parameter is repeated"));
            }
            seen |= 1 << bit;
            *field = take(&mut value)?;
            if !value.is_empty() {
                return Err(wrong("a transport parameter is too long"));
            }
        }
        parameters.check()
    }

    fn check(self) -> Result<Self, Violation> {
        if self.streams_bidi > STREAMS_MAX || self.streams_uni > STREAMS_MAX {
            return Err(wrong("more streams than there are ids"));
        }
        if self.record_bytes < RECORD_BYTES_MAX as u64 {
            return Err(wrong("max_record_size is below its minimum"));
        }
        Ok(self)
    }

    fn field(&mut self, id: u64) -> Option<(u32, &mut u64)> {
        let field = match id {
            IDLE_TIMEOUT => (0, &mut self.idle_timeout_ms),
            DATA => (1, &mut self.data),
            STREAM_DATA_BIDI_LOCAL => (2, &mut self.stream_data_bidi_local),
            STREAM_DATA_BIDI_REMOTE => (3, &mut self.stream_data_bidi_remote),
            STREAM_DATA_UNI => (4, &mut self.stream_data_uni),
            STREAMS_BIDI => (5, &mut self.streams_bidi),
            STREAMS_UNI => (6, &mut self.streams_uni),
            DATAGRAM_FRAME_BYTES => (7, &mut self.datagram_frame_bytes),
            RECORD_BYTES => (8, &mut self.record_bytes),
            _ => return None,
        };
        Some(field)
    }
}

/// Those of QUIC version 1 that concern packets, paths and connection ids.
fn is_prohibited(id: u64) -> bool {
    matches!(id, 0x00 | 0x02 | 0x03 | 0x0a..=0x10)
}

fn wrong(reason: &'static str) -> Violation {
    Violation::new(TRANSPORT_PARAMETER_ERROR, reason)
}

const IDLE_TIMEOUT: u64 = 0x01;
const DATA: u64 = 0x04;
const STREAM_DATA_BIDI_LOCAL: u64 = 0x05;
const STREAM_DATA_BIDI_REMOTE: u64 = 0x06;
const STREAM_DATA_UNI: u64 = 0x07;
const STREAMS_BIDI: u64 = 0x08;
const STREAMS_UNI: u64 = 0x09;
const DATAGRAM_FRAME_BYTES: u64 = 0x20;
const RECORD_BYTES: u64 = 0x0571_c594_29cd_0845;

/// RFC 9000, section 4.6.
pub(super) const STREAMS_MAX: u64 = 1 << 60;
