//! How audio is written: the names that Asterisk has for formats.

use std::fmt;
use std::str::FromStr;

/// A format of audio, mono.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// G.711 µ-law: `ulaw`.
    Ulaw,
    /// G.711 A-law: `alaw`.
    Alaw,
    /// G.722 at 64 kbit/s: `g722`.
    G722,
    /// Opus: `opus`. One message is one packet.
    Opus,
    /// Linear samples of 16 bits, the low byte first, so many in a second: `slin` (8000), `slin12` to `slin192`.
    Linear(u32),
}

/// The text names no format that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a format is ulaw, alaw, g722, opus, slin, slin12, slin16, slin24, slin32, slin44, slin48, slin96 or slin192")]
pub struct UnknownFormat;

impl Format {
    /// Bytes of 20 ms. `None`: it depends on what is said.
    pub const fn frame_bytes(self) -> Option<usize> {
        match self {
            Self::Ulaw | Self::Alaw | Self::G722 => Some(160),
            Self::Opus => None,
            Self::Linear(hertz) => Some(hertz as usize / 50 * 2),
        }
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let linear = LINEAR.iter().find(|(name, _)| *name == text);
        match text {
            "ulaw" => Ok(Self::Ulaw),
            "alaw" => Ok(Self::Alaw),
            "g722" => Ok(Self::G722),
            "opus" => Ok(Self::Opus),
            // As it is written on the wire of some versions.
            "slin8" => Ok(Self::Linear(8000)),
            _ => linear.map(|(_, hertz)| Self::Linear(*hertz)).ok_or(UnknownFormat),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ulaw => "ulaw",
            Self::Alaw => "alaw",
            Self::G722 => "g722",
            Self::Opus => "opus",
            Self::Linear(hertz) => {
                let known = LINEAR.iter().find(|(_, rate)| rate == hertz);
                known.map_or("slin", |(name, _)| name)
            }
        })
    }
}

/// Formats of linear samples, in the order of AudioSocket's kinds, 0x10 and up.
pub(crate) const LINEAR: [(&str, u32); 9] = [
    ("slin", 8000),
    ("slin12", 12_000),
    ("slin16", 16_000),
    ("slin24", 24_000),
    ("slin32", 32_000),
    ("slin44", 44_100),
    ("slin48", 48_000),
    ("slin96", 96_000),
    ("slin192", 192_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_asterisk() {
        for name in ["ulaw", "alaw", "g722", "opus", "slin", "slin16", "slin44", "slin192"] {
            assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
        }
        for name in ["", "ULAW", "slin11", "gsm", "slin 16"] {
            assert_eq!(name.parse::<Format>(), Err(UnknownFormat), "{name}");
        }
        assert_eq!(Format::Linear(44_100).frame_bytes(), Some(1764));
        assert_eq!(Format::Ulaw.frame_bytes(), Some(160));
        assert_eq!(Format::Opus.frame_bytes(), None);
    }
}
