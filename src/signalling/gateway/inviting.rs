//! Telephones call, and are called.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use moqswitch_calls::{Actor, CallEvent, Dial, Event, Incoming, LegId, Number, Registration, Reply, SessionId, Text};
use moqswitch_sip::agent::{self, Invited, LegKey};
use moqswitch_sip::flow::Transport;
use moqswitch_sip::sdp::{Description, Direction, Session};

use super::{Again, Call, Gateway, Guest, RtpOpened, RtpWanted, Secrecy, Stage, codecs};
use crate::exchange::Exchange;

impl Gateway {
    /// A telephone calls.
    pub(super) fn take_invited(&mut self, exchange: &mut Exchange, invited: Invited) {
        let key = invited.leg;
        if let Err(status) = self.begin_calling(exchange, &invited) {
            self.agent.refuse(Instant::now(), key, status, None);
        }
    }

    fn begin_calling(&mut self, exchange: &mut Exchange, invited: &Invited) -> Result<(), u16> {
        // Taking the place of another in a call is asked for by REFER, of which we are told ourselves.
        if invited.replaces.is_some() {
            return Err(501);
        }
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
        let trunk = invited.trunk.and_then(|trunk| self.trunks.session(trunk));
        let secrecy = self.secrecy(trunk, invited.flow.transport);
        let mut description = self.new_description(nowhere());
        secrecy.arm(&mut description, offer.as_deref());
        let all = codecs::in_order(None, codecs::of_telephones());
        let refused = offer.as_deref().and_then(|offer| description.refuses(offer, &all));
        if let Some(refused) = refused {
            tracing::info!(%refused, "a call of a telephone");
            return Err(488);
        }
        let to = exchange.sip_number(&invited.to, &invited.domain).ok_or(484_u16)?;
        let caller = &invited.caller;
        let registered = trunk.or_else(|| caller.binding.and_then(|binding| self.registry.session(binding)));
        let (session, guest) = match registered {
            Some(session) => (session, None),
            None => self.begin_guest(exchange, caller, invited.flow.peer)?,
        };
        let mut dial = Dial::to(to);
        dial.codecs = takes;
        if trunk.is_some() {
            // Who calls is somebody behind it.
            let from = Number::new(&caller.user).ok();
            dial.from = from.map(|from| (from, Text::new(&caller.name)));
        }
        let reply = exchange.ask_now(|request| Event::Call {
            request,
            actor: Actor::Session(session),
            event: CallEvent::Dial(Box::new(dial)),
        });
        let leg = match reply {
            Reply::Calling { leg: Some(leg), .. } => leg,
            Reply::Refused(refusal) => {
                self.end_guest(exchange, guest.as_ref());
                return Err(super::telling::status_of(refusal));
            }
            _ => return Err(500),
        };
        let stage = Stage::Calling {
            offer,
            is_accepted: false,
        };
        let peer = invited.flow.peer;
        let mut call = Call::new(session, leg, stage, peer, secrecy, description);
        call.guest = guest;
        self.insert(invited.leg, call);
        Ok(())
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
            let (actor, call) = (Actor::Session(session), incoming.call);
            let event = CallEvent::Hangup {
                call,
                cause: Some(cause),
            };
            let _ = exchange.ask_now(|request| Event::Call { request, actor, event });
        }
    }

    fn begin_called(
        &mut self,
        exchange: &mut Exchange,
        session: SessionId,
        incoming: &Incoming,
    ) -> Result<(), moqswitch_calls::Cause> {
        use moqswitch_calls::Cause;
        let trunk = self.trunks.trunk(session);
        let binding = self
            .binding_of(session)
            .and_then(|binding| self.agent.binding(binding))
            .cloned();
        let flow = match (trunk, &binding) {
            (Some(_), _) => None,
            (None, Some(binding)) => Some(binding.flow),
            (None, None) => return Err(Cause::Unreachable),
        };
        let secrecy = self.secrecy(Some(session), flow.map_or(Transport::Udp, |flow| flow.transport));
        let flow = flow.map(|flow| flow.peer);
        let mut description = self.new_description(nowhere());
        secrecy.arm_called(&mut description);
        let peer = flow.unwrap_or(nowhere());
        let mut call = Call::new(session, incoming.leg, Stage::Called, peer, secrecy, description);
        let leg = self.open_media(&mut call, flow).map_err(|error| {
            tracing::warn!(%error, "a call to a telephone");
            Cause::Congestion
        })?;
        let wanted = codecs::in_order(None, incoming.codecs.and(codecs::of_telephones()));
        if wanted.is_empty() {
            tracing::info!("a call to a telephone, by who takes none of its codecs");
            self.media.close(leg.leg);
            return Err(Cause::Incompatible);
        }
        let offer = call.session_description.offer(&wanted, Direction::SendReceive);
        let from = (user_of(&incoming.from.number), incoming.from.name.as_str().to_owned());
        let sent = match (trunk, binding) {
            (Some(trunk), _) => self.agent.trunk_call(trunk, incoming.dialled.as_str(), from, offer),
            (None, Some(binding)) => {
                let realm = if binding.domain.is_empty() {
                    exchange.sip_entrance.realm.clone()
                } else {
                    binding.domain.clone()
                };
                Some(agent::Call {
                    target: binding.target(),
                    from,
                    to: agent::address(&binding.user, &realm),
                    offer,
                    headers: Vec::new(),
                    account: None,
                })
            }
            (None, None) => None,
        };
        let Some(sent) = sent else {
            self.media.close(leg.leg);
            return Err(Cause::Unreachable);
        };
        if secrecy.may_do_without() {
            let sent = sent.clone();
            call.again = Some(Box::new(Again { sent, codecs: wanted }));
        }
        match self.agent.call(Instant::now(), sent) {
            Ok(key) => {
                self.streams.insert(leg.leg, key);
                self.insert(key, call);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "a call to a telephone");
                self.media.close(leg.leg);
                Err(Cause::Congestion)
            }
        }
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
        let told = SocketAddr::new(self.media_address, opened.address.port());
        call.session_description.move_to(told);
        Ok(opened)
    }

    pub(super) fn insert(&mut self, key: LegKey, call: Call) {
        self.legs.insert(call.leg, key);
        self.parts.insert((call.session, call.leg.call), key);
        self.calls.insert(key, call);
    }

    /// Our side of the offers and answers of a call. The address is known as soon as there is a leg of RTP.
    pub(super) fn new_description(&mut self, address: SocketAddr) -> Session {
        self.begun += 1;
        Session::new(address, self.begun, 1)
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
            guest: None,
            media: None,
            session_description,
            secrecy,
            again: None,
            stage,
            sends: None,
            speaker: None,
            hears: None,
            takes_events: false,
            is_digit_heard: false,
            holds: false,
            music: None,
            peer: peer.ip().to_canonical(),
        }
    }
}

/// An address that is not known.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 9))
}

/// The part of a number that an address has before the `@`.
fn user_of(number: &Number) -> String {
    let text = number.as_str();
    text.split('@').next().unwrap_or(text).to_owned()
}

/// Longer than any call.
const GUEST: Duration = Duration::from_secs(24 * 60 * 60);
