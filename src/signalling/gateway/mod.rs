//! The gateway: telephones of SIP as devices of the call plane. It translates and decides nothing: what a telephone wants
//! becomes an event of the plane, and what the plane tells a device becomes SIP and RTP.

mod admitting;
mod browsing;
mod calling;
mod codecs;
mod entrance;
mod heard;
mod hearing;
mod inviting;
mod lag;
mod media;
mod outgoing;
mod outlet;
mod registering;
mod secrets;
mod settings;
mod sockets;
mod telling;
mod trunks;
mod view;
mod watching;
mod websocket;
mod writing;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_calls::{CallId, Cause, Codec, Codecs, LegId, MediaEvent, Number, SessionId};
use moqswitch_sip::agent::{Agent, Event, LegKey, Noticed, Settings, TrunkId};
use moqswitch_sip::flow::{Flow, Transport};
use moqswitch_sip::guard::{self, Outcome};
use moqswitch_sip::limits::CERTIFICATE_NAMES_MAX;
use moqswitch_sip::sdp::{Description, Session};

use crate::exchange::Exchange;
use crate::limits::{SIP_MEDIA_AGAIN, SIP_PROVISIONAL_INTERVAL, SIP_QUALITY_INTERVAL, SIP_QUALITY_PER_TICK_MAX};

pub(crate) use codecs::of_sdp as codec_of;
pub(crate) use entrance::SipEntrance;
pub use media::{
    NoRtp, RtpAgreed, RtpError, RtpEvent, RtpEvents, RtpHeard, RtpIceServer, RtpKeys, RtpLeg, RtpLegs, RtpMix,
    RtpOpened, RtpPeer, RtpRefused, RtpStatistics, RtpWanted,
};
pub(crate) use outlet::Outlet;
pub use settings::{
    Duplex, Encrypted, Encrypting, Encryption, SipSettings, SipSockets, SrtpPolicy, TrunkEncryption,
    TrunkGroupSettings, TrunkPlan, TrunkSettings,
};
use sockets::Purpose;
pub(crate) use sockets::serve;
pub(crate) use view::{SipView, TrunkState};

pub(crate) use heard::Heard;
use outgoing::Outgoing;
use registering::Registry;
use secrets::{Again, Secrecy};
use trunks::Trunks;
use watching::Watches;
pub(crate) use websocket::SipWebSocket;

/// See the module's documentation.
pub(crate) struct Gateway {
    agent: Agent,
    media: Box<dyn RtpLegs>,
    media_addresses: Vec<IpAddr>,
    srtp: SrtpPolicy,
    registry: Registry,
    trunks: Trunks,
    watches: Watches,
    /// Who calls without being registered, with how many calls each.
    guests: HashMap<Guest, (SessionId, usize)>,
    calls: HashMap<LegKey, Call>,
    legs: HashMap<LegId, LegKey>,
    /// What came with calls and goes on with them.
    carried: HashMap<CallId, Carried>,
    streams: HashMap<RtpLeg, LegKey>,
    begun: u64,
    started: Instant,
    /// Calls of which a shard was too busy to be told something, and when it is tried again.
    again: BTreeSet<LegKey>,
    again_at: Option<Instant>,
}

/// One telephone's part in a call.
struct Call {
    session: SessionId,
    /// As the plane knows it.
    leg: LegId,
    /// The domain of its number. Empty: it has none, or is behind a trunk.
    domain: String,
    /// It called, and was not registered: its session ends with its last call.
    guest: Option<Guest>,
    /// The trunk that it has a place of.
    trunk: Option<TrunkId>,
    /// It goes out by this way of trunks.
    outgoing: Option<Box<(Number, Outgoing)>>,
    media: Option<RtpLeg>,
    session_description: Session,
    secrecy: Secrecy,
    /// Its media are those of a browser.
    browser: Option<Box<Browser>>,
    /// What is tried when it does not want what it was offered.
    again: Option<Box<Again>>,
    stage: Stage,
    /// What it sends, as the plane has chosen.
    sends: Option<Codec>,
    heard: Heard,
    /// What its telephone takes telephone events by. If not, keys go by INFO.
    takes_events: bool,
    /// Its last key came by telephone events.
    is_digit_heard: bool,
    /// The peer has the others on hold.
    holds: bool,
    /// Where its signalling comes from.
    peer: IpAddr,
    /// What was agreed on, and its leg of RTP could not be told yet.
    untold: Option<Box<RtpAgreed>>,
    /// What both sides have listed, what it is likely to take beside, and what was offered by us last.
    listed: Codecs,
    lists: Codecs,
    offered: Codecs,
    /// What the plane wants it to speak: asked for, or to be asked for.
    asked: Option<Codec>,
    to_ask: Option<Codec>,
    /// Another codec that it speaks, and when the last one was taken over.
    other_codec: Option<Codec>,
    changed: Option<Instant>,
    /// When its quality was asked for.
    counted: Instant,
    /// When it was told last that nobody has answered yet, and what there is to be heard meanwhile.
    told: Instant,
    early: Option<String>,
}

