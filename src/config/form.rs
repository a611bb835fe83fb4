//! The form of a setting, as the tables have it.

/// One setting. `default` and `example` are TOML values.
pub(super) struct Setting {
    /// Dotted path in the file.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) value: Value,
    pub(super) help: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    /// A list; a single value stands for a list of one.
    List,
    /// An array of tables with `certificate` and `key`.
    Certificates,
}

pub(super) enum Value {
    Default(&'static str),
    /// Decided at start when not set; the example is printed as a comment.
    Unset {
        example: &'static str,
    },
}

impl Setting {
    /// `quic.idle_timeout` is `MOQSWITCH_QUIC_IDLE_TIMEOUT`.
    pub(super) fn variable(&self) -> String {
        let name = self.path.replace('.', "_").to_uppercase();
        format!("{VARIABLE_PREFIX}{name}")
    }

    pub(super) fn section(&self) -> Option<&'static str> {
        self.path.rsplit_once('.').map(|(section, _)| section)
    }

    pub(super) fn key(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, key)| key)
    }
}

pub(super) const VARIABLE_PREFIX: &str = "MOQSWITCH_";
