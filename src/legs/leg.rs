//! One leg: RTP on one side, a local peer of the relay on the other.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_media::dtmf::{self, Digit, Digits, Sending};
use moqswitch_media::rtp::Packet;
use moqswitch_media::{Egress, EgressStatistics, Ingress, IngressStatistics, Latch, Packing, Speech, Verdict};
use moqswitch_proto::wire::{BroadcastPath, GroupSequence, SubscribeId, TrackInfo};
use moqswitch_relay::net::SocketId;
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Delivery, Host, LocalFrame, LocalTrack};

use crate::codec::LegCodec;
use crate::limits::{DIGIT_GAP, DIGIT_MAX, DIGIT_STEP, DIGITS_MAX, PACKETS_PER_SECOND_MAX, PAYLOAD_BYTES_MAX};
use crate::tracks::{AUDIO, CATALOG, DTMF, DigitEvent, catalog};

/// How a leg is.
#[derive(Clone, Debug)]
pub struct LegSettings {
    /// What it publishes.
    pub broadcast: BroadcastPath,
    /// What is spoken, both ways.
    pub codec: LegCodec,
    /// The payload type by which it is received and sent.
    pub payload_type: u8,
    /// The payload type of telephone events, if there are any.
    pub event_type: Option<u8>,
    /// The source of what is sent: random, with the first number and timestamp (RFC 3550, section 5.1).
    pub source: (u32, u16, u32),
    /// How audio goes on at the relay.
    pub delivery: Delivery,
}

/// What was counted of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegStatistics {
    /// What came from the peer.
    pub received: IngressStatistics,
    /// What went to it.
    pub sent: EgressStatistics,
    /// Datagrams that were not the peer's.
    pub foreign: u64,
    /// Datagrams that were no packets, of no payload type that was agreed on, too long, or too many.
    pub unusable: u64,
    /// Digits that came.
    pub digits: u64,
    /// Frames of whom it hears that are too long for a packet.
    pub too_long: u64,
    /// Somebody hears it.
    pub is_wanted: bool,
    /// Somebody hears its digits.
    pub are_digits_wanted: bool,
    /// Since the last packet of the peer; since the leg began, if there was none.
    pub silent: Duration,
}

/// What a tag of the host says beside the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Audio,
    Dtmf,
    Catalog,
    HeardAudio,
    HeardDtmf,
    Watch,
}

impl Role {
    pub(crate) fn tag(self, leg: u64) -> u64 {
        leg << 3 | self as u64
    }

    pub(crate) fn of(tag: u64) -> Option<(u64, Self)> {
        const ROLES: [Role; 6] = [
            Role::Audio,
            Role::Dtmf,
            Role::Catalog,
            Role::HeardAudio,
            Role::HeardDtmf,
            Role::Watch,
        ];
        let role = ROLES.get(usize::try_from(tag & 7).ok()?)?;
        Some((tag >> 3, *role))
    }
}

pub(crate) struct Leg {
    pub(crate) name: u64,
    pub(crate) peer: PeerKey,
    pub(crate) socket: SocketId,
    pub(crate) settings: LegSettings,
    /// When it is to be called, as the application has noted it.
    pub(crate) due: Option<Instant>,
    began: Instant,
    last_packet: Instant,
    latch: Latch,
    local: Option<IpAddr>,
    ingress: Ingress,
    egress: Egress,
    digits: Digits,
    /// A packet as it is written: one piece of memory for all of them.
    packet: Vec<u8>,
    /// Subscriptions of what it publishes.
    pub(crate) wanted_audio: Option<SubscribeId>,
    pub(crate) wanted_dtmf: Option<SubscribeId>,
    pub(crate) wanted_catalog: Option<SubscribeId>,
    events: u64,
    catalogs: u64,
    /// When the digit that is heard began, in milliseconds of the leg.
    digit_at: u64,
    /// The digit that is being sent, until when if nobody says so, and when its next packet is due.
    sending: Option<(Sending, Pressed, Instant)>,
    pressed: VecDeque<Pressed>,
    next_digit: Option<Instant>,
    window: (Instant, u32),
    unusable: u64,
    too_long: u64,
    digit_count: u64,
}

