//! Other relays: links that are dialled, sessions that turn out to be one's neighbours, and how silence between them is
//! noticed.
//!
//! A link is a session like any other, both ways. What is different: what it announces is believed with all its hops; it may
//! announce more; it is asked for a sign of life after a second without one, and given up after three; and its GOAWAY makes
//! its routes the last choice instead of ending them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId, ProbeLevel, Role, Setup, Version, session_error};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::oneshot;

use crate::auth::Grant;
use crate::limits::LINKS_MAX;
use crate::quic::{Client, QuicError, ServerCertificate, Trust, WebDial};
use crate::routing::{PeerKey, Provenance};

use super::carrier::carrier;
use super::link::is_link;
use super::peer::{Basis, Peer, Terms, connection_key, peer_key};
use super::service::DEFAULT_COST;
use super::statistics::LinkStatistics;
use super::worker::Shard;

/// A link to be dialled, [`ShardCommand::Dial`](super::ShardCommand::Dial).
pub struct LinkDial {
    /// What it is called in reports: its URL without what is secret. Unique on the shard.
    pub name: Arc<str>,
    /// Where the other relay is.
    pub remote: SocketAddr,
    /// By which address of this host it is reached.
    pub local: IpAddr,
    /// The name that its certificate must have.
    pub server_name: String,
    /// Path and query of the session; the token is in the query.
    pub target: String,
    /// `host:port` of the URL if the session is to be one of WebTransport; `None`: raw QUIC.
    pub authority: Option<String>,
    /// Whom to trust.
    pub trust: Trust,
    /// The certificate to show to whoever asks for one.
    pub certificate: Option<ServerCertificate>,
    /// What the link costs. `None`: what the other relay declares, else 1.
    pub cost: Option<u64>,
    /// The other is a process that this one follows: its routes are the last choice from the beginning, and neither says
    /// GOAWAY to the other.
    pub is_kin: bool,
    /// Told when the link is over, or that it never came to be.
    pub ended: oneshot::Sender<LinkEnd>,
}

impl fmt::Debug for LinkDial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the token nor the key.
        let (name, remote) = (&self.name, &self.remote);
        formatter
            .debug_struct("LinkDial")
            .field("name", name)
            .field("remote", remote)
            .finish_non_exhaustive()
    }
}

/// How a link ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// Why, for a log line.
    pub reason: String,
    /// How long there was a session. `None`: there was none.
    pub lasted: Option<Duration>,
}

/// One neighbour, as `/cluster` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// What it was dialled as. `None`: it has dialled.
    pub name: Option<Arc<str>>,
    /// Which session of the shard it is.
    pub session: PeerKey,
    /// Where it is.
    pub remote: Option<SocketAddr>,
    /// Its hop id, 0 as long as it has not said it.
    pub hop: HopId,
    /// The draft spoken.
    pub version: Option<Version>,
    /// Whether its session has begun.
    pub is_up: bool,
    /// It has said GOAWAY.
    pub is_draining: bool,
    /// Since when it is there, or is dialled.
    pub since: Instant,
    /// The smoothed round trip. `None` before there is one.
    pub rtt: Option<Duration>,
    /// What the link costs.
    pub cost: u64,
    /// Broadcasts that it announces.
    pub announced: usize,
    /// What it asks for: subscriptions that it has here.
    pub subscriptions: usize,
}

/// The neighbours of a shard, at most [`LINKS_MAX`]. Further ones that dial are sessions as others are.
#[derive(Default)]
pub(super) struct Links {
    by_session: FxHashMap<PeerKey, Neighbour>,
    /// Given up, and not removed yet: nothing more is read of them.
    given_up: FxHashSet<PeerKey>,
    counters: LinkStatistics,
}

struct Neighbour {
    dialled: Option<Dialled>,
    /// It is a process before or after this one.
    is_kin: bool,
    since: Instant,
    is_draining: bool,
    /// Packets that had come when this was last looked at, and when there were more than before.
    packets: usize,
    heard: Instant,
}

