//! Whether a trunk is there: it is asked what it can (OPTIONS), and whatever it answers, it is. But for 408 and 503, by which
//! somebody before it says that it is not.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agent::errands::{Alarm, Errand};
use crate::agent::{Agent, Timer};
use crate::limits::{TRUNK_PING_AGAIN, TRUNK_PING_INTERVAL_MIN, TRUNK_PING_WAIT, TRUNK_PINGS_MISSED_MAX};
use crate::message::{Message, Method};

use super::{ClientId, Held, Reachable, TrunkChange, TrunkId, retry_after};

/// What is known of that.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) reachable: Reachable,
    pub(super) since: Option<Instant>,
    pub(super) round_trip: Option<Duration>,
    misses: u32,
    /// The ping that is not answered yet, and when it went out.
    ping: Option<(ClientId, Instant)>,
}

impl Health {
    fn answered(&mut self, now: Instant, sent: Instant) -> Option<TrunkChange> {
        self.misses = 0;
        self.round_trip = Some(now.saturating_duration_since(sent));
        self.change_to(now, Reachable::Up).then_some(TrunkChange::Up)
    }

    fn missed(&mut self, now: Instant) -> Option<TrunkChange> {
        self.misses = self.misses.saturating_add(1);
        let is_down = self.misses >= TRUNK_PINGS_MISSED_MAX;
        (is_down && self.change_to(now, Reachable::Down)).then_some(TrunkChange::Down)
    }

    fn change_to(&mut self, now: Instant, reachable: Reachable) -> bool {
        let is_change = self.reachable != reachable;
        if is_change {
            self.reachable = reachable;
            self.since = Some(now);
        }
        is_change
    }

    /// When it is asked again, after a ping that went out then.
    fn next(&self, sent: Instant, interval: Duration) -> Instant {
        let longest = if self.misses > 0 { TRUNK_PING_AGAIN } else { interval };
        sent + interval.min(longest).max(TRUNK_PING_INTERVAL_MIN)
    }
}

impl Agent {
    /// Asks at once, unless the answer to the last ping is waited for.
    pub(super) fn begin_pings(&mut self, now: Instant, id: TrunkId) {
        let Some(held) = self.trunks.held.get(&id) else { return };
        if held.trunk.ping.is_zero() {
            return self.set_timer(Timer::Alarm(Alarm::Probe(id)), None);
        }
        if held.health.ping.is_none() {
            self.ping_trunk(now, id);
        }
    }

    /// Time has come: no answer came, or it is asked again.
    pub(in crate::agent) fn probe_due(&mut self, now: Instant, id: TrunkId) {
        let Some(held) = self.trunks.held.get(&id) else { return };
        match held.health.ping {
            Some((_, sent)) => self.ping_missed(now, id, sent),
            None => self.ping_trunk(now, id),
        }
    }

    /// An answer came. None came in 32 s: that was seen long before.
    pub(in crate::agent) fn probe_answered(
        &mut self,
        now: Instant,
        id: ClientId,
        trunk: TrunkId,
        response: Option<&Message>,
    ) {
        let Some(held) = self.trunks.held.get_mut(&trunk) else {
            return;
        };
        let (Some(response), Some((ping, sent))) = (response, held.health.ping) else {
            return;
        };
        if ping != id {
            return;
        }
        if matches!(response.status(), 408 | 503) {
            if let Some(wait) = retry_after(response).filter(|_| response.status() == 503) {
                self.note_retry_after(now, trunk, wait);
            }
            return self.ping_missed(now, trunk, sent);
        }
        held.health.ping = None;
        let change = held.health.answered(now, sent);
        let next = held.health.next(sent, held.trunk.ping);
        self.set_timer(Timer::Alarm(Alarm::Probe(trunk)), Some(next.max(now)));
        if let Some(change) = change {
            self.tell_trunk(trunk, change);
        }
    }

    /// A connection to who is there could not be opened: its answer is not waited for.
    pub(in crate::agent) fn probes_refused(&mut self, now: Instant, peer: SocketAddr) {
        let is_there = |held: &Held| held.trunk.target.transport.is_reliable() && held.trunk.target.peer == peer;
        let there = self.trunks.held.iter().filter(|(_, held)| is_there(held));
        let missed = there.filter_map(|(id, held)| Some((*id, held.health.ping?.1)));
        let missed: Vec<(TrunkId, Instant)> = missed.collect();
        for (id, sent) in missed {
            self.ping_missed(now, id, sent);
        }
    }

    fn ping_missed(&mut self, now: Instant, id: TrunkId, sent: Instant) {
        let Some(held) = self.trunks.held.get_mut(&id) else {
            return;
        };
        held.health.ping = None;
        let change = held.health.missed(now);
        let next = held.health.next(sent, held.trunk.ping);
        self.set_timer(Timer::Alarm(Alarm::Probe(id)), Some(next.max(now)));
        if let Some(change) = change {
            self.tell_trunk(id, change);
        }
    }

    fn ping_trunk(&mut self, now: Instant, id: TrunkId) {
        let Some(held) = self.trunks.held.get(&id) else { return };
        let (flow, uri) = (held.trunk.target, held.trunk.uri(""));
        let from = if held.trunk.user.is_empty() {
            format!("sip:{}", self.settings.realm)
        } else {
            crate::agent::address(&held.trunk.user, &held.host)
        };
        let (tag, call) = (self.random_text(), self.random_text());
        let mut request = Message::request(Method::Options, &uri);
        request.push("Max-Forwards", "70");
        request.push("From", format!("<{from}>;tag={tag}"));
        request.push("To", format!("<{uri}>"));
        request.push("Call-ID", call);
        request.push("CSeq", "1 OPTIONS");
        request.push("Contact", self.contact("", flow.transport));
        request.push("Accept", crate::agent::ACCEPT);
        request.push("User-Agent", &self.settings.agent);
        // Without room here nothing is known of the trunk.
        let sent = self.send_errand(now, flow, request, Errand::Probe(id)).ok();
        let Some(held) = self.trunks.held.get_mut(&id) else {
            return;
        };
        held.health.ping = sent.map(|sent| (sent, now));
        let wait = if sent.is_some() {
            TRUNK_PING_WAIT
        } else {
            held.trunk.ping
        };
        self.set_timer(Timer::Alarm(Alarm::Probe(id)), Some(now + wait));
    }
}
