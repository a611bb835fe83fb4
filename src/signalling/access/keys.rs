//! Keys of REST: what each may do, and how often.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use ring::digest;

use crate::limits::{CALLERS_COUNTED_MAX, REQUESTS_PER_SECOND_MAX};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// See numbers, calls, records and events.
    Read,
    /// Make calls and change them.
    Call,
    /// Listen, whisper, barge, end the calls of others.
    Supervise,
    /// Everything.
    Admin,
}

/// Several scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

/// A key: its name for logs, the SHA-256 of what is sent as `Authorization: Bearer …`, and what it may do.
#[derive(Clone)]
pub struct ApiKey {
    name: String,
    hash: [u8; digest::SHA256_OUTPUT_LEN],
    scopes: Scopes,
}

impl Scope {
    const fn bit(self) -> u8 {
        match self {
            Self::Read => 1,
            Self::Call => 2,
            Self::Supervise => 4,
            Self::Admin => 8,
        }
    }

    /// As settings have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Call => "call",
            Self::Supervise => "supervise",
            Self::Admin => "admin",
        }
    }
}

impl Scopes {
    /// Is it among them?
    pub const fn contain(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl ApiKey {
    /// A key by what is sent. It is not kept, only its hash.
    pub fn new(name: &str, secret: &str, scopes: Scopes) -> Self {
        Self {
            name: name.to_owned(),
            hash: hash(secret),
            scopes,
        }
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = formatter.debug_struct("ApiKey");
        shown
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Why a request of REST is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No key, or an unknown one.
    Unknown,
    /// The key may not.
    Scope(Scope),
    /// From another host, and there are no keys.
    Remote,
    /// Too often. Come back after so many seconds.
    Rate(u64),
}

/// Who has asked how often.
#[derive(Debug)]
pub(crate) struct Gate {
    keys: Vec<ApiKey>,
    buckets: BTreeMap<Caller, Bucket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Key(usize),
    Address(Option<IpAddr>),
}

/// Requests that are left, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            left: f64::from(per_second),
            at: now,
        }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let rate = f64::from(per_second);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * rate).min(rate);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

impl Gate {
    pub(crate) fn new(keys: Vec<ApiKey>) -> Self {
        Self {
            keys,
            buckets: BTreeMap::new(),
        }
    }

    /// Lets a request in, or says why not.
    pub(crate) fn admit(
        &mut self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        scope: Scope,
        now: Instant,
    ) -> Result<(), Denied> {
        let caller = self.caller(headers, peer)?;
        if let Caller::Key(index) = caller
            && !self.keys.get(index).is_some_and(|key| key.scopes.contain(scope))
        {
            return Err(Denied::Scope(scope));
        }
        if self.buckets.len() >= CALLERS_COUNTED_MAX && !self.buckets.contains_key(&caller) {
            let oldest = self
                .buckets
                .iter()
                .min_by_key(|(_, bucket)| bucket.at)
                .map(|(caller, _)| *caller);
            oldest.map(|oldest| self.buckets.remove(&oldest));
        }
        let full = Bucket::new(REQUESTS_PER_SECOND_MAX, now);
        let bucket = self.buckets.entry(caller).or_insert(full);
        if bucket.take(REQUESTS_PER_SECOND_MAX, now) {
            Ok(())
        } else {
            Err(Denied::Rate(RETRY.as_secs()))
        }
    }

    fn caller(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Caller, Denied> {
        if self.keys.is_empty() {
            let is_here = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
            return if is_here {
                Ok(Caller::Address(peer))
            } else {
                Err(Denied::Remote)
            };
        }
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = sent.and_then(|value| value.split_once(' '));
        let secret = secret
            .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
            .map(|(_, secret)| secret.trim());
        let hash = hash(secret.ok_or(Denied::Unknown)?);
        // The hash of what is sent says nothing of how much of a secret was right.
        let index = self.keys.iter().position(|key| key.hash == hash);
        index.map(Caller::Key).ok_or(Denied::Unknown)
    }
}

fn hash(secret: &str) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(secret: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
        headers
    }

    #[test]
    fn keys_may_what_their_scopes_say() {
        let reader = ApiKey::new("board", "r", [Scope::Read].into_iter().collect());
        let admin = ApiKey::new("root", "a", [Scope::Admin].into_iter().collect());
        let mut gate = Gate::new(vec![reader, admin]);
        let now = Instant::now();
        assert_eq!(gate.admit(&bearer("r"), None, Scope::Read, now), Ok(()));
        assert_eq!(
            gate.admit(&bearer("r"), None, Scope::Call, now),
            Err(Denied::Scope(Scope::Call))
        );
        assert_eq!(gate.admit(&bearer("a"), None, Scope::Supervise, now), Ok(()));
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(gate.admit(&bearer("x"), here, Scope::Read, now), Err(Denied::Unknown));
        assert_eq!(
            gate.admit(&HeaderMap::new(), here, Scope::Read, now),
            Err(Denied::Unknown)
        );
    }

    #[test]
    fn without_keys_this_host_may_and_no_other() {
        let mut gate = Gate::new(Vec::new());
        let now = Instant::now();
        let mut admit = |peer: Option<IpAddr>| gate.admit(&HeaderMap::new(), peer, Scope::Admin, now);
        assert_eq!(admit(Some(IpAddr::from([127, 0, 0, 1]))), Ok(()));
        assert_eq!(admit(Some(IpAddr::from([10, 0, 0, 1]))), Err(Denied::Remote));
        assert_eq!(admit(None), Err(Denied::Remote));
    }

    #[test]
    fn too_many_requests_wait() {
        let mut gate = Gate::new(Vec::new());
        let (now, here) = (Instant::now(), Some(IpAddr::from([127, 0, 0, 1])));
        for _ in 0..REQUESTS_PER_SECOND_MAX {
            assert_eq!(gate.admit(&HeaderMap::new(), here, Scope::Read, now), Ok(()));
        }
        assert_eq!(
            gate.admit(&HeaderMap::new(), here, Scope::Read, now),
            Err(Denied::Rate(1))
        );
        let later = now + Duration::from_secs(1);
        assert_eq!(gate.admit(&HeaderMap::new(), here, Scope::Read, later), Ok(()));
    }
}
