//! What is wanted of the agent.

use std::time::{Duration, Instant};

use crate::limits::{LEGS_MAX, SESSION_INTERVAL, SESSION_MIN, TRUNK_ANSWER_WAIT};
use crate::message::syntax::escape;
use crate::message::{Message, Method};
use crate::transaction::{NoRoom, ServerId, T1};

use super::dialog::Dialog;
use super::event::{End, EndedBy, LegKey, Target};
use super::leg::{Leg, Offer, Reliable, Session, State};
use super::trunks::TrunkId;
use super::{ALLOW, Agent, Purpose, SDP, SUPPORTED, Timer};

/// A call as it goes out.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where to.
    pub target: Target,
    /// The number that calls, and its name for people.
    pub from: (String, String),
    /// Whom it is for, as an address: `sip:1002@example.org`.
    pub to: String,
    /// Our offer.
    pub offer: String,
    /// Further headers. By a trunk, those that it has passed on.
    pub headers: Vec<(String, String)>,
    /// The trunk that it goes by ([`Agent::trunk_call`]), or the account that we are known by where the peer asks.
    pub account: Option<u64>,
    /// How many hops it may go, of a call that is made of one that came: [`Invited::max_forwards`](super::Invited) (RFC 7332).
    /// None: the usual 70.
    pub max_forwards: Option<u8>,
}

/// `sip:user@domain`.
pub fn address(user: &str, domain: &str) -> String {
    format!("sip:{}@{domain}", escape(user))
}

impl Agent {
    /// Calls somebody.
    ///
    /// # Errors
    /// There is no room.
    pub fn call(&mut self, now: Instant, call: Call) -> Result<LegKey, NoRoom> {
        if self.legs.len() >= LEGS_MAX {
            return Err(NoRoom);
        }
        let (tag, name) = (self.random_text(), self.random_text());
        let (from, headers) = self.origin(&call);
        let user = call.from.0;
        let (flow, to) = (call.target.flow, format!("<{}>", call.to));
        let device = self.device_at(flow, &call.target.uri);
        let mut dialog = Dialog::to(call.target, name, tag, from, to);
        let mut invite = dialog.request(Method::Invite);
        if let Some(hops) = call.max_forwards {
            invite.set("Max-Forwards", hops.to_string());
        }
        invite.push("Contact", self.contact(&user, flow.transport));
        invite.push("Allow", ALLOW);
        invite.push("Supported", SUPPORTED);
        invite.push("Session-Expires", SESSION_INTERVAL.as_secs().to_string());
        invite.push("Min-SE", SESSION_MIN.as_secs().to_string());
        invite.push("User-Agent", &self.settings.agent);
        for (name, value) in &headers {
            invite.push(name, value);
        }
        invite.set_body(SDP, call.offer.as_bytes());
        // Where there may be another trunk, this one is not waited for as long.
        let trunk = call.account.and_then(|account| self.trunk(TrunkId(account)));
        let wait = trunk.map(|_| TRUNK_ANSWER_WAIT);
        let key = LegKey(self.begun + 1);
        let sent = self.send_request(now, flow, invite, Purpose::Invite(key), (call.account, wait))?;
        self.begun += 1;
        self.dialogs
            .insert((dialog.call_id.clone(), dialog.local_tag.clone()), key);
        let leg = Leg {
            dialog,
            user,
            description: call.offer,
            offer: Offer::None,
            session: Session::default(),
            takes_update: false,
            supports_timer: false,
            transfer: None,
            account: call.account,
            device,
            is_cut: false,
            glare: None,
            is_caller: true,
            unacknowledged: None,
            is_interval_raised: false,
            state: State::Calling {
                invite: sent,
                cancel: None,
                early: Vec::new(),
                rung: Vec::new(),
                provisionals: 0,
                can_cancel: false,
            },
        };
        self.legs.insert(key, leg);
        self.set_flow(key, flow);
        Ok(key)
    }

    /// Tells the caller that it rings, or with a description that there is something to hear (183).
    pub fn ring(&mut self, now: Instant, key: LegKey, description: Option<&str>) {
        let Some(Leg {
            state:
                State::Called {
                    invite,
                    request,
                    reliable,
                    next,
                    rseq,
                },
            ..
        }) = self.legs.get_mut(&key)
        else {
            return;
        };
        let (invite, request) = (*invite, request.clone());
        let is_reliable = request.lists("Require", "100rel");
        // One at a time (RFC 3262, section 3). What there is to hear is not forgotten for another ringing.
        if is_reliable && reliable.is_some() {
            if description.is_some() || next.is_none() {
                *next = Some(description.map(str::to_owned));
            }
            return;
        }
        *rseq += 1;
        let number = *rseq;
        let status = if description.is_some() { 183 } else { 180 };
        let text = number.to_string();
        let reliably = [("Require", "100rel"), ("RSeq", text.as_str())];
        let headers: &[(&str, &str)] = if is_reliable { &reliably } else { &[] };
        let mut response = self.response_in(key, &request, status, headers);
        if let Some(description) = description {
            response.set_body(SDP, description.as_bytes());
            if let Some(leg) = self.legs.get_mut(&key) {
                leg.description = description.to_owned();
            }
        }
        self.transactions.respond(now, invite, &response);
        if let Some(Leg {
            state: State::Called { reliable, .. },
            unacknowledged,
            ..
        }) = self.legs.get_mut(&key)
            && is_reliable
        {
            *unacknowledged = request.cseq().map(|(cseq, _)| (number, cseq));
            *reliable = Some(Reliable {
                response: Box::new(response),
                at: now + T1,
                after: T1,
                end: now + T1 * 64,
            });
        }
        self.rearm(key);
    }

