//! Messages of control streams and of request streams (section 9).
//!
//! ```text
//! Type (vi64) | Length (16) | body of that many bytes
//!
//! SUBSCRIBE, TRACK_STATUS  Request ID | Namespace | Name Length | Name | Parameters
//! SUBSCRIBE_OK             Track Alias | Parameters | Track Properties
//! REQUEST_UPDATE           Request ID | Parameters
//! REQUEST_OK               Parameters | Track Properties
//! REQUEST_ERROR            Error Code | Retry Interval | Reason | [ Redirect ]
//! PUBLISH                  Request ID | Namespace | Name Length | Name | Track Alias | Parameters | Track Properties
//! PUBLISH_DONE             Status Code | Stream Count | Reason
//! PUBLISH_NAMESPACE, SUBSCRIBE_NAMESPACE, SUBSCRIBE_TRACKS  Request ID | Namespace | Parameters
//! NAMESPACE, NAMESPACE_DONE  Namespace Suffix
//! FETCH                    Request ID | ...
//! GOAWAY                   URI Length | URI | Timeout | [ Request ID ]
//! ```

use bytes::BytesMut;

use super::fields::{Fields, put_bytes};
use super::name::{FullName, Namespace, put_namespace, put_track_name};
use super::parameters::Parameters;
use super::properties::TrackProperties;
use super::setup::Setup;
use crate::ietf::limits::REASON_BYTES_MAX;
use crate::limits::GOAWAY_URI_BYTES_MAX;
use crate::wire::{BroadcastPath, DecodeError, EncodeError, TrackName, vi64};

/// Types of messages.
pub(in crate::ietf) mod kind {
    pub(in crate::ietf) const REQUEST_UPDATE: u64 = 0x02;
    pub(in crate::ietf) const SUBSCRIBE: u64 = 0x03;
    pub(in crate::ietf) const SUBSCRIBE_OK: u64 = 0x04;
    pub(in crate::ietf) const REQUEST_ERROR: u64 = 0x05;
    pub(in crate::ietf) const PUBLISH_NAMESPACE: u64 = 0x06;
    pub(in crate::ietf) const REQUEST_OK: u64 = 0x07;
    pub(in crate::ietf) const NAMESPACE: u64 = 0x08;
    pub(in crate::ietf) const PUBLISH_DONE: u64 = 0x0b;
    pub(in crate::ietf) const TRACK_STATUS: u64 = 0x0d;
    pub(in crate::ietf) const NAMESPACE_DONE: u64 = 0x0e;
    pub(in crate::ietf) const GOAWAY: u64 = 0x10;
    pub(in crate::ietf) const FETCH: u64 = 0x16;
    pub(in crate::ietf) const FETCH_OK: u64 = 0x18;
    pub(in crate::ietf) const PUBLISH: u64 = 0x1d;
    pub(in crate::ietf) const PUBLISH_OK: u64 = 0x1e;
    pub(in crate::ietf) const SUBSCRIBE_NAMESPACE: u64 = 0x50;
    pub(in crate::ietf) const SUBSCRIBE_TRACKS: u64 = 0x51;
    pub(in crate::ietf) const SETUP: u64 = 0x2f00;
}

/// What begins a request stream, without its request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ietf) enum Request {
    Subscribe {
        name: FullName,
        parameters: Parameters,
    },
    TrackStatus {
        name: FullName,
    },
    Publish {
        name: FullName,
        alias: u64,
        properties: TrackProperties,
    },
    PublishNamespace {
        namespace: Namespace,
    },
    SubscribeNamespace {
        prefix: Namespace,
    },
    /// FETCH and SUBSCRIBE_TRACKS, whose fields are not looked at.
    Unsupported,
}

/// One message of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ietf) enum Message {
    Setup(Setup),
    Goaway {
        uri: String,
    },
    Request {
        id: u64,
        request: Request,
    },
    Update {
        id: u64,
        parameters: Parameters,
    },
    SubscribeOk {
        alias: u64,
        parameters: Parameters,
        properties: TrackProperties,
    },
    RequestOk,
    RequestError {
        code: u64,
    },
    PublishDone {
        status: u64,
    },
    Namespace {
        suffix: Namespace,
    },
    NamespaceDone {
        suffix: Namespace,
    },
}

