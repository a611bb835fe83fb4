//! SUBSCRIBE and SUBSCRIBE_UPDATE.
//!
//! ```text
//! SUBSCRIBE         Length | Subscribe ID (i) | Broadcast Path (s) | Track Name (s) | preferences
//! SUBSCRIBE_UPDATE  Length | preferences
//!
//! preferences       Priority (8) | Ordered (8) | Max Latency (i) | Group Start (i) | Group End (i)
//! released 06       Priority (8) | Max Latency (i) | Group Start (i) | Group End (i) | Frame Start (i) | Frame End (i)
//! draft 06 text     as the older ones; SUBSCRIBE has Epoch (i) before Priority
//! released 01, 02   Priority (8)
//! draft 01, 02      Priority (i), also gomoqt (SubscribeMessage, SubscribeUpdateMessage)
//! ```
//!
//! Priority is the last field of 01 and 02, so what is left of the message tells its two forms apart,
//! and both are accepted. What those cannot say gets the values of [`SubscribeUpdate::UNSTATED`].
//! Group Start is a sequence + 1 with 0 for the latest group; in the released 06 it is the
//! sequence itself, a floor. Group End and Frame End are + 1 with 0 for none everywhere.
//! The two forms of 06 cannot always be told apart: the draft's is tried when the released one
//! does not fit. With an Epoch of 0 and a Priority below 64 it has just as many fields, and is
//! read as the released form.

use bytes::BytesMut;

use super::body::Body;
use super::{
    BroadcastPath, DecodeError, EncodeError, GroupSequence, SubscribeId, TrackName, Version, body, framing, varint,
};

/// Which groups, and which frames of the first and last of them, are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GroupRange {
    /// `None`: the latest group (up to 05), or no floor (06, where a floor of 0 says the same and
    /// is decoded as `None` unless `frame_start` qualifies it).
    pub start: Option<GroupSequence>,
    /// Inclusive; `None`: unbounded.
    pub end: Option<GroupSequence>,
    /// 06: first frame wanted of the group `start`, which must be named.
    pub frame_start: u64,
    /// 06: last frame wanted, inclusive, of the group `end`, which must be named.
    pub frame_end: Option<u64>,
}

/// Asks for the groups of a track as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Chosen by the subscriber, once in a session.
    pub id: SubscribeId,
    /// The full path of the broadcast.
    pub broadcast: BroadcastPath,
    /// The name of the track within the broadcast.
    pub track: TrackName,
    /// Draft 06 text alone, never sent: the generation wanted, 0 for the current one.
    pub epoch: u64,
    /// Higher first.
    pub priority: u8,
    /// Older groups first. Up to 05 and in the draft 06 text; the released peers send 0.
    pub ordered: bool,
    /// How late a group may be, in milliseconds.
    pub max_latency_ms: u64,
    /// Which groups are wanted.
    pub range: GroupRange,
}

/// Replaces the preferences of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeUpdate {
    /// Higher first.
    pub priority: u8,
    /// Older groups first. On the wire from 03 to 05.
    pub ordered: bool,
    /// How late a group may be, in milliseconds.
    pub max_latency_ms: u64,
    /// Which groups are wanted.
    pub range: GroupRange,
}

impl Subscribe {
    /// Appends the message. `NotInVersion` before 06 with frame bounds; `Invalid` for a frame bound without its group.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        framing::encode(out, |out| {
            varint::put(out, self.id.0)?;
            body::put_full_path(version, out, &self.broadcast)?;
            body::put_track_name(out, &self.track)?;
            self.preferences().put(version, out)
        })
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        framing::decode(input, |body| {
            let id = SubscribeId(body.integer()?);
            let broadcast = body.path()?;
            let track = body.track_name()?;
            let (epoch, preferences) = if version.has_frame_bounds() {
                body.released_or_draft(
                    |body| Ok((0, SubscribeUpdate::get_released_06(body)?)),
                    |body| Ok((body.integer()?, SubscribeUpdate::get_draft_06(body)?)),
                )?
            } else {
                (0, SubscribeUpdate::get_older(version, body)?)
            };
            let SubscribeUpdate {
                priority,
                ordered,
                max_latency_ms,
                range,
            } = preferences;
            Ok(Self {
                id,
                broadcast,
                track,
                epoch,
                priority,
                ordered,
                max_latency_ms,
                range,
            })
        })
    }

    /// The part a SUBSCRIBE_UPDATE can change.
    pub fn preferences(&self) -> SubscribeUpdate {
        SubscribeUpdate {
            priority: self.priority,
            ordered: self.ordered,
            max_latency_ms: self.max_latency_ms,
            range: self.range,
        }
    }
}

