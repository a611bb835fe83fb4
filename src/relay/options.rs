//! What a relay is started with, and what that means for each of its shards.
//!
//! The defaults of a relay have their one place here and in the options that are embedded; the program's table of
//! settings is compared with them by a test.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use moqswitch_proto::qmux;
use moqswitch_proto::session::SessionLimits;
use moqswitch_proto::wire::{HopId, Version};

use crate::auth::token::Keys;
use crate::auth::{Grant, Policy};
use crate::certificate::{CertificatePair, ClientAuthorities, DevelopmentCertificate, fingerprint};
use crate::limits::CACHE_BYTES_MIN;
use crate::net::{RingConfig, SocketOptions};
use crate::quic::{EndpointOptions, ResetKey, ServerCertificate, TransportOptions};
use crate::routing::{NameRule, ShardId, TableLimits, TrackLimits};
use crate::shard::{
    AdmissionRequests, BatchWindow, FeedWriter, MemoryLimits, OverloadOptions, ShardLimits, ShardOptions, WebRequests,
};
use crate::succession::Heritage;

/// What [`Relay::start`](crate::Relay::start) takes. [`RelayOptions::default`] listens on loopback, with a development
/// certificate, open to everyone on this host.
#[derive(Clone)]
pub struct RelayOptions {
    /// UDP address for QUIC, one socket for each shard. Default 127.0.0.1:4443; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Event loops, each pinned to a core. Default (`None`): one for each usable core, CPU quota considered.
    pub shards: Option<NonZeroUsize>,
    /// Cores to pin shards to. Default (`None`): every core this process may run on.
    pub cores: Option<Vec<usize>>,
    /// How long a busy shard gathers work before a turn. Default 750 us: longer costs that much latency at worst and
    /// saves CPU for each frame.
    pub batch_window: BatchWindow,
    /// Never let an idle shard sleep. Default false: it costs all of every shard's core.
    pub spin: bool,
    /// Chosen by server name. Default: none, and a development certificate is made.
    pub certificates: Vec<CertificatePair>,
    /// Who may issue certificates of clients. Default (`None`): clients are not asked for one.
    pub clients: Option<ClientAuthorities>,
    /// What a client with such a certificate may do, in place of `grant`. Default (`None`): it grants nothing by itself.
    pub certified: Option<Grant>,
    /// What each session may do that is not granted otherwise. Default: everything.
    pub grant: Grant,
    /// Keys of tokens. Who has one in the query of its path gets what it grants, and not `grant`. Default (`None`): there
    /// are no tokens. [`ShardCommand::ReplaceKeys`](crate::shard::ShardCommand::ReplaceKeys) replaces them.
    pub keys: Option<Arc<Keys>>,
    /// Processes that can follow each other at the address without a gap, by [`RelayHandle::succession`]: for so many are
    /// sockets bound, at most [`GENERATIONS_MAX`](crate::limits::GENERATIONS_MAX) and so many as 256 sockets allow. Default
    /// 1: nobody follows. A socket costs a kilobyte or two.
    ///
    /// [`RelayHandle::succession`]: crate::RelayHandle::succession
    pub generations: usize,
    /// What is taken over from a process that goes. Default (`None`): nothing, and the address is bound.
    pub heritage: Option<Heritage>,
    /// Keys of tokens by which processes that follow each other know each other. They grant what they say, whatever else
    /// decides on sessions. Default (`None`): there are none.
    pub kin: Option<Arc<Keys>>,
    /// What stateless reset tokens derive from. Default (`None`): drawn at random, and the clients of a relay that died
    /// learn of it when they time out. With the key of the one before at its address, they learn of it in one round trip.
    pub reset_key: Option<ResetKey>,
    /// Signatures of tokens that a shard checks in a second for one address prefix (an IPv4 address, an IPv6 /56), ten
    /// seconds' worth at once. Default 20. Those of tokens that are taken do not count. Further tokens of the prefix are
    /// refused unchecked. A check costs 50 to 500 us.
    pub token_checks: u32,
    /// This relay's hop id, unique in a mesh. Default (`None`): drawn at random.
    pub hop: Option<HopId>,
    /// What subscribing through this relay costs its peers (SETUP "Cost"). Default 1.
    pub cost: u64,
    /// Connections of one shard. Default 10 000. More are refused.
    pub connections_max: usize,
    /// Connections that one address (of IPv6: one /56) may begin on a shard in a second. Default: 2,000. Further first
    /// packets are dropped and counted; a client sends its own again.
    pub attempts_per_second: u32,
    /// Connections that clients of one address (of IPv6: one /56) may have on a shard at once. Default: 5,000. Further first
    /// packets are dropped and counted.
    pub connections_per_address: usize,
    /// Unfinished handshakes of a shard from which on clients must prove their address by a Retry. Default: 1024.
    pub retry_above: usize,
    /// Version negotiations and stateless resets of a shard in a second. Default: 500. Further ones are left out.
    pub answers_per_second: u32,
    /// When a shard refuses new sessions because it has too much to do. Default: while its turns take 20 ms in the mean, and
    /// it uses 80 hundredths of its core or more. Those of devices and of other relays are let in.
    pub overload: OverloadOptions,
    /// What sessions may hold. Default: 64 MiB each, and 4 GiB of all with the announce table. What is beyond is closed. Group
    /// caches have a bound of their own.
    pub memory: MemoryLimits,
    /// Requests of one session in a second (subscriptions, updates, fetches, announce streams, probes), and four times as
    /// many at once. Default: 2,000. One that asks for more is closed.
    pub operations_per_second: u32,
    /// Broadcasts that one session announces in a second, and four times as many at once. Default: 1,000. Further ones wait.
    pub announcements_per_second: u32,
    /// QUIC's windows, timeouts and congestion control; QMux gets the same windows. Default: 8 MiB in flight on a
    /// connection, 2 MiB on a stream, 1024 streams of each kind, 30 s of silence, CUBIC. A peer may cost the window of
    /// its connection.
    pub transport: TransportOptions,
    /// The group cache and what tracks may hold. Default: 256 MiB, groups for 10 s at most, tracks that nobody wants for
    /// 2 s. The cache is of each shard, and costs what it holds. One below 1 MiB is taken as 1 MiB.
    pub tracks: TrackLimits,
    /// What one session may ask for. Default: 4096 subscriptions, 4096 broadcasts announced, the rest as
    /// [`SessionLimits`] has it. A subscription costs some hundred bytes, an announcement its path on every shard.
    pub sessions: SessionLimits,
    /// What the announce table of all shards holds. Default: 1 048 576 broadcasts, 512 MiB; of the broadcasts one
    /// address has a quarter. A session whose broadcast finds no room is closed.
    pub announcements: TableLimits,
    /// Kernel buffers of each shard's socket. Default: 4 MiB in each direction. They cost memory only for what waits in
    /// them.
    pub sockets: SocketOptions,
    /// Buffers of each shard's ring. Default: 64 to receive and 256 to send, each of 64 KiB. They cost memory only as far
    /// as they have been filled.
    pub ring: RingConfig,
    /// Who answers ordinary requests over HTTP/3. Default (`None`): nobody, they are answered 404.
    pub web_requests: Option<WebRequests>,
    /// Who decides on sessions, if not `grant` and `keys`. Default (`None`): nobody else. A session waits unread for its
    /// answer, [`ShardCommand::Decide`](crate::shard::ShardCommand::Decide).
    pub admissions: Option<AdmissionRequests>,
    /// Keys of tokens for devices, see [`Policy::with_devices`]. Where there are any, broadcasts of calls are counted: see
    /// [`ShardCommand::TakeCounts`](crate::shard::ShardCommand::TakeCounts). Default (`None`): there are none.
    pub devices: Option<Arc<Keys>>,
    /// There are other relays that this one knows of: what others publish is believed of sessions alone that are, or may be,
    /// another relay. Those are the links that it dials ([`ShardCommand::Dial`](crate::shard::ShardCommand::Dial)), sessions
    /// whose grant [says so](Grant::is_peer), and those that may publish and hear everything at the root. Default: false:
    /// of others' broadcasts a session is taken for the publisher, unless its grant says that it is a peer.
    pub mesh: bool,
    /// Where GOAWAY sends sessions when the relay drains, at most 8192 bytes. Default: empty, and they come back to the same
    /// address. Other relays are not sent anywhere.
    pub drain_uri: Arc<str>,
    /// Who is heard of several clients that publish one path. Default: who began first, for as long as it is there.
    pub names: NameRule,
    /// Where sessions, announcements and subscriptions are told of. Default (`None`): nowhere, and it costs nothing.
    pub feed: Option<FeedWriter>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4443)),
            shards: None,
            cores: None,
            batch_window: BatchWindow::Fixed(Duration::from_micros(750)),
            spin: false,
            certificates: Vec::new(),
            clients: None,
            certified: None,
            grant: Grant::everything(),
            keys: None,
            generations: 1,
            heritage: None,
            kin: None,
            reset_key: None,
            token_checks: 20,
            hop: None,
            cost: 1,
            connections_max: 10_000,
            attempts_per_second: 2_000,
            connections_per_address: 5_000,
            retry_above: 1024,
            answers_per_second: 500,
            overload: OverloadOptions::default(),
            memory: MemoryLimits::default(),
            operations_per_second: 2_000,
            announcements_per_second: 1_000,
            transport: TransportOptions::default(),
            tracks: TrackLimits::default(),
            sessions: SessionLimits {
                announced_max: ANNOUNCED_PER_SESSION_MAX,
                ..SessionLimits::default()
            },
            announcements: TableLimits::default(),
            sockets: SocketOptions::default(),
            ring: RingConfig::default(),
            web_requests: None,
            admissions: None,
            devices: None,
            mesh: false,
            drain_uri: "".into(),
            names: NameRule::Holder,
            feed: None,
        }
    }
}