impl Message {
    /// Reads one message from the front of `input`; also returns how many bytes it took.
    pub(in crate::ietf) fn decode(input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let (kind, kind_bytes) = vi64::get(input)?;
        let rest = input.get(kind_bytes..).unwrap_or_default();
        let length = rest.first_chunk().ok_or(DecodeError::Truncated)?;
        let end = LENGTH_BYTES + usize::from(u16::from_be_bytes(*length));
        let mut fields = Fields::new(rest.get(LENGTH_BYTES..end).ok_or(DecodeError::Truncated)?);
        let message = Self::read(kind, &mut fields)?;
        fields.finish()?;
        Ok((message, kind_bytes + end))
    }

    fn read(kind: u64, fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::SETUP => Self::Setup(Setup::decode(fields)?),
            kind::GOAWAY => {
                let uri = fields.bytes(GOAWAY_URI_BYTES_MAX, "URI of GOAWAY")?;
                let uri = std::str::from_utf8(uri).map_err(|_| DecodeError::Invalid("URI of GOAWAY"))?;
                fields.integer()?;
                // On a control stream the first request that was not looked at.
                if !fields.is_empty() {
                    fields.integer()?;
                }
                Self::Goaway { uri: uri.to_owned() }
            }
            kind::REQUEST_UPDATE => Self::Update {
                id: fields.integer()?,
                parameters: Parameters::decode(kind, fields)?,
            },
            kind::SUBSCRIBE_OK => Self::SubscribeOk {
                alias: fields.integer()?,
                parameters: Parameters::decode(kind, fields)?,
                properties: TrackProperties::decode(fields)?,
            },
            // The draft's table has a type of its own for PUBLISH_OK, its text has not. Both are taken.
            kind::REQUEST_OK | kind::PUBLISH_OK => {
                Parameters::decode(kind, fields)?;
                TrackProperties::decode(fields)?;
                Self::RequestOk
            }
            kind::REQUEST_ERROR => {
                let code = fields.integer()?;
                fields.integer()?;
                fields.bytes(REASON_BYTES_MAX, "reason")?;
                // Where to go instead: nobody is sent there.
                fields.take_rest();
                Self::RequestError { code }
            }
            kind::PUBLISH_DONE => {
                let status = fields.integer()?;
                fields.integer()?;
                fields.bytes(REASON_BYTES_MAX, "reason")?;
                Self::PublishDone { status }
            }
            kind::NAMESPACE => Self::Namespace {
                suffix: Namespace::decode(fields)?,
            },
            kind::NAMESPACE_DONE => Self::NamespaceDone {
                suffix: Namespace::decode(fields)?,
            },
            _ => Self::Request {
                id: fields.integer()?,
                request: Request::read(kind, fields)?,
            },
        })
    }
}

impl Request {
    fn read(kind: u64, fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::SUBSCRIBE => Self::Subscribe {
                name: FullName::decode(fields)?,
                parameters: Parameters::decode(kind, fields)?,
            },
            kind::TRACK_STATUS => {
                let name = FullName::decode(fields)?;
                Parameters::decode(kind, fields)?;
                Self::TrackStatus { name }
            }
            kind::PUBLISH => {
                let (name, alias) = (FullName::decode(fields)?, fields.integer()?);
                Parameters::decode(kind, fields)?;
                Self::Publish {
                    name,
                    alias,
                    properties: TrackProperties::decode(fields)?,
                }
            }
            kind::PUBLISH_NAMESPACE => {
                let namespace = Namespace::decode(fields)?;
                Parameters::decode(kind, fields)?;
                Self::PublishNamespace { namespace }
            }
            kind::SUBSCRIBE_NAMESPACE => {
                let prefix = Namespace::decode(fields)?;
                Parameters::decode(kind, fields)?;
                Self::SubscribeNamespace { prefix }
            }
            kind::FETCH | kind::SUBSCRIBE_TRACKS => {
                fields.take_rest();
                Self::Unsupported
            }
            _ => return Err(DecodeError::Invalid("type of a message")),
        })
    }
}

