//! GOAWAY (04 and later): the session is to end; the URI, if any, is where to go on.
//!
//! ```text
//! Message Length (i) | New Session URI (s)
//! ```

use bytes::BytesMut;

use super::{DecodeError, EncodeError, Version, body, framing};
use crate::limits::GOAWAY_URI_BYTES_MAX;

/// Asks the peer to end the session (draft "Goaway").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goaway {
    /// Empty: no redirect.
    pub uri: String,
}

impl Goaway {
    /// Appends the message. `NotInVersion` before 04; `TooLarge` above [`GOAWAY_URI_BYTES_MAX`].
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_goaway() {
            return Err(EncodeError::NotInVersion("GOAWAY"));
        }
        framing::encode(out, |out| {
            body::put_bytes(out, self.uri.as_bytes(), GOAWAY_URI_BYTES_MAX, "GOAWAY URI")
        })
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took. `Invalid` before 04.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_goaway() {
            return Err(DecodeError::Invalid("GOAWAY before moq-lite-04"));
        }
        framing::decode(input, |body| {
            let uri = body.text(GOAWAY_URI_BYTES_MAX, "GOAWAY URI")?.to_owned();
            Ok(Self { uri })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::varint;

    #[test]
    fn bytes_are_those_of_the_draft() {
        for version in [Version::Lite04, Version::Lite05, Version::Lite06] {
            for (uri, bytes) in [("", &[1, 0][..]), ("a:b", &[4, 3, b'a', b':', b'b'])] {
                let goaway = Goaway { uri: uri.to_owned() };
                let mut out = BytesMut::new();
                goaway.encode(version, &mut out).unwrap();
                assert_eq!(out[..], *bytes);
                assert_eq!(Goaway::decode(version, bytes), Ok((goaway, bytes.len())));
            }
        }
        assert!(
            Goaway { uri: String::new() }
                .encode(Version::Lite03, &mut BytesMut::new())
                .is_err()
        );
        assert!(Goaway::decode(Version::Lite03, &[1, 0]).is_err());
    }

    #[test]
    fn the_uri_is_limited_and_utf_8() {
        let goaway = |bytes| Goaway { uri: "a".repeat(bytes) };
        let mut out = BytesMut::new();
        goaway(GOAWAY_URI_BYTES_MAX).encode(Version::Lite06, &mut out).unwrap();
        assert_eq!(
            Goaway::decode(Version::Lite06, &out).unwrap().0,
            goaway(GOAWAY_URI_BYTES_MAX)
        );
        let too_long = goaway(GOAWAY_URI_BYTES_MAX + 1).encode(Version::Lite06, &mut out);
        assert_eq!(too_long, Err(EncodeError::TooLarge("GOAWAY URI")));

        let mut input = BytesMut::new();
        framing::encode(&mut input, |out| {
            varint::put(out, GOAWAY_URI_BYTES_MAX as u64 + 1)?;
            out.extend_from_slice("a".repeat(GOAWAY_URI_BYTES_MAX + 1).as_bytes());
            Ok(())
        })
        .unwrap();
        assert_eq!(
            Goaway::decode(Version::Lite06, &input),
            Err(DecodeError::TooLarge("GOAWAY URI"))
        );
        assert!(matches!(
            Goaway::decode(Version::Lite06, &[2, 1, 0xff]),
            Err(DecodeError::Invalid(_))
        ));
    }
}
