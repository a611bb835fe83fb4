//! What is counted of channels, by the thread that has them.

use std::sync::atomic::{AtomicU64, Ordering};

use moqswitch_signalling::AsteriskFigures;

/// Counts that others may read.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) channels: AtomicU64,
    connections: [AtomicU64; Spoken::ALL.len()],
    refused: [AtomicU64; Refused::ALL.len()],
    pub(super) frames_in: AtomicU64,
    pub(super) frames_out: AtomicU64,
    pub(super) frames_dropped: AtomicU64,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    AudioSocket,
    WebSocket,
    Voicemail,
}

/// Why a connection was refused, or was ended as it did what it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// There are as many as there may be.
    #[error("full")]
    Full,
    /// Its address may not connect.
    #[error("address")]
    Address,
    /// It does not say in time who it is.
    #[error("silent")]
    Silent,
    /// It is not known, or has no key.
    #[error("unknown")]
    Unknown,
    /// A page of some web site has opened it, and there is no key.
    #[error("origin")]
    Origin,
    /// It calls nobody that there could be.
    #[error("number")]
    Number,
    /// It breaks the protocol.
    #[error("protocol")]
    Protocol,
    /// It sends more than anybody says.
    #[error("flood")]
    Flood,
}

impl Spoken {
    const ALL: [Self; 3] = [Self::AudioSocket, Self::WebSocket, Self::Voicemail];

    const fn name(self) -> &'static str {
        match self {
            Self::AudioSocket => "audiosocket",
            Self::WebSocket => "websocket",
            Self::Voicemail => "voicemail",
        }
    }
}

impl Refused {
    const ALL: [Self; 8] = [
        Self::Full,
        Self::Address,
        Self::Silent,
        Self::Unknown,
        Self::Origin,
        Self::Number,
        Self::Protocol,
        Self::Flood,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Address => "address",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
            Self::Origin => "origin",
            Self::Number => "number",
            Self::Protocol => "protocol",
            Self::Flood => "flood",
        }
    }
}

impl Counters {
    pub(super) fn connected(&self, spoken: Spoken) {
        add(&self.connections[spoken as usize], 1);
    }

    pub(super) fn refused(&self, reason: Refused) {
        add(&self.refused[reason as usize], 1);
    }

    pub(super) fn figures(&self) -> AsteriskFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AsteriskFigures {
            channels: read(&self.channels),
            connections: Spoken::ALL
                .iter()
                .map(|spoken| (spoken.name(), read(&self.connections[*spoken as usize])))
                .collect(),
            refused: Refused::ALL
                .iter()
                .map(|reason| (reason.name(), read(&self.refused[*reason as usize])))
                .collect(),
            frames_in: read(&self.frames_in),
            frames_out: read(&self.frames_out),
            frames_dropped: read(&self.frames_dropped),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
