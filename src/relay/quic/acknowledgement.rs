//! When a connection answers what it took in, so that most acknowledgements ride along with what
//! is sent anyway.
//!
//! quiche acknowledges whenever it is asked for packets, so it is asked late: after so many
//! packets with something in them or so long a time (RFC 9000, section 13.2), unless there is
//! media to send before. quiche does not tell whether it holds anything back for the congestion
//! window, so while it may, every acknowledgement of the peer is followed by a look. What stays
//! behind all the same leaves when the answer is due.

use std::time::{Duration, Instant};

/// What was taken in since packets were last sent, and whether the answer may wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acknowledgement {
    /// How many with something in them: more than [`BARE_BYTES_MAX`]. As many as can be once something was written.
    packets: u32,
    /// When the answer is due. `None`: nothing came that is owed one.
    due: Option<Instant>,
    /// While it is above zero nothing waits: quiche may hold back what an acknowledgement of the peer lets go. Each look that
    /// lets nothing go takes one off.
    patience: u8,
}

impl Acknowledgement {
    /// Notes a datagram that was taken in; true when the answer may wait.
    pub(super) fn may_wait(&mut self, bytes: usize, every: u32, delay: Duration, now: Instant) -> bool {
        self.packets = self.packets.saturating_add(u32::from(bytes > BARE_BYTES_MAX));
        if self.patience > 0 || self.packets >= every {
            return false;
        }
        // Even the shortest may be a PING, which is owed an answer in time.
        self.due.get_or_insert(now + delay);
        true
    }

    /// Notes that quiche may hold something back: congestion or flow control did not take everything,
    /// or something was lost.
    pub(super) fn on_blocked(&mut self) {
        self.patience = PATIENCE;
    }

    /// Notes that something was written because of what came in: it leaves at once.
    pub(super) fn on_written(&mut self) {
        self.packets = u32::MAX;
    }

    /// Notes that everything there was to send was sent, as far as the window goes.
    pub(super) fn on_flushed(&mut self, packets: usize) {
        let patience = match packets {
            0 => self.patience.saturating_sub(1),
            BURST_PACKETS.. => PATIENCE,
            _ => self.patience,
        };
        *self = Self {
            patience,
            ..Self::default()
        };
    }

    /// Whether quiche may hold something back.
    pub(super) fn is_blocked(&self) -> bool {
        self.patience > 0
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// A datagram no longer than this holds an acknowledgement and little else, which needs no answer.
/// quiche does not tell what was in a packet. Header 11, tag 16, an ACK of three ranges 14.
const BARE_BYTES_MAX: usize = 48;

/// After so many packets at once the window may be used up (RFC 9002, section 7.2, begins with ten),
/// and quiche may still hold what was written.
const BURST_PACKETS: usize = 8;
/// While what is in flight is more than a window that was just cut, acknowledgements let nothing go.
const PATIENCE: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(25);

    #[test]
    fn the_second_packet_is_answered_and_bare_acknowledgements_are_not() {
        let now = Instant::now();
        let mut acknowledgement = Acknowledgement::default();
        for bare in 0..10 {
            assert!(acknowledgement.may_wait(30, 2, DELAY, now + DELAY * bare));
        }
        assert!(acknowledgement.may_wait(200, 2, DELAY, now));
        assert_eq!(acknowledgement.due(), Some(now + DELAY), "from the first of them");
        assert!(!acknowledgement.may_wait(200, 2, DELAY, now));
        acknowledgement.on_flushed(1);
        assert_eq!(acknowledgement.due(), None);
        assert!(acknowledgement.may_wait(200, 2, DELAY, now));
    }

    #[test]
    fn who_waits_for_the_window_looks_at_every_acknowledgement() {
        let now = Instant::now();
        let mut acknowledgement = Acknowledgement::default();
        acknowledgement.on_blocked();
        assert!(!acknowledgement.may_wait(30, 2, DELAY, now));
        acknowledgement.on_flushed(BURST_PACKETS);
        for _ in 0..PATIENCE {
            assert!(!acknowledgement.may_wait(30, 2, DELAY, now));
            acknowledgement.on_flushed(0);
        }
        assert!(acknowledgement.may_wait(30, 2, DELAY, now), "nothing more left for it");
    }
}