    /// Answers a call. The description answers the offer of the INVITE, or is ours where it had none.
    pub fn answer(&mut self, now: Instant, key: LegKey, description: &str) {
        let Some(Leg {
            state: State::Called { invite, request, .. },
            ..
        }) = self.legs.get(&key)
        else {
            return;
        };
        let (invite, request) = (*invite, request.clone());
        let timer = self.agree_timer(now, key, &request);
        let headers: Vec<(&str, &str)> = timer.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut response = self.response_in(key, &request, 200, &headers);
        response.set_body(SDP, description.as_bytes());
        self.transactions.respond(now, invite, &response);
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.description = description.to_owned();
            let cseq = request.cseq().map_or(0, |(number, _)| number);
            let is_offer = super::body_of(&request).is_none();
            leg.state = State::Answered {
                invite,
                cseq,
                is_offer,
                is_over: None,
            };
        }
        self.rearm(key);
    }

    /// Ends a leg, however far it is. It is over at once, and not told of. `status` refuses a call that was not answered, `reason`
    /// is the value of a header Reason.
    pub fn hang_up(&mut self, now: Instant, key: LegKey, status: u16, reason: Option<&str>) {
        self.close(now, key, status, reason, None);
    }

    pub(super) fn close(&mut self, now: Instant, key: LegKey, status: u16, reason: Option<&str>, told: Option<End>) {
        let reason = reason.map(str::to_owned);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        // Once it is over it is not told of any more.
        let told = told.filter(|_| !leg.is_over());
        match &mut leg.state {
            State::Called { invite, request, .. } => {
                let (invite, request) = (*invite, request.clone());
                let mut headers: Vec<(&str, &str)> = reason.iter().map(|reason| ("Reason", reason.as_str())).collect();
                if status == 503 {
                    headers.push(("Retry-After", "10"));
                }
                self.respond_in(now, key, invite, &request, status, &headers);
                self.forget_leg(key);
            }
            State::Calling {
                invite,
                cancel,
                can_cancel,
                ..
            } => {
                let (invite, can_cancel) = (*invite, *can_cancel);
                *cancel = Some(reason.clone());
                if can_cancel {
                    self.transactions.cancel(now, invite, reason.as_deref());
                }
                // It stays until the INVITE ends: an answer may be on its way.
            }
            State::Answered { is_over, .. } => *is_over = Some(reason),
            State::Up { .. } => self.say_bye(now, key, reason),
        }
        if let Some(end) = told {
            self.events.push_back(super::Event::Ended { leg: key, end });
        }
    }

    pub(super) fn say_bye(&mut self, now: Instant, key: LegKey, reason: Option<String>) {
        // Who waits for an answer to its offer gets one.
        if let Some(Leg {
            offer: Offer::Peers { request, message },
            ..
        }) = self.legs.get(&key)
        {
            let (id, message) = (*request, message.clone());
            self.respond_in(now, key, id, &message, 487, &[]);
        }
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let mut bye = leg.dialog.request(Method::Bye);
        let flow = leg.dialog.next_hop();
        if let Some(reason) = reason {
            bye.push("Reason", reason);
        }
        self.send_inside(now, key, flow, bye, Purpose::Last(Some(key)));
        self.forget_leg(key);
    }

    /// With Contact and what else goes along.
    pub(super) fn send_inside(
        &mut self,
        now: Instant,
        key: LegKey,
        flow: crate::flow::Flow,
        mut request: Message,
        purpose: Purpose,
    ) -> Option<crate::transaction::ClientId> {
        if request.method().is_some_and(super::is_refresh_method) {
            let user = self.legs.get(&key).map(|leg| leg.user.clone()).unwrap_or_default();
            request.push("Contact", self.contact(&user, flow.transport));
            request.push("Allow", ALLOW);
            request.push("Supported", SUPPORTED);
        }
        request.push("User-Agent", &self.settings.agent);
        let account = self.legs.get(&key).and_then(|leg| leg.account);
        self.send_request(now, flow, request, purpose, (account, None)).ok()
    }

    /// May other media be offered now?
    pub fn can_offer(&self, key: LegKey) -> bool {
        let leg = self.legs.get(&key);
        leg.is_some_and(|leg| matches!((&leg.state, &leg.offer), (State::Up { .. }, Offer::None)))
    }

    /// Offers other media. False: not now, an offer is under way.
    pub fn offer(&mut self, now: Instant, key: LegKey, description: &str) -> bool {
        if !self.can_offer(key) {
            return false;
        }
        let Some(leg) = self.legs.get_mut(&key) else {
            return false;
        };
        leg.glare = None;
        let mut invite = leg.dialog.request(Method::Invite);
        let (flow, cseq) = (leg.dialog.next_hop(), leg.dialog.invite_cseq());
        self.add_timer(key, &mut invite);
        invite.set_body(SDP, description.as_bytes());
        let Some(request) = self.send_inside(now, key, flow, invite, Purpose::Offer(key)) else {
            return false;
        };
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.offer = Offer::Own {
                request,
                is_invite: true,
                cseq,
                is_refresh: false,
                description: Some(description.to_owned()),
            };
        }
        self.rearm(key);
        true
    }

    /// Answers the peer's offer; where it had none, this is ours.
    pub fn answer_offer(&mut self, now: Instant, key: LegKey, description: &str) {
        let Some((id, message)) = self.take_pending(key) else {
            return;
        };
        let is_invite = message.method() == Some(&Method::Invite);
        let timer = self.agree_timer(now, key, &message);
        let headers: Vec<(&str, &str)> = timer.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut response = self.response_in(key, &message, 200, &headers);
        response.set_body(SDP, description.as_bytes());
        self.transactions.respond(now, id, &response);
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.description = description.to_owned();
            if is_invite {
                let cseq = message.cseq().map_or(0, |(number, _)| number);
                let is_offer = super::body_of(&message).is_none();
                leg.offer = Offer::Late {
                    invite: id,
                    cseq,
                    is_offer,
                };
            }
        }
        self.rearm(key);
    }

    /// Does not take the peer's offer. What was before goes on.
    pub fn refuse_offer(&mut self, now: Instant, key: LegKey, status: u16) {
        self.refuse_offer_saying(now, key, status, &[]);
    }

    /// With further headers, such as a `Warning` (RFC 3261, section 20.43).
    pub fn refuse_offer_saying(&mut self, now: Instant, key: LegKey, status: u16, headers: &[(&str, &str)]) {
        if let Some((id, message)) = self.take_pending(key) {
            self.servers.remove(&id);
            self.respond_in(now, key, id, &message, status, headers);
        }
    }

    fn take_pending(&mut self, key: LegKey) -> Option<(ServerId, Box<Message>)> {
        let leg = self.legs.get_mut(&key)?;
        match std::mem::replace(&mut leg.offer, Offer::None) {
            Offer::Peers { request, message } => Some((request, message)),
            other => {
                leg.offer = other;
                None
            }
        }
    }

    /// Says what became of a transfer that the peer asked for: 100 or 180 on the way, another status at the end (RFC 3515).
    pub fn tell_transfer(&mut self, now: Instant, key: LegKey, status: u16) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let Some(number) = leg.transfer else { return };
        let mut notify = leg.dialog.request(Method::Notify);
        let (flow, user) = (leg.dialog.next_hop(), leg.user.clone());
        notify.push("Event", format!("refer;id={number}"));
        let is_final = status >= 200;
        let state = if is_final {
            "terminated;reason=noresource"
        } else {
            "active;expires=60"
        };
        notify.push("Subscription-State", state);
        notify.set_body(
            "message/sipfrag;version=2.0",
            format!("SIP/2.0 {status} {}\r\n", super::reason_of(status)),
        );
        if is_final {
            leg.transfer = None;
        }
        notify.push("Contact", self.contact(&user, flow.transport));
        self.send_inside(now, key, flow, notify, Purpose::Notify(key));
    }

    /// Sends a key to a peer that takes no telephone events. False: there is no such call.
    pub fn press(&mut self, now: Instant, key: LegKey, digit: char, duration: Duration) -> bool {
        let Some(leg) = self.legs.get_mut(&key).filter(|leg| leg.is_up()) else {
            return false;
        };
        let mut info = leg.dialog.request(Method::Info);
        let flow = leg.dialog.next_hop();
        let body = format!("Signal={digit}\r\nDuration={}\r\n", duration.as_millis());
        info.set_body("application/dtmf-relay", body);
        self.send_inside(now, key, flow, info, Purpose::Inside(key)).is_some()
    }

    /// What the leg's peer is asked for by others: `Replaces` in a call to it (RFC 3891).
    pub fn replaces(&self, key: LegKey) -> Option<String> {
        let dialog = &self.legs.get(&key)?.dialog;
        let remote = dialog.remote_tag.as_ref()?;
        Some(format!(
            "{};to-tag={remote};from-tag={}",
            dialog.call_id, dialog.local_tag
        ))
    }

    /// The name of the leg's call at the peer.
    pub fn call_id(&self, key: LegKey) -> Option<&str> {
        Some(&self.legs.get(&key)?.dialog.call_id)
    }

    pub(super) fn rearm(&mut self, key: LegKey) {
        let due = self.legs.get(&key).and_then(Leg::due);
        self.set_timer(Timer::Leg(key), due);
    }

    pub(super) fn end_by_time(&mut self, now: Instant, key: LegKey, status: u16) {
        let reason = "SIP;cause=408;text=\"Request Timeout\"";
        self.close(now, key, status, Some(reason), Some(End::of(EndedBy::Time, status)));
    }
}
