//! Which QMux draft a connection speaks and which moq-lite draft on it: both are in the name of
//! the WebSocket subprotocol.
//!
//! Released peers put the QMux draft in front (`qmux-02.moq-lite-05`). The current binding draft
//! ("Subprotocol Negotiation") has the ALPN alone (`moq-lite-05`); its records are those of 02. Older
//! peers name QMux alone (`qmux-01`) and agree on moq-lite-01 or -02 in band.

use std::fmt;

use crate::wire::Version;

/// The QMux drafts, as far as they differ on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One frame in a message; no datagrams, no pings.
    Draft00,
    /// A message is a record of frames; there are datagrams and pings.
    Draft01,
    /// As 01 on the wire, under another name. That of the current binding draft.
    Draft02,
}

/// What a subprotocol name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subprotocol {
    /// The QMux draft, which says how messages are read and written.
    pub dialect: Dialect,
    /// Of those that are agreed on in band the newest.
    pub version: Version,
    naming: Naming,
}

/// Of which drafts the name consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    Both,
    MoqLite,
    Qmux,
}

impl Dialect {
    /// A message is a record of several frames.
    pub(super) fn has_records(self) -> bool {
        self != Self::Draft00
    }

    pub(super) fn has_datagrams(self) -> bool {
        self.has_records()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Draft00 => "qmux-00",
            Self::Draft01 => "qmux-01",
            Self::Draft02 => "qmux-02",
        }
    }
}

impl Subprotocol {
    /// All that a server accepts, best first.
    pub fn all() -> impl Iterator<Item = Self> {
        let named = Version::ALL.into_iter().chain([Version::Lite02]).flat_map(|version| {
            [
                (Dialect::Draft02, Naming::Both),
                (Dialect::Draft02, Naming::MoqLite),
                (Dialect::Draft01, Naming::Both),
                (Dialect::Draft00, Naming::Both),
            ]
            .map(|(dialect, naming)| (dialect, version, naming))
        });
        let unnamed = [Dialect::Draft02, Dialect::Draft01, Dialect::Draft00]
            .map(|dialect| (dialect, Version::Lite02, Naming::Qmux));
        named.chain(unnamed).map(|(dialect, version, naming)| Self {
            dialect,
            version,
            naming,
        })
    }

    /// The best of those that a client offers.
    pub fn choose<'a>(offered: impl IntoIterator<Item = &'a str> + Clone) -> Option<Self> {
        Self::all().find(|known| {
            let name = known.to_string();
            offered.clone().into_iter().any(|offer| offer == name)
        })
    }
}

impl fmt::Display for Subprotocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (qmux, moq_lite) = (self.dialect.name(), String::from_utf8_lossy(self.version.alpn()));
        match self.naming {
            Naming::Both => write!(formatter, "{qmux}.{moq_lite}"),
            Naming::MoqLite => formatter.write_str(&moq_lite),
            Naming::Qmux => formatter.write_str(qmux),
        }
    }
}
