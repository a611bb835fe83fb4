//! Connection ids, stateless reset tokens and address-validation tokens, made with ring.
//!
//! A server's connection id carries its shard in one byte (see `net::steering`), the rest
//! is random. Reset tokens derive from the id by a static key (RFC 9000, section 10.3.2), so
//! that a shard that lost the connection can still answer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::limits::CONNECTION_ID_BYTES;
use crate::net::steering;

/// An id that this endpoint issued.
pub(super) type IssuedId = [u8; CONNECTION_ID_BYTES];

/// What a stateless reset ends with (RFC 9000, section 10.3).
pub(super) type ResetToken = [u8; 16];

/// Keys shared by all shards of a relay, so that a token made by one is good on another.
#[derive(Clone)]
pub struct Secrets {
    reset: [u8; 32],
    token: [u8; 32],
    ticket: [u8; TICKET_KEY_BYTES],
}

/// What stateless reset tokens derive from (RFC 9000, section 10.3.2), when it is to outlive the relay: one that is started
/// with the same key, at the same address, tells the clients of the one before that their connections are gone. To be kept
/// like a private key: who has it can end connections. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ResetKey([u8; Self::BYTES]);

/// Makes and checks ids and tokens of one shard.
pub(super) struct Identity {
    shard: usize,
    shards: usize,
    random: SystemRandom,
    reset: hmac::Key,
    token: LessSafeKey,
}

impl Secrets {
    /// Fresh random keys. Fails only when the system has no randomness to give.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut reset = [0; 32];
        let mut token = [0; 32];
        let mut ticket = [0; TICKET_KEY_BYTES];
        random.fill(&mut reset)?;
        random.fill(&mut token)?;
        random.fill(&mut ticket)?;
        Ok(Self { reset, token, ticket })
    }

    /// Those of another process, which it gave away by [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut reset, mut token, mut ticket) = ([0; 32], [0; 32], [0; TICKET_KEY_BYTES]);
        reset.copy_from_slice(&bytes[..32]);
        token.copy_from_slice(&bytes[32..64]);
        ticket.copy_from_slice(&bytes[64..]);
        Self { reset, token, ticket }
    }

    /// For the process that takes over from this one. Who has them can end connections, and read what is sent on those
    /// that are resumed: for nobody else.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..32].copy_from_slice(&self.reset);
        bytes[32..64].copy_from_slice(&self.token);
        bytes[64..].copy_from_slice(&self.ticket);
        bytes
    }

    /// Length of all of them.
    pub const BYTES: usize = 64 + TICKET_KEY_BYTES;

    /// With reset tokens that derive from a key that was kept. The address goes into them: two relays that were given one
    /// key must not tell each other's tokens to whoever asks (section 10.3.2).
    pub fn with_reset_key(mut self, key: &ResetKey, address: SocketAddr) -> Self {
        let whole = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
        let own = hmac::sign(&whole, format!("moqswitch stateless reset {address}").as_bytes());
        self.reset.copy_from_slice(own.as_ref());
        self
    }

    /// What publishers are told apart by. The process that takes over knows the same publisher by the same number, so that
    /// its tracks go on there.
    pub(crate) fn publisher_key(&self) -> [u8; 32] {
        let token = hmac::Key::new(hmac::HMAC_SHA256, &self.token);
        let mut key = [0; 32];
        key.copy_from_slice(hmac::sign(&token, b"moqswitch publishers").as_ref());
        key
    }

    /// What tickets are sealed with, so that a client resumes its TLS session on whichever shard it lands.
    pub(super) fn ticket_key(&self) -> &[u8] {
        &self.ticket
    }
}

impl ResetKey {
    /// Length of a key.
    pub const BYTES: usize = 32;

    /// Of random bytes, which only the caller keeps.
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for ResetKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ResetKey").finish_non_exhaustive()
    }
}

impl Identity {
    pub(super) fn new(shard: usize, shards: usize, secrets: &Secrets) -> Self {
        let key = UnboundKey::new(&ring::aead::AES_256_GCM, &secrets.token).expect("the key has the cipher's length");
        Self {
            shard,
            shards,
            random: SystemRandom::new(),
            reset: hmac::Key::new(hmac::HMAC_SHA256, &secrets.reset),
            token: LessSafeKey::new(key),
        }
    }

    /// A fresh connection id that steers to this shard.
    pub(super) fn connection_id(&self) -> IssuedId {
        let mut id = [0; CONNECTION_ID_BYTES];
        let mut noise = [0];
        self.fill(&mut id);
        self.fill(&mut noise);
        steering::stamp(&mut id, self.shard, self.shards, noise[0]);
        id
    }

    /// The stateless reset token of an id (RFC 9000, section 10.3).
    pub(super) fn reset_token(&self, id: &[u8]) -> ResetToken {
        let tag = hmac::sign(&self.reset, id);
        let mut token = [0; 16];
        token.copy_from_slice(&tag.as_ref()[..16]);
        token
    }

    /// A stateless reset for a packet of `triggering_bytes` that named `id`: shorter than
    /// what caused it, so that two endpoints cannot reset each other for ever
    /// (section 10.3.3). `None` when no size fits.
    pub(super) fn stateless_reset(&self, id: &[u8], triggering_bytes: usize, out: &mut [u8]) -> Option<usize> {
        let bytes = triggering_bytes.checked_sub(1)?.min(RESET_BYTES_MAX).min(out.len());
        if bytes < RESET_BYTES_MIN {
            return None;
        }
        let (noise, tail) = out[..bytes].split_at_mut(bytes - 16);
        self.fill(noise);
        noise[0] = (noise[0] & 0x3f) | 0x40;
        tail.copy_from_slice(&self.reset_token(id));
        Some(bytes)
    }

