//! Telephones call, and are called.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use moqswitch_calls::{
    Actor, CallEvent, Cause, Codecs, Dial, Event, Incoming, LegId, Number, Refusal, Registration, Replace, Reply,
    SessionId, Text,
};
use moqswitch_sip::agent::{self, Binding, BindingId, Invited, LegKey, TrunkId};
use moqswitch_sip::flow::Transport;
use moqswitch_sip::sdp::{Description, Session};

use super::{
    Again, Browser, Call, Carried, Gateway, Guest, Heard, Outgoing, RtpOpened, RtpWanted, Secrecy, Stage, codecs,
};
use crate::exchange::Exchange;

impl Gateway {
    /// A telephone calls.
    pub(super) fn take_invited(&mut self, exchange: &mut Exchange, invited: Invited) {
        let key = invited.leg;
        if let Err(status) = self.begin_calling(exchange, &invited) {
            self.agent.hang_up(Instant::now(), key, status, None);
        }
    }

    fn begin_calling(&mut self, exchange: &mut Exchange, invited: &Invited) -> Result<(), u16> {
        self.promise_media()?;
        let Wish {
            offer,
            takes,
            secrecy,
            description,
            browser,
        } = self.take_offer(invited)?;
        let event = self.wanted(exchange, invited, takes)?;
        let caller = &invited.caller;
        let binding = caller.binding.and_then(|binding| self.registry.session(binding));
        let (session, guest) = match (invited.trunk, binding) {
            // Who comes by a trunk is never anybody of here, whatever is said.
            (Some(trunk), _) => (self.trunks.session(trunk).ok_or(503_u16)?, None),
            (None, Some(session)) => (session, None),
            (None, None) => self.begin_guest(exchange, caller, invited.flow.peer)?,
        };
        if invited
            .trunk
            .is_some_and(|trunk| !self.begin_by(trunk, invited.replaces))
        {
            return Err(503);
        }
        let actor = Actor::Session(session);
        let reply = exchange.ask_now(|request| Event::Call { request, actor, event });
        let leg = match reply {
            Reply::Calling { leg: Some(leg), .. } => leg,
            other => {
                self.end_guest(exchange, guest.as_ref());
                if let Some(trunk) = invited.trunk {
                    self.trunks.leave(trunk);
                }
                return Err(match other {
                    // What it names is there no more (RFC 3891, section 3).
                    Reply::Refused(Refusal::UnknownLeg | Refusal::UnknownCall | Refusal::WrongState)
                        if invited.replaces.is_some() =>
                    {
                        481
                    }
                    Reply::Refused(refusal) => super::telling::status_of(refusal),
                    _ => 500,
                });
            }
        };
        let mut call = Call::new(
            session,
            leg,
            Stage::of_caller(offer),
            invited.flow.peer,
            secrecy,
            description,
        );
        if invited.trunk.is_none() {
            call.domain.clone_from(&caller.domain);
        }
        call.guest = guest;
        call.trunk = invited.trunk;
        call.browser = browser;
        if invited.replaces.is_none() {
            self.carried.insert(leg.call, Carried::of(invited));
        }
        self.insert(invited.leg, call);
        self.registry.prove(invited.flow.connection);
        Ok(())
    }

    /// A place of the trunk: one for one where another call of it is replaced.
    fn begin_by(&mut self, trunk: TrunkId, replaces: Option<LegKey>) -> bool {
        let replaced = replaces.and_then(|other| self.calls.get(&other));
        if replaced.is_some_and(|replaced| replaced.trunk == Some(trunk)) {
            self.trunks.begin_instead(trunk);
            return true;
        }
        self.trunks.begin(trunk)
    }

