//! Codecs of telephones.

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegCodec {
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722, whose timestamps count half its samples (RFC 3551, section 4.5.2).
    G722,
    /// Opus.
    Opus,
}

impl LegCodec {
    /// As catalogs and messages have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcmu => "pcmu",
            Self::Pcma => "pcma",
            Self::G722 => "g722",
            Self::Opus => "opus",
        }
    }

    /// What RTP timestamps count in a second.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }

    /// Samples in a second.
    pub const fn sample_rate(self) -> u32 {
        match self {
            Self::Pcmu | Self::Pcma => 8000,
            Self::G722 => 16_000,
            Self::Opus => 48_000,
        }
    }

    /// Bytes of a millisecond, where frames may be cut anywhere: each byte is a unit of the clock.
    pub const fn bytes_per_ms(self) -> Option<usize> {
        match self {
            Self::Pcmu | Self::Pcma | Self::G722 => Some(8),
            Self::Opus => None,
        }
    }

    /// Of a static payload type (RFC 3551, section 6).
    pub const fn of_static(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            8 => Some(Self::Pcma),
            9 => Some(Self::G722),
            _ => None,
        }
    }
}
