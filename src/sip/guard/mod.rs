//! The guard before everything else: what a message may cost before anything is known of who sends it.
//!
//! It is asked before a message is read ([`Guard::admit`]), once more when it is known what it is ([`Guard::weigh`]), and
//! told of what failed or succeeded ([`Guard::told`]). What it refuses for its source or its form is dropped in silence:
//! a scanner learns nothing, not even that somebody is here.
//!
//! A success tells who is no stranger. Over UDP anybody may write any address on what needs no answer, so nobody is banned for
//! a datagram but for one that proves where it came from; what a scanner sends by one is dropped, no more. Many share one
//! address; so a ban for what others do never hits a peer that succeeded lately, and as long as there is one at an address,
//! others there are banned port by port before all of them are. A success takes no failure back: else who has one password
//! could go on guessing others.
//!
//! What is held is bounded: buckets, failures and bans of sources, buckets and successes of peers, and the addresses that are
//! trusted by name, together at most about 35 MB. [`crate::limits`] says of how many each.
#![forbid(unsafe_code)]

mod buckets;
mod header;
mod overload;
mod reason;
mod settings;
mod source;
mod table;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use buckets::Buckets;
use reason::{ByReason, Log};
use table::Table;

pub use overload::{Load, Traffic, Verdict};
pub use reason::Reason;
pub use settings::{Ceilings, SCANNERS, Settings};
pub use source::Network;

use crate::flow::Transport;
use crate::limits::{
    GUARD_ANSWERS_PER_SECOND, GUARD_BANS_MAX, GUARD_FAILING_MAX, GUARD_KNOWN_FAILURES_FACTOR, GUARD_KNOWN_MAX,
    GUARD_PEER_MESSAGES_PER_SECOND, GUARD_PEERS_MAX, GUARD_SOURCES_MAX, GUARD_TRUSTED_MAX,
    GUARD_TRUSTED_MESSAGES_PER_SECOND,
};

/// Refuses what costs too much. Used by one thread. Times are on any clock that does not go back.
#[derive(Debug)]
pub struct Guard {
    settings: Settings,
    buckets: Buckets<IpAddr>,
    /// Of what is an answer.
    answers: Buckets<IpAddr>,
    /// Of peers who are known.
    peers: Buckets<SocketAddr>,
    /// Who is trusted by name, and what each may send.
    trusted: BTreeSet<IpAddr>,
    carriers: Buckets<IpAddr>,
    failing: Table<Who, Failures>,
    /// Until when.
    banned: Table<Who, Duration>,
    /// Until when.
    known: Table<Who, Duration>,
    refused: ByReason<u64>,
    log: Log,
}

/// What came of a message. A failure is one only where the sender is where it says: with a nonce that was sent there, or over a
/// stream. On other datagrams anybody may write any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its sender knows the password of a user.
    Succeeded,
    /// The password was wrong.
    WrongPassword,
    /// It is from or for a user that there is not.
    UnknownUser,
}

/// Who may not send for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Of IPv6 its /56.
    pub address: IpAddr,
    /// That port only; otherwise all.
    pub port: Option<u16>,
    /// How long it lasts from now on.
    pub left: Duration,
}

/// Who is known, fails or is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    /// All of an address.
    Site(IpAddr),
    /// One of those behind it.
    Peer(SocketAddr),
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Duration,
    count: u32,
}

impl Guard {
    /// Lets through what the settings say.
    pub fn new(settings: Settings) -> Self {
        let mut settings = settings;
        settings.scanners.retain(|word| !word.is_empty());
        let burst = settings.burst;
        Self {
            buckets: Buckets::new(settings.messages_per_second, burst, GUARD_SOURCES_MAX),
            answers: Buckets::new(GUARD_ANSWERS_PER_SECOND, burst, GUARD_SOURCES_MAX),
            peers: Buckets::new(GUARD_PEER_MESSAGES_PER_SECOND, burst, GUARD_PEERS_MAX),
            trusted: BTreeSet::new(),
            carriers: Buckets::new(GUARD_TRUSTED_MESSAGES_PER_SECOND, burst, GUARD_TRUSTED_MAX),
            failing: Table::new(GUARD_FAILING_MAX),
            banned: Table::new(GUARD_BANS_MAX),
            known: Table::new(GUARD_KNOWN_MAX),
            refused: ByReason::new(),
            log: Log::new(),
            settings,
        }
    }

