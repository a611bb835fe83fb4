//! Which QMux draft a connection speaks and which moq-lite draft on it: both are in the name of
//! the WebSocket subprotocol.
//!
//! Released peers put the QMux draft in front (`qmux-02.moq-lite-05`). The current binding draft
//! ("Subprotocol Negotiation") has the ALPN alone (`moq-lite-05`); its records are those of 02.

use std::fmt;

use crate::wire::Version;

/// The QMux drafts, as far as they differ on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// One frame in a message; no datagrams, no pings.
    Draft00,
    Draft01,
    Draft02,
}

/// What a subprotocol name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subprotocol {
    pub dialect: Dialect,
    pub version: Version,
    /// Named without its QMux draft.
    is_bare: bool,
}

impl Dialect {
    /// A message is a record of several frames.
    pub(super) fn has_records(self) -> bool {
        self != Self::Draft00
    }

    pub(super) fn has_datagrams(self) -> bool {
        self.has_records()
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Draft00 => "qmux-00.",
            Self::Draft01 => "qmux-01.",
            Self::Draft02 => "qmux-02.",
        }
    }
}

impl Subprotocol {
    /// All that a server accepts, best first.
    pub fn all() -> impl Iterator<Item = Self> {
        Version::ALL.into_iter().flat_map(|version| {
            [
                (Dialect::Draft02, false),
                (Dialect::Draft02, true),
                (Dialect::Draft01, false),
                (Dialect::Draft00, false),
            ]
            .map(|(dialect, is_bare)| Self {
                dialect,
                version,
                is_bare,
            })
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
        let prefix = if self.is_bare { "" } else { self.dialect.prefix() };
        write!(formatter, "{prefix}{}", self.version)
    }
}