/// Appends a message whose body `body` writes.
fn put(
    out: &mut BytesMut,
    kind: u64,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    vi64::put(out, kind);
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let result = body(out).and_then(|()| {
        let length = out.len() - at - LENGTH_BYTES;
        let length = u16::try_from(length).map_err(|_| EncodeError::TooLarge("message"))?;
        out[at..at + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        Ok(())
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

pub(in crate::ietf) fn put_setup(out: &mut BytesMut, setup: &Setup) -> Result<(), EncodeError> {
    put(out, kind::SETUP, |out| setup.encode(out))
}

/// `next` is the first request of the peer that was not looked at.
pub(in crate::ietf) fn put_goaway(out: &mut BytesMut, uri: &str, next: u64) -> Result<(), EncodeError> {
    put(out, kind::GOAWAY, |out| {
        put_bytes(out, uri.as_bytes(), GOAWAY_URI_BYTES_MAX, "URI of GOAWAY")?;
        vi64::put(out, 0);
        vi64::put(out, next);
        Ok(())
    })
}

pub(in crate::ietf) fn put_subscribe(
    out: &mut BytesMut,
    id: u64,
    (path, name): (&BroadcastPath, &TrackName),
    parameters: &Parameters,
) -> Result<(), EncodeError> {
    put(out, kind::SUBSCRIBE, |out| {
        vi64::put(out, id);
        put_namespace(out, path)?;
        put_track_name(out, name)?;
        parameters.encode(out)
    })
}

pub(in crate::ietf) fn put_subscribe_ok(
    out: &mut BytesMut,
    alias: u64,
    properties: &TrackProperties,
) -> Result<(), EncodeError> {
    put(out, kind::SUBSCRIBE_OK, |out| {
        vi64::put(out, alias);
        Parameters::default().encode(out)?;
        out.extend_from_slice(&properties.bytes);
        Ok(())
    })
}

pub(in crate::ietf) fn put_update(out: &mut BytesMut, id: u64, parameters: &Parameters) -> Result<(), EncodeError> {
    put(out, kind::REQUEST_UPDATE, |out| {
        vi64::put(out, id);
        parameters.encode(out)
    })
}

pub(in crate::ietf) fn put_ok(out: &mut BytesMut, parameters: &Parameters) -> Result<(), EncodeError> {
    put(out, kind::REQUEST_OK, |out| parameters.encode(out))
}

/// The answer to TRACK_STATUS.
pub(in crate::ietf) fn put_status(out: &mut BytesMut, properties: &TrackProperties) -> Result<(), EncodeError> {
    put(out, kind::REQUEST_OK, |out| {
        Parameters::default().encode(out)?;
        out.extend_from_slice(&properties.bytes);
        Ok(())
    })
}

pub(in crate::ietf) fn put_error(out: &mut BytesMut, code: u64, reason: &str) -> Result<(), EncodeError> {
    put(out, kind::REQUEST_ERROR, |out| {
        vi64::put(out, code);
        vi64::put(out, 0);
        put_bytes(out, reason.as_bytes(), REASON_BYTES_MAX, "reason")
    })
}

/// How many streams there were is not counted.
pub(in crate::ietf) fn put_done(out: &mut BytesMut, status: u64, reason: &str) -> Result<(), EncodeError> {
    put(out, kind::PUBLISH_DONE, |out| {
        vi64::put(out, status);
        vi64::put(out, STREAMS_UNKNOWN);
        put_bytes(out, reason.as_bytes(), REASON_BYTES_MAX, "reason")
    })
}

pub(in crate::ietf) fn put_subscribe_namespace(
    out: &mut BytesMut,
    id: u64,
    prefix: &BroadcastPath,
) -> Result<(), EncodeError> {
    put(out, kind::SUBSCRIBE_NAMESPACE, |out| {
        vi64::put(out, id);
        put_namespace(out, prefix)?;
        Parameters::default().encode(out)
    })
}

pub(in crate::ietf) fn put_namespace_message(
    out: &mut BytesMut,
    suffix: &BroadcastPath,
    is_there: bool,
) -> Result<(), EncodeError> {
    let kind = if is_there {
        kind::NAMESPACE
    } else {
        kind::NAMESPACE_DONE
    };
    put(out, kind, |out| put_namespace(out, suffix))
}

const LENGTH_BYTES: usize = 2;

/// Section 9.11: what stands for a number of streams that is not known.
const STREAMS_UNKNOWN: u64 = (1 << 62) - 1;
