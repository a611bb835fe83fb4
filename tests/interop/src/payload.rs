//! Reproducible pseudo-random content, so that a difference can be told byte for byte.

use bytes::Bytes;

/// SplitMix64: enough to make every frame different, and the same again for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// A group as it is to be published, and as it must arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedGroup {
    pub sequence: u64,
    pub frames: Vec<Bytes>,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("less than a usize")
    }

    pub fn bytes(&mut self, length: usize) -> Bytes {
        let mut out = Vec::with_capacity(length + 8);
        while out.len() < length {
            out.extend_from_slice(&self.number().to_le_bytes());
        }
        out.truncate(length);
        out.into()
    }

    pub fn group(&mut self, sequence: u64, frame_bytes: &[usize]) -> PlannedGroup {
        PlannedGroup {
            sequence,
            frames: frame_bytes.iter().map(|length| self.bytes(*length)).collect(),
        }
    }
}

/// The run's seed: `MOQSWITCH_INTEROP_SEED`, else the clock.
pub fn seed() -> u64 {
    if let Ok(seed) = std::env::var("MOQSWITCH_INTEROP_SEED")
        && let Ok(seed) = seed.parse()
    {
        return seed;
    }
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |elapsed| u64::from(elapsed.subsec_nanos()) ^ elapsed.as_secs())
}
