//! What is played, and was.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// See [`Player::statistics`](crate::Player::statistics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayerStatistics {
    /// Broadcasts that are announced.
    pub broadcasts: usize,
    /// Those that are played at this moment, since somebody hears them.
    pub playing: usize,
    /// Bytes of encoded sound.
    pub bytes: usize,
    /// Files that are not played, and directories that cannot be read.
    pub faults: usize,
    /// Times 20 ms that were played, of all broadcasts.
    pub frames: u64,
    /// Those that were left out, because the shard was late.
    pub left_out: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) broadcasts: AtomicUsize,
    pub(crate) playing: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
    pub(crate) faults: AtomicUsize,
    pub(crate) frames: AtomicU64,
    pub(crate) left_out: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> PlayerStatistics {
        PlayerStatistics {
            broadcasts: self.broadcasts.load(Ordering::Relaxed),
            playing: self.playing.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
            frames: self.frames.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
        }
    }
}
