//! Frames of QMux: those of QUIC (RFC 9000, section 19) that make sense without packets, and two
//! of its own.
//!
//! ```text
//! message { frame .. }            a draft-00 message is one frame
//! STREAM  { 08 | 04 offset | 02 length | 01 fin, stream, [offset], [length], data }
//! ```

use bytes::{Bytes, BytesMut};

use crate::wire::{ErrorCode, StreamId};

use super::dialect::Dialect;
use super::error::{FRAME_ENCODING_ERROR, Violation};
use super::integer::{put, take};
use super::parameters::Parameters;

/// A frame from the peer. Payload is a slice of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Stream {
        stream: StreamId,
        /// `None`: the next in order, as peers of the first drafts have it.
        offset: Option<u64>,
        data: Bytes,
        fin: bool,
    },
    Reset {
        stream: StreamId,
        code: ErrorCode,
        final_size: u64,
    },
    StopSending {
        stream: StreamId,
        code: ErrorCode,
    },
    MaxData(u64),
    MaxStreamData {
        stream: StreamId,
        limit: u64,
    },
    MaxStreams {
        is_uni: bool,
        limit: u64,
    },
    Datagram {
        payload: Bytes,
        /// With its head, which is what the limit is for.
        frame_bytes: usize,
    },
    Parameters(Parameters),
    Ping(u64),
    Close {
        is_application: bool,
        code: ErrorCode,
        reason: String,
    },
    /// Padding, answers to pings and complaints about limits: nothing to act on.
    Nothing,
}

impl Frame {
    /// Takes one frame off the front of a message that is not empty.
    pub(super) fn take(message: &mut Bytes, dialect: Dialect) -> Result<Self, Violation> {
        let before = message.len();
        let kind = take(message)?;
        let frame = match kind {
            PADDING => Self::Nothing,
            STREAM..=STREAM_LAST => return stream(kind, message),
            RESET_STREAM => Self::Reset {
                stream: StreamId(take(message)?),
                code: ErrorCode(take(message)?),
                final_size: take(message)?,
            },
            STOP_SENDING => Self::StopSending {
                stream: StreamId(take(message)?),
                code: ErrorCode(take(message)?),
            },
            MAX_DATA => Self::MaxData(take(message)?),
            MAX_STREAM_DATA => Self::MaxStreamData {
                stream: StreamId(take(message)?),
                limit: take(message)?,
            },
            MAX_STREAMS_BIDI | MAX_STREAMS_UNI => Self::MaxStreams {
                is_uni: kind == MAX_STREAMS_UNI,
                limit: take(message)?,
            },
            STREAM_DATA_BLOCKED => {
                take(message)?;
                take(message)?;
                Self::Nothing
            }
            DATA_BLOCKED | STREAMS_BLOCKED_BIDI | STREAMS_BLOCKED_UNI => {
                take(message)?;
                Self::Nothing
            }
            CONNECTION_CLOSE | APPLICATION_CLOSE => close(kind, message)?,
            TRANSPORT_PARAMETERS => Self::Parameters(Parameters::decode(counted(message)?)?),
            DATAGRAM if dialect.has_datagrams() => Self::Datagram {
                payload: std::mem::take(message),
                frame_bytes: before,
            },
            DATAGRAM_COUNTED if dialect.has_datagrams() => {
                let payload = counted(message)?;
                Self::Datagram {
                    payload,
                    frame_bytes: before - message.len(),
                }
            }
            PING_REQUEST if dialect.has_records() => Self::Ping(take(message)?),
            PING_RESPONSE if dialect.has_records() => {
                take(message)?;
                Self::Nothing
            }
            _ => return Err(Violation::new(FRAME_ENCODING_ERROR, "a frame that QMux does not have")),
        };
        Ok(frame)
    }
}

fn stream(kind: u64, message: &mut Bytes) -> Result<Frame, Violation> {
    let stream = StreamId(take(message)?);
    let offset = match kind & STREAM_OFFSET {
        0 => None,
        _ => Some(take(message)?),
    };
    let data = match kind & STREAM_LENGTH {
        0 => std::mem::take(message),
        _ => counted(message)?,
    };
    Ok(Frame::Stream {
        stream,
        offset,
        data,
        fin: kind & STREAM_FIN != 0,
    })
}

fn close(kind: u64, message: &mut Bytes) -> Result<Frame, Violation> {
    let code = ErrorCode(take(message)?);
    if kind == CONNECTION_CLOSE {
        // The type of the frame that was wrong.
        take(message)?;
    }
    let reason = counted(message)?;
    Ok(Frame::Close {
        is_application: kind == APPLICATION_CLOSE,
        code,
        reason: String::from_utf8_lossy(&reason).into_owned(),
    })
}

