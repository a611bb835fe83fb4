//! What a publisher answers on a Subscribe Stream.
//!
//! ```text
//!        03, 04               05, 06
//! type   0 SUBSCRIBE_OK       0 SUBSCRIBE_START   (draft 05 and 06: SUBSCRIBE_OK, the same bytes)
//!        1 SUBSCRIBE_DROP     1 SUBSCRIBE_END
//!                             2 SUBSCRIBE_DROP
//!
//! SUBSCRIBE_OK     Type | Length | Priority (8) | Ordered (8) | Max Latency (i) | Start (i) | End (i)
//! SUBSCRIBE_START  Type | Length | Group (i)
//! SUBSCRIBE_END    Type | Length | Group (i)
//! SUBSCRIBE_DROP   Type | Length | Start (i) | End (i) | Error Code (i)
//!
//! 01, 02 and gomoqt have SUBSCRIBE_OK alone, without a type:
//!
//! released 01      Length | Priority (8)
//! draft 01         Length | Priority (i)
//! 02, gomoqt       Length, which is 0 (gomoqt SubscribeOkMessage)
//! ```

use bytes::BytesMut;

use super::body::Body;
use super::{DecodeError, EncodeError, ErrorCode, GroupSequence, Version, body, framing, varint};

/// Up to 04: the publisher's preferences and the range as far as it is known. On 01 the priority
/// alone, on 02 and gomoqt nothing: what is not on the wire is decoded as 0 and `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOk {
    /// The publisher's, higher first.
    pub priority: u8,
    /// Older groups first.
    pub ordered: bool,
    /// How late a group may be, in milliseconds.
    pub max_latency_ms: u64,
    /// `None`: not yet known.
    pub start: Option<GroupSequence>,
    /// Inclusive; `None`: unbounded.
    pub end: Option<GroupSequence>,
    /// Units per second of the timestamps. On the wire of moq-transport alone; `None`: not said.
    pub timescale: Option<u64>,
}

/// One message of a publisher on a Subscribe Stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscribeResponse {
    /// Up to 04; on 03 and 04 may be sent again with more known.
    Ok(SubscribeOk),
    /// 05 and later: the first group that will be delivered.
    Start {
        /// That group.
        group: GroupSequence,
    },
    /// 05 and later: the first group that will never be delivered, 0 for none at all.
    End {
        /// That group.
        group: GroupSequence,
    },
    /// These groups, `end` inclusive, will not be delivered.
    Drop {
        /// The first of them; not above `end`.
        start: GroupSequence,
        /// The last of them.
        end: GroupSequence,
        /// Why, one of [`stream_error`](super::stream_error).
        code: ErrorCode,
    },
}

impl SubscribeResponse {
    /// Appends the message. `NotInVersion` for a response that the version does not have; `Invalid` for a dropped range
    /// that ends before it starts.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let ranged = version.has_track_stream();
        match self {
            Self::Ok(ok) if !version.has_typed_responses() => framing::encode(out, |out| {
                if version.has_publisher_priority() {
                    body::put_byte(out, ok.priority);
                }
                Ok(())
            }),
            _ if !version.has_typed_responses() => Err(EncodeError::NotInVersion("response that is not SUBSCRIBE_OK")),
            Self::Ok(ok) if !ranged => framing::encode_typed(out, OK, |out| ok.put(out)),
            Self::Ok(_) => Err(EncodeError::NotInVersion("SUBSCRIBE_OK with preferences")),
            Self::Start { group } if ranged => framing::encode_typed(out, START, |out| varint::put(out, group.0)),
            Self::End { group } if ranged => framing::encode_typed(out, END, |out| varint::put(out, group.0)),
            Self::Start { .. } | Self::End { .. } => {
                Err(EncodeError::NotInVersion("SUBSCRIBE_START and SUBSCRIBE_END"))
            }
            Self::Drop { start, end, .. } if start > end => {
                Err(EncodeError::Invalid("dropped range ends before it starts"))
            }
            Self::Drop { start, end, code } => {
                let kind = if ranged { DROP } else { DROP_BEFORE_05 };
                framing::encode_typed(out, kind, |out| {
                    varint::put(out, start.0)?;
                    varint::put(out, end.0)?;
                    varint::put(out, code.0)
                })
            }
        }
    }

    /// Reads one message from the front of `input`; also returns how many bytes it took. `Invalid` for a type that the
    /// version does not have.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_typed_responses() {
            return framing::decode(input, |body| SubscribeOk::get_untyped(version, body).map(Self::Ok));
        }
        framing::decode_typed(input, |kind, body| match (version.has_track_stream(), kind) {
            (false, OK) => SubscribeOk::get(body).map(Self::Ok),
            (true, START) => Ok(Self::Start {
                group: GroupSequence(body.integer()?),
            }),
            (true, END) => Ok(Self::End {
                group: GroupSequence(body.integer()?),
            }),
            (true, DROP) | (false, DROP_BEFORE_05) => Self::get_drop(body),
            _ => Err(DecodeError::Invalid("type of subscribe response")),
        })
    }

    fn get_drop(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let start = GroupSequence(body.integer()?);
        let end = GroupSequence(body.integer()?);
        // Draft "SUBSCRIBE_DROP": first and last group, inclusive, so there is at least one.
        if start > end {
            return Err(DecodeError::Invalid("dropped range ends before it starts"));
        }
        Ok(Self::Drop {
            start,
            end,
            code: ErrorCode(body.integer()?),
        })
    }
}

