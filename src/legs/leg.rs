//! One leg: RTP on one side, a local peer of the relay on the other.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moqswitch_media::dtmf::{Digit, Digits};
use moqswitch_media::rtp::{self, Packet};
use moqswitch_media::{Egress, Ingress, Latch, Now, Own, Speech, Verdict};
use moqswitch_proto::wire::{GroupSequence, SubscribeId};
use moqswitch_relay::net::SocketId;
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Delivery, Host, LocalFrame, LocalTrack};

use crate::carried::Carried;
use crate::codec::LegCodec;
use crate::command::{LegHears, LegName, LegPeer};
use crate::control::Control;
use crate::digits::{Pressed, Pressing, Told, Turn};
use crate::events::{LegEvent, Outbox};
use crate::hearing::Hearing;
use crate::limits::{
    DIGIT_BYTES_MAX, DIGITS_PER_SECOND_MAX, DOUBT, OTHER_CODEC_PACKETS, PACKETS_PER_SECOND_MAX, PAYLOAD_BYTES_MAX,
};
use crate::settings::{Kind, LegSettings};
use crate::silence::Silence;
use crate::srtp::Srtp;
use crate::statistics::{LegStatistics, duration};
use crate::tags::Role;
use crate::tone::Announcing;
use crate::tracks::{DigitEvent, catalog, offered};
use crate::way_out::WayOut;
use crate::window::Window;

pub(crate) struct Leg {
    pub(crate) name: LegName,
    pub(crate) peer: PeerKey,
    pub(crate) socket: SocketId,
    pub(crate) settings: LegSettings,
    /// When it is to be called, as the application has noted it.
    pub(crate) due: Option<Instant>,
    /// It may have to be called sooner.
    pub(crate) has_news: bool,
    pub(crate) hearing: Option<Hearing>,
    /// Of the newest request to hear something.
    turn: u8,
    began: Instant,
    /// The same since 1970.
    began_wall: Duration,
    pub(crate) last_packet: Instant,
    pub(crate) silence: Silence,
    pub(crate) latch: Latch,
    local: Option<IpAddr>,
    ingress: Ingress,
    pub(crate) egress: Egress,
    /// Its peer is told that it is recorded.
    pub(crate) announcing: Option<Box<Announcing>>,
    control: Control,
    srtp: Option<Srtp>,
    /// What carries it, if that is WebRTC.
    pub(crate) carried: Option<Box<Carried>>,
    digits: Digits,
    /// The source of telephone events.
    event_source: Option<u32>,
    /// Packets of another codec in a row.
    others: u32,
    pressing: Pressing,
    /// What its tracks' timestamps count in a second, whatever is spoken later.
    timescale: u32,
    /// A packet as it is written: one piece of memory for all of them.
    packet: Vec<u8>,
    /// Subscriptions of what it publishes.
    wanted: Subscribed,
    events: u64,
    catalogs: u64,
    /// What of events counts so fast.
    event_clock_hz: u32,
    /// When the digit that is heard began, in milliseconds of the leg; and whether it is told.
    digit_at: u64,
    is_digit_told: bool,
    told_codec: Option<LegCodec>,
    received: Window,
    sent: Window,
    pressed: Window,
    counted: LegStatistics,
}

/// Who hears what of the leg.
#[derive(Default)]
struct Subscribed {
    audio: Option<SubscribeId>,
    dtmf: Option<SubscribeId>,
    catalog: Option<SubscribeId>,
}

impl Leg {
    pub(crate) fn new(
        name: LegName,
        peer: PeerKey,
        socket: SocketId,
        reserved: Option<UdpSocket>,
        settings: LegSettings,
        (now, wall): (Instant, Duration),
    ) -> Self {
        let (ssrc, sequence, timestamp) = settings.source;
        let clock_hz = settings.codec.clock_hz();
        let mut egress = Egress::new(ssrc, sequence, timestamp);
        egress.set_packing(settings.packing());
        Self {
            name,
            peer,
            socket,
            due: None,
            has_news: false,
            hearing: None,
            turn: 0,
            began: now,
            began_wall: wall,
            last_packet: now,
            silence: Silence::Allowed,
            latch: Latch::new(),
            local: None,
            ingress: Ingress::new(clock_hz),
            egress,
            announcing: None,
            control: Control::new(&settings, reserved),
            srtp: Srtp::agree(None, settings.srtp.as_ref(), ssrc),
            carried: None,
            digits: Digits::default(),
            event_source: None,
            others: 0,
            pressing: Pressing::default(),
            timescale: clock_hz,
            packet: Vec::new(),
            wanted: Subscribed::default(),
            events: 0,
            catalogs: 0,
            event_clock_hz: clock_hz,
            digit_at: 0,
            is_digit_told: false,
            told_codec: None,
            received: Window::new(now),
            sent: Window::new(now),
            pressed: Window::new(now),
            counted: LegStatistics::default(),
            settings,
        }
    }

