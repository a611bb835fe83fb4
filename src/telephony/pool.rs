//! Ports and shards for legs of RTP, shared by all who open such: channels of control programs, and gateways.
#![expect(
    clippy::disallowed_types,
    reason = "all who open legs are on the calls thread, so nobody waits; no shard is near"
)]

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moqswitch_legs::{LegEvent, LegHears, LegName, LegPeer, LegSettings, Legs, LegsPort, PortError, Ports};
use moqswitch_relay::ratelimit::RateLimit;
use moqswitch_relay::shard::ShardPort;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

use crate::limits::LEG_EVENTS_MAX;

/// All of them. Clones share them.
#[derive(Clone)]
pub(super) struct RtpPool(Arc<Mutex<Pool>>);

/// A leg, among those of all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pooled {
    shard: usize,
    leg: LegName,
}

/// Who opens legs, and is told of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    Channels,
    Gateways,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpooled {
    /// No port, or no shard with room.
    Exhausted,
    /// No address of that family.
    NoAddress,
    /// The shard has too much to do.
    Busy,
}

struct Pool {
    /// Of one address each.
    ports: Vec<Ports>,
    shards: Vec<LegsPort>,
    /// Sockets that the legs of each shard have.
    used: Vec<usize>,
    legs: HashMap<Pooled, Held>,
    /// Legs whose end their shard had no room for.
    unended: Vec<Pooled>,
    /// What happened, for each opener.
    told: [VecDeque<(Pooled, LegEvent)>; 2],
    news: Arc<Notify>,
    random: SystemRandom,
    notices: RateLimit,
}

/// What a leg has of the pool.
struct Held {
    opener: Opener,
    address: SocketAddr,
    sockets: usize,
}

impl RtpPool {
    /// Ports of addresses of this host, and legs on each shard.
    pub(super) fn new(addresses: &[IpAddr], ports: &RangeInclusive<u16>, shards: &[ShardPort]) -> anyhow::Result<Self> {
        let news = Arc::new(Notify::new());
        let installed: Result<Vec<LegsPort>, _> = shards
            .iter()
            // It is the shard's first application: there is room.
            .map(|shard| Legs::install(shard, news.clone()).map(|(legs, _)| legs))
            .collect();
        Ok(Self(Arc::new(Mutex::new(Pool {
            ports: addresses
                .iter()
                .map(|address| Ports::new(*address, ports.clone()))
                .collect(),
            shards: installed?,
            used: vec![0; shards.len()],
            legs: HashMap::new(),
            unended: Vec::new(),
            told: [VecDeque::new(), VecDeque::new()],
            news,
            random: SystemRandom::new(),
            notices: RateLimit::new(NOTICES_PERIOD, 1),
        }))))
    }

    /// How many legs with so many sockets each could still be opened.
    pub(super) fn available(&self, sockets: usize) -> usize {
        self.lock().available(sockets)
    }

    /// Opens a leg at the least busy shard, of the family of `peer` if there is one. `settings` are given the random source
    /// of what it sends.
    pub(super) fn open(
        &self,
        opener: Opener,
        peer: Option<IpAddr>,
        has_rtcp: bool,
        settings: impl FnOnce((u32, u16, u32)) -> LegSettings,
    ) -> Result<(Pooled, SocketAddr), Unpooled> {
        self.lock().open(opener, peer, has_rtcp, settings)
    }

    /// Something else was agreed on, and perhaps where the peer is.
    pub(super) fn change(&self, leg: Pooled, settings: LegSettings, peer: Option<LegPeer>) -> Result<(), Unpooled> {
        self.at(leg, |port| port.change(leg.leg, settings, peer).is_ok())
    }

    pub(super) fn meet(&self, leg: Pooled, peer: SocketAddr, is_translated: bool) -> Result<(), Unpooled> {
        self.at(leg, |port| port.meet(leg.leg, peer, is_translated).is_ok())
    }

    pub(super) fn hear(&self, leg: Pooled, hears: Option<LegHears>) -> Result<(), Unpooled> {
        self.at(leg, |port| port.hear(leg.leg, hears).is_ok())
    }

    pub(super) fn announce(&self, leg: Pooled, every: Option<Duration>) -> Result<(), Unpooled> {
        self.at(leg, |port| port.announce(leg.leg, every).is_ok())
    }

    pub(super) fn press(&self, leg: Pooled, digit: char, duration_ms: u32) -> Result<(), Unpooled> {
        self.at(leg, |port| port.press(leg.leg, digit, duration_ms).is_ok())
    }

    pub(super) fn count(&self, leg: Pooled) -> Result<(), Unpooled> {
        self.at(leg, |port| port.count_later(leg.leg).is_ok())
    }

    /// Ends a leg. A shard that has too much to do is told with one of the next calls; its port rests meanwhile.
    pub(super) fn close(&self, leg: Pooled) {
        let mut pool = self.lock();
        pool.release(leg);
        pool.unended.push(leg);
        pool.catch_up();
    }

    /// What happened on the legs of an opener, in order.
    pub(super) fn poll(&self, opener: Opener) -> Option<(Pooled, LegEvent)> {
        let mut pool = self.lock();
        pool.catch_up();
        pool.told[opener as usize].pop_front()
    }

    /// Notified when [`Self::poll`] may have something.
    pub(super) fn news(&self) -> Arc<Notify> {
        self.lock().news.clone()
    }

    /// 128 random bits.
    pub(super) fn random(&self) -> Result<u128, Unpooled> {
        self.lock().random()
    }