    /// From now on these addresses are trusted, and none that were before: carriers'. They are never banned, may use what they
    /// like, and each has a bucket of its own. Those beyond [`GUARD_TRUSTED_MAX`] are not.
    pub fn trust(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().map(|address| address.to_canonical());
        self.trusted = addresses.take(GUARD_TRUSTED_MAX).collect();
    }

    /// May this message be read? It is a whole datagram, or a message as it was cut from a stream. Each takes from a bucket,
    /// keep-alives too: of its peer where that is known, or else of its source.
    ///
    /// # Errors
    /// It may not, and is not answered. A stream that it came by is closed: nothing more of it can be relied on.
    pub fn admit(
        &mut self,
        now: Duration,
        peer: SocketAddr,
        transport: Transport,
        message: &[u8],
    ) -> Result<(), Reason> {
        let judged = self.judge(now, source::canonical(peer), transport, message);
        judged.inspect_err(|reason| self.count(*reason))
    }

    /// How long the header of a message on a stream is; `so_far` begins with the message. `None`: read on. With the length
    /// of the body it is at most [`crate::limits::GUARD_MESSAGE_BYTES_MAX`], which is for the reader to see to. This takes
    /// from no bucket.
    ///
    /// # Errors
    /// It is too long. The stream is closed.
    pub fn measure(&mut self, transport: Transport, so_far: &[u8]) -> Result<Option<usize>, Reason> {
        let measured = header::inspect(transport, so_far, |_| Ok(()));
        measured.inspect_err(|reason| self.count(*reason))
    }

    /// May this begin, with so much in progress? `jitter` is any random number.
    pub fn weigh(&mut self, traffic: Traffic, load: Load, jitter: u32) -> Verdict {
        let verdict = overload::weigh(traffic, load, &self.settings.ceilings, jitter);
        match verdict {
            Verdict::Accept => {}
            Verdict::Unavailable { .. } => self.count(Reason::Busy),
            Verdict::Drop => self.count(Reason::Overloaded),
        }
        verdict
    }

    /// Takes in what came of a message. True: its source is banned from now on.
    pub fn told(&mut self, now: Duration, peer: SocketAddr, outcome: Outcome) -> bool {
        let peer = source::canonical(peer);
        if self.is_trusted(peer) {
            return false;
        }
        match outcome {
            Outcome::Succeeded => {
                self.welcome(now, peer);
                false
            }
            Outcome::WrongPassword | Outcome::UnknownUser => self.note_failure(now, peer),
        }
    }

    /// Whether to log a refusal. `Some(n)`: yes, and `n` of this reason were left out since the last.
    pub fn should_log(&mut self, reason: Reason, peer: SocketAddr, now: Duration) -> Option<u64> {
        self.log.allow(reason, source::site(peer.ip()), now)
    }

    /// Ends all bans of an address.
    pub fn forgive(&mut self, address: IpAddr) {
        let site = source::site(address);
        let all = self.banned.iter().map(|(who, _)| *who);
        let bans: Vec<Who> = all.filter(|who| who.site() == site).collect();
        for who in &bans {
            self.banned.remove(who);
        }
        self.failing.remove(&Who::Site(site));
    }

    /// Who is banned.
    pub fn bans(&self, now: Duration) -> impl Iterator<Item = Ban> {
        self.banned.iter().filter_map(move |(who, until)| {
            let left = until.checked_sub(now).filter(|left| !left.is_zero())?;
            let (address, port) = match who {
                Who::Site(address) => (*address, None),
                Who::Peer(peer) => (peer.ip(), Some(peer.port())),
            };
            Some(Ban { address, port, left })
        })
    }

    /// How many messages were refused, and why.
    pub fn refused(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.refused.iter().map(|(reason, count)| (reason, *count))
    }

    fn judge(&mut self, now: Duration, peer: SocketAddr, transport: Transport, message: &[u8]) -> Result<(), Reason> {
        if self.is_trusted(peer) {
            if self.trusted.contains(&peer.ip()) && !self.carriers.take(peer.ip(), now) {
                return Err(Reason::TooOften);
            }
            return header::inspect(transport, message, |_| Ok(())).map(|_| ());
        }
        if self.is_banned(now, peer) {
            return Err(Reason::Banned);
        }
        if !self.takes(now, peer, message) {
            return Err(Reason::TooOften);
        }
        let scanners = &self.settings.scanners;
        let mut is_named = false;
        let inspected = header::inspect(transport, message, |line| {
            // Only the first counts, as there may be one.
            let Some(agent) = header::user_agent(line).filter(|_| !is_named) else {
                return Ok(());
            };
            is_named = true;
            let is_scanner = scanners.iter().any(|word| header::contains(agent, word.as_bytes()));
            if is_scanner { Err(Reason::Scanner) } else { Ok(()) }
        });
        // By a datagram anybody could have anybody banned.
        let is_from_there = transport.is_reliable();
        if inspected == Err(Reason::Scanner) && is_from_there && !self.is_known(now, Who::Peer(peer)) {
            let site = Who::site_of(peer);
            let is_shared = self.is_known(now, site);
            self.ban(now, if is_shared { Who::Peer(peer) } else { site });
        }
        inspected.map(|_| ())
    }

