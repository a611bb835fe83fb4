//! AudioSocket: messages on a TCP connection that Asterisk opens. Its first message is its UUID.
//!
//! ```text
//! byte   0      1       2       3 …
//!      ┌──────┬───────────────┬─────────────────────┐
//!      │ kind │ length (u16,  │ payload             │
//!      │      │ high byte     │ as many bytes as    │
//!      │      │ first)        │ the length says     │
//!      └──────┴───────────────┴─────────────────────┘
//! ```
//!
//! | kind | what | who sends it |
//! |---|---|---|
//! | 0x00 | it is over | the program |
//! | 0x01 | UUID, 16 bytes | Asterisk, first |
//! | 0x03 | a digit, one ASCII byte | Asterisk |
//! | 0x10 … 0x18 | samples of 8, 12, 16, 24, 32, 44.1, 48, 96, 192 kHz, the low byte first | both |
//! | 0xff | an error, perhaps with a code | Asterisk |
//!
//! Asterisk ends the call on every other kind, on a digit that it is sent, and on audio without samples. So a [`Message`]
//! is written by who plays Asterisk, or one that Asterisk takes: [`Message::is_for_asterisk`].

use crate::format::LINEAR;
use crate::{Format, Uuid};

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// It is over.
    Hangup,
    /// Which connection it is.
    Uuid(Uuid),
    /// A key was pressed, and is let go.
    Digit(char),
    /// Samples of 16 bits, the low byte first; an even number of bytes.
    Audio {
        /// In a second.
        hertz: u32,
        /// As they came.
        samples: &'a [u8],
    },
    /// Asterisk has failed, with the code that it gave.
    Error(Option<u8>),
    /// A kind that means nothing here. It is passed over.
    Unknown(u8),
}

/// Why bytes are no message. The connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A UUID has 16 bytes.
    #[error("a UUID of {0} bytes")]
    Uuid(usize),
    /// A digit is one of `0` to `9`, `*`, `#`, `A` to `D`.
    #[error("a digit that is none")]
    Digit,
    /// Samples have two bytes each.
    #[error("{0} bytes of samples")]
    Samples(usize),
    /// That something is over needs no words.
    #[error("a hangup of {0} bytes")]
    Hangup(usize),
}

/// Bytes before the payload.
pub const HEAD_BYTES: usize = 3;

impl<'a> Message<'a> {
    /// The message at the beginning of `bytes`, and how long it is. `Ok(None)`: it is not all there.
    ///
    /// # Errors
    /// Its payload is none of its kind.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, MessageError> {
        let [kind, high, low, rest @ ..] = bytes else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        Ok(Some((Self::of(*kind, payload)?, HEAD_BYTES + length)))
    }

    fn of(kind: u8, payload: &'a [u8]) -> Result<Self, MessageError> {
        match kind {
            HANGUP if payload.is_empty() => Ok(Self::Hangup),
            HANGUP => Err(MessageError::Hangup(payload.len())),
            UUID => {
                let bytes: [u8; 16] = payload.try_into().map_err(|_| MessageError::Uuid(payload.len()))?;
                Ok(Self::Uuid(Uuid(u128::from_be_bytes(bytes))))
            }
            DIGIT => match payload {
                [byte] if is_digit(*byte) => Ok(Self::Digit(char::from(byte.to_ascii_uppercase()))),
                _ => Err(MessageError::Digit),
            },
            ERROR => Ok(Self::Error(payload.first().copied())),
            kind => match rate_of(kind) {
                Some(_) if !payload.len().is_multiple_of(2) => Err(MessageError::Samples(payload.len())),
                Some(hertz) => Ok(Self::Audio {
                    hertz,
                    samples: payload,
                }),
                None => Ok(Self::Unknown(kind)),
            },
        }
    }

    /// Writes it. False: it is longer than a message may be, or has a rate without a kind, and nothing was written.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let digit;
        let uuid;
        let code;
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Hangup => (HANGUP, &[]),
            Self::Uuid(Uuid(bits)) => {
                uuid = bits.to_be_bytes();
                (UUID, &uuid)
            }
            Self::Digit(character) => {
                let Some(byte) = u8::try_from(*character).ok().filter(|byte| is_digit(*byte)) else {
                    return false;
                };
                digit = [byte];
                (DIGIT, &digit)
            }
            Self::Audio { hertz, samples } => {
                let Some(kind) = kind_of(*hertz) else { return false };
                (kind, samples)
            }
            Self::Error(given) => {
                code = given.map(|code| [code]);
                (ERROR, code.as_ref().map_or(&[], |code| code.as_slice()))
            }
            Self::Unknown(_) => return false,
        };
        let Ok(length) = u16::try_from(payload.len()) else {
            return false;
        };
        out.push(kind);
        out.extend(length.to_be_bytes());
        out.extend(payload);
        true
    }

    /// Does Asterisk take it? Anything else ends its call.
    pub fn is_for_asterisk(&self) -> bool {
        match self {
            Self::Hangup => true,
            Self::Audio { samples, .. } => !samples.is_empty(),
            Self::Uuid(_) | Self::Digit(_) | Self::Error(_) | Self::Unknown(_) => false,
        }
    }
}