    /// What is asked of the plane: a call, or a place in one that there is.
    fn wanted(&self, exchange: &Exchange, invited: &Invited, codecs: Codecs) -> Result<CallEvent, u16> {
        // Who calls by a trunk is somebody behind it.
        let from = invited.trunk.and_then(|trunk| {
            let caller = &invited.caller;
            let (user, name) = invited
                .asserted()
                .unwrap_or_else(|| (caller.user.clone(), caller.name.clone()));
            let from = Number::new(&self.trunks.read(trunk, &user)).ok()?;
            Some((from, Text::new(&name)))
        });
        if let Some(other) = invited.replaces {
            let leg = self.calls.get(&other).ok_or(481_u16)?.leg;
            if exchange.is_away(leg) {
                return Err(503);
            }
            return Ok(CallEvent::Replace(Box::new(Replace { leg, from, codecs })));
        }
        let (dialled, domain) = match invited.trunk {
            Some(trunk) => (self.trunks.read(trunk, &invited.to), &*invited.domain),
            None => {
                let domain = exchange.sip_domain(&invited.domain, &invited.caller.domain);
                (invited.to.clone(), domain)
            }
        };
        let to = exchange.sip_number(&dialled, domain).ok_or(484_u16)?;
        // Whoever names a device reaches the number that it would reach without that.
        let device = invited.device.map(|device| match device {
            Ok(device) => self.device_of(exchange, device, &to),
            Err(status) => absent(exchange, status, invited, &to),
        });
        let mut dial = Dial::to(to);
        dial.device = device.transpose()?;
        (dial.codecs, dial.from) = (codecs, from);
        Ok(CallEvent::Dial(Box::new(dial)))
    }

    /// A device that is named, where it is one of the number that is meant.
    pub(super) fn device_of(&self, exchange: &Exchange, device: BindingId, number: &Number) -> Result<SessionId, u16> {
        let binding = self.agent.binding(device).ok_or(404_u16)?;
        let own = exchange.sip_number(&binding.user, &binding.domain);
        if own.as_ref() != Some(number) {
            return Err(404);
        }
        self.registry.session(device).ok_or(480)
    }

    /// Those who wait for an answer will need a leg of RTP, too: nobody is called for one that there is not.
    fn promise_media(&self) -> Result<(), u16> {
        let promised = self.calls.len().saturating_sub(self.streams.len());
        if self.media.available() > promised {
            Ok(())
        } else {
            Err(503)
        }
    }

    /// What who calls wants to speak, if it can be had.
    fn take_offer(&mut self, invited: &Invited) -> Result<Wish, u16> {
        let offer = match &invited.body {
            Some(body) => Some(Box::new(Description::parse(body).map_err(|_| 400_u16)?)),
            None => None,
        };
        let takes = offer
            .as_ref()
            .map_or_else(codecs::of_telephones, |offer| codecs::offered(offer));
        if takes.is_empty() {
            return Err(488);
        }
        let secrecy = self.secrecy(invited.trunk, invited.flow.transport);
        let mut description = self.new_description(NOWHERE);
        let browser = self.browser_of(invited.body.as_deref(), offer.as_deref());
        match &browser {
            Some(_) => description.set_browser(),
            None => secrecy.arm(&mut description, offer.as_deref()),
        }
        let all = codecs::in_order(None, codecs::of_telephones(), Codecs::default());
        let refused = offer.as_deref().and_then(|offer| description.refuses(offer, &all));
        if let Some(refused) = refused {
            tracing::info!(%refused, "a call of a telephone");
            return Err(488);
        }
        Ok(Wish {
            offer,
            takes,
            secrecy,
            description,
            browser,
        })
    }

    /// Who is let in, and not registered: for the time of its calls it is a device that does not ring, the same for all of
    /// them.
    fn begin_guest(
        &mut self,
        exchange: &mut Exchange,
        caller: &agent::Caller,
        peer: SocketAddr,
    ) -> Result<(SessionId, Option<Guest>), u16> {
        let number = exchange.sip_number(&caller.user, &caller.domain).ok_or(403_u16)?;
        let guest = (number.clone(), peer);
        if let Some((session, calls)) = self.guests.get_mut(&guest) {
            *calls += 1;
            return Ok((*session, Some(guest)));
        }
        let session = exchange.new_session();
        let registration = Registration {
            display_name: Text::new(&caller.name),
            ringable: false,
            meets: false,
            expires: Some(GUEST),
            codecs: codecs::of_telephones(),
            ..Registration::phone(session, number)
        };
        exchange.outlet.insert(session);
        match exchange.register_device(registration) {
            Ok(_) => {
                self.guests.insert(guest.clone(), (session, 1));
                Ok((session, Some(guest)))
            }
            Err(refusal) => {
                exchange.outlet.remove(session);
                Err(super::telling::status_of(refusal))
            }
        }
    }

