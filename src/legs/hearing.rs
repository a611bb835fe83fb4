//! What a leg hears: a broadcast that is watched for, and subscriptions of its tracks while it is there. A subscription that
//! was refused or closed is tried again, later each time.

use std::time::{Duration, Instant};

use moqswitch_proto::wire::{BroadcastPath, GroupRange, StreamId, SubscribeId};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Host, LocalSubscription};

use crate::command::LegHears;
use crate::digits::{Heard, Told};
use crate::limits::{SUBSCRIBE_RETRY_MAX, SUBSCRIBE_RETRY_MIN};
use crate::tags::{Role, TURNS, Tag};
use crate::tracks::{DTMF, DigitEvent, audio_track};

pub(crate) struct Hearing {
    leg: u64,
    peer: PeerKey,
    pub(crate) hears: LegHears,
    /// The name of its track.
    track: String,
    /// Nobody presses keys in music and mixes.
    has_digits: bool,
    /// It is announced.
    is_there: bool,
    /// Of the newest request.
    turn: u8,
    watch: Wanted<StreamId>,
    audio: Wanted<SubscribeId>,
    dtmf: Wanted<SubscribeId>,
    digits: Heard,
}

/// Something of the host that is to be had, or to be tried for again.
struct Wanted<T> {
    role: Role,
    turn: u8,
    held: Option<T>,
    /// In a row.
    failures: u32,
    retry_at: Option<Instant>,
}

impl Hearing {
    pub(crate) fn begin(leg: u64, peer: PeerKey, hears: LegHears, turn: u8, host: &mut Host<'_>) -> Self {
        let mut hearing = Self {
            leg,
            peer,
            track: audio_track(hears.transcoded),
            has_digits: !OF_NOBODY
                .iter()
                .any(|prefix| hears.broadcast.is_under(&BroadcastPath::new(prefix))),
            hears,
            is_there: false,
            turn,
            watch: Wanted::new(Role::Watch),
            audio: Wanted::new(Role::HeardAudio),
            dtmf: Wanted::new(Role::HeardDtmf),
            digits: Heard::default(),
        };
        hearing.watch(host);
        hearing
    }

    /// Hears nothing more of it. The turn that what is heard next begins behind.
    pub(crate) fn end(mut self, host: &mut Host<'_>) -> u8 {
        self.release(host);
        if let Some(watch) = self.watch.held.take() {
            host.unwatch(self.peer, watch);
        }
        self.turn
    }

    /// Nothing of it is to be sent: nobody needs to say it.
    pub(crate) fn release(&mut self, host: &mut Host<'_>) {
        for track in [&mut self.audio, &mut self.dtmf] {
            if let Some(id) = track.held.take() {
                host.unsubscribe(self.peer, id);
            }
            track.retry_at = None;
            track.failures = 0;
        }
    }

    /// Subscribes to what it does not have, if its time has come. Whether audio is from here on.
    pub(crate) fn listen(&mut self, host: &mut Host<'_>) -> bool {
        if self.watch.is_due(host.now()) {
            self.watch(host);
        }
        if !self.is_there {
            return false;
        }
        let begins = self.subscribe(Role::HeardAudio, host);
        if self.has_digits {
            self.subscribe(Role::HeardDtmf, host);
        }
        begins
    }

    /// The broadcast is there, or there anew: it is tried at once. By subscriptions of what was there before nothing more
    /// comes, though they may stay open.
    pub(crate) fn set_there(&mut self, is_there: bool, host: &mut Host<'_>) {
        self.is_there = is_there;
        self.digits = Heard::default();
        self.release(host);
    }

    /// The watch or a subscription is over.
    pub(crate) fn closed(&mut self, role: Role, now: Instant) {
        match role {
            Role::HeardAudio => self.audio.failed(now),
            Role::HeardDtmf => self.dtmf.failed(now),
            Role::Watch => {
                self.watch.failed(now);
                self.is_there = false;
            }
            Role::Audio | Role::Dtmf | Role::Catalog => {}
        }
    }

    /// Something came by it, so it was not in vain.
    pub(crate) fn came(&mut self, role: Role) {
        match role {
            Role::HeardAudio => self.audio.failures = 0,
            Role::HeardDtmf => self.dtmf.failures = 0,
            Role::Audio | Role::Dtmf | Role::Catalog | Role::Watch => {}
        }
    }

    /// A digit is told.
    pub(crate) fn judge_digit(&mut self, event: &DigitEvent, now: Instant) -> Told {
        self.digits.judge(event.at_ms, event.end, now)
    }

