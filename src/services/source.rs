//! Somebody who is heard: a broadcast that is watched for, and its audio while it is there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_audio::Codec;
use moqswitch_proto::wire::{BroadcastPath, GroupRange};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Host, LocalError, LocalEvent, LocalSubscription};

use crate::catalog::{clock_of, codec_of};
use crate::limits::{FRAME_BYTES_MAX, SOURCE_RETRY_MAX, SOURCE_RETRY_MIN};
use crate::window::Window;

pub(crate) struct Source {
    name: u64,
    pub(crate) path: BroadcastPath,
    /// It watches and subscribes. Every try has its own, so that nothing of the one before is taken for its own.
    peer: Option<PeerKey>,
    means: Means,
    /// It subscribes to audio.
    listens: bool,
    came: Window,
    /// What it speaks. `None`: nobody knows yet.
    codec: Option<Codec>,
    /// How often that was told, or it has begun anew.
    turn: u32,
    /// Units of its timestamps in a second, once they are told.
    timescale: Option<u64>,
    failures: u32,
    retry_at: Option<Instant>,
}

/// How somebody is listened to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    /// Against others, higher first.
    pub(crate) priority: u8,
    /// What is older is of no use.
    pub(crate) max_latency: Duration,
}

/// What an event has told.
pub(crate) enum SourceNews {
    None,
    /// It says something.
    Voice(Voice),
    /// It speaks another codec, or can be understood from now on.
    Changed,
    /// It says more than anybody does.
    Flood,
}

/// A frame of somebody.
pub(crate) struct Voice {
    pub(crate) group: u64,
    pub(crate) timestamp: u64,
    pub(crate) payload: Bytes,
}

impl Source {
    /// `codec`: what it is said to speak, until its catalog says so.
    pub(crate) fn begin(
        name: u64,
        path: BroadcastPath,
        codec: Option<Codec>,
        means: Means,
        host: &mut Host<'_>,
    ) -> Self {
        let mut source = Self {
            name,
            path,
            peer: None,
            means,
            listens: false,
            came: Window::default(),
            codec,
            turn: 0,
            timescale: None,
            failures: 0,
            retry_at: None,
        };
        source.watch(host);
        source
    }

    /// What it speaks now. `None`: nobody knows yet.
    pub(crate) fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// What it says is one stream for as long as this stays.
    pub(crate) fn turn(&self) -> u32 {
        self.turn
    }