    /// A Retry token: proof that `peer` can receive at its address, bound to the id its
    /// first packet chose (RFC 9000, section 8.1.2).
    ///
    /// ```text
    /// nonce (12) | AEAD( seconds (8) | original id ), authenticated with the peer's address
    /// ```
    pub(super) fn retry_token(&self, peer: SocketAddr, original: &[u8], now: SystemTime) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.fill(&mut nonce);
        let mut sealed = seconds(now).to_be_bytes().to_vec();
        sealed.extend_from_slice(original);
        self.token
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), address(peer), &mut sealed)
            .expect("a token is far below the cipher's limit");
        let mut token = nonce.to_vec();
        token.extend_from_slice(&sealed);
        token
    }

    /// The original id in a Retry token of `peer`, when the token is ours, recent and was given to `peer`.
    pub(super) fn open_retry_token(&self, peer: SocketAddr, token: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let (nonce, sealed) = token.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let opened = self.token.open_in_place(nonce, address(peer), &mut sealed).ok()?;
        let (issued, original) = opened.split_first_chunk::<8>()?;
        let age = seconds(now).checked_sub(u64::from_be_bytes(*issued))?;
        (age <= TOKEN_AGE_MAX.as_secs()).then(|| original.to_vec())
    }

    fn fill(&self, out: &mut [u8]) {
        self.random
            .fill(out)
            .expect("the kernel's random generator is available after boot");
    }
}

fn seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn address(peer: SocketAddr) -> Aad<Vec<u8>> {
    let mut bytes = match peer.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend_from_slice(&peer.port().to_be_bytes());
    Aad::from(bytes)
}

/// How long a client may take to come back with its Retry token.
const TOKEN_AGE_MAX: Duration = Duration::from_secs(30);

/// A reset must look like a packet (RFC 9000, section 10.3: at least 21 bytes).
const RESET_BYTES_MIN: usize = 21;
const RESET_BYTES_MAX: usize = 43;

/// What BoringSSL asks for: a name, and keys for AES and HMAC.
const TICKET_KEY_BYTES: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(shard: usize) -> Identity {
        Identity::new(shard, 3, &Secrets::generate().unwrap())
    }

    #[test]
    fn ids_steer_to_their_shard_and_differ() {
        let identity = identity(2);
        let ids: std::collections::HashSet<IssuedId> = (0..500).map(|_| identity.connection_id()).collect();
        assert_eq!(ids.len(), 500);
        assert!(ids.iter().all(|id| steering::slot_of(id, 3) == 2));
    }

    #[test]
    fn reset_tokens_outlive_the_relay_at_its_address_only() {
        let key = ResetKey::new([7; ResetKey::BYTES]);
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let token = |secrets: Secrets| Identity::new(0, 1, &secrets).reset_token(b"an id");
        let kept = |port| token(Secrets::generate().unwrap().with_reset_key(&key, address(port)));
        assert_eq!(kept(1), kept(1));
        assert_ne!(kept(1), kept(2));
        assert_ne!(token(Secrets::generate().unwrap()), token(Secrets::generate().unwrap()));
        assert_eq!(format!("{key:?}"), "ResetKey { .. }");
    }

    #[test]
    fn secrets_that_were_handed_over_make_the_same_tokens() {
        let secrets = Secrets::generate().unwrap();
        let copy = Secrets::from_bytes(&secrets.to_bytes());
        let (one, other) = (Identity::new(0, 1, &secrets), Identity::new(2, 4, &copy));
        assert_eq!(one.reset_token(b"an id"), other.reset_token(b"an id"));
        let (peer, now) = ("192.0.2.1:4000".parse().unwrap(), SystemTime::now());
        let token = one.retry_token(peer, b"original", now);
        assert!(other.open_retry_token(peer, &token, now).is_some());
        assert_eq!(secrets.ticket_key(), copy.ticket_key());
    }

    #[test]
    fn retry_tokens_hold_for_their_address_and_time_only() {
        let identity = identity(0);
        let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
        let now = SystemTime::now();
        let token = identity.retry_token(peer, b"original", now);
        assert_eq!(
            identity.open_retry_token(peer, &token, now).as_deref(),
            Some(&b"original"[..])
        );
        assert_eq!(
            identity.open_retry_token("192.0.2.1:4001".parse().unwrap(), &token, now),
            None
        );
        let late = now + TOKEN_AGE_MAX + Duration::from_secs(2);
        assert_eq!(identity.open_retry_token(peer, &token, late), None);
        for end in 0..token.len() {
            assert_eq!(identity.open_retry_token(peer, &token[..end], now), None);
        }
    }

    #[test]
    fn a_stateless_reset_is_shorter_than_its_cause_and_ends_with_the_token() {
        let identity = identity(1);
        let id = identity.connection_id();
        let mut out = [0; 100];
        assert_eq!(identity.stateless_reset(&id, 20, &mut out), None);
        for cause in 22..1500 {
            let bytes = identity.stateless_reset(&id, cause, &mut out).unwrap();
            assert!(bytes < cause);
            assert_eq!(out[bytes - 16..bytes], identity.reset_token(&id));
            assert_eq!(out[0] & 0xc0, 0x40);
        }
    }
}