/// The certificates that a server shows, and the fingerprint of the first.
#[derive(Clone)]
pub struct ServerIdentity {
    /// Chosen by server name; never empty.
    pub certificates: Vec<ServerCertificate>,
    /// SHA-256 of the first, in lowercase hexadecimal, as clients pin it.
    pub sha256_hex: String,
}

impl ServerIdentity {
    /// Of the pairs given; of none, a development certificate for `listen`, made now.
    pub fn new(pairs: &[CertificatePair], listen: SocketAddr) -> anyhow::Result<Self> {
        let Some(first) = pairs.first() else {
            let made = DevelopmentCertificate::generate(&[listen], SystemTime::now())?;
            return Ok(Self {
                sha256_hex: made.fingerprint(),
                certificates: vec![ServerCertificate::from_der(&[made.certificate_der], &made.key_der)?],
            });
        };
        let leaf = first.chain.first().context("a certificate chain is empty")?;
        Ok(Self {
            sha256_hex: fingerprint(leaf),
            certificates: pairs
                .iter()
                .map(|pair| ServerCertificate::from_der(&pair.chain, &pair.key.der))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl RelayOptions {
    pub(crate) fn shard(&self, id: ShardId, (slot, slots): (usize, usize), hop: HopId) -> ShardOptions {
        ShardOptions {
            id,
            hop,
            cost: Some(self.cost),
            batch_window: self.batch_window,
            spin: self.spin,
            tracks: TrackLimits {
                cache_bytes_max: self.tracks.cache_bytes_max.max(CACHE_BYTES_MIN),
                ..self.tracks.clone()
            },
            sessions: self.sessions.clone(),
            endpoint: EndpointOptions {
                shard: slot,
                shards: slots,
                connections_max: self.connections_max,
                retry_above: self.retry_above,
                attempts_per_second: self.attempts_per_second,
                connections_per_address: self.connections_per_address,
                answers_per_second: self.answers_per_second,
                transport: self.transport(),
                versions: Version::SPOKEN.to_vec(),
            },
            qmux: self.websockets(),
            ring: self.ring.clone(),
            mesh: self.mesh,
            policy: self.policy(),
            token_checks: self.token_checks,
            overload: self.overload,
            memory: self.memory,
            drain_uri: self.drain_uri.clone(),
            operations_per_second: self.operations_per_second,
            announcements_per_second: self.announcements_per_second,
        }
    }

    /// The bounds that a relay which runs can be given anew.
    pub fn limits(&self) -> ShardLimits {
        ShardLimits {
            connections_max: self.connections_max,
            sessions: self.sessions.clone(),
            transport: self.transport(),
            qmux: self.websockets(),
        }
    }

    /// What decides on sessions at the start.
    pub fn policy(&self) -> Policy {
        let policy = Policy::uniform(self.grant.clone()).with_keys(self.keys.clone());
        let policy = policy.with_certified(self.certified.clone());
        policy
            .with_authority(self.admissions.is_some())
            .with_devices(self.devices.clone())
            .with_kin(self.kin.clone())
    }

    /// The windows of QUIC: what they bound is the same.
    fn websockets(&self) -> qmux::Options {
        qmux::Options {
            connection_window_bytes: self.transport.connection_window_bytes,
            stream_window_bytes: self.transport.stream_window_bytes,
            bidi_streams_max: self.transport.bidi_streams_max,
            uni_streams_max: self.transport.uni_streams_max,
            datagram_queue_max: self.transport.datagram_queue_max,
            idle_timeout_ms: u64::try_from(self.transport.idle_timeout.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn transport(&self) -> TransportOptions {
        TransportOptions {
            // A datagram may wait for one turn, and its answer for another.
            ack_delay: self
                .transport
                .ack_delay_max
                .saturating_sub(2 * self.batch_window.max())
                .max(ACK_DELAY_MIN),
            ..self.transport.clone()
        }
    }

    /// The hop id configured, or a random one, which suffices (draft, "ANNOUNCE_OK").
    pub(crate) fn hop(&self) -> HopId {
        self.hop.unwrap_or_else(random_hop)
    }
}

fn random_hop() -> HopId {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the kernel's random generator is available after boot");
    HopId((u64::from_be_bytes(bytes) >> 2).max(1))
}

/// Broadcasts that one session may announce to a relay. A client is told of many more.
const ANNOUNCED_PER_SESSION_MAX: usize = 4096;

/// Acknowledgements wait so long for media at least, however long turns are.
const ACK_DELAY_MIN: Duration = Duration::from_millis(5);