/// A length and so many bytes.
fn counted(message: &mut Bytes) -> Result<Bytes, Violation> {
    let length = take(message)?;
    match usize::try_from(length) {
        Ok(length) if length <= message.len() => Ok(message.split_to(length)),
        _ => Err(Violation::new(FRAME_ENCODING_ERROR, "a frame is cut off")),
    }
}

pub(super) fn put_stream_head(out: &mut BytesMut, stream: StreamId, offset: u64, length: usize, fin: bool) {
    put(out, STREAM | STREAM_OFFSET | STREAM_LENGTH | u64::from(fin));
    put(out, stream.0);
    put(out, offset);
    put(out, length as u64);
}

pub(super) fn put_reset(out: &mut BytesMut, stream: StreamId, code: ErrorCode, final_size: u64) {
    for value in [RESET_STREAM, stream.0, code.0, final_size] {
        put(out, value);
    }
}

pub(super) fn put_stop_sending(out: &mut BytesMut, stream: StreamId, code: ErrorCode) {
    for value in [STOP_SENDING, stream.0, code.0] {
        put(out, value);
    }
}

pub(super) fn put_max_data(out: &mut BytesMut, limit: u64) {
    put(out, MAX_DATA);
    put(out, limit);
}

pub(super) fn put_max_stream_data(out: &mut BytesMut, stream: StreamId, limit: u64) {
    for value in [MAX_STREAM_DATA, stream.0, limit] {
        put(out, value);
    }
}

pub(super) fn put_max_streams(out: &mut BytesMut, is_uni: bool, limit: u64) {
    put(out, if is_uni { MAX_STREAMS_UNI } else { MAX_STREAMS_BIDI });
    put(out, limit);
}

pub(super) fn put_pong(out: &mut BytesMut, sequence: u64) {
    put(out, PING_RESPONSE);
    put(out, sequence);
}

pub(super) fn put_datagram(out: &mut BytesMut, payload: &[u8]) {
    put(out, DATAGRAM_COUNTED);
    put(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

pub(super) fn put_parameters(out: &mut BytesMut, parameters: &Parameters) {
    let mut body = BytesMut::new();
    parameters.encode(&mut body);
    put(out, TRANSPORT_PARAMETERS);
    put(out, body.len() as u64);
    out.extend_from_slice(&body);
}

/// `is_application`: the session's own code; otherwise one of the transport.
pub(super) fn put_close(out: &mut BytesMut, is_application: bool, code: ErrorCode, reason: &[u8]) {
    if is_application {
        put(out, APPLICATION_CLOSE);
        put(out, code.0);
    } else {
        put(out, CONNECTION_CLOSE);
        put(out, code.0);
        put(out, PADDING);
    }
    put(out, reason.len() as u64);
    out.extend_from_slice(reason);
}

const PADDING: u64 = 0x00;
const RESET_STREAM: u64 = 0x04;
const STOP_SENDING: u64 = 0x05;
const STREAM: u64 = 0x08;
const STREAM_LAST: u64 = 0x0f;
const STREAM_OFFSET: u64 = 0x04;
const STREAM_LENGTH: u64 = 0x02;
const STREAM_FIN: u64 = 0x01;
const MAX_DATA: u64 = 0x10;
const MAX_STREAM_DATA: u64 = 0x11;
const MAX_STREAMS_BIDI: u64 = 0x12;
const MAX_STREAMS_UNI: u64 = 0x13;
const DATA_BLOCKED: u64 = 0x14;
const STREAM_DATA_BLOCKED: u64 = 0x15;
const STREAMS_BLOCKED_BIDI: u64 = 0x16;
const STREAMS_BLOCKED_UNI: u64 = 0x17;
const CONNECTION_CLOSE: u64 = 0x1c;
const APPLICATION_CLOSE: u64 = 0x1d;
const DATAGRAM: u64 = 0x30;
const DATAGRAM_COUNTED: u64 = 0x31;
/// `\xffQS0\r\n\r\n` on the wire.
const TRANSPORT_PARAMETERS: u64 = 0x3f51_5330_0d0a_0d0a;
/// On the wire, with the two bits of an eight-byte integer, f48c67529ef8c7bd.
const PING_REQUEST: u64 = 0x348c_6752_9ef8_c7bd;
const PING_RESPONSE: u64 = 0x348c_6752_9ef8_c7be;
