//! Which way a stream flows, told from the side of who describes it (RFC 3264, section 5.1).

/// What who describes the stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sends and receives; also meant when nothing is said.
    #[default]
    SendReceive,
    /// Sends only: the other is on hold, and may hear music.
    SendOnly,
    /// Receives only.
    ReceiveOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Of both halves.
    pub const fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendReceive,
            (true, false) => Self::SendOnly,
            (false, true) => Self::ReceiveOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Does it send?
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }

    /// Does it receive?
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }

    /// As the other side would say it.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self::of(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendReceive => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// By the attribute's name, in either case.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::SendReceive, Self::SendOnly, Self::ReceiveOnly, Self::Inactive]
            .into_iter()
            .find(|direction| name.eq_ignore_ascii_case(direction.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_mirror_cut_by_what_we_do() {
        let answer = |theirs: Direction, ours| theirs.mirrored().and(ours);
        use Direction::{Inactive, ReceiveOnly, SendOnly, SendReceive};
        for (theirs, ours, said) in [
            (SendReceive, SendReceive, SendReceive),
            (SendOnly, SendReceive, ReceiveOnly),
            (ReceiveOnly, SendReceive, SendOnly),
            (Inactive, SendReceive, Inactive),
            (SendReceive, SendOnly, SendOnly),
            (SendOnly, SendOnly, Inactive),
            (ReceiveOnly, SendOnly, SendOnly),
            (SendReceive, Inactive, Inactive),
        ] {
            assert_eq!(answer(theirs, ours), said, "{theirs:?}, {ours:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        assert_eq!(Direction::named("SendOnly"), Some(Direction::SendOnly));
        assert_eq!(Direction::named("recvonly"), Some(Direction::ReceiveOnly));
        assert_eq!(Direction::named("both"), None);
    }
}