    /// One of its calls is over. With the last it goes.
    pub(super) fn end_guest(&mut self, exchange: &mut Exchange, guest: Option<&Guest>) {
        let Some(guest) = guest else { return };
        let Some((session, calls)) = self.guests.get_mut(guest) else {
            return;
        };
        *calls -= 1;
        if *calls == 0 {
            let session = *session;
            self.guests.remove(guest);
            exchange.unregister_device(session);
        }
    }

    /// A telephone is called.
    pub(super) fn call_telephone(&mut self, exchange: &mut Exchange, session: SessionId, incoming: &Incoming) {
        if let Err(cause) = self.begin_called(exchange, session, incoming) {
            let (actor, call) = (Actor::Leg(incoming.leg), incoming.call);
            let event = CallEvent::Hangup {
                call,
                cause: Some(cause),
            };
            let _ = exchange.ask_now(|request| Event::Call { request, actor, event });
            self.end_leaving(exchange, session);
        }
    }

    fn begin_called(&mut self, exchange: &mut Exchange, session: SessionId, incoming: &Incoming) -> Result<(), Cause> {
        let way = self.trunks.way(session).cloned();
        let binding = self
            .registry
            .binding(session)
            .and_then(|binding| self.agent.binding(binding))
            .cloned();
        let flow = match (&way, &binding) {
            (Some(_), _) => None,
            (None, Some(binding)) => Some(binding.flow),
            (None, None) => return Err(Cause::Unreachable),
        };
        let peer = flow.map(|flow| flow.peer);
        let offered = incoming.codecs.and(codecs::of_telephones());
        let wanted = codecs::in_order(None, offered, exchange.beside(incoming.leg).1);
        if wanted.is_empty() {
            tracing::info!("a call to a telephone, by who takes none of its codecs");
            return Err(Cause::Incompatible);
        }
        let secrecy = self.secrecy(None, flow.map_or(Transport::Udp, |flow| flow.transport));
        let mut description = self.new_description(NOWHERE);
        let is_browser = flow.is_some_and(|flow| flow.transport == Transport::Ws) && self.media.serves_browsers();
        match is_browser {
            true => description.set_browser(),
            false => secrecy.arm_called(&mut description),
        }
        let nearest = peer.unwrap_or(NOWHERE);
        let mut call = Call::new(session, incoming.leg, Stage::Called, nearest, secrecy, description);
        call.offered = wanted.iter().copied().map(codecs::of_sdp).collect();
        let opened = match is_browser {
            true => self.offer_browser(&mut call, offered),
            false => self.open_media(&mut call, peer).map(|opened| opened.leg),
        };
        let leg = opened.map_err(|error| {
            tracing::warn!(%error, "a call to a telephone");
            Cause::Congestion
        })?;
        let from = (user_of(&incoming.from.number), incoming.from.name.as_str().to_owned());
        let carried = self.carried.get(&incoming.call);
        let (headers, max_forwards) = carried
            .map(|carried| (carried.headers.clone(), carried.max_forwards))
            .unwrap_or_default();
        let outgoing = Outgoing {
            number: incoming.dialled.as_str().to_owned(),
            from,
            headers,
            max_forwards,
            codecs: wanted,
            tried: Vec::new(),
        };
        let begun = match (way, binding) {
            (Some(way), _) => self.call_by_trunk(&mut call, way, outgoing),
            (None, Some(binding)) => {
                let realm = &exchange.sip_entrance.realm;
                call.domain.clone_from(&binding.domain);
                self.call_contact(&mut call, &binding, realm, outgoing)
            }
            (None, None) => Err(Cause::Unreachable),
        };
        match begun {
            Ok(key) => {
                self.streams.insert(leg, key);
                self.insert(key, call);
                Ok(())
            }
            Err(cause) => {
                self.media.close(leg);
                Err(cause)
            }
        }
    }

