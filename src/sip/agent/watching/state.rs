//! What there is to tell of a user.

use crate::agent::event::LegKey;

/// Of what kind (an event package, RFC 6665 section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Package {
    /// How a user is (RFC 3856).
    Presence,
    /// Calls of a user (RFC 4235), for lamps.
    Dialog,
    /// Messages that wait for a user (RFC 3842).
    Messages,
}

impl Package {
    /// As `Event` has it. Parameters are not looked at.
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Presence, Self::Dialog, Self::Messages]
            .into_iter()
            .find(|package| package.name().eq_ignore_ascii_case(name))
    }

    /// As `Event` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Dialog => "dialog",
            Self::Messages => "message-summary",
        }
    }

    /// The kind of its documents.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Presence => "application/pidf+xml",
            Self::Dialog => "application/dialog-info+xml",
            Self::Messages => "application/simple-message-summary",
        }
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// How a user is.
    Presence(Presence),
    /// Every call of a user. None: it has none.
    Dialogs(Vec<WatchedDialog>),
    /// Messages that wait.
    Messages(Waiting),
}

impl Watched {
    /// Of what kind it is.
    pub const fn package(&self) -> Package {
        match self {
            Self::Presence(_) => Package::Presence,
            Self::Dialogs(_) => Package::Dialog,
            Self::Messages(_) => Package::Messages,
        }
    }
}

/// How a user is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// It can be reached.
    pub is_open: bool,
    /// What it does.
    pub activity: Activity,
    /// For people.
    pub note: String,
}

/// What a user does, as far as telephones show it (RFC 4480, section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Nothing that is known.
    #[default]
    Unknown,
    /// It is not there.
    Away,
    /// It does not want to be called.
    Busy,
    /// It talks.
    OnThePhone,
}

/// One call of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedDialog {
    /// Its name, the same as long as it is.
    pub id: String,
    /// How far it is.
    pub stage: DialogStage,
    /// The user called; else it was called.
    pub is_caller: bool,
    /// Who is on the other side, as an address and a name for people.
    pub remote: Option<(String, String)>,
    /// The leg of the user in it. With it who watches is told how the call is named, and can take it (RFC 3891): None where it
    /// must not.
    pub leg: Option<LegKey>,
}

/// How far a call is (RFC 4235, section 3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialogStage {
    /// It is on its way, and nothing rings yet.
    Trying,
    /// It rings.
    Early,
    /// They talk.
    Confirmed,
    /// It is over.
    Terminated,
}

/// Messages that wait for a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Those that were not heard, and those that were.
    pub messages: (u32, u32),
    /// Of each how many are urgent.
    pub urgent: (u32, u32),
    /// Where they are heard: an address.
    pub account: Option<String>,
}