impl SubscribeUpdate {
    /// What a subscription of 01 or 02 comes to: no order is asked for, the range is from the latest
    /// group on. The drafts leave it to the publisher how late a group may be.
    pub const UNSTATED: SubscribeUpdate = SubscribeUpdate {
        priority: 0,
        ordered: false,
        max_latency_ms: UNSTATED_LATENCY_MS,
        range: GroupRange {
            start: None,
            end: None,
            frame_start: 0,
            frame_end: None,
        },
    };

    /// Appends the message, under the same conditions as [`Subscribe::encode`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        framing::encode(out, |out| self.put(version, out))
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        framing::decode(input, |body| {
            if version.has_frame_bounds() {
                body.released_or_draft(Self::get_released_06, Self::get_draft_06)
            } else {
                Self::get_older(version, body)
            }
        })
    }

    fn put(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_delivery_preferences() {
            return self.put_priority(version, out);
        }
        body::put_byte(out, self.priority);
        if version.has_ordered() {
            body::put_byte(out, u8::from(self.ordered));
        }
        varint::put(out, self.max_latency_ms)?;
        self.range.put(version, out)
    }

    /// The range is not said, which is no error: what comes is from the latest group on and has no
    /// end, of which the caller takes what it wants. But frames that are not wanted would come.
    fn put_priority(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.range.frame_start != 0 || self.range.frame_end.is_some() {
            return Err(EncodeError::NotInVersion("frame bounds"));
        }
        if version == Version::Gomoqt {
            return varint::put(out, u64::from(self.priority));
        }
        body::put_byte(out, self.priority);
        Ok(())
    }

    fn get_older(version: Version, body: &mut Body<'_>) -> Result<Self, DecodeError> {
        if version.has_delivery_preferences() {
            return Self::get_before_06(body);
        }
        Ok(Self {
            priority: body.released_or_draft(Body::byte, Body::small_integer)?,
            ..Self::UNSTATED
        })
    }

    fn get_before_06(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let priority = body.byte()?;
        // The released peers ignore what the byte holds, so values the draft does not name are
        // taken for the default.
        let ordered = body.byte()? == 1;
        let max_latency_ms = body.integer()?;
        let range = GroupRange {
            start: body.offset_sequence()?,
            end: body.offset_sequence()?,
            ..GroupRange::default()
        };
        Ok(Self {
            priority,
            ordered,
            max_latency_ms,
            range,
        })
    }

    fn get_released_06(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let priority = body.byte()?;
        let max_latency_ms = body.integer()?;
        let range = GroupRange::get_released_06(body)?;
        Ok(Self {
            priority,
            ordered: false,
            max_latency_ms,
            range,
        })
    }

    /// The draft's Ordered must be 0 or 1 here: it helps to tell this form from the released one.
    fn get_draft_06(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let priority = body.byte()?;
        let ordered = body.flag_byte("Ordered that is neither 0 nor 1")?;
        let max_latency_ms = body.integer()?;
        let start = body.offset_sequence()?.filter(|start| start.0 != 0);
        let range = GroupRange {
            start,
            end: body.offset_sequence()?,
            ..GroupRange::default()
        };
        Ok(Self {
            priority,
            ordered,
            max_latency_ms,
            range,
        })
    }
}

impl GroupRange {
    fn put(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        // Frames are numbered within a group, so a frame needs its group to be named.
        if self.frame_start != 0 && self.start.is_none() || self.frame_end.is_some() && self.end.is_none() {
            return Err(EncodeError::Invalid("frame bound without its group"));
        }
        if !version.has_frame_bounds() {
            // Left out, the peer would send frames that are not wanted.
            if self.frame_start != 0 || self.frame_end.is_some() {
                return Err(EncodeError::NotInVersion("frame bounds"));
            }
            body::put_offset_sequence(out, self.start)?;
            return body::put_offset_sequence(out, self.end);
        }
        varint::put(out, self.start.unwrap_or_default().0)?;
        body::put_offset_sequence(out, self.end)?;
        varint::put(out, self.frame_start)?;
        body::put_offset_integer(out, self.frame_end)
    }

    fn get_released_06(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let start = GroupSequence(body.integer()?);
        let end = body.offset_sequence()?;
        let frame_start = body.integer()?;
        let frame_end = body.offset_integer()?;
        if frame_end.is_some() && end.is_none() {
            return Err(DecodeError::Invalid("Frame End without Group End"));
        }
        let is_floor = start.0 != 0 || frame_start != 0;
        Ok(Self {
            start: is_floor.then_some(start),
            end,
            frame_start,
            frame_end,
        })
    }
}

/// As long as the released peers keep groups if nobody says otherwise.
const UNSTATED_LATENCY_MS: u64 = 5000;

#[cfg(test)]
mod tests;
