//! One leg of frames: a local peer of the relay, and two queues.

use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_proto::wire::{BroadcastPath, GroupSequence, SubscribeId};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Delivery, Host, LocalFrame, LocalTrack};

use crate::codec::LegCodec;
use crate::command::{LegHears, LegName};
use crate::hearing::Hearing;
use crate::limits::{FRAME_GAP, PAYLOAD_BYTES_MAX};
use crate::tags::Role;
use crate::tracks::{DigitEvent, catalog, offered};

use super::command::{FrameLegSettings, Heard, HeardFrame};

pub(super) struct Leg {
    name: LegName,
    pub(super) peer: PeerKey,
    settings: FrameLegSettings,
    pub(super) hearing: Option<Hearing>,
    /// Of the newest request to hear something, as the hearing counts them, and as it was told.
    turn: u8,
    speaker: u32,
    heard: Heard,
    began: Instant,
    /// What its tracks' timestamps count in a second, whatever is spoken later.
    timescale: u32,
    audio: Option<SubscribeId>,
    dtmf: Option<SubscribeId>,
    catalog: Option<SubscribeId>,
    /// The numbers of the next groups.
    frames: u64,
    events: u64,
    catalogs: u64,
    /// When the next frame begins, since the leg began.
    next_at: Duration,
    /// As it stands among those of all.
    pub(super) due: Option<Instant>,
}

impl Leg {
    pub(super) fn new(name: LegName, peer: PeerKey, settings: FrameLegSettings, heard: Heard, now: Instant) -> Self {
        Self {
            name,
            peer,
            timescale: settings.codec.clock_hz(),
            settings,
            hearing: None,
            turn: 0,
            speaker: 0,
            heard,
            began: now,
            audio: None,
            dtmf: None,
            catalog: None,
            frames: 0,
            events: 0,
            catalogs: 0,
            next_at: Duration::ZERO,
            due: None,
        }
    }

    pub(super) fn broadcast(&self) -> &BroadcastPath {
        &self.settings.broadcast
    }

    /// The tracks that it offers.
    pub(super) fn tracks(&self) -> Vec<LocalTrack> {
        offered(self.name.0, self.timescale)
    }

    /// Somebody wants one of its tracks, or nobody does any more.
    pub(super) fn set_wanted(&mut self, role: Role, id: Option<SubscribeId>, host: &mut Host<'_>) {
        match role {
            Role::Audio => self.audio = id,
            Role::Dtmf => self.dtmf = id,
            Role::Catalog => {
                self.catalog = id;
                self.publish_catalog(host);
            }
            Role::HeardAudio | Role::HeardDtmf | Role::Watch => {}
        }
    }

    /// It speaks another codec from here on.
    pub(super) fn speak(&mut self, codec: LegCodec, host: &mut Host<'_>) {
        if self.settings.codec != codec {
            self.settings.codec = codec;
            self.publish_catalog(host);
        }
    }

    /// The peer says 20 ms.
    pub(super) fn say(&mut self, payload: &[u8], host: &mut Host<'_>) {
        if payload.is_empty() || payload.len() > PAYLOAD_BYTES_MAX {
            return;
        }
        let since = host.now().saturating_duration_since(self.began);
        // Frames come unevenly, and stay even; after a pause they are as late as it was long.
        let at = match since.checked_sub(self.next_at) {
            Some(behind) if behind > FRAME_GAP => since,
            _ => self.next_at,
        };
        self.next_at = at + FRAME;
        self.frames += 1;
        let Some(id) = self.audio else { return };
        let units = at.as_millis() * u128::from(self.timescale) / 1000;
        let frame = LocalFrame {
            group: GroupSequence(self.frames),
            timestamp: u64::try_from(units).unwrap_or(u64::MAX),
            payload: host.copy(payload),
        };
        host.send(self.peer, id, frame, Delivery::Datagram);
    }

    /// The peer has pressed a key.
    pub(super) fn press(&mut self, digit: char, duration_ms: u32, host: &mut Host<'_>) {
        let since = host.now().saturating_duration_since(self.began);
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        for end in [false, true] {
            let event = DigitEvent {
                digit: digit.to_string(),
                duration_ms,
                at_ms,
                end,
            };
            self.events += 1;
            let Some(id) = self.dtmf else { return };
            let frame = LocalFrame {
                group: GroupSequence(self.events),
                timestamp: at_ms,
                payload: host.copy(&event.encode()),
            };
            host.send(self.peer, id, frame, Delivery::Stream);
        }
    }

    /// Hears another broadcast, or nothing.
    pub(super) fn hear(&mut self, speaker: u32, hears: Option<LegHears>, host: &mut Host<'_>) {
        self.speaker = speaker;
        if self.hearing.as_ref().map(|hearing| &hearing.hears) == hears.as_ref() {
            return;
        }
        if let Some(before) = self.hearing.take() {
            self.turn = before.end(host);
        }
        self.hearing = hears.map(|hears| Hearing::begin(self.name.0, self.peer, hears, self.turn, host));
    }

    /// Subscribes to what it is to hear and does not.
    pub(super) fn listen(&mut self, host: &mut Host<'_>) {
        if let Some(hearing) = &mut self.hearing {
            hearing.listen(host);
        }
    }

    /// A frame of whom it hears. The oldest goes when the peer takes none.
    pub(super) fn hand_out(&mut self, group: u64, payload: Bytes) {
        if payload.len() <= PAYLOAD_BYTES_MAX {
            self.heard.force_push(HeardFrame {
                turn: self.speaker,
                group,
                payload,
            });
        }
    }

    fn publish_catalog(&mut self, host: &mut Host<'_>) {
        let Some(id) = self.catalog else { return };
        self.catalogs += 1;
        let payload = host.copy(&catalog(self.settings.codec));
        let frame = LocalFrame {
            group: GroupSequence(self.catalogs),
            timestamp: 0,
            payload,
        };
        host.send(self.peer, id, frame, Delivery::Stream);
    }
}

/// Of one frame.
const FRAME: Duration = Duration::from_millis(20);