struct Dialled {
    name: Arc<str>,
    target: String,
    is_web: bool,
    cost: Option<u64>,
    is_kin: bool,
    ended: Option<oneshot::Sender<LinkEnd>>,
}

impl Neighbour {
    fn new(dialled: Option<Dialled>, now: Instant) -> Self {
        Self {
            dialled,
            is_kin: false,
            since: now,
            is_draining: false,
            packets: 0,
            heard: now,
        }
    }
}

impl Links {
    /// Whether there is anything to look at now and then.
    pub(super) fn is_empty(&self) -> bool {
        self.by_session.is_empty()
    }

    pub(super) fn has(&self, peer: PeerKey) -> bool {
        self.by_session.contains_key(&peer)
    }

    /// It is closed, and late packets of it mean nothing.
    pub(super) fn is_given_up(&self, peer: PeerKey) -> bool {
        self.given_up.contains(&peer)
    }

    /// A dialled link's session asks the other relay for no admission of its own.
    pub(super) fn is_dialled(&self, peer: PeerKey) -> bool {
        self.dialled(peer).is_some()
    }

    fn dialled(&self, peer: PeerKey) -> Option<&Dialled> {
        self.by_session.get(&peer)?.dialled.as_ref()
    }

    /// Whether a session is of a process that this one follows.
    pub(super) fn is_kin(&self, peer: PeerKey) -> bool {
        self.dialled(peer).is_some_and(|dialled| dialled.is_kin)
    }

    /// The path of a dialled link's SETUP; over WebTransport the request has it.
    pub(super) fn setup_path(&self, peer: PeerKey) -> Option<String> {
        let dialled = self.dialled(peer).filter(|dialled| !dialled.is_web)?;
        (dialled.target != "/").then(|| dialled.target.clone())
    }

    /// What the table is to know of a session.
    pub(super) fn provenance_of(&self, peer: PeerKey, state: &Peer) -> Provenance {
        let Some(neighbour) = self.by_session.get(&peer) else {
            // What it says of itself could take a name from another.
            return Provenance::of_cost(DEFAULT_COST);
        };
        let own = neighbour.dialled.as_ref().and_then(|dialled| dialled.cost);
        Provenance {
            // A link for nothing would hide its hop; only the owner of the mesh may say that it is free.
            cost: own.unwrap_or(state.link_cost.max(COST_DECLARED_MIN)),
            is_peer: true,
            is_kin: neighbour.is_kin,
            is_draining: neighbour.is_draining,
            ..Provenance::default()
        }
    }

    pub(super) fn statistics(&self, peers: &FxHashMap<PeerKey, Peer>) -> LinkStatistics {
        LinkStatistics {
            up_now: self.by_session.keys().filter(|peer| peers.contains_key(peer)).count() as u64,
            ..self.counters.clone()
        }
    }
}

impl Shard {
    /// Dials another relay. What comes of it is told when it is over.
    pub(super) fn dial(&mut self, dial: LinkDial) {
        self.links.counters.dialled += 1;
        let is_there = self.links.by_session.values().any(|neighbour| {
            neighbour
                .dialled
                .as_ref()
                .is_some_and(|dialled| dialled.name == dial.name)
        });
        let refused = match () {
            () if self.drain_deadline.is_some() => Some("the relay is going away".to_owned()),
            () if is_there => Some("there is a link of this name".to_owned()),
            () if self.links.by_session.len() >= LINKS_MAX => {
                Some(format!("the shard has its maximum of {LINKS_MAX} links"))
            }
            () => None,
        };
        if let Some(reason) = refused {
            // Who dials may have gone.
            let _ = dial.ended.send(LinkEnd { reason, lasted: None });
            return;
        }
        let local = SocketAddr::new(dial.local, self.local.port());
        let client = self.client_for(&dial);
        let key = client.and_then(|mut client| {
            self.endpoint
                .connect(&mut client, dial.remote, local, &dial.server_name)
        });
        match key {
            Ok(key) => {
                let dialled = Dialled {
                    name: dial.name,
                    target: dial.target,
                    is_web: dial.authority.is_some(),
                    cost: dial.cost,
                    is_kin: dial.is_kin,
                    ended: Some(dial.ended),
                };
                let mut neighbour = Neighbour::new(Some(dialled), self.now);
                neighbour.is_draining = dial.is_kin;
                self.links.by_session.insert(peer_key(key), neighbour);
            }
            Err(error) => {
                let reason = error.to_string();
                // As above.
                let _ = dial.ended.send(LinkEnd { reason, lasted: None });
            }
        }
    }

