//! PROBE (03 and later): a target or an estimate of the connection's bitrate.
//!
//! ```text
//! Message Length (i) | Bitrate (i) | RTT (i)        03: no RTT
//! ```

use bytes::BytesMut;

use super::{DecodeError, EncodeError, Version, framing, varint};

/// On the wire 0 is unknown, `None` here; a measured 0 is sent as 1, the least that still is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Bits per second: wanted by the subscriber, or estimated by the publisher.
    pub bitrate: Option<u64>,
    /// Smoothed round-trip time. Not on the wire of 03.
    pub rtt_ms: Option<u64>,
}

impl Probe {
    /// Appends the message. `NotInVersion` before 03.
    pub fn encode(&self, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
        if !version.has_probe() {
            return Err(EncodeError::NotInVersion("PROBE"));
        }
        let known = |value: Option<u64>| value.map_or(0, |value| value.max(1));
        framing::encode(out, |out| {
            varint::put(out, known(self.bitrate))?;
            if version.has_probe_rtt() {
                varint::put(out, known(self.rtt_ms))?;
            }
            Ok(())
        })
    }

    /// Reads the message from the front of `input`; also returns how many bytes it took. `Invalid` before 03.
    pub fn decode(version: Version, input: &[u8]) -> Result<(Self, usize), DecodeError> {
        if !version.has_probe() {
            return Err(DecodeError::Invalid("PROBE before moq-lite-03"));
        }
        let known = |value: u64| Some(value).filter(|value| *value != 0);
        framing::decode(input, |body| {
            let bitrate = known(body.integer()?);
            let rtt_ms = if version.has_probe_rtt() {
                known(body.integer()?)
            } else {
                None
            };
            Ok(Self { bitrate, rtt_ms })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(version: Version, bitrate: Option<u64>, rtt_ms: Option<u64>) -> Vec<u8> {
        let mut out = BytesMut::new();
        Probe { bitrate, rtt_ms }.encode(version, &mut out).unwrap();
        out.to_vec()
    }

    #[test]
    fn bytes_are_those_of_each_draft() {
        assert_eq!(encoded(Version::Lite03, Some(100), Some(40)), [2, 0x40, 100]);
        for version in [Version::Lite04, Version::Lite05, Version::Lite06] {
            assert_eq!(encoded(version, Some(100), Some(40)), [3, 0x40, 100, 40]);
            assert_eq!(encoded(version, None, Some(40)), [2, 0, 40]);
            let report = Probe {
                bitrate: Some(100),
                rtt_ms: None,
            };
            assert_eq!(Probe::decode(version, &[3, 0x40, 100, 0]), Ok((report, 4)));
        }
        assert_eq!(Probe::decode(Version::Lite03, &[1, 0]), Ok((Probe::default(), 2)));
        assert_eq!(Probe::decode(Version::Lite03, &[2, 1, 1]), Err(DecodeError::Trailing));
    }

    #[test]
    fn older_drafts_have_no_probe() {
        for version in Version::IN_BAND {
            assert!(Probe::default().encode(version, &mut BytesMut::new()).is_err());
            assert!(Probe::decode(version, &[1, 0]).is_err());
        }
    }

    #[test]
    fn a_measured_zero_stays_a_measurement() {
        assert_eq!(encoded(Version::Lite06, Some(0), Some(0)), [2, 1, 1]);
    }
}