impl SubscribeOk {
    fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        body::put_byte(out, self.priority);
        body::put_byte(out, u8::from(self.ordered));
        varint::put(out, self.max_latency_ms)?;
        body::put_offset_sequence(out, self.start)?;
        body::put_offset_sequence(out, self.end)
    }

    fn get_untyped(version: Version, body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let priority = if version.has_publisher_priority() {
            body.released_or_draft(Body::byte, Body::small_integer)?
        } else {
            0
        };
        Ok(Self {
            priority,
            ordered: false,
            max_latency_ms: 0,
            start: None,
            end: None,
            timescale: None,
        })
    }

    fn get(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            priority: body.byte()?,
            // As in SUBSCRIBE: what the draft does not name is taken for the default.
            ordered: body.byte()? == 1,
            max_latency_ms: body.integer()?,
            start: body.offset_sequence()?,
            end: body.offset_sequence()?,
            timescale: None,
        })
    }
}

const OK: u64 = 0;
const DROP_BEFORE_05: u64 = 1;
const START: u64 = 0;
const END: u64 = 1;
const DROP: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(versions: &[Version], message: SubscribeResponse, bytes: &[u8]) {
        for &version in versions {
            let mut out = BytesMut::new();
            message.encode(version, &mut out).unwrap();
            assert_eq!(out[..], *bytes);
            assert_eq!(SubscribeResponse::decode(version, bytes), Ok((message, bytes.len())));
        }
    }

    const OLD: [Version; 2] = [Version::Lite03, Version::Lite04];
    const RANGED: [Version; 2] = [Version::Lite05, Version::Lite06];

    #[test]
    fn bytes_are_those_of_each_draft() {
        let ok = SubscribeOk {
            priority: 200,
            ordered: true,
            max_latency_ms: 100,
            start: Some(GroupSequence(7)),
            end: None,
            timescale: None,
        };
        fixture(&OLD, SubscribeResponse::Ok(ok), &[0, 6, 200, 1, 0x40, 100, 8, 0]);
        let drop = SubscribeResponse::Drop {
            start: GroupSequence(1),
            end: GroupSequence(3),
            code: ErrorCode(0x34),
        };
        fixture(&OLD, drop, &[1, 3, 1, 3, 0x34]);
        fixture(&RANGED, drop, &[2, 3, 1, 3, 0x34]);
        fixture(
            &RANGED,
            SubscribeResponse::Start {
                group: GroupSequence(42),
            },
            &[0, 1, 42],
        );
        fixture(
            &RANGED,
            SubscribeResponse::End {
                group: GroupSequence(0),
            },
            &[1, 1, 0],
        );
    }

    #[test]
    fn responses_before_03_have_no_type() {
        let ok = |priority| {
            SubscribeResponse::Ok(SubscribeOk {
                priority,
                ordered: false,
                max_latency_ms: 0,
                start: None,
                end: None,
                timescale: None,
            })
        };
        fixture(&[Version::Lite01], ok(200), &[1, 200]);
        assert_eq!(
            SubscribeResponse::decode(Version::Lite01, &[2, 0x40, 200]),
            Ok((ok(200), 3))
        );
        let unsaid = [Version::Lite02, Version::Gomoqt];
        fixture(&unsaid, ok(0), &[0]);
        for version in unsaid {
            assert_eq!(
                SubscribeResponse::decode(version, &[1, 200]),
                Err(DecodeError::Trailing)
            );
        }
        for version in Version::IN_BAND {
            let group = GroupSequence(1);
            let drop = SubscribeResponse::Drop {
                start: group,
                end: group,
                code: ErrorCode(0),
            };
            for response in [
                SubscribeResponse::Start { group },
                SubscribeResponse::End { group },
                drop,
            ] {
                assert!(matches!(
                    response.encode(version, &mut BytesMut::new()),
                    Err(EncodeError::NotInVersion(_))
                ));
            }
        }
    }

    #[test]
    fn responses_of_other_drafts_are_refused() {
        for version in OLD {
            assert!(matches!(
                SubscribeResponse::decode(version, &[2, 3, 1, 3, 0]),
                Err(DecodeError::Invalid(_))
            ));
            let start = SubscribeResponse::Start {
                group: GroupSequence(1),
            };
            assert!(matches!(
                start.encode(version, &mut BytesMut::new()),
                Err(EncodeError::NotInVersion(_))
            ));
        }
        for version in RANGED {
            assert!(matches!(
                SubscribeResponse::decode(version, &[3, 1, 1]),
                Err(DecodeError::Invalid(_))
            ));
            assert_eq!(
                SubscribeResponse::decode(version, &[0, 5, 1, 1, 1, 1, 1]),
                Err(DecodeError::Trailing)
            );
        }
    }

    #[test]
    fn a_dropped_range_has_a_group() {
        let backwards = SubscribeResponse::Drop {
            start: GroupSequence(2),
            end: GroupSequence(1),
            code: ErrorCode(0),
        };
        assert!(backwards.encode(Version::Lite06, &mut BytesMut::new()).is_err());
        assert!(matches!(
            SubscribeResponse::decode(Version::Lite06, &[2, 3, 2, 1, 0]),
            Err(DecodeError::Invalid(_))
        ));
    }
}