    /// The tracks that it offers.
    pub(crate) fn tracks(&self) -> Vec<LocalTrack> {
        offered(self.name.0, self.timescale)
    }

    /// As it was opened. A socket that reports come on.
    pub(crate) fn begin(&mut self, host: &mut Host<'_>) -> Option<SocketId> {
        self.control.agree(self.settings.rtcp, false, Duration::ZERO, host)
    }

    /// Where the peer is, and what was agreed on with it. A socket that reports come on from here on.
    pub(crate) fn agree(
        &mut self,
        settings: Option<LegSettings>,
        peer: Option<LegPeer>,
        host: &mut Host<'_>,
    ) -> Option<SocketId> {
        let since = self.since(host);
        if let Some(peer) = peer {
            self.latch.tell(peer.address, peer.is_translated, since);
        }
        let mut socket = None;
        if let Some(settings) = settings {
            self.change(settings, host);
            let is_translated = peer.is_some_and(|peer| peer.is_translated);
            socket = self.control.agree(self.settings.rtcp, is_translated, since, host);
        }
        self.control.refresh(&self.latch, since);
        self.expect(host.now());
        socket
    }

    /// Hears another broadcast, or nothing.
    pub(crate) fn hear(&mut self, hears: Option<LegHears>, host: &mut Host<'_>) {
        if self.hearing.as_ref().map(|hearing| &hearing.hears) == hears.as_ref() {
            return;
        }
        if let Some(before) = self.hearing.take() {
            self.turn = before.end(host);
        }
        self.egress.interrupt();
        self.hearing = hears.map(|hears| Hearing::begin(self.name.0, self.peer, hears, self.turn, host));
    }

    /// Subscribes to what it is to hear and does not.
    pub(crate) fn listen(&mut self, host: &mut Host<'_>) {
        if !self.settings.sends {
            return;
        }
        let begins = self.hearing.as_mut().is_some_and(|hearing| hearing.listen(host));
        if begins {
            // Until it is told what its timestamps count.
            self.egress.begin(self.settings.codec.clock_hz().into());
        }
    }

    /// The speaker has said what its timestamps count.
    pub(crate) fn set_timescale(&mut self, timescale: u64) {
        if self.egress.timescale() != timescale {
            self.egress.begin(timescale);
        }
    }

    /// Somebody wants one of its tracks, or nobody does any more.
    pub(crate) fn set_wanted(&mut self, role: Role, id: Option<SubscribeId>, host: &mut Host<'_>) {
        match role {
            Role::Audio => self.wanted.audio = id,
            Role::Dtmf => self.wanted.dtmf = id,
            Role::Catalog => {
                self.wanted.catalog = id;
                self.publish_catalog(host);
            }
            Role::HeardAudio | Role::HeardDtmf | Role::Watch => {}
        }
    }

    pub(crate) fn statistics(&self, now: Instant) -> LegStatistics {
        let received = self.ingress.statistics();
        let peer = self.control.peer();
        let clock_hz = self.settings.codec.clock_hz();
        LegStatistics {
            received,
            jitter: duration(received.jitter, clock_hz),
            sent: self.egress.statistics(),
            peer,
            peer_jitter: duration(peer.jitter, clock_hz),
            foreign: self.latch.foreign(),
            reports: self.control.received,
            is_wanted: self.wanted.audio.is_some(),
            are_digits_wanted: self.wanted.dtmf.is_some(),
            silent: now.saturating_duration_since(self.last_packet),
            ..self.counted
        }
    }

    /// A datagram came on its socket.
    pub(crate) fn receive(
        &mut self,
        source: SocketAddr,
        local: IpAddr,
        datagram: &[u8],
        host: &mut Host<'_>,
        outbox: &Outbox,
    ) {
        if rtp::is_control(datagram) {
            return self.receive_control(source, true, datagram, host);
        }
        // Nothing that is not authentic says where the peer is, or uses up what it may send.
        if let Some(srtp) = &mut self.srtp {
            match srtp.open(datagram, false) {
                Ok(opened) => {
                    self.take(source, local, &opened, host, outbox);
                    self.give_back(opened);
                }
                Err(_) => self.counted.unauthentic += 1,
            }
            return;
        }
        self.take(source, local, datagram, host, outbox);
    }

