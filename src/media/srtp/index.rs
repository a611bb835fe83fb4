//! Numbers of packets beyond their 16 bits, and which of them have come (RFC 3711, section 3.3).

/// Which packets of a source have come: the highest, and those just before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    highest: u64,
    /// The lowest bit is of the highest.
    seen: u128,
}

impl Window {
    pub(super) fn new(first: u64) -> Self {
        Self {
            highest: first,
            seen: 1,
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// It has not come, as far as that is known. What is older than the window counts as come.
    pub(super) fn admits(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(age) => age < WINDOW && self.seen & (1 << age) == 0,
        }
    }

    /// It has come, and was admitted.
    pub(super) fn note(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
                self.highest = index;
            }
            None => {
                let age = self.highest - index;
                if age < WINDOW {
                    self.seen |= 1 << age;
                }
            }
        }
    }
}

/// What the number of a packet may stand for, the likelier first: what is nearest to the highest that has come (RFC 3711,
/// appendix A), and the same a turn before or after, where many were lost or the sender has leapt.
pub(super) fn candidates(highest: u64, sequence: u16) -> [Option<u64>; 2] {
    let turn = highest & !0xffff;
    let same = turn | u64::from(sequence);
    let after = same + TURN;
    let before = same.checked_sub(TURN);
    let nearest_other = if same >= highest { before } else { Some(after) };
    let is_near = same.abs_diff(highest) <= TURN / 2;
    let [first, second] = match (is_near, nearest_other) {
        (true, Some(other)) => [same, other],
        (false, Some(other)) => [other, same],
        // Nothing is before the first turn.
        (_, None) => [same, after],
    };
    [first, second].map(|index| (index <= INDEX_MAX).then_some(index))
}

/// Numbers of 16 bits.
const TURN: u64 = 1 << 16;

/// The last packet under one key (RFC 3711, section 9.2).
pub(super) const INDEX_MAX: u64 = (1 << 48) - 1;

/// Packets that may be overtaken and still count: more than two seconds of speech.
const WINDOW: u64 = u128::BITS as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_or_is_too_old_is_not_admitted() {
        let mut window = Window::new(1000);
        assert!(!window.admits(1000) && window.admits(1001) && window.admits(999));
        for index in [1003, 1001, 999] {
            assert!(window.admits(index));
            window.note(index);
            assert!(!window.admits(index));
        }
        assert!(window.admits(1002) && window.admits(876) && !window.admits(875));
        window.note(1003 + 127);
        assert!(!window.admits(1003) && window.admits(1004) && !window.admits(1002));
        window.note(5_000_000_000);
        assert!(!window.admits(1131) && window.admits(5_000_000_000 - 127));
        // Nothing of what was shifted out comes back.
        window.note(5_000_000_000 + 128);
        assert!(window.admits(5_000_000_001) && !window.admits(5_000_000_000));
    }

    #[test]
    fn a_number_stands_for_the_nearest_index() {
        let cases = [
            (0, 1, 1),
            (0, 40_000, 40_000),
            (5, 65_535, 65_535),
            (0x1_0005, 65_535, 65_535),
            (65_535, 0, 0x1_0000),
            (0x2_fff0, 3, 0x3_0003),
            (0x3_0003, 0xfff0, 0x2_fff0),
            (0x3_8000, 0, 0x3_0000),
            (0x3_8001, 0, 0x4_0000),
            (0x3_7fff, 0xffff, 0x3_ffff),
            (0x3_7ffe, 0xffff, 0x2_ffff),
        ];
        for (highest, sequence, index) in cases {
            assert_eq!(
                candidates(highest, sequence)[0],
                Some(index),
                "{highest:x} {sequence:x}"
            );
        }
        for highest in [0, 5, 0x7fff, 0x8000, 0xffff, 0x1_0000, 0x9_8765, INDEX_MAX] {
            for sequence in (0..=u16::MAX).step_by(13) {
                let [first, second] = candidates(highest, sequence);
                for index in [first, second].into_iter().flatten() {
                    assert!(index & 0xffff == u64::from(sequence) && index.abs_diff(highest) <= 2 * TURN);
                }
                assert!(first != second && (first.is_some() || highest == INDEX_MAX));
            }
        }
    }
}
