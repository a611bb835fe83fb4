//! Tokens by which devices register and programs use REST: JWT (RFC 7519), signed with HMAC-SHA-256 and nothing else.

use std::time::{Duration, SystemTime};

use base64ct::{Base64UrlUnpadded, Encoding};
use moqswitch_calls::Number;
use ring::hmac;
use serde::Deserialize;
use serde_json::{Value, json};

use super::scope::{Scope, Scopes};
use crate::clock::WallClock;
use crate::messages::is_bounded;

/// The key that tokens are signed with.
#[derive(Clone)]
pub struct TokenKey {
    key: hmac::Key,
    /// By which tokens lapse.
    clock: WallClock,
}

/// What a token says.
#[derive(Debug, Deserialize)]
struct Claims {
    /// Of a device: the number that it is for.
    dn: Option<String>,
    /// Seconds since 1970.
    exp: u64,
    #[serde(default)]
    nbf: u64,
    /// Of a device.
    #[serde(default)]
    supervisor: bool,
    /// Of a program: its name.
    sub: Option<String>,
    /// Of a program.
    #[serde(default)]
    scopes: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
}

impl TokenKey {
    /// A shared secret; 32 random bytes are right.
    pub fn new(secret: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            clock: WallClock::default(),
        }
    }

    /// Its tokens lapse by this clock.
    #[must_use]
    pub fn with_clock(self, clock: WallClock) -> Self {
        Self { clock, ..self }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// A token for a number's devices, valid until `expires`.
    pub fn sign(&self, dn: &Number, supervisor: bool, expires: SystemTime) -> String {
        self.sign_claims(&json!({ "dn": dn.as_str(), "exp": seconds(expires), "supervisor": supervisor }))
    }

    /// A token for a program, valid until `expires`.
    pub fn sign_scopes(&self, name: &str, scopes: &[Scope], expires: SystemTime) -> String {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        self.sign_claims(&json!({ "sub": name, "exp": seconds(expires), "scopes": scopes }))
    }

    fn sign_claims(&self, claims: &Value) -> String {
        let header = Base64UrlUnpadded::encode_string(br#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!(
            "{header}.{}",
            Base64UrlUnpadded::encode_string(claims.to_string().as_bytes())
        );
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", Base64UrlUnpadded::encode_string(signature.as_ref()))
    }

    /// Is it a token for this number, now? Then: may its device supervise, and for how long is it valid?
    pub(super) fn check(&self, token: &str, dn: &Number, now: SystemTime) -> Option<(bool, Duration)> {
        let claims = self.claims(token, now)?;
        let is_for = claims.dn.is_some_and(|of| of == dn.as_str());
        let left = claims.exp.saturating_add(SKEW.as_secs()).saturating_sub(seconds(now));
        is_for.then_some((claims.supervisor, Duration::from_secs(left)))
    }

    /// Is it a token of a program, now? Then: whose, and for what.
    pub(super) fn check_scopes(&self, token: &str, now: SystemTime) -> Option<(String, Scopes)> {
        let claims = self.claims(token, now)?;
        let scopes = claims.scopes.iter().filter_map(|name| Scope::parse(name));
        Some((claims.sub?, scopes.collect()))
    }

    fn claims(&self, token: &str, now: SystemTime) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let header: Header = read(header)?;
        let claims: Claims = read(claims)?;
        let now = seconds(now);
        let is_valid = header.alg == "HS256"
            && claims.exp.saturating_add(SKEW.as_secs()) > now
            && claims.nbf <= now.saturating_add(SKEW.as_secs());
        is_valid.then_some(claims)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenKey")
    }
}

fn read<T: for<'a> Deserialize<'a>>(part: &str) -> Option<T> {
    let text = String::from_utf8(Base64UrlUnpadded::decode_vec(part).ok()?).ok()?;
    is_bounded(&text).then(|| serde_json::from_str(&text).ok())?
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Clocks differ.
const SKEW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_one_number_and_for_a_time() {
        let key = TokenKey::new(b"secret");
        let (dn, other) = (Number::new("5001").unwrap(), Number::new("5002").unwrap());
        let now = SystemTime::now();
        let token = key.sign(&dn, true, now + Duration::from_secs(10));
        let left = key
            .check(&token, &dn, now)
            .map(|(supervisor, left)| (supervisor, left.as_secs()));
        assert_eq!(left, Some((true, 10 + SKEW.as_secs())));
        assert_eq!(key.check(&token, &other, now), None);
        assert_eq!(key.check(&token, &dn, now + Duration::from_secs(100)), None);
        assert_eq!(TokenKey::new(b"other").check(&token, &dn, now), None);
        for end in 0..token.len() {
            assert_eq!(key.check(&token[..end], &dn, now), None);
        }
        // A device's token lets no program in, nor the other way round.
        assert_eq!(key.check_scopes(&token, now), None);
        let program = key.sign_scopes("board", &[Scope::Read], now + Duration::from_secs(10));
        let read = [Scope::Read].into_iter().collect();
        assert_eq!(key.check_scopes(&program, now), Some(("board".to_owned(), read)));
        assert_eq!(key.check(&program, &dn, now), None);
        // Signed rightly, by another algorithm than it says.
        let claims = token.split('.').nth(1).unwrap();
        let signed = format!("{}.{claims}", Base64UrlUnpadded::encode_string(br#"{"alg":"none"}"#));
        let signature = Base64UrlUnpadded::encode_string(hmac::sign(&key.key, signed.as_bytes()).as_ref());
        assert_eq!(key.check(&format!("{signed}.{signature}"), &dn, now), None);
    }
}