    fn call_contact(
        &mut self,
        call: &mut Call,
        binding: &Binding,
        realm: &str,
        outgoing: Outgoing,
    ) -> Result<LegKey, Cause> {
        let domain = if binding.domain.is_empty() {
            realm
        } else {
            &binding.domain
        };
        let sent = agent::Call {
            target: binding.target(),
            from: outgoing.from,
            to: agent::address(&binding.user, domain),
            offer: call.offer(&outgoing.codecs),
            headers: outgoing.headers,
            max_forwards: outgoing.max_forwards,
            account: None,
        };
        if call.secrecy.may_do_without() && call.browser.is_none() {
            call.again = Some(Box::new(Again {
                sent: sent.clone(),
                codecs: outgoing.codecs,
            }));
        }
        self.agent.call(Instant::now(), sent).map_err(|error| {
            tracing::warn!(%error, "a call to a telephone");
            Cause::Congestion
        })
    }

    /// A leg of RTP for a call that has none.
    pub(super) fn open_media(
        &mut self,
        call: &mut Call,
        peer: Option<SocketAddr>,
    ) -> Result<RtpOpened, super::RtpError> {
        let wanted = RtpWanted {
            peer: peer.map(|peer| peer.ip().to_canonical()),
        };
        let opened = self.media.open(&call.leg.path(), wanted)?;
        call.media = Some(opened.leg);
        call.session_description.move_to(self.told(opened.address));
        Ok(opened)
    }

    /// Where a leg of RTP is for telephones.
    fn told(&self, opened: SocketAddr) -> SocketAddr {
        let mut told = self.media_addresses.iter();
        let told = told.find(|told| told.is_ipv4() == opened.is_ipv4());
        SocketAddr::new(told.copied().unwrap_or_else(|| opened.ip()), opened.port())
    }

    pub(super) fn insert(&mut self, key: LegKey, call: Call) {
        self.legs.insert(call.leg, key);
        self.calls.insert(key, call);
    }

    /// Our side of the offers and answers of a call. The address is known as soon as there is a leg of RTP.
    pub(super) fn new_description(&mut self, address: SocketAddr) -> Session {
        self.begun += 1;
        Session::new(address, self.begun, 1)
    }
}

/// A device that is named and is not there, of the number that is meant: nobody has it, so the plane says that it is not reached,
/// unless the dialplan leads elsewhere.
fn absent(exchange: &Exchange, status: u16, invited: &Invited, number: &Number) -> Result<SessionId, u16> {
    let own = exchange.sip_number(&invited.to, &invited.domain);
    if status != 480 || own.as_ref() != Some(number) {
        return Err(404);
    }
    Ok(exchange.new_session())
}

impl Carried {
    fn of(invited: &Invited) -> Self {
        Self {
            caller: invited.leg,
            headers: invited.headers.clone(),
            max_forwards: invited.max_forwards,
        }
    }
}

impl Call {
    fn new(
        session: SessionId,
        leg: LegId,
        stage: Stage,
        peer: SocketAddr,
        secrecy: Secrecy,
        session_description: Session,
    ) -> Self {
        Self {
            session,
            leg,
            domain: String::new(),
            guest: None,
            trunk: None,
            outgoing: None,
            media: None,
            session_description,
            secrecy,
            browser: None,
            again: None,
            stage,
            sends: None,
            heard: Heard::default(),
            takes_events: false,
            is_digit_heard: false,
            holds: false,
            peer: peer.ip().to_canonical(),
            untold: None,
            listed: Codecs::default(),
            lists: Codecs::default(),
            offered: Codecs::default(),
            asked: None,
            to_ask: None,
            other_codec: None,
            changed: None,
            counted: Instant::now(),
            told: Instant::now(),
            early: None,
        }
    }
}

/// What somebody who calls wants.
struct Wish {
    offer: Option<Box<Description>>,
    takes: Codecs,
    secrecy: Secrecy,
    description: Session,
    browser: Option<Box<Browser>>,
}

/// The part of a number that an address has before the `@`.
fn user_of(number: &Number) -> String {
    let text = number.as_str();
    text.split('@').next().unwrap_or(text).to_owned()
}

/// Where nobody is.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);
/// Longer than any call.
const GUEST: Duration = Duration::from_secs(24 * 60 * 60);
