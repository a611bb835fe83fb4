//! What time brings: sessions that are refreshed or over, provisional answers that are sent again, contacts that expire.

use std::time::{Duration, Instant};

use crate::limits::{SESSION_INTERVAL, SESSION_MIN};
use crate::message::{Message, Method};

use super::event::{Host, LegKey};
use super::leg::{Offer, State};
use super::{Agent, Purpose, SDP, Timer};

impl Agent {
    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant, host: &mut dyn Host) {
        self.transactions.handle_timeout(now);
        self.end_transactions(now);
        while let Some((_, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.set_timer(timer, None);
            match timer {
                Timer::Leg(key) => self.leg_due(now, key),
                Timer::Expiry(binding) => self.forget_binding(binding, host),
                Timer::Ping(binding) => self.ping(now, binding, host),
                Timer::Alarm(alarm) => self.alarm(now, alarm),
            }
        }
    }

    fn leg_due(&mut self, now: Instant, key: LegKey) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        if let State::Called {
            invite,
            reliable: Some(reliable),
            ..
        } = &mut leg.state
        {
            let invite = *invite;
            if reliable.end <= now {
                // Section 3 of RFC 3262.
                return self.end_by_time(now, key, 504);
            }
            if reliable.at <= now {
                reliable.after *= 2;
                reliable.at = now + reliable.after;
                let response = reliable.response.clone();
                self.transactions.respond(now, invite, &response);
            }
            return self.rearm(key);
        }
        if leg.glare.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, description)) = leg.glare.take()
            && !self.offer(now, key, &description)
        {
            // The peer's offer is under way, so ours waits: whoever made it is told what becomes of it.
            self.wait_to_offer(now, key, description);
        }
        let Some(leg) = self.legs.get_mut(&key) else { return };
        if leg.session.due.is_some_and(|due| due <= now) {
            if leg.session.is_ours {
                leg.session.due = None;
                if !leg.is_cut {
                    self.refresh(now, key);
                } else if !leg.session.wait_for_way(now) {
                    return self.end_by_time(now, key, 408);
                }
            } else {
                return self.end_by_time(now, key, 408);
            }
        }
        self.rearm(key);
    }

    /// Says that the call is still wanted. By UPDATE where the peer takes it: nothing can change by it.
    fn refresh(&mut self, now: Instant, key: LegKey) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        if !matches!((&leg.state, &leg.offer), (State::Up { .. }, Offer::None)) {
            // What is under way refreshes it, or fails.
            leg.session.retry(now);
            return;
        }
        let is_update = leg.takes_update;
        let method = if is_update { Method::Update } else { Method::Invite };
        let mut request = leg.dialog.request(method);
        let (flow, cseq, description) = (leg.dialog.next_hop(), leg.dialog.invite_cseq(), leg.description.clone());
        if !is_update {
            request.set_body(SDP, description.as_bytes());
        }
        self.add_timer(key, &mut request);
        let sent = self.send_inside(now, key, flow, request, Purpose::Offer(key));
        let Some(leg) = self.legs.get_mut(&key) else { return };
        match sent {
            Some(request) => {
                leg.offer = Offer::Own {
                    request,
                    is_invite: !is_update,
                    cseq,
                    is_refresh: true,
                    description: None,
                };
            }
            None => leg.session.retry(now),
        }
    }

    /// What a request of ours in a call says of its session.
    pub(super) fn add_timer(&self, key: LegKey, request: &mut Message) {
        let Some(leg) = self.legs.get(&key) else { return };
        let Some(interval) = leg.session.interval else { return };
        // Who refreshes stays the same: the roles are those of this request.
        let refresher = if leg.session.is_ours { "uac" } else { "uas" };
        request.push(
            "Session-Expires",
            format!("{};refresher={refresher}", interval.as_secs()),
        );
        request.push("Min-SE", SESSION_MIN.as_secs().to_string());
    }

    /// Agrees on an interval with who asked, and says what its answer has (RFC 4028, section 9).
    pub(super) fn agree_timer(&mut self, now: Instant, key: LegKey, request: &Message) -> Vec<(&'static str, String)> {
        let Some(leg) = self.legs.get_mut(&key) else {
            return Vec::new();
        };
        leg.supports_timer |= request.lists("Supported", "timer");
        leg.takes_update |= request.lists("Allow", "UPDATE");
        let Some(asked) = request.number("Session-Expires") else {
            // Nobody asked. If the session has an interval, it goes on with it.
            leg.session.refreshed(now);
            return Vec::new();
        };
        // No shorter than whoever asked, or who is between, can bear.
        let least = Duration::from_secs(request.number("Min-SE").unwrap_or(0).into());
        let interval = Duration::from_secs(asked.into())
            .max(SESSION_MIN)
            .min(SESSION_INTERVAL.max(least));
        let value = request.get("Session-Expires").unwrap_or_default();
        let parameters = crate::message::syntax::Parameters::parse(value.split_once(';').map_or("", |(_, rest)| rest));
        // Where the peer does not know of it, or says so, it is ours to refresh.
        let is_ours = !leg.supports_timer || parameters.value("refresher") == Some("uas");
        leg.session.agree(now, Some(interval), is_ours);
        let refresher = if is_ours { "uas" } else { "uac" };
        let mut headers = vec![(
            "Session-Expires",
            format!("{};refresher={refresher}", interval.as_secs()),
        )];
        if leg.supports_timer {
            headers.push(("Require", "timer".to_owned()));
        }
        headers
    }

    /// What an answer to a request of ours says of the session.
    pub(super) fn take_timer(&mut self, now: Instant, key: LegKey, response: &Message) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let value = response.get("Session-Expires").unwrap_or_default();
        let parameters = crate::message::syntax::Parameters::parse(value.split_once(';').map_or("", |(_, rest)| rest));
        let interval = response
            .number("Session-Expires")
            .map(|seconds| Duration::from_secs(seconds.into()));
        match interval {
            // Shorter ones would have us refresh all the time.
            Some(interval) => {
                let is_ours = parameters.value("refresher") != Some("uas");
                leg.session.agree(now, Some(interval.max(SESSION_MIN)), is_ours);
            }
            // A peer that knows nothing of it: it ends when it ends.
            None => leg.session.agree(now, None, false),
        }
        self.rearm(key);
    }
}

const _: () = {
    assert!(SESSION_MIN.as_secs() >= 90, "RFC 4028, section 5");
    assert!(SESSION_MIN.as_secs() <= SESSION_INTERVAL.as_secs());
};