/// What was said of a session of WebRTC.
#[derive(Debug, Default)]
struct Browser {
    /// By the browser: when it began.
    theirs: String,
    /// By us: last.
    ours: String,
    /// Until when it is tried to open its leg, which its shard was too busy for.
    unopened_until: Option<Instant>,
}

/// What goes on with a call.
struct Carried {
    caller: LegKey,
    headers: Vec<(String, String)>,
    /// How often it may be sent on yet (RFC 7332).
    max_forwards: Option<u8>,
}

/// Who calls without being registered: a number, and where it is.
type Guest = (Number, SocketAddr);

/// How far it is.
enum Stage {
    /// It calls. Its offer waits for an answer; none: it wants ours.
    Calling {
        offer: Option<Box<Description>>,
        is_accepted: bool,
    },
    /// It is called.
    Called,
    /// It talks.
    Up,
}

impl Stage {
    fn of_caller(offer: Option<Box<Description>>) -> Self {
        Self::Calling {
            offer,
            is_accepted: false,
        }
    }
}

impl Gateway {
    pub(crate) fn new(
        settings: Settings,
        media: Box<dyn RtpLegs>,
        media_addresses: Vec<IpAddr>,
        srtp: SrtpPolicy,
        random: Box<dyn FnMut() -> u128 + Send>,
    ) -> Self {
        Self {
            agent: Agent::new(settings, Instant::now(), random),
            media,
            media_addresses,
            srtp,
            registry: Registry::new(guard::Settings::default()),
            trunks: Trunks::default(),
            watches: Watches::default(),
            guests: HashMap::new(),
            calls: HashMap::new(),
            legs: HashMap::new(),
            carried: HashMap::new(),
            streams: HashMap::new(),
            begun: 0,
            started: Instant::now(),
            again: BTreeSet::new(),
            again_at: None,
        }
    }

    /// A message came.
    pub(crate) fn receive(&mut self, exchange: &mut Exchange, flow: Flow, bytes: &[u8]) {
        let now = Instant::now();
        let (since, peer) = (self.since_start(now), flow.peer);
        if let Err(reason) = self.registry.guard.admit(since, peer, flow.transport, bytes) {
            if let Some(left_out) = self.registry.guard.should_log(reason, peer, since) {
                tracing::warn!(%peer, reason = reason.name(), left_out, "SIP: refused without an answer");
            }
            return;
        }
        let mut host = self.registry.host(exchange);
        self.agent.receive(now, flow, bytes, &mut host);
        self.drive(exchange);
    }

    /// For how long there has been something to read all the time.
    fn set_behind(&mut self, behind: Duration) {
        self.registry.behind = behind;
    }