    /// Takes a message from the bucket that it is for. False: that is empty.
    fn takes(&mut self, now: Duration, peer: SocketAddr, message: &[u8]) -> bool {
        if self.is_known(now, Who::Peer(peer)) && self.peers.take(peer, now) {
            return true;
        }
        let line = source::line(peer.ip());
        // What answers nothing of ours is found out at once: its branch is none.
        match message.starts_with(b"SIP/") {
            true => self.answers.take(line, now),
            false => self.buckets.take(line, now),
        }
    }

    fn count(&mut self, reason: Reason) {
        *self.refused.of(reason) += 1;
    }

    fn is_trusted(&self, peer: SocketAddr) -> bool {
        self.trusted.contains(&peer.ip()) || self.settings.trusted.iter().any(|network| network.contains(peer.ip()))
    }

    /// For its own failures, or for those of others at its address, unless it is known.
    fn is_banned(&self, now: Duration, peer: SocketAddr) -> bool {
        let is_banned = |who| self.banned.get(&who).is_some_and(|until| *until > now);
        is_banned(Who::Peer(peer)) || is_banned(Who::site_of(peer)) && !self.is_known(now, Who::Peer(peer))
    }

    fn is_known(&self, now: Duration, who: Who) -> bool {
        self.known.get(&who).is_some_and(|until| *until > now)
    }

    /// What it failed at before stays counted.
    fn welcome(&mut self, now: Duration, peer: SocketAddr) {
        if self.is_banned(now, peer) {
            return;
        }
        self.known.expire(|until| *until <= now);
        // In this order no peer is known longer than its address.
        for who in [Who::Peer(peer), Who::site_of(peer)] {
            self.known.put(who, now.saturating_add(self.settings.known_for));
        }
    }

    /// True: the peer is banned.
    fn note_failure(&mut self, now: Duration, peer: SocketAddr) -> bool {
        let (site, peer) = (Who::site_of(peer), Who::Peer(peer));
        let failures_max = self.settings.failures_max;
        let is_shared = self.is_known(now, site);
        let site_max = if is_shared {
            failures_max.saturating_mul(GUARD_KNOWN_FAILURES_FACTOR)
        } else {
            failures_max
        };
        let is_site_banned = self.count_failure(now, site, site_max) && self.ban(now, site);
        let is_too_many = self.count_failure(now, peer, failures_max);
        // It is one of all, or is banned for its own, though it be known.
        let is_banned = is_too_many && is_shared && self.ban(now, peer);
        if is_banned {
            self.known.remove(&peer);
        }
        is_banned || is_site_banned && !self.is_known(now, peer)
    }

    /// True: that is too many. The count begins anew.
    fn count_failure(&mut self, now: Duration, who: Who, failures_max: u32) -> bool {
        let period = self.settings.failures_period;
        let is_over = |failures: &Failures| now.saturating_sub(failures.since) >= period;
        self.failing.expire(is_over);
        let before = self.failing.get(&who).filter(|failures| !is_over(failures));
        let failures = Failures {
            since: before.map_or(now, |failures| failures.since),
            count: before.map_or(1, |failures| failures.count.saturating_add(1)),
        };
        let is_too_many = failures.count >= failures_max;
        if is_too_many {
            self.failing.remove(&who);
        } else {
            self.failing.put(who, failures);
        }
        is_too_many
    }

    /// True, for whoever asks whether there is a ban.
    fn ban(&mut self, now: Duration, who: Who) -> bool {
        self.banned.expire(|until| *until <= now);
        self.banned.put(who, now.saturating_add(self.settings.ban));
        true
    }
}

impl Who {
    fn site_of(peer: SocketAddr) -> Self {
        Self::Site(source::site(peer.ip()))
    }

    fn site(self) -> IpAddr {
        match self {
            Self::Site(address) => address,
            Self::Peer(peer) => source::site(peer.ip()),
        }
    }
}

#[cfg(test)]
mod tests;