    fn client_for(&self, dial: &LinkDial) -> Result<Client, QuicError> {
        let (trust, own) = (dial.trust.clone(), dial.certificate.as_ref());
        match &dial.authority {
            None => self.endpoint.client_as(trust, own, &LINK_DRAFTS),
            Some(authority) => self.endpoint.web_client_as(
                trust,
                own,
                WebDial {
                    authority: authority.clone(),
                    path: dial.target.clone(),
                    versions: LINK_DRAFTS.to_vec(),
                },
            ),
        }
    }

    /// Ends links that were dialled by this name, as if they had ended by themselves; one that leaves as well.
    pub(super) fn hang_up(&mut self, name: &str) {
        let found = self.links.by_session.iter().filter(|(_, neighbour)| {
            let dialled = neighbour.dialled.as_ref();
            dialled.is_some_and(|dialled| &*dialled.name == name || dialled.name.strip_suffix(LEAVING) == Some(name))
        });
        let found: Vec<PeerKey> = found.map(|(peer, _)| *peer).collect();
        for peer in found {
            self.give_up(peer, "the link is not wanted any more");
        }
    }

    /// SETUP of a session: what a dialled one has besides what all have.
    pub(super) fn setup_of(&self, peer: PeerKey) -> Setup {
        // What a link costs is for who dials it to say, for both directions: the other declares nothing of its own.
        let own = self.links.dialled(peer).and_then(|dialled| dialled.cost);
        Setup {
            probe: ProbeLevel::Report,
            path: self.links.setup_path(peer),
            role: Role::Both,
            cost: own.or(self.options.cost),
            origin: self.options.hop,
        }
    }

