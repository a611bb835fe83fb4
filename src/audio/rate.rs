//! Rates of samples.

/// Samples in a second. Each is a whole multiple of those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// 8 kHz: G.711.
    Hz8000,
    /// 16 kHz: G.722.
    Hz16000,
    /// 48 kHz: Opus as browsers have it.
    Hz48000,
}

impl Rate {
    /// Samples in a second.
    pub const fn hertz(self) -> u32 {
        match self {
            Self::Hz8000 => 8000,
            Self::Hz16000 => 16_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// Samples in so many milliseconds.
    pub const fn samples(self, milliseconds: usize) -> usize {
        self.hertz() as usize / 1000 * milliseconds
    }
}
