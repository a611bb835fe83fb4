//! SESSION_CLIENT, SESSION_SERVER and SESSION_UPDATE: how 01, 02 and gomoqt agree on a version, and
//! what their Session Stream says from then on.
//!
//! ```text
//! behind stream type 0x0 (draft 01 "SESSION_CLIENT"; gomoqt SessionClientMessage, SessionServerMessage)
//! SESSION_CLIENT   Length (i) | Version Count (i) | Version (i) ... | Extension Count (i) | { ID (i) | Payload (b) } ...
//! SESSION_SERVER   Length (i) | Selected Version (i)                | Extension Count (i) | { ID (i) | Payload (b) } ...
//!
//! behind stream type 0x20 (draft 02 "SessionCompat"): the messages of moq-transport-11 to -14
//! CLIENT_SETUP     Length (16) | Version Count (i) | Version (i) ... | Parameter Count (i) | { Type (i) | Value } ...
//! SERVER_SETUP     0x21 | Length (16) | Selected Version (i)         | Parameter Count (i) | { Type (i) | Value } ...
//!
//! SESSION_UPDATE   Length (i) | Session Bitrate (i)
//! ```
//!
//! A Value is an integer where Type is even, else bytes with their length before them. The released
//! peers of 01 and 02 read and write the second form alone, whatever draft 01 says, so that is what a
//! client of theirs sends; gomoqt knows only the first. A server answers in the form it was asked in.
//! The drafts give extensions no meaning: 1 is the path in both forms, as gomoqt and moq-transport
//! have it.

use bytes::BytesMut;
use smallvec::SmallVec;

use crate::limits::{SESSION_VERSIONS_MAX, SETUP_PARAMETERS_MAX, SETUP_PATH_BYTES_MAX};

use super::body::Body;
use super::{BidiType, DecodeError, EncodeError, Version, body, framing, varint};

/// The two forms of the handshake, told apart by the type of their stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeForm {
    /// That of draft 01 and of gomoqt, behind stream type 0x0.
    Session,
    /// That of moq-transport-11 to -14, behind stream type 0x20 (draft 02 "SessionCompat").
    Compat,
}

/// What a client wants to speak, best first, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionClient {
    /// Codes, those of versions we do not know included.
    pub versions: SmallVec<[u64; 4]>,
    /// The path of the wanted resource, and its query.
    pub path: Option<String>,
}

/// What the server has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionServer {
    /// The [code](Version::code) of the version chosen, also of one that we do not know.
    pub version: u64,
}

/// The estimated bitrate of the connection changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionUpdate {
    /// Bits per second; `None` when unknown.
    pub bitrate: Option<u64>,
}

impl HandshakeForm {
    /// The form in which a client asks for a version.
    pub fn of(version: Version) -> Self {
        match version {
            Version::Gomoqt => Self::Session,
            _ => Self::Compat,
        }
    }

    pub(crate) fn stream_type(self) -> BidiType {
        match self {
            Self::Session => BidiType::Session,
            Self::Compat => BidiType::SessionCompat,
        }
    }

    fn encode(
        self,
        out: &mut BytesMut,
        fields: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Session => framing::encode(out, fields),
            Self::Compat => framing::encode_short(out, fields),
        }
    }

    fn decode<'a, M>(
        self,
        input: &'a [u8],
        fields: impl FnOnce(&mut Body<'a>) -> Result<M, DecodeError>,
    ) -> Result<(M, usize), DecodeError> {
        match self {
            Self::Session => framing::decode(input, fields),
            Self::Compat => framing::decode_short(input, fields),
        }
    }
}