    /// How late this thread is.
    fn set_lag(&mut self, lag: Duration) {
        self.registry.lag = lag;
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    fn take_noticed(&mut self, flow: Flow, notice: Noticed) {
        let outcome = match notice {
            // Who sends nonsense is no guesser.
            Noticed::Malformed => return,
            Noticed::UnknownUser => Outcome::UnknownUser,
            Noticed::WrongPassword => Outcome::WrongPassword,
            Noticed::Known => {
                self.registry.prove(flow.connection);
                Outcome::Succeeded
            }
        };
        let since = self.since_start(Instant::now());
        if self.registry.guard.told(since, flow.peer, outcome) {
            tracing::warn!(peer = %flow.peer, "SIP: too many failures; what it sends is dropped for a while");
        }
    }

    /// A connection is gone.
    pub(crate) fn connection_closed(&mut self, exchange: &mut Exchange, connection: u64) {
        let mut host = self.registry.host(exchange);
        self.agent.connection_closed(connection, &mut host);
        self.drive(exchange);
    }

    pub(crate) fn connection_refused(&mut self, exchange: &mut Exchange, peer: SocketAddr) {
        self.agent.connection_refused(Instant::now(), peer);
        self.drive(exchange);
    }

    /// There is no place for a connection that was to be opened for something long.
    fn connection_missing(&mut self, peer: SocketAddr) {
        self.agent.connection_missing(Instant::now(), peer);
    }

    /// What a connection is that is to be opened.
    fn purpose(&self, flow: Flow) -> Purpose {
        // By another one, where its own is gone.
        if flow.transport == Transport::Tls {
            return self.trunks.encryption(flow.peer).map_or(Purpose::Peer, Purpose::Trunk);
        }
        match self.agent.is_for_length(flow) {
            true => Purpose::Length,
            false => Purpose::Peer,
        }
    }

    /// Who is at the other end of a connection has shown who it is.
    fn certify(&mut self, connection: u64, names: Vec<String>) {
        if names.len() > CERTIFICATE_NAMES_MAX {
            let (all, first) = (names.len(), names.first());
            tracing::info!(all, first, "SIP: a certificate has more names than count");
        }
        if self.agent.certify(connection, names) {
            self.registry.prove(connection);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        [self.agent.poll_timeout(), self.again_at].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, exchange: &mut Exchange) {
        let now = Instant::now();
        if self.again_at.take_if(|at| *at <= now).is_some() {
            self.tell_again(exchange);
        }
        let mut host = self.registry.host(exchange);
        self.agent.handle_timeout(now, &mut host);
        self.drive(exchange);
    }

    /// A connection on which somebody was let in.
    pub(crate) fn poll_proven(&mut self) -> Option<u64> {
        self.registry.poll_proven()
    }

    pub(crate) fn poll_send(&mut self) -> Option<(Flow, Arc<[u8]>)> {
        self.agent.poll_send()
    }

    /// Carries out what there is, until nothing is left.
    pub(crate) fn drive(&mut self, exchange: &mut Exchange) {
        loop {
            if let Some((session, notice)) = exchange.outlet.poll() {
                self.take_notice(exchange, session, notice);
            } else if let Some(event) = self.agent.poll_event() {
                self.take_event(exchange, event);
            } else if let Some(event) = self.media.poll() {
                self.take_media(exchange, event);
            } else if let Some(number) = exchange.outlet.poll_changed() {
                self.tell_watchers(exchange, &number);
            } else if exchange.outlet.poll_entrance() {
                self.turn_out(exchange);
            } else if let Some(plan) = exchange.outlet.poll_trunks() {
                self.set_trunks(exchange, plan);
            } else {
                return;
            }
        }
    }

    fn take_event(&mut self, exchange: &mut Exchange, event: Event) {
        match event {
            Event::Invited(invited) => self.take_invited(exchange, *invited),
            Event::Progress { leg, body, .. } => self.take_ringing(exchange, leg, body.as_deref()),
            Event::Answered { leg, body } => self.take_answered(exchange, leg, &body),
            Event::Confirmed { leg, body } => self.take_confirmed(exchange, leg, body.as_deref()),
            Event::Offered { leg, body } => self.take_offered(exchange, leg, body.as_deref()),
            Event::OfferAnswered { leg, body } => self.take_offer_answered(exchange, leg, body.as_deref()),
            Event::Digit { leg, digit, duration } => self.take_digit(exchange, leg, digit, duration, false),
            Event::Transfer { leg, to, replaces } => self.take_transfer(exchange, leg, &to, replaces),
            Event::Ended { leg, end } => self.take_ended(exchange, leg, &end),
            Event::Trunk { trunk, change } => self.take_trunk(exchange, trunk, change),
            Event::Subscribed(watch) => self.take_watch(exchange, &watch),
            Event::Unsubscribed { subscription } => self.end_watch(exchange, subscription),
            Event::Text(text) => self.take_text(exchange, &text),
            Event::Published { user, domain, state } => self.take_published(exchange, &user, &domain, state.as_ref()),
            // Nobody is asked to transfer, and whether a text was read nobody knows.
            Event::ReferProgress { .. } | Event::TextSent { .. } => {}
            Event::Noticed { flow, notice } => self.take_noticed(flow, notice),
        }
    }

    fn take_media(&mut self, exchange: &mut Exchange, event: RtpEvent) {
        match event {
            RtpEvent::Digit {
                leg,
                digit,
                duration_ms,
            } => {
                if let Some(key) = self.streams.get(&leg).copied() {
                    self.take_digit(exchange, key, digit, Duration::from_millis(duration_ms.into()), true);
                }
            }
            RtpEvent::Refused { leg, reason } => {
                if let Some(key) = self.streams.get(&leg).copied() {
                    tracing::warn!(%reason, "a shard did not take a leg of RTP");
                    self.hang_up(exchange, key, Cause::Congestion);
                }
            }
            RtpEvent::OtherCodec { leg, codec } => {
                if let Some(key) = self.streams.get(&leg).copied() {
                    self.take_other_codec(exchange, key, codec);
                }
            }
            RtpEvent::Counted { leg, statistics } => {
                let quality = statistics
                    .hears
                    .zip(self.streams.get(&leg).and_then(|key| self.calls.get(key)));
                if let Some((quality, call)) = quality {
                    let leg = call.leg;
                    exchange.handle(moqswitch_calls::Event::Media(MediaEvent::Quality { leg, quality }));
                }
            }
            // It is gone without a word.
            RtpEvent::Silent { leg } => {
                if let Some(key) = self.streams.get(&leg).copied() {
                    self.hang_up(exchange, key, Cause::MediaTimeout);
                }
            }
            RtpEvent::Closed { .. } => {}
        }
    }

    /// Each second: some telephones are asked how they hear, for the records of their calls; what waits is done.
    pub(super) fn tick(&mut self, exchange: &mut Exchange) {
        self.renew_trunks(exchange);
        let now = Instant::now();
        // With many of them each is asked less often, so that all have their turn.
        let turns = u32::try_from(self.calls.len() / SIP_QUALITY_PER_TICK_MAX).unwrap_or(u32::MAX);
        let interval = SIP_QUALITY_INTERVAL.max(Duration::from_secs(1).saturating_mul(turns.saturating_add(1)));
        let due = self.calls.iter_mut().filter(|(_, call)| {
            matches!(call.stage, Stage::Up) && now.saturating_duration_since(call.counted) >= interval
        });
        for (_, call) in due.take(SIP_QUALITY_PER_TICK_MAX) {
            call.counted = now;
            if let Some(media) = call.media {
                // A busy shard is asked again with the next round.
                let _ = self.media.count(media);
            }
        }
        self.change_codecs(exchange);
        self.tell_waiting();
        self.show(exchange);
    }

    /// What telephones speak that could not be followed at once, and what they are to be asked for.
    fn change_codecs(&mut self, exchange: &mut Exchange) {
        let waits = |call: &Call| call.other_codec.is_some() || call.to_ask.is_some();
        let waiting = self.calls.iter().filter(|(_, call)| waits(call));
        let waiting: Vec<LegKey> = waiting.map(|(key, _)| *key).collect();
        for key in waiting {
            let Some(call) = self.calls.get_mut(&key) else { continue };
            let (other, asked) = (call.other_codec.take(), call.to_ask.take());
            if let Some(codec) = other {
                self.take_other_codec(exchange, key, codec);
            }
            if let Some(codec) = asked {
                self.ask_to_speak(key, codec);
            }
        }
    }

    /// Not with each call: the trunks may be a thousand.
    fn show(&mut self, exchange: &mut Exchange) {
        self.show_trunks(exchange);
        let (legs, telephones, _) = self.agent.counts();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let view = &mut exchange.sip_view;
        view.is_on = true;
        (view.telephones, view.legs) = (count(telephones), count(legs));
        let refused = self.registry.guard.refused();
        view.refused = refused.map(|(reason, count)| (reason.name(), count)).collect();
    }

    /// Who waits for an answer is told each minute that it does (RFC 3261, section 13.3.1.1): a proxy gives it up otherwise.
    fn tell_waiting(&mut self) {
        let now = Instant::now();
        for (key, call) in &mut self.calls {
            let waits = matches!(call.stage, Stage::Calling { is_accepted: false, .. });
            if waits && now.saturating_duration_since(call.told) >= SIP_PROVISIONAL_INTERVAL {
                call.told = now;
                self.agent.ring(now, *key, call.early.as_deref());
            }
        }
    }

    /// What a shard was too busy for.
    fn tell_again(&mut self, exchange: &mut Exchange) {
        for key in std::mem::take(&mut self.again) {
            let untold = self.calls.get_mut(&key).and_then(|call| call.untold.take());
            if let Some(agreed) = untold {
                self.tell_agreed(exchange, key, *agreed);
            }
            if !self.open_browser_again(key) {
                self.hang_up(exchange, key, Cause::Congestion);
            }
            self.hear(key);
        }
    }

    fn try_again(&mut self, key: LegKey) {
        self.again.insert(key);
        self.again_at.get_or_insert_with(|| Instant::now() + SIP_MEDIA_AGAIN);
    }

    /// A call goes on as another leg of the agent's.
    fn move_call(&mut self, from: LegKey, to: LegKey, mut call: Call) {
        self.streams.extend(call.media.map(|media| (media, to)));
        // What was agreed on with who did not take it is nobody's.
        call.untold = None;
        if self.again.remove(&from) {
            self.try_again(to);
        }
        self.insert(to, call);
    }
}