    /// On which terms a dialled link is let in: whom it reaches was decided by who dials.
    pub(super) fn terms_of_link(&self, peer: PeerKey) -> Option<Terms<'static>> {
        self.links.is_dialled(peer).then(|| Terms {
            root: "",
            grant: Arc::new(Grant::everything()),
            basis: Basis::Open,
            device: None,
        })
    }

    /// A session is a neighbour if its grant says so, or if it was dialled.
    pub(super) fn greet_neighbour(&mut self, peer: PeerKey) {
        let is_named = self.peers.get(&peer).is_some_and(|state| state.grant.is_peer);
        if is_named || self.links.is_dialled(peer) {
            self.make_neighbour(peer);
        }
    }

    fn make_neighbour(&mut self, peer: PeerKey) {
        let has_room = self.links.has(peer) || self.links.by_session.len() < LINKS_MAX;
        let is_kin = self.is_kin(peer);
        let (Some(state), true) = (self.peers.get_mut(&peer), has_room) else {
            return;
        };
        state.session.set_announced_max(ANNOUNCED_PER_LINK_MAX);
        state.pace.widen();
        let now = self.now;
        let neighbour = self
            .links
            .by_session
            .entry(peer)
            .or_insert_with(|| Neighbour::new(None, now));
        neighbour.heard = now;
        neighbour.since = now;
        neighbour.is_kin = is_kin;
        self.announcer.set_link(peer);
    }

    /// Whether what a session announces is there at all. In a mesh several hops make it a neighbour, if it may be one.
    /// Others that say so are clients, or lie.
    pub(super) fn believes(&mut self, peer: PeerKey, advertisement: &Advertisement) -> bool {
        if !self.options.mesh || advertisement.hops.len() <= 1 || self.links.has(peer) {
            return true;
        }
        let may_be_one = self.may_be_neighbour(peer);
        if may_be_one {
            self.make_neighbour(peer);
        } else {
            self.links.counters.unbelieved += 1;
        }
        may_be_one
    }

    /// In a mesh, who may publish and hear everything at the root may be a neighbour. One of whom nothing was asked has no more room
    /// in the table for it: see [`is_trusted_link`](Self::is_trusted_link).
    pub(super) fn may_be_neighbour(&self, peer: PeerKey) -> bool {
        let is_of_all = |state: &Peer| state.root == BroadcastPath::root() && state.grant.is_everything();
        self.options.mesh && self.peers.get(&peer).is_some_and(is_of_all)
    }

    /// A neighbour that this relay dialled, or that has shown who it is. One of its own saying, where everybody may do everything, has
    /// the share of its address still.
    pub(super) fn is_trusted_link(&self, peer: PeerKey) -> bool {
        let has_shown = |state: &Peer| state.basis != Basis::Open;
        self.links.dialled(peer).is_some() || (self.links.has(peer) && self.peers.get(&peer).is_some_and(has_shown))
    }

    /// A neighbour goes away: its routes are the last choice from now on. False: it is none.
    pub(super) fn drain_link(&mut self, peer: PeerKey) -> bool {
        let Some(neighbour) = self.links.by_session.get_mut(&peer) else {
            return false;
        };
        neighbour.is_draining = true;
        // It may be followed by another at its address: who dialled it dials that one, while this one is still there.
        if let Some(dialled) = &mut neighbour.dialled
            && let Some(ended) = dialled.ended.take()
        {
            dialled.name = format!("{}{LEAVING}", dialled.name).into();
            let lasted = self
                .peers
                .get(&peer)
                .map(|state| self.now.saturating_duration_since(state.opened));
            let reason = "it goes away".to_owned();
            // Who dialled may have gone.
            let _ = ended.send(LinkEnd { reason, lasted });
        }
        let source = self.session_of(peer);
        let published = self.peers.get(&peer).map(|state| state.published.clone());
        for path in published.into_iter().flatten() {
            if self.table.drain(&path, source) {
                self.changed_here(&path);
            }
        }
        true
    }

    /// Asks silent neighbours for a sign of life, and gives up those that gave none.
    pub(super) fn check_links(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let mut silent = Vec::new();
        for (peer, neighbour) in &mut self.links.by_session {
            let (false, Some(connection)) = (is_link(*peer), self.endpoint.get_mut(connection_key(*peer))) else {
                continue;
            };
            let packets = connection.packets_received();
            if packets != neighbour.packets {
                neighbour.packets = packets;
                neighbour.heard = self.now;
                continue;
            }
            let silence = self.now.saturating_duration_since(neighbour.heard);
            let (longest, reason) = match neighbour.is_kin {
                true => (KIN_SILENCE_MAX, "silent for 10 s"),
                false => (LINK_SILENCE_MAX, "silent for 3 s"),
            };
            if silence >= longest {
                silent.push((*peer, reason));
            } else if silence >= LINK_PING_AFTER && connection.is_established() {
                connection.ping();
                self.endpoint.mark_dirty(connection_key(*peer));
            }
        }
        for (peer, reason) in silent {
            self.links.counters.silent += 1;
            self.give_up(peer, reason);
        }
    }

    /// Closes a neighbour's connection, and does at once what its end means: the timers of its connection are long when it
    /// has been silent.
    fn give_up(&mut self, peer: PeerKey, reason: &str) {
        if let Some(connection) = self.endpoint.get_mut(connection_key(peer)) {
            connection.close(session_error::CONTROL_TIMEOUT, reason);
        }
        self.links.given_up.insert(peer);
        self.endpoint.mark_dirty(connection_key(peer));
        self.lose_neighbour(peer, reason);
        self.end_session(peer);
    }

    /// The connection of a neighbour is over.
    fn lose_neighbour(&mut self, peer: PeerKey, reason: &str) {
        let Some(neighbour) = self.links.by_session.remove(&peer) else {
            return;
        };
        let lasted = self
            .peers
            .get(&peer)
            .map(|state| self.now.saturating_duration_since(state.opened));
        let Some(mut dialled) = neighbour.dialled else { return };
        if let Some(ended) = dialled.ended.take() {
            let reason = reason.to_owned();
            // Who dialled may have gone.
            let _ = ended.send(LinkEnd { reason, lasted });
        }
    }

    /// The connection of a neighbour is over by itself.
    pub(super) fn lose_link(&mut self, peer: PeerKey) {
        let connection = carrier(&mut self.endpoint, &mut self.websockets, peer);
        let reason = connection
            .map(|connection| connection.close_reason())
            .unwrap_or_default();
        self.lose_neighbour(peer, &reason);
    }

    /// Its connection is removed: its key may be another's next.
    pub(super) fn forget_link(&mut self, peer: PeerKey) {
        self.links.given_up.remove(&peer);
    }

    /// The neighbours there are.
    pub(super) fn list_links(&mut self) -> Vec<LinkView> {
        let mut views = Vec::with_capacity(self.links.by_session.len());
        for (peer, neighbour) in &self.links.by_session {
            let state = self.peers.get(peer);
            let connection = carrier(&mut self.endpoint, &mut self.websockets, *peer);
            let cost = state.map(|state| self.links.provenance_of(*peer, state).cost);
            let own = neighbour.dialled.as_ref().and_then(|dialled| dialled.cost);
            views.push(LinkView {
                name: neighbour.dialled.as_ref().map(|dialled| Arc::clone(&dialled.name)),
                session: *peer,
                remote: connection.as_ref().and_then(|connection| connection.peer_address()),
                hop: state
                    .and_then(|state| state.session.peer_setup())
                    .map_or(HopId::UNKNOWN, |setup| setup.origin),
                version: state.map(|state| state.session.version()),
                is_up: state.is_some(),
                is_draining: neighbour.is_draining,
                since: neighbour.since,
                rtt: connection.and_then(|connection| connection.path()).map(|path| path.rtt),
                cost: cost.or(own).unwrap_or(COST_DECLARED_MIN),
                announced: state.map_or(0, |state| state.published.len()),
                subscriptions: state.map_or(0, |state| {
                    let requested = state.requested.values();
                    requested.filter(|requested| requested.is_subscription).count()
                }),
            });
        }
        views
    }

    /// An announcement that is not believed is not there.
    pub(super) fn disbelieve(&mut self, peer: PeerKey, full: &BroadcastPath) {
        let address = self.address_of(peer);
        if let Some(suppressed) = self.notices.allow(self.now) {
            tracing::warn!(
                peer = %address, suppressed,
                "a session that is no peer of the mesh announces what others publish: it needs a token of a peer"
            );
        }
        // What it said before of the same path does not hold either.
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.published.remove(full) {
            self.withdraw(peer, full.clone());
        }
    }
}

/// Drafts offered to other relays, best first. Older ones know no hops.
const LINK_DRAFTS: [Version; 4] = [Version::Lite06, Version::Lite05, Version::Lite04, Version::Lite03];

/// How often silent neighbours are asked for a sign of life, at a silence of so much.
const LINK_PING_AFTER: Duration = Duration::from_secs(1);

/// A silence after which a link is over.
const LINK_SILENCE_MAX: Duration = Duration::from_secs(3);

/// The same of the link to a process before or after this one: it cannot be dialled again, and both share a host that may be
/// busy.
const KIN_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Broadcasts that one neighbour may announce: a quarter of the table.
const ANNOUNCED_PER_LINK_MAX: usize = 1 << 18;

/// A neighbour that declares less costs this.
const COST_DECLARED_MIN: u64 = 1;

/// Behind the name of a neighbour that goes away.
const LEAVING: &str = " (leaving)";
