//! SETUP (05 and later): what an endpoint can do, said once on its Setup Stream.
//!
//! ```text
//! Message Length (i) | Parameter Count (i) | { ID (i) | Length (i) | Value } ...
//! ```
//!
//! Released peers of 05 and 06 send and understand the same five parameters.

use bytes::BytesMut;

use crate::limits::{MESSAGE_BYTES_MAX, SETUP_PARAMETERS_MAX, SETUP_PATH_BYTES_MAX};

use super::body::Body;
use super::{DecodeError, EncodeError, HopId, Version, body, framing, varint};

/// How far a publisher serves Probe Streams; each level includes the one before (draft "Probe
/// Parameter").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeLevel {
    /// Not at all: it resets them (draft "Probe"). On the wire 0, or no parameter.
    #[default]
    None,
    /// It reports its estimates. On the wire 1.
    Report,
    /// The highest level the draft has. On the wire 2, and so are values above.
    Increase,
}

/// The directions a client will use (draft "Role Parameter").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Publish and subscribe. On the wire 0, no parameter, or a value that is not recognised.
    #[default]
    Both,
    /// Publish alone. On the wire 1.
    Publisher,
    /// Subscribe alone. On the wire 2.
    Subscriber,
}

/// What an endpoint can do and wants, as [`Setup::encode`] writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// How far the sender serves Probe Streams.
    pub probe: ProbeLevel,
    /// Path and query of the wanted resource; `Some("")` and `None` both ask for the default.
    pub path: Option<String>,
    /// What the sender is going to do. A client's alone: a server's is always [`Role::Both`].
    pub role: Role,
    /// What subscribing from the sender costs; absent means 1, which is not the same as 0.
    pub cost: Option<u64>,
    /// The hop the sender stamps on announcements; `UNKNOWN` when it declared none.
    pub origin: HopId,
}

impl Setup {
    /// Appends the message. `NotInVersion` before 05; `TooLarge` above [`SETUP_PATH_BYTES_MAX`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_setup() {
            return Err(EncodeError::NotInVersion("SETUP"));
        }
        framing::encode(out, |out| self.put_parameters(out))
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took. `Invalid` before 05, and for a
    /// parameter that comes twice (draft "SETUP"). Unknown parameters are ignored.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_setup() {
            return Err(DecodeError::Invalid("SETUP before moq-lite-05"));
        }
        framing::decode(input, Self::parameters)
    }

    /// A parameter whose absence says the same is left out.
    fn put_parameters(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let integers = [
            (PROBE, Some(self.probe.code()).filter(|code| *code != 0)),
            (ROLE, Some(self.role.code()).filter(|code| *code != 0)),
            (COST, self.cost),
            (ORIGIN, Some(self.origin.0).filter(|hop| *hop != 0)),
        ];
        let count = integers.iter().filter(|(_, value)| value.is_some()).count() + usize::from(self.path.is_some());
        varint::put(out, count as u64)?;
        if let Some(path) = &self.path {
            varint::put(out, PATH)?;
            body::put_bytes(out, path.as_bytes(), SETUP_PATH_BYTES_MAX, "SETUP path")?;
        }
        for (id, value) in integers {
            if let Some(value) = value {
                varint::put(out, id)?;
                varint::put(out, varint::len(value) as u64)?;
                varint::put(out, value)?;
            }
        }
        Ok(())
    }

    fn parameters(body: &mut Body<'_>) -> Result<Self, DecodeError> {
        let count = usize::try_from(body.integer()?).unwrap_or(usize::MAX);
        let mut seen = [0; SETUP_PARAMETERS_MAX];
        if count > seen.len() {
            return Err(DecodeError::TooLarge("SETUP parameter count"));
        }
        let mut setup = Self::default();
        for index in 0..count {
            let id = body.integer()?;
            let (earlier, rest) = seen.split_at_mut(index);
            // Draft "SETUP": a parameter twice is a violation, known to us or not.
            if earlier.contains(&id) {
                return Err(DecodeError::Invalid("SETUP parameter twice"));
            }
            if let Some(slot) = rest.first_mut() {
                *slot = id;
            }
            let value = body.bytes(MESSAGE_BYTES_MAX, "SETUP parameter")?;
            setup.set_parameter(id, value)?;
        }
        Ok(setup)
    }

    fn set_parameter(&mut self, id: u64, value: &[u8]) -> Result<(), DecodeError> {
        match id {
            PROBE => self.probe = ProbeLevel::from_code(integer_value(value)?),
            PATH if value.len() > SETUP_PATH_BYTES_MAX => {
                return Err(DecodeError::TooLarge("SETUP path"));
            }
            PATH => {
                let path = std::str::from_utf8(value);
                self.path = Some(
                    path.map_err(|_| DecodeError::Invalid("SETUP path that is not UTF-8"))?
                        .to_owned(),
                );
            }
            ROLE => self.role = Role::from_code(integer_value(value)?),
            COST => self.cost = Some(integer_value(value)?),
            ORIGIN => self.origin = HopId(integer_value(value)?),
            // Draft "SETUP": unknown parameters are ignored.
            _ => {}
        }
        Ok(())
    }
}

impl ProbeLevel {
    fn code(self) -> u64 {
        match self {
            ProbeLevel::None => 0,
            ProbeLevel::Report => 1,
            ProbeLevel::Increase => 2,
        }
    }

    /// Levels include those below, so one above all we know is at least the highest we know.
    fn from_code(code: u64) -> Self {
        match code {
            0 => ProbeLevel::None,
            1 => ProbeLevel::Report,
            _ => ProbeLevel::Increase,
        }
    }
}