/// A digit that is to be sent.
#[derive(Debug)]
struct Pressed {
    digit: char,
    /// When the speaker pressed it, by which its end is known.
    at_ms: Option<u64>,
    duration_ms: u32,
    is_over: bool,
}

impl Leg {
    pub(crate) fn new(name: u64, peer: PeerKey, socket: SocketId, settings: LegSettings, now: Instant) -> Self {
        let (ssrc, sequence, timestamp) = settings.source;
        let mut egress = Egress::new(ssrc, sequence, timestamp);
        egress.set_packing(packing(&settings));
        Self {
            name,
            peer,
            socket,
            due: None,
            began: now,
            last_packet: now,
            latch: Latch::new(),
            local: None,
            ingress: Ingress::new(settings.codec.clock_hz()),
            egress,
            digits: Digits::default(),
            packet: Vec::new(),
            wanted_audio: None,
            wanted_dtmf: None,
            wanted_catalog: None,
            events: 0,
            catalogs: 0,
            digit_at: 0,
            sending: None,
            pressed: VecDeque::new(),
            next_digit: None,
            window: (now, 0),
            unusable: 0,
            too_long: 0,
            digit_count: 0,
            settings,
        }
    }

    /// The tracks that it offers.
    pub(crate) fn tracks(&self) -> Vec<LocalTrack> {
        let offer = |name: &str, role: Role, priority: u8, timescale: u32| LocalTrack {
            name: name.into(),
            info: TrackInfo {
                epoch: 0,
                priority,
                ordered: false,
                max_latency_ms: 1000,
                timescale: timescale.into(),
            },
            tag: role.tag(self.name),
        };
        vec![
            offer(AUDIO, Role::Audio, 200, self.settings.codec.clock_hz()),
            offer(DTMF, Role::Dtmf, 210, 1000),
            offer(CATALOG, Role::Catalog, 220, 1000),
        ]
    }

    pub(crate) fn meet(&mut self, peer: SocketAddr, is_translated: bool, now: Instant) {
        self.latch.tell(peer, is_translated, now.duration_since(self.began));
    }

    /// Another codec. What is put together of digits and frames goes on.
    pub(crate) fn change(&mut self, settings: LegSettings) {
        self.ingress.set_clock(settings.codec.clock_hz());
        self.egress.set_packing(packing(&settings));
        let (broadcast, source) = (self.settings.broadcast.clone(), self.settings.source);
        self.settings = LegSettings {
            broadcast,
            source,
            ..settings
        };
    }

    pub(crate) fn statistics(&self, now: Instant) -> LegStatistics {
        LegStatistics {
            received: self.ingress.statistics(),
            sent: self.egress.statistics(),
            foreign: self.latch.foreign(),
            unusable: self.unusable,
            too_long: self.too_long,
            digits: self.digit_count,
            is_wanted: self.wanted_audio.is_some(),
            are_digits_wanted: self.wanted_dtmf.is_some(),
            silent: now.saturating_duration_since(self.last_packet),
        }
    }

    /// A datagram came on its socket.
    pub(crate) fn receive(&mut self, source: SocketAddr, local: IpAddr, datagram: &[u8], host: &mut Host<'_>) {
        let now = host.now();
        let Some(packet) = self.usable(datagram) else {
            self.unusable += 1;
            return;
        };
        let since = now.saturating_duration_since(self.began);
        if self.latch.judge(source, since) == Verdict::Foreign {
            return;
        }
        // Of the peer's alone: strangers must not use up what it may send.
        if self.is_one_too_many(now) {
            self.unusable += 1;
            return;
        }
        self.local = Some(local);
        self.last_packet = now;
        if Some(packet.payload_type) == self.settings.event_type {
            return self.hear_event(&packet, host);
        }
        let Some(heard) = self.ingress.take(&packet, since) else {
            return;
        };
        if heard.is_new_source
            && let Some(digit) = self.digits.reset()
        {
            self.publish_digit(digit, host);
        }
        if let Some(id) = self.wanted_audio {
            let frame = LocalFrame {
                group: GroupSequence(heard.group),
                timestamp: heard.timestamp,
                payload: host.copy(packet.payload),
            };
            host.send(self.peer, id, frame, self.settings.delivery);
        }
    }