    fn at(&self, leg: Pooled, ask: impl FnOnce(&LegsPort) -> bool) -> Result<(), Unpooled> {
        let mut pool = self.lock();
        pool.catch_up();
        match ask(&pool.shards[leg.shard]) {
            true => Ok(()),
            false => Err(Unpooled::Busy),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn available(&mut self, sockets: usize) -> usize {
        let now = Instant::now();
        let ports = self.ports.iter().map(|ports| ports.available(now)).max().unwrap_or(0);
        let free = |used: usize| SOCKETS_PER_SHARD_MAX.saturating_sub(used) / sockets.max(1);
        let sockets = self.used.iter().copied().map(free).sum();
        if ports == 0 || sockets == 0 {
            notice(
                &mut self.notices,
                &format!("of ports {ports} are free, of sockets {sockets}"),
            );
        }
        ports.min(sockets)
    }

    fn open(
        &mut self,
        opener: Opener,
        peer: Option<IpAddr>,
        has_rtcp: bool,
        settings: impl FnOnce((u32, u16, u32)) -> LegSettings,
    ) -> Result<(Pooled, SocketAddr), Unpooled> {
        self.catch_up();
        if self.told[opener as usize].len() >= LEG_EVENTS_MAX {
            return Err(Unpooled::Busy);
        }
        let sockets = if has_rtcp { 2 } else { 1 };
        let shard = (0..self.used.len())
            .filter(|shard| self.used[*shard] + sockets <= SOCKETS_PER_SHARD_MAX)
            .min_by_key(|shard| self.used[*shard])
            .ok_or(Unpooled::Exhausted)?;
        let is_reached = |ports: &&mut Ports| peer.is_none_or(|peer| peer.is_ipv4() == ports.address().is_ipv4());
        let source = self.random()?;
        let ports = self.ports.iter_mut().find(is_reached).ok_or(Unpooled::NoAddress)?;
        let now = Instant::now();
        let bound = match has_rtcp {
            true => ports.bind_pair(now).map(|(rtp, rtcp)| (rtp, Some(rtcp))),
            false => ports.bind(now).map(|rtp| (rtp, None)),
        };
        let (rtp, rtcp) = bound.map_err(|error: PortError| {
            notice(&mut self.notices, &error.to_string());
            Unpooled::Exhausted
        })?;
        let address = rtp.local_addr().map_err(|_| Unpooled::Exhausted)?;
        let [.., s3, s2, s1, s0, n1, n0, t3, t2, t1, t0] = source.to_be_bytes();
        let source = (
            u32::from_be_bytes([s3, s2, s1, s0]),
            // In the lower half: with the first packets nobody is in doubt which turn of SRTP it is (RFC 3711, section 3.3.1).
            u16::from_be_bytes([n1 & 0x7f, n0]),
            u32::from_be_bytes([t3, t2, t1, t0]),
        );
        let Ok(leg) = self.shards[shard].open(rtp, rtcp, settings(source)) else {
            ports.release(address.port(), now);
            return Err(Unpooled::Busy);
        };
        let leg = Pooled { shard, leg };
        let held = Held {
            opener,
            address,
            sockets,
        };
        self.used[shard] += sockets;
        self.legs.insert(leg, held);
        Ok((leg, address))
    }

    /// The port of a leg rests from now on.
    fn release(&mut self, leg: Pooled) {
        let Some(held) = self.legs.get(&leg) else { return };
        let mut ports = self.ports.iter_mut();
        if let Some(ports) = ports.find(|ports| ports.address() == held.address.ip()) {
            ports.release(held.address.port(), Instant::now());
        }
    }

    /// Says what could not be said, and takes what shards tell.
    fn catch_up(&mut self) {
        let shards = &self.shards;
        self.unended
            .retain(|leg| shards[leg.shard].close(leg.leg, None).is_err());
        for shard in 0..self.shards.len() {
            while let Some(event) = self.shards[shard].poll() {
                let leg = Pooled {
                    shard,
                    leg: event.leg(),
                };
                self.take(leg, event);
            }
        }
    }

    fn take(&mut self, leg: Pooled, event: LegEvent) {
        let Some(opener) = self.legs.get(&leg).map(|held| held.opener) else {
            return;
        };
        let is_last = matches!(event, LegEvent::Refused { .. } | LegEvent::Closed { .. });
        let is_digit = matches!(event, LegEvent::Digit { .. });
        if is_last {
            // A second time where it was closed, which changes nothing.
            self.release(leg);
            if let Some(held) = self.legs.remove(&leg) {
                self.used[leg.shard] -= held.sockets;
            }
        }
        let told = &mut self.told[opener as usize];
        // With so many ends no leg is opened.
        let is_told = match opener {
            Opener::Gateways => event.is_end() || told.len() < LEG_EVENTS_MAX / 2,
            Opener::Channels => is_last || (is_digit && told.len() < LEG_EVENTS_MAX / 2),
        };
        if is_told {
            told.push_back((leg, event));
        }
    }

    fn random(&self) -> Result<u128, Unpooled> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).map_err(|_| Unpooled::Exhausted)?;
        Ok(u128::from_be_bytes(bytes))
    }
}

/// Sockets of the legs of one shard: as many as its ring serves, but for that of WebRTC. A further leg is refused.
const SOCKETS_PER_SHARD_MAX: usize = moqswitch_relay::limits::SOCKETS_DEFAULT as usize - 1;
fn notice(notices: &mut RateLimit, reason: &str) {
    if let Some(suppressed) = notices.allow(Instant::now()) {
        tracing::warn!(reason, suppressed, "no further leg of RTP");
    }
}

/// One line of log in so long says that there is nothing left.
const NOTICES_PERIOD: Duration = Duration::from_secs(10);
