//! What the guard lets through.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::source::Network;
use crate::limits::{
    GUARD_BAN, GUARD_BEHIND_INVITE_MAX, GUARD_BEHIND_MAX, GUARD_BURST, GUARD_FAILURES_MAX, GUARD_FAILURES_PERIOD,
    GUARD_KNOWN_FOR, GUARD_LEGS_MAX, GUARD_MESSAGES_PER_SECOND, GUARD_TRANSACTIONS_BUSY, GUARD_TRANSACTIONS_MAX,
};

/// What the guard lets through.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Messages of one source in a second, on the whole. Default: [`GUARD_MESSAGES_PER_SECOND`].
    pub messages_per_second: u32,
    /// What comes back in so long a time may be sent at once. Default: [`GUARD_BURST`].
    pub burst: Duration,
    /// Failures that get a source banned. Default: [`GUARD_FAILURES_MAX`].
    pub failures_max: u32,
    /// In which they are counted. Default: [`GUARD_FAILURES_PERIOD`].
    pub failures_period: Duration,
    /// How long a ban lasts. Default: [`GUARD_BAN`].
    pub ban: Duration,
    /// How long a success protects from bans. Default: [`GUARD_KNOWN_FOR`].
    pub known_for: Duration,
    /// What `User-Agent` of scanners has in it, in whatever letter case. Default: [`SCANNERS`].
    pub scanners: Vec<String>,
    /// Sources that may send as much as they like, are never banned and may use what they like: proxies of one's own. Default:
    /// this host. Over UDP others may write these addresses on what they send, so what is before this host must keep strangers
    /// from that. Carriers are trusted by [`Guard::trust`](super::Guard::trust), which bounds what they send.
    pub trusted: Vec<Network>,
    /// With how much in progress nothing more begins.
    pub ceilings: Ceilings,
}

/// With how much in progress nothing more begins.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// With so many transactions a new one is answered 503. Default: [`GUARD_TRANSACTIONS_BUSY`].
    pub transactions_busy: usize,
    /// With so many transactions a new one is dropped. Default: [`GUARD_TRANSACTIONS_MAX`].
    pub transactions_max: usize,
    /// With so many legs a new call is answered 503. Default: [`GUARD_LEGS_MAX`].
    pub legs_max: usize,
    /// When messages wait for so long a new call is answered 503. Default: [`GUARD_BEHIND_INVITE_MAX`].
    pub behind_invite_max: Duration,
    /// When messages wait for so long what else begins is answered 503. Default: [`GUARD_BEHIND_MAX`].
    pub behind_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let this_host = [
            Network::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
            Network::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        ];
        Self {
            messages_per_second: GUARD_MESSAGES_PER_SECOND,
            burst: GUARD_BURST,
            failures_max: GUARD_FAILURES_MAX,
            failures_period: GUARD_FAILURES_PERIOD,
            ban: GUARD_BAN,
            known_for: GUARD_KNOWN_FOR,
            scanners: SCANNERS.map(str::to_owned).to_vec(),
            trusted: this_host.into_iter().flatten().collect(),
            ceilings: Ceilings::default(),
        }
    }
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            transactions_busy: GUARD_TRANSACTIONS_BUSY,
            transactions_max: GUARD_TRANSACTIONS_MAX,
            legs_max: GUARD_LEGS_MAX,
            behind_invite_max: GUARD_BEHIND_INVITE_MAX,
            behind_max: GUARD_BEHIND_MAX,
        }
    }
}

/// What scanners that do not hide call themselves.
pub const SCANNERS: [&str; 10] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sundayddr",
    "VaxSIPUserAgent",
    "pplsip",
    "sip-scan",
    "siparmyknife",
    "iWar",
];