    fn is_one_too_many(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.window;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > PACKETS_PER_SECOND_MAX
    }

    fn usable<'a>(&self, datagram: &'a [u8]) -> Option<Packet<'a>> {
        let packet = Packet::parse(datagram).ok()?;
        let is_known =
            packet.payload_type == self.settings.payload_type || Some(packet.payload_type) == self.settings.event_type;
        (is_known && packet.payload.len() <= PAYLOAD_BYTES_MAX).then_some(packet)
    }

    fn hear_event(&mut self, packet: &Packet<'_>, host: &mut Host<'_>) {
        let now = host.now().saturating_duration_since(self.began);
        let told = self.digits.take(packet.timestamp, packet.payload, now);
        for digit in told.into_iter().flatten() {
            if !digit.is_end {
                self.digit_count += 1;
                self.digit_at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            }
            self.publish_digit(digit, host);
        }
    }

    fn publish_digit(&mut self, digit: Digit, host: &mut Host<'_>) {
        let Some(id) = self.wanted_dtmf else { return };
        let event = DigitEvent {
            digit: digit.digit.to_string(),
            duration_ms: u32::from(digit.duration) * 1000 / self.settings.codec.clock_hz(),
            at_ms: self.digit_at,
        };
        self.events += 1;
        let payload = host.copy(&event.encode());
        let frame = LocalFrame {
            group: GroupSequence(self.events),
            timestamp: self.digit_at,
            payload,
        };
        host.send(self.peer, id, frame, Delivery::Stream);
    }

    /// Somebody wants to know what the tracks are, or they have changed.
    pub(crate) fn publish_catalog(&mut self, host: &mut Host<'_>) {
        let Some(id) = self.wanted_catalog else { return };
        self.catalogs += 1;
        let payload = host.copy(&catalog(self.settings.codec));
        let frame = LocalFrame {
            group: GroupSequence(self.catalogs),
            timestamp: 0,
            payload,
        };
        host.send(self.peer, id, frame, Delivery::Stream);
    }

    /// Another speaker is heard from here on, whose timestamps count so fast.
    pub(crate) fn begin_hearing(&mut self, timescale: u64) {
        self.egress.begin(timescale);
    }

    /// The speaker has said what its timestamps count.
    pub(crate) fn set_timescale(&mut self, timescale: u64) {
        if self.egress.timescale() != timescale {
            self.egress.begin(timescale);
        }
    }

    pub(crate) fn speak(&mut self, group: u64, timestamp: u64, payload: Bytes, host: &mut Host<'_>) {
        let now = host.now().saturating_duration_since(self.began);
        if self.sending.is_some() {
            // A telephone that sends digits does not speak (RFC 4733, section 2.5.1.1).
            return;
        }
        // Whoever is heard may publish frames of megabytes, and some of them wait.
        if payload.len() > PAYLOAD_BYTES_MAX {
            self.too_long += 1;
            return;
        }
        let speech = Speech {
            group,
            timestamp,
            payload,
        };
        let (mut out, egress) = self.way_out(host);
        egress.take(speech, now, |packet| out.send(&packet));
    }

    /// Where packets go, and what makes them.
    fn way_out<'a, 'h>(&'a mut self, host: &'a mut Host<'h>) -> (WayOut<'a, 'h>, &'a mut Egress) {
        let out = WayOut {
            host,
            socket: self.socket,
            destination: self.latch.destination(),
            source: self.local,
            packet: &mut self.packet,
        };
        (out, &mut self.egress)
    }

    /// A digit of who is heard: its beginning or its end.
    pub(crate) fn hear_digit(&mut self, payload: &[u8]) {
        let Some((event, digit)) = DigitEvent::parse(payload) else {
            return;
        };
        // The second of the two says that it is over, whichever came first. It may be sent already, or wait still.
        let sending = self.sending.iter_mut().map(|(_, pressed, _)| pressed);
        let known = sending
            .chain(&mut self.pressed)
            .find(|pressed| pressed.at_ms == Some(event.at_ms));
        match known {
            Some(pressed) => {
                pressed.is_over = true;
                pressed.duration_ms = pressed.duration_ms.max(event.duration_ms);
            }
            None => self.queue_digit(Pressed {
                digit,
                at_ms: Some(event.at_ms),
                duration_ms: event.duration_ms,
                is_over: false,
            }),
        }
    }

    pub(crate) fn press(&mut self, digit: char, duration_ms: u32) {
        self.queue_digit(Pressed {
            digit,
            at_ms: None,
            duration_ms,
            is_over: true,
        });
    }

    fn queue_digit(&mut self, pressed: Pressed) {
        // Whoever presses the next one has let go of those before it, whether their ends come or not.
        let before = self.sending.iter_mut().map(|(_, pressed, _)| pressed);
        before
            .chain(&mut self.pressed)
            .for_each(|pressed| pressed.is_over = true);
        let is_digit = dtmf::code(pressed.digit).is_some();
        if is_digit && self.settings.event_type.is_some() && self.pressed.len() < DIGITS_MAX {
            self.pressed.push_back(pressed);
        }
    }

    /// Does what is due. When it is to be called again.
    pub(crate) fn tick(&mut self, host: &mut Host<'_>) -> Option<Instant> {
        let now = host.now();
        let since = now.saturating_duration_since(self.began);
        let (mut out, egress) = self.way_out(host);
        egress.release(since, |packet| out.send(&packet));
        let digit = self.tick_digits(host);
        let frame = self.egress.deadline().map(|deadline| self.began + deadline);
        digit.into_iter().chain(frame).min()
    }

    fn tick_digits(&mut self, host: &mut Host<'_>) -> Option<Instant> {
        let now = host.now();
        if self.sending.is_none() && self.next_digit.is_none_or(|next| next <= now) {
            let pressed = self.pressed.pop_front()?;
            let since = now.saturating_duration_since(self.began);
            let sending = Sending::begin(pressed.digit, self.egress.begin_beside(since))?;
            self.sending = Some((sending, pressed, now));
        }
        let Some((sending, pressed, due)) = &mut self.sending else {
            return self.next_digit.filter(|_| !self.pressed.is_empty());
        };
        if *due > now {
            return Some(*due);
        }
        let clock_hz = self.settings.codec.clock_hz();
        let units = |milliseconds: u128| u16::try_from(milliseconds * u128::from(clock_hz) / 1000).unwrap_or(u16::MAX);
        let lasted = sending.duration_ms(clock_hz);
        // No longer than its packets can say, either.
        let sayable = u32::from(u16::MAX) * 1000 / clock_hz;
        let longest = u32::try_from(DIGIT_MAX.as_millis()).unwrap_or(u32::MAX).min(sayable);
        if (pressed.is_over && lasted >= pressed.duration_ms.min(longest)) || lasted >= longest {
            sending.end(units(u128::from(pressed.duration_ms.min(longest))), clock_hz);
        }
        let step = units(DIGIT_STEP.as_millis());
        if let (Some((is_first, timestamp, event)), Some(kind)) = (sending.next(step), self.settings.event_type) {
            *due += DIGIT_STEP;
            let due = *due;
            let (mut out, egress) = self.way_out(host);
            egress.send_beside(is_first, kind, timestamp, &event.encode(), |packet| out.send(&packet));
            return Some(due);
        }
        self.sending = None;
        self.next_digit = Some(now + DIGIT_GAP);
        self.next_digit.filter(|_| !self.pressed.is_empty())
    }
}

/// Frames as they come are packets.
fn packing(settings: &LegSettings) -> Packing {
    Packing {
        payload_type: settings.payload_type,
        clock_hz: settings.codec.clock_hz(),
        bytes: None,
    }
}

/// Where the packets of a leg go.
struct WayOut<'a, 'h> {
    host: &'a mut Host<'h>,
    socket: SocketId,
    destination: Option<SocketAddr>,
    source: Option<IpAddr>,
    packet: &'a mut Vec<u8>,
}

impl WayOut<'_, '_> {
    fn send(&mut self, packet: &Packet<'_>) {
        let Some(destination) = self.destination else { return };
        self.packet.clear();
        packet.write(self.packet);
        self.host.send_on(self.socket, self.packet, destination, self.source);
    }
}
