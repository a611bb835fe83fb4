//! The drafts we speak and what each of them has (draft appendix A).
//!
//! From 03 on ALPN says which one is spoken. 01, 02 and the gomoqt dialect are agreed on in band:
//! the client lists versions by their codes in its first message, the server picks one.

use std::fmt;

/// A moq-lite draft, or a dialect of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// What gomoqt calls its development version: draft 01, whose SUBSCRIBE_OK is empty as in 02,
    /// and whose paths begin with `/`.
    Gomoqt,
    /// draft-lcurley-moq-lite-01, agreed on in band.
    Lite01,
    /// draft-lcurley-moq-lite-02, agreed on in band.
    Lite02,
    /// draft-lcurley-moq-lite-03, the first with an ALPN token of its own.
    Lite03,
    /// draft-lcurley-moq-lite-04.
    Lite04,
    /// draft-lcurley-moq-lite-05, the first with SETUP, TRACK and datagrams.
    Lite05,
    /// draft-lcurley-moq-lite-06, the newest.
    Lite06,
    /// draft-ietf-moq-transport-18: not moq-lite, but the IETF's. Its messages are in [`ietf`](crate::ietf).
    Moqt18,
}

/// How frames are headed inside a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameForm {
    /// Up to 04: size, payload.
    Plain,
    /// 05 and 06: zigzag timestamp delta, size, payload.
    Timed,
    /// moq-transport: objects of a subgroup with properties.
    Objects,
    /// moq-transport: objects of a subgroup without properties. Received, never sent.
    BareObjects,
}

impl FrameForm {
    /// Whether it is one of moq-transport.
    #[inline]
    pub fn is_of_objects(self) -> bool {
        matches!(self, Self::Objects | Self::BareObjects)
    }
}

impl Version {
    /// Those with an ALPN token of their own. Newest first, the order in which they are offered.
    pub const ALL: [Version; 4] = [Version::Lite06, Version::Lite05, Version::Lite04, Version::Lite03];

    /// Those that are agreed on in band, newest first.
    pub const IN_BAND: [Version; 3] = [Version::Lite02, Version::Lite01, Version::Gomoqt];

    /// Those of the IETF's moq-transport, newest first. Offered behind those of moq-lite.
    pub const TRANSPORT: [Version; 1] = [Version::Moqt18];

    /// All of moq-lite, newest first.
    pub const EVERY: [Version; 7] = [
        Version::Lite06,
        Version::Lite05,
        Version::Lite04,
        Version::Lite03,
        Version::Lite02,
        Version::Lite01,
        Version::Gomoqt,
    ];

    /// All that are spoken here, in the order in which they are offered.
    pub const SPOKEN: [Version; 8] = [
        Version::Lite06,
        Version::Lite05,
        Version::Lite04,
        Version::Lite03,
        Version::Lite02,
        Version::Lite01,
        Version::Gomoqt,
        Version::Moqt18,
    ];

    /// Whether it is a draft of the IETF's moq-transport.
    pub fn is_transport(self) -> bool {
        self == Version::Moqt18
    }

