//! What `loadgen survive` does to a relay.

use clap::ValueEnum;

/// What is done to the relay, or to the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Disturbance {
    /// Nothing: what the others are to be compared with.
    Nothing,
    /// SIGHUP: certificates and configuration are read again.
    Reload,
    /// SIGSTOP, and SIGCONT after 2 s.
    Stop,
    /// SIGTERM; clients follow the GOAWAY to the relay that is started next.
    Drain,
    /// SIGKILL, and a start.
    Kill,
    /// The port of every client changes each second.
    Rebind,
    /// Clients go by IPv4 and by IPv6 in turn.
    Family,
}

impl Disturbance {
    pub(crate) const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Reload,
        Self::Stop,
        Self::Drain,
        Self::Kill,
        Self::Rebind,
        Self::Family,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Reload => "reload (SIGHUP)",
            Self::Rebind => "new port each second",
            Self::Family => "IPv4 and IPv6 in turn",
            Self::Stop => "SIGSTOP for 2 s",
            Self::Drain => "drain and restart",
            Self::Kill => "kill -9 and restart",
        }
    }
}