    fn take(&mut self, source: SocketAddr, local: IpAddr, datagram: &[u8], host: &mut Host<'_>, outbox: &Outbox) {
        match self.usable(datagram) {
            Some((packet, kind)) => self.take_packet(source, Some(local), &packet, kind, host, outbox),
            None => self.note_unusable(),
        }
    }

    pub(crate) fn note_unusable(&mut self) {
        self.counted.unusable += 1;
    }

    /// A packet of a payload type that was agreed on.
    pub(crate) fn take_packet(
        &mut self,
        source: SocketAddr,
        local: Option<IpAddr>,
        packet: &Packet<'_>,
        kind: Kind,
        host: &mut Host<'_>,
        outbox: &Outbox,
    ) {
        let now = host.now();
        if !self.settings.receives {
            self.counted.held += 1;
            return;
        }
        let since = self.since(host);
        if self.latch.judge(source, since) == Verdict::Foreign {
            return;
        }
        // Of the peer's alone: strangers must not use up what it may send.
        if !self.received.admits(now, PACKETS_PER_SECOND_MAX) {
            self.counted.unusable += 1;
            return;
        }
        self.local = local;
        self.heard_of(now);
        match kind {
            Kind::Audio(codec) if codec == self.settings.codec => self.hear_audio(packet, since, host),
            Kind::Audio(codec) => {
                self.counted.of_other_codec += 1;
                self.pass(packet);
                self.others += 1;
                // A few are under way still of what was spoken before.
                if self.others >= OTHER_CODEC_PACKETS && self.told_codec.replace(codec) != Some(codec) {
                    outbox.tell(LegEvent::OtherCodec { leg: self.name, codec });
                }
            }
            Kind::Event { clock_hz } => {
                self.pass(packet);
                // Some have a source of their own for keys.
                if self
                    .event_source
                    .replace(packet.ssrc)
                    .is_some_and(|before| before != packet.ssrc)
                    && let Some(digit) = self.digits.reset()
                {
                    self.tell_digit(digit, host, outbox);
                }
                self.event_clock_hz = clock_hz;
                self.has_news = true;
                let told = self.digits.take(packet.timestamp, packet.payload, since);
                for digit in told.into_iter().flatten() {
                    self.tell_digit(digit, host, outbox);
                }
            }
            Kind::ComfortNoise => {
                self.counted.comfort += 1;
                self.pass(packet);
            }
        }
    }

    /// A datagram of RTCP came, on its own port or on that of RTP.
    pub(crate) fn receive_control(&mut self, source: SocketAddr, is_mux: bool, datagram: &[u8], host: &mut Host<'_>) {
        let Some(srtp) = &mut self.srtp else {
            return self.take_control(source, is_mux, datagram, host);
        };
        match srtp.open(datagram, true) {
            Ok(opened) => {
                self.take_control(source, is_mux, &opened, host);
                self.give_back(opened);
            }
            Err(_) => self.counted.unauthentic += 1,
        }
    }

    fn take_control(&mut self, source: SocketAddr, is_mux: bool, datagram: &[u8], host: &mut Host<'_>) {
        let (now, time) = (host.now(), self.time(host));
        let rtp = is_mux.then_some(&self.latch);
        if self.control.receive(source, rtp, datagram, time) {
            self.heard_of(now);
        } else {
            self.counted.unusable += 1;
        }
    }

    /// A frame of whom it hears.
    pub(crate) fn speak(&mut self, group: u64, timestamp: u64, payload: Bytes, host: &mut Host<'_>) {
        let now = self.since(host);
        // A telephone that sends digits does not speak (RFC 4733, section 2.5.1.1).
        if self.pressing.is_sending() || !self.settings.sends || self.latch.destination().is_none() {
            return;
        }
        // Whoever is heard may publish frames of megabytes, and some of them wait.
        if payload.len() > PAYLOAD_BYTES_MAX {
            self.counted.too_long += 1;
            return;
        }
        let codec = self.settings.codec;
        let payload = match &mut self.announcing {
            None => payload,
            Some(announcing) => match announcing.speak(codec, payload, host.now()) {
                Some(payload) => payload,
                None => return,
            },
        };
        let speech = Speech {
            group,
            timestamp,
            payload,
        };
        let (mut out, egress) = self.way_out(host);
        egress.take(speech, now, |packet| out.send(&packet));
    }

    /// Something of what it was told to say waits for its time, or for a connection that is asked.
    pub(crate) fn has_more_to_say(&self) -> bool {
        self.egress.deadline().is_some() || self.carried.is_some()
    }

