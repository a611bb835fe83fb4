//! ANNOUNCE_REQUEST, ANNOUNCE_OK and the announcements of an Announce Stream. Before 04 the first is
//! called ANNOUNCE_PLEASE; ANNOUNCE_INIT is in `announce_init`.
//!
//! Up to 05 an announcement is one message whose status is inside its body; 06 has typed messages
//! that name a broadcast by the ordinal of its ANNOUNCE_START.

use bytes::BytesMut;

use super::body::Body;
use super::{
    Advertisement, BroadcastPath, DecodeError, EncodeError, HopId, Version, advertisement, body, framing, varint,
};

/// Asks for the announcements under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    /// The paths wanted are this one and those below it. The root asks for all.
    pub prefix: BroadcastPath,
    /// 04 and 05: broadcasts that came through this hop are not wanted.
    pub exclude_hop: HopId,
    /// Draft 06 text alone, never sent: ended broadcasts are wanted too.
    pub ended: bool,
}

/// The first message a publisher sends on an Announce Stream (05 and later).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnounceOk {
    /// The sender: the last hop of every announcement that follows.
    pub hop: HopId,
    /// How many announcements follow at once as the initial set.
    pub active_count: u64,
}

/// A broadcast came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announce {
    /// On 05 a second one for a live path replaces the first.
    Start {
        /// The path of the broadcast below the prefix that was asked for.
        suffix: BroadcastPath,
        /// Its route and state. On versions before 06 the hops alone, before 03 nothing.
        advertisement: Advertisement,
    },
    /// Up to 05.
    EndSuffix {
        /// The path of the broadcast below the prefix that was asked for.
        suffix: BroadcastPath,
    },
    /// 06.
    EndId {
        /// The ordinal of the ANNOUNCE_START that is ended, counted from 0 on each Announce Stream.
        id: u64,
    },
    /// 06.
    Update {
        /// The ordinal of the ANNOUNCE_START that is changed, counted from 0 on each Announce Stream.
        id: u64,
        /// Its route and state from now on.
        advertisement: Advertisement,
    },
    /// About a broadcast whose path is longer than peers accept: it is refused by itself, and the stream goes on. Never
    /// sent.
    TooLong {
        /// It begins, and on 06 takes an announce id.
        is_start: bool,
    },
    /// 06: a type we do not know, skipped by its length. It assigns no announce id. Never sent.
    Unknown {
        /// The message type as it came.
        kind: u64,
    },
}

impl AnnounceRequest {
    /// `Message Length (i) | Prefix (s)`, and on 04 and 05 `| Exclude Hop (i)`. gomoqt wants its
    /// prefix with a slash at both ends: it goes down over any other.
    ///
    /// Draft 06 "ANNOUNCE_REQUEST" ends with `Ended (i)`; the released 06 does not have it and
    /// refuses it, so it is not sent.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        framing::encode(out, |out| {
            body::put_prefix(version, out, &self.prefix)?;
            if version.has_exclude_hop() {
                varint::put(out, self.exclude_hop.0)?;
            }
            Ok(())
        })
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        framing::decode(input, |body| {
            let prefix = body.path()?;
            let exclude_hop = if version.has_exclude_hop() {
                HopId(body.integer()?)
            } else {
                HopId::UNKNOWN
            };
            let draft = version == Version::Lite06 && !body.is_empty();
            let ended = draft && body.flag("Ended that is neither 0 nor 1")?;
            Ok(Self {
                prefix,
                exclude_hop,
                ended,
            })
        })
    }
}

impl AnnounceOk {
    /// `Message Length (i) | Hop ID (i) | Active Count (i)`.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_announce_ok() {
            return Err(EncodeError::NotInVersion("ANNOUNCE_OK"));
        }
        framing::encode(out, |out| {
            varint::put(out, self.hop.0)?;
            varint::put(out, self.active_count)
        })
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took. `Invalid` before 05.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_announce_ok() {
            return Err(DecodeError::Invalid("ANNOUNCE_OK before moq-lite-05"));
        }
        framing::decode(input, |body| {
            Ok(Self {
                hop: HopId(body.integer()?),
                active_count: body.integer()?,
            })
        })
    }
}

