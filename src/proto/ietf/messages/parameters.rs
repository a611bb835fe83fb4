//! Message Parameters (section 9.2): how a request is to be served, and what its answer says.
//!
//! ```text
//! Number of Parameters (vi64) | [ Type Delta (vi64) | Value ] ...
//! ```
//!
//! Their values have no length, so one that is not known closes the session, and so does one in a message where it has no
//! business.

use bytes::BytesMut;

use super::fields::{Fields, put_bytes};
use super::name::Namespace;
use crate::ietf::limits::PARAMETERS_MAX;
use crate::wire::{DecodeError, EncodeError, vi64};

/// Those of one message, as far as they are of use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ietf) struct Parameters {
    pub(in crate::ietf) object_timeout_ms: Option<u64>,
    pub(in crate::ietf) rendezvous_ms: Option<u64>,
    /// The largest location: group, object.
    pub(in crate::ietf) largest: Option<(u64, u64)>,
    pub(in crate::ietf) forward: Option<bool>,
    /// Lower is more important.
    pub(in crate::ietf) priority: Option<u8>,
    pub(in crate::ietf) filter: Option<Filter>,
    pub(in crate::ietf) ascending: Option<bool>,
    pub(in crate::ietf) prefix: Option<Namespace>,
}

/// Which objects a subscription is for (section 5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ietf) enum Filter {
    NextGroup,
    LargestObject,
    /// From this location on, to the end of a group if one is named.
    From {
        group: u64,
        object: u64,
        end: Option<u64>,
    },
}

impl Parameters {
    /// Reads those of a message of this type.
    pub(in crate::ietf) fn decode(message: u64, fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let count = fields.integer()?;
        if count > PARAMETERS_MAX as u64 {
            return Err(DecodeError::TooLarge("number of parameters"));
        }
        let mut parameters = Self::default();
        let mut kind = 0u64;
        for index in 0..count {
            let delta = fields.integer()?;
            kind = kind
                .checked_add(delta)
                .ok_or(DecodeError::Invalid("type of a parameter"))?;
            let is_repeated = index > 0 && delta == 0;
            if is_repeated && kind != TOKEN {
                return Err(DecodeError::Invalid("parameter twice"));
            }
            if !is_allowed(kind, message) {
                return Err(DecodeError::Invalid("parameter that the message does not have"));
            }
            parameters.read(kind, fields)?;
        }
        Ok(parameters)
    }

    fn read(&mut self, kind: u64, fields: &mut Fields<'_>) -> Result<(), DecodeError> {
        match kind {
            OBJECT_TIMEOUT => self.object_timeout_ms = Some(fields.integer()?),
            // What a session may do is settled when it begins.
            TOKEN => drop(fields.bytes(usize::from(u16::MAX), "token")?),
            RENDEZVOUS => self.rendezvous_ms = Some(fields.integer()?),
            SUBGROUP_TIMEOUT | EXPIRES | FILL_TIMEOUT | NEW_GROUP => drop(fields.integer()?),
            LARGEST => self.largest = Some((fields.integer()?, fields.integer()?)),
            FORWARD => self.forward = Some(flag(fields.byte()?, 0, "forward")?),
            PRIORITY => self.priority = Some(fields.byte()?),
            FILTER => {
                let mut inner = Fields::new(fields.bytes(usize::from(u16::MAX), "filter")?);
                self.filter = Filter::decode(&mut inner)?;
                inner.finish()?;
            }
            ORDER => self.ascending = Some(!flag(fields.byte()?, 1, "group order")?),
            _ => self.prefix = Some(Namespace::decode(fields)?),
        }
        Ok(())
    }

    /// Those of an update stand in place of the ones before; what it does not name stays (section 9.9).
    pub(in crate::ietf) fn update(&mut self, update: &Self) {
        self.object_timeout_ms = update.object_timeout_ms.or(self.object_timeout_ms);
        self.forward = update.forward.or(self.forward);
        self.priority = update.priority.or(self.priority);
        self.filter = update.filter.or(self.filter);
    }

    /// Appends them in the order of their types.
    pub(in crate::ietf) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let present = [
            self.object_timeout_ms.is_some(),
            self.rendezvous_ms.is_some(),
            self.largest.is_some(),
            self.forward.is_some(),
            self.priority.is_some(),
            self.filter.is_some(),
            self.ascending.is_some(),
        ];
        vi64::put(out, present.iter().filter(|is_there| **is_there).count() as u64);
        let mut last = 0;
        let mut head = |out: &mut BytesMut, kind: u64| {
            vi64::put(out, kind - last);
            last = kind;
        };
        for (kind, value) in [
            (OBJECT_TIMEOUT, self.object_timeout_ms),
            (RENDEZVOUS, self.rendezvous_ms),
        ] {
            if let Some(value) = value {
                head(out, kind);
                vi64::put(out, value);
            }
        }
        if let Some((group, object)) = self.largest {
            head(out, LARGEST);
            vi64::put(out, group);
            vi64::put(out, object);
        }
        if let Some(forward) = self.forward {
            head(out, FORWARD);
            out.extend_from_slice(&[u8::from(forward)]);
        }
        if let Some(priority) = self.priority {
            head(out, PRIORITY);
            out.extend_from_slice(&[priority]);
        }
        if let Some(filter) = self.filter {
            head(out, FILTER);
            filter.encode(out)?;
        }
        if let Some(ascending) = self.ascending {
            head(out, ORDER);
            out.extend_from_slice(&[if ascending { 1 } else { 2 }]);
        }
        Ok(())
    }
}