    /// A digit of who is heard: its beginning or its end.
    pub(crate) fn hear_digit(&mut self, payload: &[u8], now: Instant) {
        // What a publisher may send may have megabytes.
        let event = (payload.len() <= DIGIT_BYTES_MAX).then(|| DigitEvent::parse(payload));
        let (Some(hearing), Some((event, digit))) = (&mut self.hearing, event.flatten()) else {
            return;
        };
        let told = hearing.judge_digit(&event, now);
        match told {
            Told::Past => {}
            Told::End => self.pressing.release(event.at_ms, event.duration_ms, now),
            Told::Begin | Told::Doubtful | Told::Both => self.press_digit(Pressed {
                digit,
                at_ms: Some(event.at_ms),
                duration_ms: event.duration_ms,
                is_over: told == Told::Both,
                not_before: (told == Told::Doubtful).then(|| now + DOUBT),
            }),
        }
    }

    pub(crate) fn press(&mut self, digit: char, duration_ms: u32) {
        self.press_digit(Pressed {
            digit,
            at_ms: None,
            duration_ms,
            is_over: true,
            not_before: None,
        });
    }

    /// Does what is due. When it is to be called again.
    pub(crate) fn tick(&mut self, host: &mut Host<'_>, outbox: &Outbox) -> Option<Instant> {
        let own = self.tick_own(host, outbox);
        // Last, for what the leg itself has said.
        own.into_iter().chain(self.carry(host, outbox)).min()
    }

    fn tick_own(&mut self, host: &mut Host<'_>, outbox: &Outbox) -> Option<Instant> {
        let since = self.since(host);
        let (mut out, egress) = self.way_out(host);
        egress.release(since, |packet| out.send(&packet));
        if let Some(digit) = self.digits.expire(since) {
            self.tell_digit(digit, host, outbox);
        }
        let digit = self.tick_digits(host);
        let tone = self.tick_tone(host);
        let silence = self.tick_silence(host.now(), outbox);
        if self.control.is_due(since) {
            self.report(false, host);
        }
        let hearing = self.hearing.as_ref().filter(|_| self.settings.sends);
        if hearing.and_then(Hearing::deadline).is_some_and(|due| due <= host.now()) {
            self.listen(host);
        }
        let hearing = self.hearing.as_ref().filter(|_| self.settings.sends);
        let deadlines = [self.egress.deadline(), self.digits.deadline(), self.control.deadline()];
        let own = deadlines.into_iter().flatten().map(|deadline| self.began + deadline);
        own.chain(digit)
            .chain(silence)
            .chain(tone)
            .chain(hearing.and_then(Hearing::deadline))
            .min()
    }

    /// It is over: the peer is told, if it was told anything.
    pub(crate) fn end(&mut self, host: &mut Host<'_>) -> [Option<SocketId>; 2] {
        if self.control.has_told() {
            self.report(true, host);
        }
        if self.carried.is_some() {
            // Its socket is that of others, too.
            self.close_carried(host);
            return [None, None];
        }
        [Some(self.socket), self.control.socket()]
    }

    pub(crate) fn since(&self, host: &Host<'_>) -> Duration {
        host.now().saturating_duration_since(self.began)
    }

    fn time(&self, host: &Host<'_>) -> Now {
        let since = self.since(host);
        Now {
            since,
            wall: self.began_wall + since,
        }
    }

    fn change(&mut self, settings: LegSettings, host: &mut Host<'_>) {
        let before = std::mem::replace(&mut self.settings, settings);
        self.settings.broadcast = before.broadcast;
        self.settings.source = before.source;
        self.srtp = Srtp::agree(self.srtp.take(), self.settings.srtp.as_ref(), before.source.0);
        if self.settings.receives && !before.receives {
            self.ingress.interrupt();
        }
        self.ingress.set_clock(self.settings.codec.clock_hz());
        self.egress.set_packing(self.settings.packing());
        (self.told_codec, self.others) = (None, 0);
        if self.settings.event_type.is_none() || !self.settings.sends {
            self.pressing.clear();
        }
        if !self.settings.sends {
            self.egress.interrupt();
            if let Some(hearing) = &mut self.hearing {
                hearing.release(host);
            }
        } else if !before.sends {
            self.listen(host);
        }
        if self.settings.codec != before.codec {
            self.publish_catalog(host);
        }
    }

    fn give_back(&mut self, opened: Vec<u8>) {
        if let Some(srtp) = &mut self.srtp {
            srtp.give_back(opened);
        }
    }