    /// What its timestamps count in a second.
    pub(crate) fn timescale(&self, codec: Codec) -> u64 {
        self.timescale.unwrap_or_else(|| clock_of(codec))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(crate) fn tick(&mut self, now: Instant, host: &mut Host<'_>) {
        if self.retry_at.is_some_and(|retry_at| retry_at <= now) {
            self.watch(host);
        }
    }

    /// Nothing more is heard of it, and it needs no time.
    pub(crate) fn end(&mut self, host: &mut Host<'_>) {
        self.retry_at = None;
        if std::mem::take(&mut self.listens) {
            // It may speak another codec when it comes again.
            (self.codec, self.timescale) = (None, None);
            self.turn = self.turn.wrapping_add(1);
        }
        if let Some(peer) = self.peer.take() {
            host.close_peer(peer);
        }
    }

    pub(crate) fn take(&mut self, event: LocalEvent, host: &mut Host<'_>) -> SourceNews {
        match event {
            LocalEvent::Announced { path, .. } if path == self.path => match self.listens {
                false => self.listen(host),
                true => self.begin_anew(host),
            },
            // Its subscriptions may stay open all the same, and nothing more comes by them.
            LocalEvent::Unannounced { path, .. } if path == self.path => self.begin_anew(host),
            LocalEvent::Frame {
                tag,
                group,
                timestamp,
                payload,
                ..
            } => {
                self.failures = 0;
                if tag & ROLE_MASK != AUDIO_ROLE {
                    return self.learn(&payload);
                }
                if !self.listens || payload.len() > FRAME_BYTES_MAX {
                    return SourceNews::None;
                }
                let voice = Voice {
                    group: group.0,
                    timestamp,
                    payload,
                };
                return match self.came.admits(host.now()) {
                    true => SourceNews::Voice(voice),
                    false => SourceNews::Flood,
                };
            }
            LocalEvent::Info { tag, info } if tag & ROLE_MASK == AUDIO_ROLE => {
                self.timescale = (info.timescale > 0).then_some(info.timescale);
            }
            LocalEvent::Closed { tag, .. } if tag & ROLE_MASK == AUDIO_ROLE => self.fail(host),
            LocalEvent::WatchClosed { .. } => self.fail(host),
            // It may be there a little later. One that was told is over when it is whole.
            LocalEvent::Closed { .. } if self.codec.is_none() => self.fail(host),
            // Of another path, of the catalog or of others.
            LocalEvent::Wanted { .. }
            | LocalEvent::DemandChanged { .. }
            | LocalEvent::Unwanted { .. }
            | LocalEvent::GroupEnded { .. }
            | LocalEvent::GroupsDropped { .. }
            | LocalEvent::Info { .. }
            | LocalEvent::Closed { .. }
            | LocalEvent::Announced { .. }
            | LocalEvent::Unannounced { .. }
            | LocalEvent::SocketStopped { .. }
            | LocalEvent::Draining { .. } => {}
        }
        SourceNews::None
    }

    /// The catalog says which codec it is.
    fn learn(&mut self, catalog: &[u8]) -> SourceNews {
        match codec_of(catalog) {
            Some(codec) if self.codec.replace(codec) != Some(codec) => {
                self.turn = self.turn.wrapping_add(1);
                SourceNews::Changed
            }
            _ => SourceNews::None,
        }
    }

    fn watch(&mut self, host: &mut Host<'_>) {
        self.end(host);
        let begun = host.open_peer().and_then(|peer| {
            self.peer = Some(peer);
            host.watch(peer, &self.path, self.tag(WATCH_ROLE))
        });
        if begun.is_err() {
            self.fail(host);
        }
    }

    fn listen(&mut self, host: &mut Host<'_>) {
        let subscribed = [(CATALOG, CATALOG_ROLE), (AUDIO, AUDIO_ROLE)]
            .into_iter()
            .try_for_each(|(track, role)| self.subscribe(track, role, host));
        match subscribed {
            Ok(()) => self.listens = true,
            Err(_) => self.fail(host),
        }
    }

    fn subscribe(&self, track: &str, role: u64, host: &mut Host<'_>) -> Result<(), LocalError> {
        let peer = self.peer.ok_or(LocalError::UnknownPeer)?;
        let subscription = LocalSubscription {
            broadcast: self.path.clone(),
            track: track.into(),
            priority: self.means.priority,
            ordered: true,
            max_latency: self.means.max_latency,
            range: GroupRange::default(),
            tag: self.tag(role),
        };
        host.subscribe(peer, &subscription).map(drop)
    }

    fn begin_anew(&mut self, host: &mut Host<'_>) {
        self.end(host);
        self.retry_at = Some(host.now() + AGAIN);
    }

    /// It is tried again, later each time.
    fn fail(&mut self, host: &mut Host<'_>) {
        self.end(host);
        let after = SOURCE_RETRY_MIN
            .saturating_mul(1 << self.failures.min(16))
            .min(SOURCE_RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(host.now() + after);
    }

    fn tag(&self, role: u64) -> u64 {
        self.name << ROLE_BITS | role
    }
}

/// A later turn.
const AGAIN: Duration = Duration::from_millis(1);
/// Of a tag, what of a name it is.
pub(crate) const ROLE_BITS: u32 = 2;
pub(crate) const ROLE_MASK: u64 = (1 << ROLE_BITS) - 1;
pub(crate) const AUDIO_ROLE: u64 = 0;
pub(crate) const CATALOG_ROLE: u64 = 1;
const WATCH_ROLE: u64 = 2;
const AUDIO: &str = "audio";
const CATALOG: &str = "catalog.json";