impl Role {
    fn code(self) -> u64 {
        match self {
            Role::Both => 0,
            Role::Publisher => 1,
            Role::Subscriber => 2,
        }
    }

    /// Draft "Role Parameter": a value that is not recognised means both.
    fn from_code(code: u64) -> Self {
        match code {
            1 => Role::Publisher,
            2 => Role::Subscriber,
            _ => Role::Both,
        }
    }
}

/// A parameter value that is one integer and nothing else.
fn integer_value(value: &[u8]) -> Result<u64, DecodeError> {
    let mut body = Body::new(value);
    let integer = body.integer()?;
    body.finish()
        .map_err(|_| DecodeError::Invalid("SETUP parameter longer than its integer"))?;
    Ok(integer)
}

const PROBE: u64 = 0x1;
const PATH: u64 = 0x2;
const ROLE: u64 = 0x3;
const COST: u64 = 0x4;
/// The released peers call it Hop.
const ORIGIN: u64 = 0x5;

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(body: &[u8]) -> Result<Setup, DecodeError> {
        let mut input = BytesMut::new();
        varint::put(&mut input, body.len() as u64).unwrap();
        input.extend_from_slice(body);
        Setup::decode(Version::Lite06, &input).map(|(setup, _)| setup)
    }

    #[test]
    fn bytes_are_those_of_the_draft() {
        let setup = Setup {
            probe: ProbeLevel::Report,
            path: Some("/a?b".to_owned()),
            role: Role::Publisher,
            cost: Some(0),
            origin: HopId(100),
        };
        let bytes = [
            20, 5, // length, count
            2, 4, b'/', b'a', b'?', b'b', // Path
            1, 1, 1, // Probe
            3, 1, 1, // Role
            4, 1, 0, // Cost
            5, 2, 0x40, 100, // Origin
        ];
        for version in [Version::Lite05, Version::Lite06] {
            let mut out = BytesMut::new();
            setup.encode(version, &mut out).unwrap();
            assert_eq!(out[..], bytes);
            assert_eq!(Setup::decode(version, &bytes), Ok((setup.clone(), bytes.len())));
        }
        let mut out = BytesMut::new();
        Setup::default().encode(Version::Lite05, &mut out).unwrap();
        assert_eq!(out[..], [1, 0]);
    }

    #[test]
    fn unknown_parameters_and_values_are_tolerated() {
        assert_eq!(
            decode(&[2, 0x40, 0x99, 3, 1, 2, 3, 1, 1, 2]).unwrap().probe,
            ProbeLevel::Increase
        );
        assert_eq!(decode(&[1, 1, 1, 9]).unwrap().probe, ProbeLevel::Increase);
        assert_eq!(decode(&[1, 3, 1, 9]).unwrap().role, Role::Both);
        assert_eq!(decode(&[1, 5, 1, 0]).unwrap().origin, HopId::UNKNOWN);
        assert_eq!(decode(&[1, 2, 0]).unwrap().path.as_deref(), Some(""));
    }

    #[test]
    fn malformed_parameters_are_refused() {
        assert_eq!(
            decode(&[2, 1, 1, 1, 1, 1, 1]),
            Err(DecodeError::Invalid("SETUP parameter twice"))
        );
        assert_eq!(
            decode(&[2, 9, 0, 9, 0]),
            Err(DecodeError::Invalid("SETUP parameter twice"))
        );
        for body in [
            &[1, 1, 2, 1, 1][..],
            &[1, 1, 0],
            &[1, 1, 1, 0x40],
            &[1, 2, 1, 0xff],
            &[1],
            &[1, 2, 5, b'a'],
        ] {
            assert!(matches!(decode(body), Err(DecodeError::Invalid(_))), "{body:?}");
        }
        assert_eq!(decode(&[0, 0]), Err(DecodeError::Trailing));
    }

    #[test]
    fn parameter_count_and_path_are_limited() {
        let mut body = vec![0x40, 64];
        (0..64_u8).for_each(|id| body.extend([0x40, 0x80 + id, 0]));
        assert_eq!(decode(&body), Ok(Setup::default()));
        body[1] = 65;
        assert_eq!(decode(&body), Err(DecodeError::TooLarge("SETUP parameter count")));
        assert!(matches!(decode(&[0xff; 8]), Err(DecodeError::TooLarge(_))));

        let mut out = BytesMut::new();
        let setup = |bytes| Setup {
            path: Some("a".repeat(bytes)),
            ..Setup::default()
        };
        setup(SETUP_PATH_BYTES_MAX).encode(Version::Lite06, &mut out).unwrap();
        assert_eq!(
            Setup::decode(Version::Lite06, &out).unwrap().0,
            setup(SETUP_PATH_BYTES_MAX)
        );
        let too_long = setup(SETUP_PATH_BYTES_MAX + 1).encode(Version::Lite06, &mut out);
        assert_eq!(too_long, Err(EncodeError::TooLarge("SETUP path")));
        let mut body = vec![1, 2, 0x60, 0x01];
        body.resize(body.len() + SETUP_PATH_BYTES_MAX + 1, b'a');
        assert_eq!(decode(&body), Err(DecodeError::TooLarge("SETUP path")));
    }

    #[test]
    fn older_drafts_have_no_setup() {
        for version in [Version::Lite03, Version::Lite04] {
            assert!(Setup::default().encode(version, &mut BytesMut::new()).is_err());
            assert!(Setup::decode(version, &[1, 0]).is_err());
        }
    }
}
