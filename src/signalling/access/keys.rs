//! Keys of REST: what each may do, and how often.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use ring::digest;

use super::scope::{Scope, Scopes};
use super::token::TokenKey;
use crate::limits::{CALLERS_COUNTED_MAX, REQUESTS_PER_SECOND_MAX, SECRET_BYTES_MAX};

/// A key: its name for logs, the SHA-256 of what is sent as `Authorization: Bearer …`, and what it may do.
#[derive(Clone)]
pub struct ApiKey {
    name: String,
    hash: [u8; digest::SHA256_OUTPUT_LEN],
    scopes: Scopes,
}

impl ApiKey {
    /// Is it what is sent?
    pub(crate) fn is_sent(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|secret| hash(secret) == self.hash)
    }

    /// A key by what is sent. It is not kept, only its hash.
    pub fn new(name: &str, secret: &str, scopes: Scopes) -> Self {
        Self::of_hash(name, hash(secret), scopes)
    }

    /// A key by the SHA-256 of what is sent.
    pub fn of_hash(name: &str, sha256: [u8; 32], scopes: Scopes) -> Self {
        Self {
            name: name.to_owned(),
            hash: sha256,
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
    tokens: Option<TokenKey>,
    buckets: BTreeMap<Caller, Bucket>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Key(usize),
    /// Who has no key, or a wrong one.
    Stranger(Option<IpAddr>),
    Token(String),
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
    pub(crate) fn new(keys: Vec<ApiKey>, tokens: Option<TokenKey>) -> Self {
        Self {
            keys,
            tokens,
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
        let (caller, scopes) = match self.caller(headers, peer) {
            Ok(known) => known,
            // Who guesses waits as well.
            Err(denied) if self.has_room(Caller::Stranger(peer), now) => return Err(denied),
            Err(_) => return Err(Denied::Rate(RETRY.as_secs())),
        };
        if !scopes.contain(scope) {
            return Err(Denied::Scope(scope));
        }
        if self.has_room(caller, now) {
            Ok(())
        } else {
            Err(Denied::Rate(RETRY.as_secs()))
        }
    }

    /// One request more of this caller: is it among those that it may make?
    fn has_room(&mut self, caller: Caller, now: Instant) -> bool {
        if self.buckets.len() >= CALLERS_COUNTED_MAX && !self.buckets.contains_key(&caller) {
            let oldest = self
                .buckets
                .iter()
                .min_by_key(|(_, bucket)| bucket.at)
                .map(|(caller, _)| caller.clone());
            oldest.map(|oldest| self.buckets.remove(&oldest));
        }
        let full = Bucket::new(REQUESTS_PER_SECOND_MAX, now);
        let bucket = self.buckets.entry(caller).or_insert(full);
        bucket.take(REQUESTS_PER_SECOND_MAX, now)
    }

    fn caller(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<(Caller, Scopes), Denied> {
        if self.keys.is_empty() && self.tokens.is_none() {
            let is_here = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
            let everything = [Scope::Admin].into_iter().collect();
            return if is_here {
                Ok((Caller::Address(peer), everything))
            } else {
                Err(Denied::Remote)
            };
        }
        let secret = bearer(headers).ok_or(Denied::Unknown)?;
        // The hash of what is sent says nothing of how much of a secret was right.
        let hash = hash(secret);
        if let Some((index, key)) = self.keys.iter().enumerate().find(|(_, key)| key.hash == hash) {
            return Ok((Caller::Key(index), key.scopes));
        }
        let token = self.tokens.as_ref().and_then(|key| key.check_scopes(secret, key.now()));
        token
            .map(|(name, scopes)| (Caller::Token(name), scopes))
            .ok_or(Denied::Unknown)
    }
}

/// What is sent as `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (kind, secret) = sent?.split_once(' ')?;
    let secret = secret.trim();
    (kind.eq_ignore_ascii_case("bearer") && secret.len() <= SECRET_BYTES_MAX).then_some(secret)
}

fn hash(secret: &str) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn sending(secret: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
        headers
    }

    #[test]
    fn keys_may_what_their_scopes_say() {
        let reader = ApiKey::new("board", "r", [Scope::Read].into_iter().collect());
        let admin = ApiKey::new("root", "a", [Scope::Admin].into_iter().collect());
        let tokens = TokenKey::new(b"secret");
        let mut gate = Gate::new(vec![reader, admin], Some(tokens.clone()));
        let now = Instant::now();
        assert_eq!(gate.admit(&sending("r"), None, Scope::Read, now), Ok(()));
        assert_eq!(
            gate.admit(&sending("r"), None, Scope::Call, now),
            Err(Denied::Scope(Scope::Call))
        );
        assert_eq!(gate.admit(&sending("a"), None, Scope::Supervise, now), Ok(()));
        let token = tokens.sign_scopes("board", &[Scope::Read], SystemTime::now() + Duration::from_secs(60));
        assert_eq!(gate.admit(&sending(&token), None, Scope::Read, now), Ok(()));
        assert_eq!(
            gate.admit(&sending(&token), None, Scope::Call, now),
            Err(Denied::Scope(Scope::Call))
        );
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(gate.admit(&sending("x"), here, Scope::Read, now), Err(Denied::Unknown));
        assert_eq!(
            gate.admit(&HeaderMap::new(), here, Scope::Read, now),
            Err(Denied::Unknown)
        );
    }

    #[test]
    fn without_keys_this_host_may_and_no_other() {
        let mut gate = Gate::new(Vec::new(), None);
        let now = Instant::now();
        let mut admit = |peer: Option<IpAddr>| gate.admit(&HeaderMap::new(), peer, Scope::Admin, now);
        assert_eq!(admit(Some(IpAddr::from([127, 0, 0, 1]))), Ok(()));
        assert_eq!(admit(Some(IpAddr::from([10, 0, 0, 1]))), Err(Denied::Remote));
        assert_eq!(admit(None), Err(Denied::Remote));
    }

    #[test]
    fn too_many_requests_wait() {
        let mut gate = Gate::new(Vec::new(), None);
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
