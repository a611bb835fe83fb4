//! Somebody who is heard: a broadcast that is watched for, and its audio while it is there.

use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_audio::Codec;
use moqswitch_proto::wire::{BroadcastPath, GroupRange};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Host, LocalError, LocalEvent, LocalSubscription};

use crate::catalog::codec_of;
use crate::limits::{FRAME_BYTES_MAX, SOURCE_RETRY_MAX, SOURCE_RETRY_MIN};
use crate::pool::Pool;
use crate::window::Window;

pub(crate) struct Source {
    name: u64,
    pub(crate) path: BroadcastPath,
    /// It watches and subscribes. Every try has its own, so that nothing of the one before is taken for its own.
    peer: Option<PeerKey>,
    /// It subscribes to audio.
    listens: bool,
    came: Window,
    voice: Option<(u64, Codec)>,
    failures: u32,
    retry_at: Option<Instant>,
}

/// What an event has told.
pub(crate) enum SourceNews {
    None,
    /// It says something.
    Voice(u64, Bytes),
    /// It speaks another codec, or can be understood from now on.
    Changed,
}

impl Source {
    pub(crate) fn begin(name: u64, path: BroadcastPath, host: &mut Host<'_>) -> Self {
        let mut source = Self {
            name,
            path,
            peer: None,
            listens: false,
            came: Window::default(),
            voice: None,
            failures: 0,
            retry_at: None,
        };
        source.watch(host);
        source
    }

    /// The name of what it says now, and in what codec that is. `None`: nobody knows yet.
    pub(crate) fn voice(&self) -> Option<(u64, Codec)> {
        self.voice
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(crate) fn tick(&mut self, now: Instant, host: &mut Host<'_>) {
        if self.retry_at.is_some_and(|retry_at| retry_at <= now) {
            self.watch(host);
        }
    }

    pub(crate) fn end(&mut self, host: &mut Host<'_>) {
        self.listens = false;
        // It may speak another codec when it comes again.
        self.voice = None;
        if let Some(peer) = self.peer.take() {
            host.close_peer(peer);
        }
    }

    pub(crate) fn take(&mut self, event: LocalEvent, host: &mut Host<'_>, pool: &Pool) -> SourceNews {
        match event {
            LocalEvent::Announced { path, .. } if path == self.path => match self.listens {
                false => self.listen(host),
                true => self.begin_anew(host),
            },
            // Its subscriptions may stay open all the same, and nothing more comes by them.
            LocalEvent::Unannounced { path, .. } if path == self.path => self.begin_anew(host),
            LocalEvent::Frame {
                tag, group, payload, ..
            } => {
                self.failures = 0;
                if tag & ROLE_MASK == AUDIO_ROLE {
                    let is_usable = self.listens && payload.len() <= FRAME_BYTES_MAX && self.came.admits(host.now());
                    return if is_usable {
                        SourceNews::Voice(group.0, payload)
                    } else {
                        SourceNews::None
                    };
                }
                let codec = codec_of(&payload);
                if let Some(codec) = codec.filter(|codec| self.voice.is_none_or(|(_, before)| before != *codec)) {
                    self.voice = Some((pool.name(), codec));
                    return SourceNews::Changed;
                }
            }
            LocalEvent::Closed { tag, .. } if tag & ROLE_MASK == AUDIO_ROLE => self.fail(host),
            LocalEvent::WatchClosed { .. } => self.fail(host),
            // It may be there a little later. One that was told is over when it is whole.
            LocalEvent::Closed { .. } if self.voice.is_none() => self.fail(host),
            _ => {}
        }
        SourceNews::None
    }

    fn watch(&mut self, host: &mut Host<'_>) {
        self.end(host);
        self.retry_at = None;
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
            priority: 200,
            ordered: true,
            max_latency: Duration::from_secs(1),
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
