//! What programs may do.

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// See numbers, calls, records and events.
    Read,
    /// Make calls and change them.
    Call,
    /// Listen, whisper, barge, end the calls of others.
    Supervise,
    /// Everything.
    Admin,
}

/// Several scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scope {
    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Call => 2,
            Self::Supervise => 4,
            Self::Admin => 8,
        }
    }

    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Call, Self::Supervise, Self::Admin];

    /// As it is written. `None`: there is no such scope.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == text)
    }

    /// As settings have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Call => "call",
            Self::Supervise => "supervise",
            Self::Admin => "admin",
        }
    }
}

impl Scopes {
    /// Is it among them?
    pub const fn contain(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}
