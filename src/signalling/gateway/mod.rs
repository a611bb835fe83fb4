//! The gateway: telephones of SIP as devices of the call plane. It translates and decides nothing: what a telephone wants
//! becomes an event of the plane, and what the plane tells a device becomes SIP and RTP.

mod admitting;
mod calling;
mod codecs;
mod entrance;
mod inviting;
mod media;
mod outlet;
mod registering;
mod secrets;
mod settings;
mod sockets;
mod telling;
mod trunks;
mod watching;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_calls::{CallId, Codec, LegId, MediaEvent, Number, SessionId};
use moqswitch_sip::agent::{Agent, BindingId, Event, LegKey, Noticed, Settings};
use moqswitch_sip::flow::Flow;
use moqswitch_sip::guard::{self, Outcome};
use moqswitch_sip::sdp::{Description, Session};

use crate::exchange::Exchange;

pub(crate) use entrance::SipEntrance;
pub use media::{
    NoRtp, RtpAgreed, RtpError, RtpEvent, RtpEvents, RtpKeys, RtpLeg, RtpLegs, RtpOpened, RtpPeer, RtpRefused,
    RtpStatistics, RtpWanted,
};
pub(crate) use outlet::Outlet;
pub use settings::{Duplex, Encrypting, Encryption, SipSettings, SipSockets, SrtpPolicy, TrunkSettings};
pub(crate) use sockets::serve;

use registering::Registry;
use secrets::{Again, Secrecy};
use trunks::Trunks;
use watching::Watches;

/// See the module's documentation.
pub(crate) struct Gateway {
    agent: Agent,
    media: Box<dyn RtpLegs>,
    media_address: IpAddr,
    srtp: SrtpPolicy,
    registry: Registry,
    trunks: Trunks,
    watches: Watches,
    /// Who calls without being registered, with how many calls each.
    guests: HashMap<Guest, (SessionId, usize)>,
    calls: HashMap<LegKey, Call>,
    legs: HashMap<LegId, LegKey>,
    /// By who and which call.
    parts: HashMap<(SessionId, CallId), LegKey>,
    streams: HashMap<RtpLeg, LegKey>,
    begun: u64,
    started: Instant,
}

/// One telephone's part in a call.
struct Call {
    session: SessionId,
    /// As the plane knows it.
    leg: LegId,
    /// It called, and was not registered: its session ends with its last call.
    guest: Option<Guest>,
    media: Option<RtpLeg>,
    session_description: Session,
    secrecy: Secrecy,
    /// What is tried when it does not want what it was offered.
    again: Option<Box<Again>>,
    stage: Stage,
    /// What it sends, as the plane has chosen.
    sends: Option<Codec>,
    /// Who is there to be heard.
    speaker: Option<String>,
    /// What it hears.
    hears: Option<String>,
    /// What its telephone takes telephone events by. If not, keys go by INFO.
    takes_events: bool,
    /// Its last key came by telephone events.
    is_digit_heard: bool,
    /// The peer has the others on hold.
    holds: bool,
    /// What was played to it while the others hold.
    music: Option<String>,
    /// Where its signalling comes from.
    peer: IpAddr,
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

impl Gateway {
    pub(crate) fn new(
        settings: Settings,
        media: Box<dyn RtpLegs>,
        media_address: IpAddr,
        srtp: SrtpPolicy,
        random: Box<dyn FnMut() -> u128 + Send>,
    ) -> Self {
        Self {
            agent: Agent::new(settings, Instant::now(), random),
            media,
            media_address,
            srtp,
            registry: Registry::new(guard::Settings::default()),
            trunks: Trunks::default(),
            watches: Watches::default(),
            guests: HashMap::new(),
            calls: HashMap::new(),
            legs: HashMap::new(),
            parts: HashMap::new(),
            streams: HashMap::new(),
            begun: 0,
            started: Instant::now(),
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

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    fn take_noticed(&mut self, flow: Flow, notice: Noticed) {
        let outcome = match notice {
            // Who sends nonsense is no guesser.
            Noticed::Malformed => return,
            Noticed::UnknownUser => Outcome::UnknownUser,
            Noticed::WrongPassword => Outcome::WrongPassword,
            Noticed::Known => Outcome::Succeeded,
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

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, exchange: &mut Exchange) {
        let mut host = self.registry.host(exchange);
        self.agent.handle_timeout(Instant::now(), &mut host);
        self.drive(exchange);
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
            // Nothing is published or written yet: the host refuses it. Nobody is asked to transfer.
            Event::ReferProgress { .. } | Event::Published { .. } | Event::Text(_) | Event::TextSent { .. } => {}
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
                    self.hang_up(exchange, key, moqswitch_calls::Cause::Congestion);
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
                    let (session, call) = (call.session, call.leg.call);
                    exchange.handle(moqswitch_calls::Event::Media(MediaEvent::Quality {
                        session,
                        call,
                        quality,
                    }));
                }
            }
            // The plane's own watch for calls without media ends it.
            RtpEvent::Silent { .. } | RtpEvent::Closed { .. } => {}
        }
    }

    /// From time to time: asks what telephones hear, for the records of their calls, and keeps trunks.
    pub(super) fn ask_quality(&mut self, exchange: &mut Exchange) {
        self.renew_trunks(exchange);
        for call in self.calls.values().filter(|call| matches!(call.stage, Stage::Up)) {
            if let Some(media) = call.media {
                // A busy shard is asked again with the next round.
                let _ = self.media.count(media);
            }
        }
    }

    fn call_of(&self, call: CallId, session: SessionId) -> Option<LegKey> {
        self.parts.get(&(session, call)).copied()
    }

    fn binding_of(&self, session: SessionId) -> Option<BindingId> {
        self.registry.binding(session)
    }
}