impl Filter {
    fn decode(fields: &mut Fields<'_>) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match fields.integer()? {
            1 => Self::NextGroup,
            2 => Self::LargestObject,
            kind @ (3 | 4) => {
                let (group, object) = (fields.integer()?, fields.integer()?);
                let end = match kind {
                    3 => None,
                    _ => Some(
                        group
                            .checked_add(fields.integer()?)
                            .ok_or(DecodeError::Invalid("end of a filter"))?,
                    ),
                };
                Self::From { group, object, end }
            }
            _ => return Err(DecodeError::Invalid("type of a filter")),
        }))
    }

    fn encode(self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut value = BytesMut::new();
        match self {
            Self::NextGroup => vi64::put(&mut value, 1),
            Self::LargestObject => vi64::put(&mut value, 2),
            Self::From { group, object, end } => {
                vi64::put(&mut value, if end.is_some() { 4 } else { 3 });
                vi64::put(&mut value, group);
                vi64::put(&mut value, object);
                if let Some(end) = end {
                    let delta = end.checked_sub(group);
                    vi64::put(&mut value, delta.ok_or(EncodeError::Invalid("end before the start"))?);
                }
            }
        }
        put_bytes(out, &value, usize::from(u16::MAX), "filter")
    }
}

/// `least` is false, the next is true, and nothing else is allowed.
fn flag(byte: u8, least: u8, what: &'static str) -> Result<bool, DecodeError> {
    match byte.checked_sub(least) {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(DecodeError::Invalid(what)),
    }
}

/// Whether a message may have a parameter (section 9.2.1 and the definition of each).
fn is_allowed(parameter: u64, message: u64) -> bool {
    use super::kind::*;
    let messages: &[u64] = match parameter {
        TOKEN => &[
            PUBLISH,
            SUBSCRIBE,
            REQUEST_UPDATE,
            SUBSCRIBE_NAMESPACE,
            SUBSCRIBE_TRACKS,
            PUBLISH_NAMESPACE,
            TRACK_STATUS,
            FETCH,
        ],
        // PUBLISH_OK and the answer to REQUEST_UPDATE are REQUEST_OK on the wire.
        OBJECT_TIMEOUT | SUBGROUP_TIMEOUT => &[PUBLISH, SUBSCRIBE, REQUEST_UPDATE, REQUEST_OK, PUBLISH_OK],
        RENDEZVOUS => &[SUBSCRIBE, TRACK_STATUS],
        EXPIRES => &[SUBSCRIBE_OK, PUBLISH, REQUEST_OK, PUBLISH_OK],
        LARGEST => &[SUBSCRIBE_OK, PUBLISH, REQUEST_OK, PUBLISH_OK, FETCH_OK],
        FILL_TIMEOUT => &[FETCH],
        FORWARD => &[
            SUBSCRIBE,
            REQUEST_UPDATE,
            PUBLISH,
            REQUEST_OK,
            PUBLISH_OK,
            SUBSCRIBE_TRACKS,
        ],
        PRIORITY => &[SUBSCRIBE, FETCH, REQUEST_UPDATE, REQUEST_OK, PUBLISH_OK, TRACK_STATUS],
        FILTER => &[SUBSCRIBE, REQUEST_OK, PUBLISH_OK, REQUEST_UPDATE, TRACK_STATUS],
        ORDER => &[SUBSCRIBE, REQUEST_OK, PUBLISH_OK, FETCH, TRACK_STATUS],
        NEW_GROUP => &[REQUEST_OK, PUBLISH_OK, SUBSCRIBE, REQUEST_UPDATE],
        PREFIX => &[REQUEST_UPDATE],
        _ => &[],
    };
    messages.contains(&message)
}

const OBJECT_TIMEOUT: u64 = 0x02;
const TOKEN: u64 = 0x03;
const RENDEZVOUS: u64 = 0x04;
const SUBGROUP_TIMEOUT: u64 = 0x06;
const EXPIRES: u64 = 0x08;
const LARGEST: u64 = 0x09;
const FILL_TIMEOUT: u64 = 0x0a;
const FORWARD: u64 = 0x10;
const PRIORITY: u64 = 0x20;
const FILTER: u64 = 0x21;
const ORDER: u64 = 0x22;
const NEW_GROUP: u64 = 0x32;
const PREFIX: u64 = 0x34;
