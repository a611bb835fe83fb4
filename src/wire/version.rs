//! The drafts we speak and what each of them has (draft appendix A).

use std::fmt;

/// A moq-lite draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    Lite03,
    Lite04,
    Lite05,
    Lite06,
}

/// How frames are headed inside a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameForm {
    /// 03 and 04: size, payload.
    Plain,
    /// 05 and 06: zigzag timestamp delta, size, payload.
    Timed,
}

impl Version {
    /// Newest first, the order in which they are offered.
    pub const ALL: [Version; 4] = [Version::Lite06, Version::Lite05, Version::Lite04, Version::Lite03];

    /// The ALPN token (draft "Session").
    pub fn alpn(self) -> &'static [u8] {
        self.name().as_bytes()
    }

    pub fn from_alpn(alpn: &[u8]) -> Option<Version> {
        Self::ALL.into_iter().find(|version| version.alpn() == alpn)
    }

    /// The ALPN token as text, which is also the WebTransport protocol name.
    pub fn name(self) -> &'static str {
        match self {
            Version::Lite03 => "moq-lite-03",
            Version::Lite04 => "moq-lite-04",
            Version::Lite05 => "moq-lite-05",
            Version::Lite06 => "moq-lite-06",
        }
    }

    /// A Setup Stream in each direction.
    pub fn has_setup(self) -> bool {
        self >= Version::Lite05
    }

    /// The Track Stream, SUBSCRIBE_START/END and timestamps in frames.
    pub fn has_track_stream(self) -> bool {
        self >= Version::Lite05
    }

    /// ANNOUNCE_OK before the announcements, which leave the sender's own hop out.
    pub fn has_announce_ok(self) -> bool {
        self >= Version::Lite05
    }

    /// Announcements are typed messages, and ends and updates name an announce id.
    pub fn has_announce_ids(self) -> bool {
        self >= Version::Lite06
    }

    pub fn has_goaway(self) -> bool {
        self >= Version::Lite04
    }

    pub fn has_datagrams(self) -> bool {
        self >= Version::Lite05
    }

    /// PROBE carries a round-trip time beside the bitrate.
    pub fn has_probe_rtt(self) -> bool {
        self >= Version::Lite04
    }

    /// SUBSCRIBE, SUBSCRIBE_UPDATE, FETCH and GROUP carry frame indices.
    pub fn has_frame_bounds(self) -> bool {
        self >= Version::Lite06
    }

    /// ANNOUNCE_REQUEST carries the hop whose announcements are not wanted.
    pub fn has_exclude_hop(self) -> bool {
        matches!(self, Version::Lite04 | Version::Lite05)
    }

    /// The Ordered byte is on the wire. The draft 06 text keeps it, the released 06 does not.
    pub fn has_ordered(self) -> bool {
        self <= Version::Lite05
    }

    pub fn frame_form(self) -> FrameForm {
        if self >= Version::Lite05 {
            FrameForm::Timed
        } else {
            FrameForm::Plain
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpn_tokens_name_each_draft_and_nothing_else() {
        for version in Version::ALL {
            assert_eq!(Version::from_alpn(version.alpn()), Some(version));
            assert_eq!(version.to_string().as_bytes(), version.alpn());
        }
        assert_eq!(Version::Lite03.alpn(), b"moq-lite-03");
        for other in [
            &b"moq-lite-02"[..],
            b"moq-lite-07",
            b"moq-lite-0",
            b"moq-lite-066",
            b"h3",
            b"",
        ] {
            assert_eq!(Version::from_alpn(other), None);
        }
    }

    #[test]
    fn versions_are_offered_newest_first() {
        assert!(Version::ALL.windows(2).all(|pair| pair[0] > pair[1]));
    }
}
