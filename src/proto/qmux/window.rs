//! Credit that this side grants (RFC 9000, section 4): what was consumed plus the size of the
//! window. It is renewed when half of it is used up, so that updates are few.

/// Bytes or streams that the peer may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    size: u64,
    received: u64,
    consumed: u64,
    granted: u64,
}

impl Window {
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            received: 0,
            consumed: 0,
            granted: size,
        }
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Counts what came; false when it is more than was granted.
    #[must_use]
    pub(super) fn receive(&mut self, amount: u64) -> bool {
        let fits = amount <= self.granted - self.received;
        if fits {
            self.received += amount;
        }
        fits
    }

    /// What was received is not held any more.
    pub(super) fn consume(&mut self, amount: u64) {
        self.consumed = (self.consumed + amount).min(self.received);
    }

    /// Whether the peer should be told of more credit.
    pub(super) fn is_due(&self) -> bool {
        self.consumed + self.size - self.granted >= (self.size / 2).max(1)
    }

    /// Grants the whole window anew; returns the limit to tell.
    pub(super) fn grant(&mut self) -> u64 {
        self.granted = self.consumed + self.size;
        self.granted
    }
}