    /// Whether what is told with a tag is of what it has.
    pub(crate) fn has(&self, tag: Tag) -> bool {
        match tag.role {
            Role::HeardAudio => self.audio.is(tag),
            Role::HeardDtmf => self.dtmf.is(tag),
            Role::Watch => self.watch.is(tag),
            Role::Audio | Role::Dtmf | Role::Catalog => false,
        }
    }

    /// When [`Self::listen`] is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let tracks = [self.audio.retry_at, self.dtmf.retry_at];
        let tracks = tracks.into_iter().filter(|_| self.is_there);
        tracks.chain([self.watch.retry_at]).flatten().min()
    }

    fn watch(&mut self, host: &mut Host<'_>) {
        let tag = self.watch.next(self.leg, &mut self.turn);
        match host.watch(self.peer, &self.hears.broadcast, tag.encode()) {
            Ok(watch) => {
                self.watch.held = Some(watch);
                self.watch.retry_at = None;
            }
            Err(error) => {
                tracing::warn!(%error, "a leg cannot hear yet");
                self.watch.failed(host.now());
            }
        }
    }

    fn subscribe(&mut self, role: Role, host: &mut Host<'_>) -> bool {
        let (track, name, priority) = match role {
            Role::HeardDtmf => (&mut self.dtmf, DTMF, 210),
            _ => (&mut self.audio, self.track.as_str(), 200),
        };
        if track.held.is_some() || track.retry_at.is_some_and(|retry_at| retry_at > host.now()) {
            return false;
        }
        let wanted = LocalSubscription {
            broadcast: self.hears.broadcast.clone(),
            track: name.into(),
            priority,
            // Whoever hears it plays it in order; and one that comes when its turn is over does not leave.
            ordered: true,
            max_latency: LATENCY_MAX,
            range: GroupRange::default(),
            tag: track.next(self.leg, &mut self.turn).encode(),
        };
        match host.subscribe(self.peer, &wanted) {
            Ok(id) => {
                track.held = Some(id);
                track.retry_at = None;
                if role == Role::HeardDtmf {
                    self.digits.subscribed(host.now());
                }
            }
            Err(_) => track.failed(host.now()),
        }
        track.held.is_some()
    }
}

impl<T> Wanted<T> {
    fn new(role: Role) -> Self {
        Self {
            role,
            turn: 0,
            held: None,
            failures: 0,
            retry_at: None,
        }
    }

    /// The tag of the next try.
    fn next(&mut self, leg: u64, turn: &mut u8) -> Tag {
        *turn = (*turn + 1) % TURNS;
        self.turn = *turn;
        Tag {
            leg,
            role: self.role,
            turn: self.turn,
        }
    }

    fn is(&self, tag: Tag) -> bool {
        self.held.is_some() && self.turn == tag.turn
    }

    fn is_due(&self, now: Instant) -> bool {
        self.held.is_none() && self.retry_at.is_none_or(|retry_at| retry_at <= now)
    }

    fn failed(&mut self, now: Instant) {
        self.held = None;
        self.retry_at = Some(now + retry_after(self.failures));
        self.failures = self.failures.saturating_add(1);
    }
}

/// Twice as long after each failure.
fn retry_after(failures: u32) -> Duration {
    SUBSCRIBE_RETRY_MIN
        .saturating_mul(1 << failures.min(16))
        .min(SUBSCRIBE_RETRY_MAX)
}

/// Broadcasts below these have no track of digits.
const OF_NOBODY: [&str; 3] = ["mix", "moh", "prompt"];

/// What is older is of no use. By timestamps: a packet that silence overtook is as old as the silence was long.
const LATENCY_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_later_each_time_and_not_too_late() {
        let now = Instant::now();
        let (mut wanted, mut turn) = (Wanted::new(Role::HeardAudio), 31);
        assert!(wanted.is_due(now));
        let first = wanted.next(7, &mut turn);
        wanted.held = Some(SubscribeId(1));
        assert!(wanted.is(first) && !wanted.is_due(now));
        let waits: Vec<u64> = (0..40)
            .map(|_| {
                wanted.failed(now);
                u64::try_from((wanted.retry_at.unwrap() - now).as_millis()).unwrap()
            })
            .collect();
        assert_eq!(waits[..8], [250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000]);
        assert!(waits[8..].iter().all(|wait| *wait == 32_000));
        assert!(!wanted.is_due(now) && wanted.is_due(now + SUBSCRIBE_RETRY_MAX));
        wanted.next(7, &mut turn);
        wanted.held = Some(SubscribeId(2));
        assert!(!wanted.is(first));
    }
}