/// The rate of a kind of audio.
fn rate_of(kind: u8) -> Option<u32> {
    let index = usize::from(kind.checked_sub(AUDIO)?);
    LINEAR.get(index).map(|(_, hertz)| *hertz)
}

fn kind_of(hertz: u32) -> Option<u8> {
    let index = LINEAR.iter().position(|(_, rate)| *rate == hertz)?;
    Some(AUDIO + u8::try_from(index).ok()?)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'*' | b'#' | b'A'..=b'D' | b'a'..=b'd')
}

impl Format {
    /// Whether AudioSocket has a kind for it.
    pub fn is_of_audiosocket(self) -> bool {
        matches!(self, Self::Linear(hertz) if kind_of(hertz).is_some())
    }
}

const HANGUP: u8 = 0x00;
const UUID: u8 = 0x01;
const DIGIT: u8 = 0x03;
const AUDIO: u8 = 0x10;
const ERROR: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PAYLOAD_BYTES_MAX;

    const ID: Uuid = Uuid(0x4032_5ec2_5efd_4bd3_805f_5357_6e58_1d13);

    /// Each message and its bytes, as `res_audiosocket.c` writes and reads them.
    fn fixtures() -> Vec<(Message<'static>, Vec<u8>)> {
        let mut uuid = vec![0x01, 0x00, 0x10];
        uuid.extend([
            0x40, 0x32, 0x5e, 0xc2, 0x5e, 0xfd, 0x4b, 0xd3, 0x80, 0x5f, 0x53, 0x57, 0x6e, 0x58, 0x1d, 0x13,
        ]);
        let audio = |hertz, kind| {
            let message = Message::Audio {
                hertz,
                samples: &[0x01, 0x00, 0xff, 0x7f, 0x00, 0x80],
            };
            (message, vec![kind, 0, 6, 0x01, 0x00, 0xff, 0x7f, 0x00, 0x80])
        };
        let mut fixtures = vec![
            (Message::Hangup, vec![0, 0, 0]),
            (Message::Uuid(ID), uuid),
            (Message::Digit('5'), vec![3, 0, 1, b'5']),
            (Message::Digit('#'), vec![3, 0, 1, b'#']),
            (Message::Error(None), vec![0xff, 0, 0]),
            (Message::Error(Some(4)), vec![0xff, 0, 1, 4]),
        ];
        for (kind, (_, hertz)) in (0x10..).zip(LINEAR) {
            fixtures.push(audio(hertz, kind));
        }
        fixtures
    }

    #[test]
    fn every_kind_is_written_and_read_byte_by_byte() {
        for (message, bytes) in fixtures() {
            let mut written = Vec::new();
            assert!(message.write(&mut written));
            assert_eq!(written, bytes, "{message:?}");
            assert_eq!(Message::read(&bytes), Ok(Some((message, bytes.len()))));
            let behind: Vec<u8> = bytes.iter().copied().chain([0x10, 1]).collect();
            assert_eq!(Message::read(&behind), Ok(Some((message, bytes.len()))));
            for length in 0..bytes.len() {
                assert_eq!(Message::read(&bytes[..length]), Ok(None), "{message:?} of {length}");
            }
        }
    }

    #[test]
    fn a_frame_of_20_ms_at_8_khz_has_323_bytes() {
        let samples = [0x55; 320];
        let mut written = Vec::new();
        let audio = Message::Audio {
            hertz: 8000,
            samples: &samples,
        };
        assert!(audio.write(&mut written));
        assert_eq!(written[..3], [0x10, 0x01, 0x40]);
        assert_eq!(written.len(), 323);
    }

    #[test]
    fn what_is_no_message_is_told_and_what_is_unknown_passed_over() {
        let error = |bytes: &[u8]| Message::read(bytes).unwrap_err();
        assert_eq!(error(&[1, 0, 2, 9, 9]), MessageError::Uuid(2));
        assert_eq!(error(&[3, 0, 1, b'x']), MessageError::Digit);
        assert_eq!(error(&[3, 0, 2, b'1', b'2']), MessageError::Digit);
        assert_eq!(error(&[3, 0, 0]), MessageError::Digit);
        assert_eq!(error(&[0x10, 0, 3, 1, 2, 3]), MessageError::Samples(3));
        assert_eq!(error(&[0, 0, 1, 1]), MessageError::Hangup(1));
        for kind in [0x02, 0x04, 0x0f, 0x19, 0x80, 0xfe] {
            assert_eq!(Message::read(&[kind, 0, 1, 7]), Ok(Some((Message::Unknown(kind), 4))));
        }
        assert_eq!(Message::read(&[3, 0, 1, b'c']), Ok(Some((Message::Digit('C'), 4))));
    }

    #[test]
    fn nothing_is_written_that_ends_a_call_of_asterisk() {
        let audio = |samples| Message::Audio { hertz: 8000, samples };
        assert!(Message::Hangup.is_for_asterisk() && audio(&[0, 0]).is_for_asterisk());
        let deadly = [Message::Digit('1'), Message::Uuid(ID), Message::Error(None), audio(&[])];
        assert!(deadly.iter().all(|message| !message.is_for_asterisk()));
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        let long = vec![0; PAYLOAD_BYTES_MAX + 1];
        let mut out = Vec::new();
        for (hertz, samples) in [(8000, long.as_slice()), (11_025, &[0, 0][..])] {
            assert!(!Message::Audio { hertz, samples }.write(&mut out));
        }
        assert!(!Message::Digit('x').write(&mut out) && !Message::Unknown(9).write(&mut out));
        assert!(out.is_empty());
        let most = &long[..PAYLOAD_BYTES_MAX - 1];
        let most = Message::Audio {
            hertz: 8000,
            samples: most,
        };
        assert!(most.write(&mut out));
        assert_eq!(Message::read(&out), Ok(Some((most, PAYLOAD_BYTES_MAX + 2))));
    }

    #[test]
    fn no_bytes_are_a_surprise() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state & 0xff).unwrap()
        };
        let kinds = [0x00, 0x01, 0x03, 0x10, 0x12, 0x18, 0x19, 0xff];
        let (mut whole, mut broken) = (0, 0);
        for _ in 0..20_000 {
            let kind = match byte() {
                even if even.is_multiple_of(2) => kinds[usize::from(even / 2) % kinds.len()],
                odd => odd,
            };
            let length = byte() % 32;
            let mut bytes = vec![kind, 0, length];
            bytes.extend((0..byte() % 40).map(|_| byte()));
            match Message::read(&bytes) {
                Ok(Some((message, length))) => {
                    whole += 1;
                    assert!((HEAD_BYTES..=bytes.len()).contains(&length));
                    let mut again = Vec::new();
                    if message.write(&mut again) {
                        let (read, _) = Message::read(&again).unwrap().unwrap();
                        assert_eq!(read, message);
                    }
                }
                Ok(None) => assert!(bytes.len() < HEAD_BYTES + usize::from(length)),
                Err(_) => broken += 1,
            }
        }
        assert!(whole > 1000 && broken > 100, "{whole} {broken}");
    }
}