impl SessionClient {
    /// Without the stream type, which in the second form is that of the message too.
    pub fn encode(&self, form: HandshakeForm, out: &mut BytesMut) -> Result<(), EncodeError> {
        if self.versions.len() > SESSION_VERSIONS_MAX {
            return Err(EncodeError::TooLarge("version count"));
        }
        form.encode(out, |out| {
            varint::put(out, self.versions.len() as u64)?;
            self.versions.iter().try_for_each(|code| varint::put(out, *code))?;
            varint::put(out, u64::from(self.path.is_some()))?;
            let Some(path) = &self.path else { return Ok(()) };
            varint::put(out, PATH)?;
            body::put_bytes(out, path.as_bytes(), SETUP_PATH_BYTES_MAX, "session path")
        })
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took. `TooLarge` for more than
    /// [`SESSION_VERSIONS_MAX`] versions, too many extensions or too long a path.
    pub fn decode(form: HandshakeForm, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        form.decode(input, |body| {
            let count = usize::try_from(body.integer()?).unwrap_or(usize::MAX);
            if count > SESSION_VERSIONS_MAX {
                return Err(DecodeError::TooLarge("version count"));
            }
            let mut versions = SmallVec::new();
            for _ in 0..count {
                versions.push(body.integer()?);
            }
            let path = get_path(form, body)?;
            Ok(Self { versions, path })
        })
    }
}

impl SessionServer {
    /// Appends the message, in the second form with its type.
    pub fn encode(self, form: HandshakeForm, out: &mut BytesMut) -> Result<(), EncodeError> {
        let start = out.len();
        if form == HandshakeForm::Compat {
            varint::put(out, SERVER_SETUP)?;
        }
        let result = form.encode(out, |out| {
            varint::put(out, self.version)?;
            varint::put(out, 0)
        });
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// What the server has to say beside the version means nothing to us. The released peers test
    /// theirs against a server that leaves even the count out.
    pub fn decode(form: HandshakeForm, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        let type_bytes = match form {
            HandshakeForm::Session => 0,
            HandshakeForm::Compat => match varint::get(input)? {
                (SERVER_SETUP, used) => used,
                _ => return Err(DecodeError::Invalid("type of the server's answer")),
            },
        };
        let rest = input.get(type_bytes..).unwrap_or_default();
        let (server, used) = form.decode(rest, |body| {
            let version = body.integer()?;
            if !body.is_empty() {
                get_path(form, body)?;
            }
            Ok(Self { version })
        })?;
        Ok((server, type_bytes + used))
    }
}

impl SessionUpdate {
    /// Appends the message, with 0 for an unknown bitrate. `NotInVersion` from 03 on.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.is_in_band() {
            return Err(EncodeError::NotInVersion("SESSION_UPDATE"));
        }
        framing::encode(out, |out| varint::put(out, self.bitrate.unwrap_or(0)))
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took. `Invalid` from 03 on.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.is_in_band() {
            return Err(DecodeError::Invalid("SESSION_UPDATE after moq-lite-02"));
        }
        framing::decode(input, |body| {
            let bitrate = Some(body.integer()?).filter(|bitrate| *bitrate != 0);
            Ok(Self { bitrate })
        })
    }
}

/// Passes over all extensions but the path. AUTHORITY, which is among them, chooses nothing here: the
/// broadcasts are the same under every name of the relay, on every carrier.
fn get_path(form: HandshakeForm, body: &mut Body<'_>) -> Result<Option<String>, DecodeError> {
    let count = usize::try_from(body.integer()?).unwrap_or(usize::MAX);
    if count > SETUP_PARAMETERS_MAX {
        return Err(DecodeError::TooLarge("extension count"));
    }
    let mut path = None;
    for _ in 0..count {
        let id = body.integer()?;
        if form == HandshakeForm::Compat && id % 2 == 0 {
            body.integer()?;
            continue;
        }
        let bytes_max = if id == PATH { SETUP_PATH_BYTES_MAX } else { usize::MAX };
        let value = body.bytes(bytes_max, "session path")?;
        if id != PATH {
            continue;
        }
        let text = std::str::from_utf8(value).map_err(|_| DecodeError::Invalid("session path that is not UTF-8"))?;
        if path.replace(text.to_owned()).is_some() {
            return Err(DecodeError::Invalid("session path twice"));
        }
    }
    Ok(path)
}

const PATH: u64 = 1;
const SERVER_SETUP: u64 = 0x21;

#[cfg(test)]
mod tests;