impl Announce {
    /// Appends the message, in the form of the version. `NotInVersion` for an id before 06 and for a suffix to be ended
    /// on 06; `Invalid` for [`Unknown`](Self::Unknown) and for a chain of hops that no peer accepts;
    /// `TooLarge` for a path that none does.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if version.has_announce_ids() {
            self.encode_typed(out)
        } else {
            self.encode_status(version, out)
        }
    }

    /// Reads one message from the front of `input`; also returns how many bytes it took.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if version.has_announce_ids() {
            framing::decode_typed(input, Self::typed)
        } else {
            framing::decode(input, |body| Self::status(version, body))
        }
    }

    /// 06, with `|` between fields:
    ///
    /// ```text
    /// START   0 | Length | Suffix (s)       | Hop Count | Hop ID ... | Warm Cost | Cold Cost
    /// END     1 | Length | Announce ID (i)
    /// UPDATE  2 | Length | Announce ID (i)  | Hop Count | Hop ID ... | Warm Cost | Cold Cost
    /// ```
    ///
    /// The draft 06 text has Epoch and Ended before Hop Count and one Route Cost: see
    /// [`Advertisement`].
    fn encode_typed(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Announce::Start { suffix, advertisement } => framing::encode_typed(out, START, |out| {
                body::put_path(out, suffix)?;
                advertisement.put_released(out)
            }),
            Announce::EndId { id } => framing::encode_typed(out, END, |out| varint::put(out, *id)),
            Announce::Update { id, advertisement } => framing::encode_typed(out, UPDATE, |out| {
                varint::put(out, *id)?;
                advertisement.put_released(out)
            }),
            Announce::EndSuffix { .. } => Err(EncodeError::NotInVersion("announcement ended by path")),
            Announce::TooLong { .. } => Err(EncodeError::TooLarge("broadcast path")),
            Announce::Unknown { .. } => Err(EncodeError::Invalid("announcement of unknown type")),
        }
    }

    fn typed(kind: u64, body: &mut Body<'_>) -> Result<Self, DecodeError> {
        match kind {
            START => {
                let suffix = body.path_or_too_long()?;
                let advertisement = body.released_or_draft(Advertisement::get_released, Advertisement::get_draft)?;
                Ok(match suffix {
                    Some(suffix) => Announce::Start { suffix, advertisement },
                    None => Announce::TooLong { is_start: true },
                })
            }
            END => Ok(Announce::EndId { id: body.integer()? }),
            UPDATE => {
                let id = body.integer()?;
                let advertisement = body.released_or_draft(Advertisement::get_released, Advertisement::get_draft)?;
                Ok(Announce::Update { id, advertisement })
            }
            // The draft is silent on unknown types; the released 06 skips them, so that a peer
            // with an extension does not lose the stream.
            _ => {
                body.skip_rest();
                Ok(Announce::Unknown { kind })
            }
        }
    }

    /// Up to 05:
    ///
    /// ```text
    /// Message Length (i) | Status | Suffix (s) | Hop Count (i) | Hop ID (i) ...   03: no Hop IDs
    /// Message Length (i) | Status | Suffix (s)                                    01, 02, gomoqt
    /// ```
    ///
    /// The texts up to 03 have the status as an integer, the released peers as a byte: the same
    /// bytes for every status there is.
    fn encode_status(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        let (status, suffix, hops) = match self {
            Announce::Start { suffix, advertisement } => (STATUS_ACTIVE, suffix, advertisement.hops.as_slice()),
            Announce::EndSuffix { suffix } => (STATUS_ENDED, suffix, &[][..]),
            Announce::EndId { .. } | Announce::Update { .. } => {
                return Err(EncodeError::NotInVersion("announcement by id"));
            }
            Announce::TooLong { .. } => return Err(EncodeError::TooLarge("broadcast path")),
            Announce::Unknown { .. } => {
                return Err(EncodeError::Invalid("announcement of unknown type"));
            }
        };
        framing::encode(out, |out| {
            varint::put(out, status)?;
            body::put_path(out, suffix)?;
            if !version.has_hops() {
                return Ok(());
            }
            advertisement::put_hops(version, out, hops)
        })
    }

    fn status(version: Version, body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let status = body.integer()?;
        let suffix = body.path_or_too_long()?;
        let hops = if version.has_hops() {
            advertisement::get_hops(version, body)?
        } else {
            Vec::new()
        };
        match status {
            STATUS_ENDED => Ok(
                suffix.map_or(Announce::TooLong { is_start: false }, |suffix| Announce::EndSuffix {
                    suffix,
                }),
            ),
            // 05 replaces by a second active (draft appendix A); the released peers take an
            // explicit restart for the same.
            STATUS_RESTART if version != Version::Lite05 => Err(DecodeError::Invalid("announce status")),
            STATUS_ACTIVE | STATUS_RESTART => {
                Ok(
                    suffix.map_or(Announce::TooLong { is_start: true }, |suffix| Announce::Start {
                        suffix,
                        advertisement: Advertisement {
                            hops,
                            ..Advertisement::default()
                        },
                    }),
                )
            }
            _ => Err(DecodeError::Invalid("announce status")),
        }
    }
}

const START: u64 = 0;
const END: u64 = 1;
const UPDATE: u64 = 2;

const STATUS_ENDED: u64 = 0;
const STATUS_ACTIVE: u64 = 1;
const STATUS_RESTART: u64 = 2;

#[cfg(test)]
mod tests;
