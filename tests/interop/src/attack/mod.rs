//! Attacks on a relay, by name, for `tests/attacks.sh` and for the short forms in `tests/peers/attacks.rs`.
//!
//! Each does one thing as fast as it is told to, for as long as it is told to, and says what it did.
//! Only for relays of your own: what is attacked is named by address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::draft::Draft;
use crate::payload::Random;
use crate::raw_peer::RawPeer;

pub mod announcements;
pub mod floods;
pub mod groups;
pub mod idle;
pub mod packets;
pub mod requests;
pub mod stops;
pub mod subscriptions;
pub mod tcp;

/// What to attack, and how hard.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the relay listens by UDP.
    pub relay: SocketAddr,
    /// Where the attack comes from: what is shared out by address is shared with nobody else then.
    pub from: IpAddr,
    /// Where it listens by TCP, for attacks that come by it.
    pub http: Option<SocketAddr>,
    /// How long to go on.
    pub duration: Duration,
    /// Datagrams, connections or announcements in a second; what it means is said by each attack.
    pub rate: u64,
    /// How many sessions or connections, where an attack has several.
    pub count: usize,
    /// Makes a run repeatable.
    pub seed: u64,
}

/// What an attack did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Datagrams, connections or messages, as the attack counts.
    pub sent: u64,
    /// Bytes that came of it, where an attack reads.
    pub heard: u64,
    /// Groups that came though they were too old for who subscribed.
    pub late: u64,
    /// Connections that it did not let in.
    pub refused: u64,
    /// Sessions that the relay closed meanwhile.
    pub closed: u64,
    /// The code of the last of them.
    pub code: Option<u64>,
}

impl Target {
    /// A connection from where the attack comes from.
    pub(crate) async fn connect(&self, draft: Draft, random: &mut Random) -> Result<RawPeer> {
        RawPeer::connect_from(self.from, self.relay, draft, random).await
    }

    /// The same at another rate.
    pub(crate) fn with_rate(&self, rate: u64) -> Self {
        Self { rate, ..self.clone() }
    }
}

/// All names, with what each does and the rate and count it has by itself.
pub const ATTACKS: &[(&str, &str, u64, usize)] = &[
    ("garbage", "datagrams that are no QUIC packets", 200_000, 1),
    (
        "resets",
        "short-header packets of connections that do not exist",
        100_000,
        1,
    ),
    ("initials", "Initial packets that cannot be decrypted", 50_000, 1),
    ("versions", "packets of a QUIC version that does not exist", 100_000, 1),
    ("half-open", "true first packets, and nothing after", 5_000, 1),
    (
        "amplification",
        "true first packets, and nothing after: an error if more than three times as much comes back",
        50,
        1,
    ),
    (
        "forged-ids",
        "packets with the id of a live connection and noise in them",
        50_000,
        1,
    ),
    (
        "path-challenges",
        "packets of one connection by 32 ports, full of challenges: an error if one packet answers more than three of them",
        5_000,
        1,
    ),
    (
        "retired-ids",
        "packets of one connection full of ids, each of which retires those before",
        5_000,
        1,
    ),
    (
        "optimistic-acks",
        "acknowledgements of what was never sent, each on a connection of its own",
        50,
        1,
    ),
    ("idle", "connections that do nothing after their handshake", 0, 10_000),
    ("churn", "announced and soon withdrawn, without end", 100_000, 1),
    (
        "watchers",
        "two sessions with 64 announce streams each that read, and a churner",
        20_000,
        2,
    ),
    (
        "mute-watchers",
        "one session with 64 announce streams that does not read, and a churner",
        20_000,
        1,
    ),
    ("table", "4,096 broadcasts announced by each of many sessions", 0, 258),
    (
        "crowd",
        "1,000 sessions with one announce stream each that read, and a churner",
        2_000,
        1_000,
    ),
    ("tiny-groups", "groups of one byte, without end", 5_000, 1),
    ("backwards", "groups whose numbers go back", 5_000, 1),
    ("lying-sizes", "frames that say more than they have", 5_000, 1),
    (
        "endless-frames",
        "frames of 16 MiB that never end, 64 at once",
        5_000,
        1,
    ),
    (
        "rapid-resets",
        "groups that are reset as soon as they have begun",
        5_000,
        1,
    ),
    ("updates", "updates of one subscription, without end", 20_000, 1),
    ("fetches", "groups fetched, without end", 20_000, 1),
    ("probes", "reports asked for, without end", 20_000, 1),
    ("slow-http", "requests whose headers come a byte at a time", 0, 500),
    ("slow-tls", "TLS handshakes that come a byte at a time", 0, 500),
    ("header-bomb", "requests whose headers have no end", 0, 50),
    (
        "websocket-flood",
        "WebSockets that send what is no QMux, at line rate",
        0,
        20,
    ),
    (
        "streams",
        "streams of one byte, as many as a connection may have",
        0,
        20,
    ),
    (
        "full-memory",
        "the same, of a relay whose `limits.memory` is a third of what they hold",
        0,
        20,
    ),
    (
        "same-track",
        "one track subscribed 1,000 times by one session that reads",
        50,
        1,
    ),
    (
        "unread",
        "1,000 subscriptions of a session that stops acknowledging",
        50,
        8,
    ),
    (
        "stops",
        "subscribers that take nothing for 20 s: an error unless the newest comes soon, and of what is too old only what was on its way",
        200,
        8,
    ),
    (
        "files",
        "TCP connections that say nothing, more than the relay may have files",
        0,
        2_000,
    ),
];

/// An address of this host's loopback that is nobody else's, or any for a relay that is elsewhere.
pub fn address_before(relay: SocketAddr) -> IpAddr {
    match relay.ip() {
        IpAddr::V4(address) if address.is_loopback() => IpAddr::from([127, 0, 0, 2]),
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Runs the attack of a name.
pub fn run(name: &str, target: &Target) -> Result<Done> {
    match name {
        "garbage" | "resets" | "initials" | "versions" | "half-open" | "amplification" => floods::run(name, target),
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(run_sessions(name, target)),
    }
}

async fn run_sessions(name: &str, target: &Target) -> Result<Done> {
    let random = Random::new(target.seed);
    match name {
        "idle" => idle::connections(target, random).await,
        "streams" | "full-memory" => idle::streams(target, random).await,
        "churn" => announcements::churn(target, random).await,
        "watchers" => announcements::watched(target, random, true).await,
        "mute-watchers" => announcements::watched(target, random, false).await,
        "crowd" => announcements::crowd(target, random).await,
        "tiny-groups" | "backwards" | "lying-sizes" | "endless-frames" | "rapid-resets" => {
            groups::run(name, target, random).await
        }
        "updates" | "fetches" | "probes" => requests::run(name, target, random).await,
        "path-challenges" | "retired-ids" | "optimistic-acks" => packets::run(name, target, random).await,
        "forged-ids" => packets::forged_ids(target, random).await,
        "stops" => stops::run(target, random).await,
        "files" | "slow-http" | "slow-tls" | "header-bomb" | "websocket-flood" => tcp::run(name, target).await,
        "table" => announcements::table(target, random).await,
        "same-track" => subscriptions::same_track(target, random).await,
        "unread" => subscriptions::unread(target, random).await,
        _ => bail!("no attack is called '{name}'"),
    }
}