    /// The ALPN token (draft "Session"). Those of [`IN_BAND`](Self::IN_BAND) share theirs, with each
    /// other or with moq-transport-14.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Version::Lite01 | Version::Lite02 => ALPN_LITE,
            Version::Gomoqt => ALPN_GOMOQT,
            _ => self.name().as_bytes(),
        }
    }

    /// The version that an ALPN token names.
    pub fn from_alpn(alpn: &[u8]) -> Option<Version> {
        let mut named = Self::ALL.into_iter().chain(Self::TRANSPORT);
        named.find(|version| version.alpn() == alpn)
    }

    /// The newest version that may be agreed on in band under an ALPN token.
    pub fn in_band_from_alpn(alpn: &[u8]) -> Option<Version> {
        Self::IN_BAND.into_iter().find(|version| version.alpn() == alpn)
    }

    /// What stands for it in SESSION_CLIENT and SESSION_SERVER (draft 01 "Session"); `None` where
    /// ALPN decides.
    pub fn code(self) -> Option<u64> {
        match self {
            Version::Gomoqt => Some(0xfeed_babe),
            Version::Lite01 => Some(0xff0d_ad01),
            Version::Lite02 => Some(0xff0d_ad02),
            _ => None,
        }
    }

    pub(crate) fn from_code(code: u64) -> Option<Version> {
        Self::IN_BAND.into_iter().find(|version| version.code() == Some(code))
    }

    /// As text. From 03 on also the ALPN token and the WebTransport protocol name.
    pub fn name(self) -> &'static str {
        match self {
            Version::Gomoqt => "gomoqt",
            Version::Lite01 => "moq-lite-01",
            Version::Lite02 => "moq-lite-02",
            Version::Lite03 => "moq-lite-03",
            Version::Lite04 => "moq-lite-04",
            Version::Lite05 => "moq-lite-05",
            Version::Lite06 => "moq-lite-06",
            Version::Moqt18 => "moqt-18",
        }
    }

    /// Agreed on by SESSION_CLIENT and SESSION_SERVER, on a Session Stream that lasts as long as the
    /// session.
    pub fn is_in_band(self) -> bool {
        self < Version::Lite03
    }

    /// ANNOUNCE_INIT holds the initial set of announcements.
    pub fn has_announce_init(self) -> bool {
        self.is_in_band()
    }

    /// Announcements say how far a broadcast has come: 03 the number of hops, later ones which.
    pub fn has_hops(self) -> bool {
        self >= Version::Lite03
    }

    /// SUBSCRIBE says more than a priority: latency and range. Without it a subscription starts at
    /// the latest group and has no end.
    pub fn has_delivery_preferences(self) -> bool {
        self >= Version::Lite03
    }

    /// Responses to SUBSCRIBE have a type, and there are more of them than SUBSCRIBE_OK.
    pub fn has_typed_responses(self) -> bool {
        self >= Version::Lite03
    }

    /// SUBSCRIBE_OK says the publisher's priority (up to 04; later ones have no SUBSCRIBE_OK).
    pub fn has_publisher_priority(self) -> bool {
        matches!(self, Version::Lite01 | Version::Lite03 | Version::Lite04)
    }

    /// Drafts 01 and 02 have SUBSCRIBE_UPDATE, but their released peers give up a subscription that
    /// gets one: it is understood there, and not sent.
    pub fn takes_subscribe_update(self) -> bool {
        !matches!(self, Version::Lite01 | Version::Lite02)
    }

    /// FETCH: one group on request.
    pub fn has_fetch(self) -> bool {
        self >= Version::Lite03 && !self.is_transport()
    }

    /// PROBE: estimates of the bitrate on request.
    pub fn has_probe(self) -> bool {
        self >= Version::Lite03
    }

    /// Paths begin with `/`, and prefixes end with it: gomoqt refuses others.
    pub fn has_rooted_paths(self) -> bool {
        self == Version::Gomoqt
    }

    /// A Setup Stream in each direction.
    pub fn has_setup(self) -> bool {
        self >= Version::Lite05
    }

    /// The Track Stream, SUBSCRIBE_START/END and timestamps in frames. moq-transport says in SUBSCRIBE_OK what a track is.
    pub fn has_track_stream(self) -> bool {
        self >= Version::Lite05 && !self.is_transport()
    }

    /// ANNOUNCE_OK before the announcements, which leave the sender's own hop out.
    pub fn has_announce_ok(self) -> bool {
        self >= Version::Lite05
    }

    /// Announcements are typed messages, and ends and updates name an announce id.
    pub fn has_announce_ids(self) -> bool {
        self >= Version::Lite06
    }

    /// GOAWAY: a peer is asked to leave.
    pub fn has_goaway(self) -> bool {
        self >= Version::Lite04
    }

    /// Groups of one frame may go as datagrams.
    pub fn has_datagrams(self) -> bool {
        self >= Version::Lite05
    }

    /// PROBE carries a round-trip time beside the bitrate.
    pub fn has_probe_rtt(self) -> bool {
        self >= Version::Lite04
    }

    /// SUBSCRIBE, SUBSCRIBE_UPDATE, FETCH and GROUP carry frame indices.
    pub fn has_frame_bounds(self) -> bool {
        self == Version::Lite06
    }

    /// ANNOUNCE_REQUEST carries the hop whose announcements are not wanted.
    pub fn has_exclude_hop(self) -> bool {
        matches!(self, Version::Lite04 | Version::Lite05)
    }

    /// The Ordered byte is on the wire. The draft 06 text keeps it, the released 06 does not.
    pub fn has_ordered(self) -> bool {
        self.has_delivery_preferences() && self <= Version::Lite05
    }

    /// Units per second of timestamps in tracks that do not say it, which are times of arrival.
    pub fn plain_timescale(self) -> u64 {
        match self.is_transport() {
            true => 1_000_000,
            false => 1000,
        }
    }

    /// How frames are headed inside its groups.
    pub fn frame_form(self) -> FrameForm {
        match self {
            Version::Moqt18 => FrameForm::Objects,
            Version::Lite05 | Version::Lite06 => FrameForm::Timed,
            _ => FrameForm::Plain,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Drafts 01 and 02, told apart in band.
const ALPN_LITE: &[u8] = b"moql";

/// Shared with the IETF's moq-transport up to draft 14.
const ALPN_GOMOQT: &[u8] = b"moq-00";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpn_tokens_name_each_draft_and_nothing_else() {
        for version in Version::ALL.into_iter().chain(Version::TRANSPORT) {
            assert_eq!(Version::from_alpn(version.alpn()), Some(version));
            assert_eq!(version.to_string().as_bytes(), version.alpn());
        }
        assert_eq!(Version::Lite03.alpn(), b"moq-lite-03");
        for other in [
            &b"moq-lite-02"[..],
            b"moql",
            b"moq-00",
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
        assert!(Version::EVERY.windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!(Version::EVERY[..4], Version::ALL);
        assert_eq!(Version::EVERY[4..], Version::IN_BAND);
        assert_eq!(Version::SPOKEN[..7], Version::EVERY);
        assert_eq!(Version::SPOKEN[7..], Version::TRANSPORT);
    }

    #[test]
    fn codes_name_each_version_that_is_agreed_on_in_band() {
        for version in Version::EVERY {
            assert_eq!(version.code().is_some(), version.is_in_band());
            assert_eq!(
                version.code().and_then(Version::from_code),
                version.code().map(|_| version)
            );
            let in_band = Version::in_band_from_alpn(version.alpn());
            assert_eq!(in_band.is_some(), version.is_in_band());
        }
        // moq-lite-03 and moq-transport-14, which are not agreed on so.
        for code in [0xff0d_ad03, 0xff00_000e] {
            assert_eq!(Version::from_code(code), None);
        }
        assert_eq!(Version::in_band_from_alpn(b"moql"), Some(Version::Lite02));
        assert_eq!(Version::in_band_from_alpn(b"moq-00"), Some(Version::Gomoqt));
    }
}
