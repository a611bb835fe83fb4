//! SETUP (section 9.3): the first message of the control stream of either end.
//!
//! ```text
//! Type (vi64) = 0x2F00 | Length (16) | [ Delta Type (vi64) | value, or length and value ] ...
//! ```

use bytes::BytesMut;

use super::fields::{Fields, put_bytes};
use crate::limits::SETUP_PATH_BYTES_MAX;
use crate::wire::{DecodeError, EncodeError, vi64};

/// What an end says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ietf) struct Setup {
    /// Path and query of a client without WebTransport.
    pub(in crate::ietf) path: Option<String>,
    pub(in crate::ietf) has_authority: bool,
    /// The value of the first token that is text, and not of a type that we do not know.
    pub(in crate::ietf) token: Option<String>,
}

impl Setup {
    /// Reads the body of the message. Options that are not known are passed over.
    pub(in crate::ietf) fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let mut setup = Self::default();
        let (mut kind, mut is_first) = (0u64, true);
        while !fields.is_empty() {
            let delta = fields.integer()?;
            kind = kind
                .checked_add(delta)
                .ok_or(DecodeError::Invalid("type of an option"))?;
            let is_repeated = !is_first && delta == 0;
            is_first = false;
            if is_repeated && matches!(kind, PATH | AUTHORITY) {
                return Err(DecodeError::Invalid("option twice"));
            }
            if kind % 2 == 0 {
                fields.integer()?;
                continue;
            }
            let value = fields.bytes(usize::from(u16::MAX), "option")?;
            match kind {
                PATH if value.len() > SETUP_PATH_BYTES_MAX => return Err(DecodeError::TooLarge("path")),
                PATH => {
                    let path = std::str::from_utf8(value).map_err(|_| DecodeError::Invalid("path"))?;
                    setup.path = Some(path.to_owned());
                }
                AUTHORITY => setup.has_authority = true,
                TOKEN => setup.token = setup.token.or(token(value)?),
                _ => {}
            }
        }
        Ok(setup)
    }

    /// Appends the options.
    pub(in crate::ietf) fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut last = 0;
        if let Some(path) = &self.path {
            vi64::put(out, PATH);
            put_bytes(out, path.as_bytes(), SETUP_PATH_BYTES_MAX, "path")?;
            last = PATH;
        }
        vi64::put(out, IMPLEMENTATION - last);
        put_bytes(out, NAME.as_bytes(), NAME.len(), "name")
    }
}

/// Section 9.2.2: `Alias Type (vi64) | [ Alias (vi64) ] | [ Type (vi64) | Value ]`. No alias is kept, so those who register
/// one are heard once.
fn token(value: &[u8]) -> Result<Option<String>, DecodeError> {
    let mut fields = Fields::new(value);
    match fields.integer()? {
        REGISTER => drop(fields.integer()?),
        USE_VALUE => {}
        _ => return Err(DecodeError::Invalid("alias of a token in SETUP")),
    }
    let kind = fields.integer()?;
    let text = std::str::from_utf8(fields.take_rest()).ok();
    Ok(text.filter(|_| kind == 0).map(str::to_owned))
}

const PATH: u64 = 0x01;
const TOKEN: u64 = 0x03;
const AUTHORITY: u64 = 0x05;
const IMPLEMENTATION: u64 = 0x07;
const REGISTER: u64 = 0x1;
const USE_VALUE: u64 = 0x3;
const NAME: &str = "moqswitch";