    fn usable<'a>(&self, datagram: &'a [u8]) -> Option<(Packet<'a>, Kind)> {
        let packet = Packet::parse(datagram).ok()?;
        let kind = self.settings.kind(packet.payload_type)?;
        (packet.payload.len() <= PAYLOAD_BYTES_MAX).then_some((packet, kind))
    }

    fn hear_audio(&mut self, packet: &Packet<'_>, since: Duration, host: &mut Host<'_>) {
        self.others = 0;
        let Some(heard) = self.ingress.take(packet, since) else {
            return;
        };
        if let Some(id) = self.wanted.audio {
            let clock_hz = self.settings.codec.clock_hz();
            let frame = LocalFrame {
                group: GroupSequence(heard.group),
                timestamp: convert(heard.timestamp, clock_hz, self.timescale),
                payload: host.copy(packet.payload),
            };
            host.send(self.peer, id, frame, self.settings.delivery);
        }
    }

    /// A packet that is no frame.
    fn pass(&mut self, packet: &Packet<'_>) {
        self.ingress.pass(packet);
    }

    fn tell_digit(&mut self, digit: Digit, host: &mut Host<'_>, outbox: &Outbox) {
        if !digit.is_end {
            self.counted.digits += 1;
            self.digit_at = u64::try_from(self.since(host).as_millis()).unwrap_or(u64::MAX);
            self.is_digit_told = self.pressed.admits(host.now(), DIGITS_PER_SECOND_MAX);
        }
        if !self.is_digit_told {
            return;
        }
        let duration_ms = u32::from(digit.duration) * 1000 / self.event_clock_hz.max(1);
        if digit.is_end {
            outbox.tell(LegEvent::Digit {
                leg: self.name,
                digit: digit.digit,
                duration_ms,
            });
        }
        let Some(id) = self.wanted.dtmf else { return };
        let event = DigitEvent {
            digit: digit.digit.to_string(),
            duration_ms,
            at_ms: self.digit_at,
            end: digit.is_end,
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
    fn publish_catalog(&mut self, host: &mut Host<'_>) {
        let Some(id) = self.wanted.catalog else { return };
        self.catalogs += 1;
        let payload = host.copy(&catalog(self.settings.codec));
        let frame = LocalFrame {
            group: GroupSequence(self.catalogs),
            timestamp: 0,
            payload,
        };
        host.send(self.peer, id, frame, Delivery::Stream);
    }

    fn press_digit(&mut self, pressed: Pressed) {
        if self.settings.event_type.is_some() && self.settings.sends {
            self.pressing.press(pressed);
        }
    }

    fn tick_digits(&mut self, host: &mut Host<'_>) -> Option<Instant> {
        let (now, since) = (host.now(), self.since(host));
        let events = self.settings.event_type?;
        loop {
            match self.pressing.poll(now, events.clock_hz) {
                Turn::Wait(until) => return until,
                Turn::Begin => self.pressing.begin(self.egress.begin_beside(since), now),
                Turn::Send {
                    is_first,
                    timestamp,
                    event,
                } => {
                    let (mut out, egress) = self.way_out(host);
                    let payload = event.encode();
                    egress.send_beside(is_first, events.payload_type, timestamp, &payload, |packet| {
                        out.send(&packet);
                    });
                }
            }
        }
    }

    fn report(&mut self, is_over: bool, host: &mut Host<'_>) {
        let time = self.time(host);
        let own = Own {
            sent: self.egress.statistics(),
            timestamp: self.egress.timestamp(time.since),
            heard: self.ingress.report(),
            clock_hz: self.settings.codec.clock_hz(),
            has_metrics: self.settings.has_metrics,
        };
        let (latch, srtp) = (&self.latch, self.srtp.as_mut());
        self.control.send(&own, is_over, time, latch, self.socket, srtp, host);
    }

    /// Nothing else is sent than what is heard, and that may be.
    pub(crate) fn may_sound(&self) -> bool {
        self.settings.sends && self.latch.destination().is_some() && !self.pressing.is_sending()
    }

    /// Where packets go, and what makes them.
    pub(crate) fn way_out<'a, 'h>(&'a mut self, host: &'a mut Host<'h>) -> (WayOut<'a, 'h>, &'a mut Egress) {
        let out = WayOut {
            socket: self.socket,
            destination: self.latch.destination(),
            source: self.local,
            packet: &mut self.packet,
            sent: &mut self.sent,
            srtp: self.srtp.as_mut(),
            carried: self.carried.as_deref_mut(),
            host,
        };
        (out, &mut self.egress)
    }
}

/// A time in units of another clock.
fn convert(units: u64, from_hz: u32, to_hz: u32) -> u64 {
    match from_hz == to_hz {
        true => units,
        false => u64::try_from(u128::from(units) * u128::from(to_hz) / u128::from(from_hz.max(1))).unwrap_or(u64::MAX),
    }
}
