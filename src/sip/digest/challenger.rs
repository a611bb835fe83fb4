//! The side that asks: a registrar, or a proxy for calls.

use std::net::IpAddr;
use std::time::Duration;

use super::algorithm::Algorithm;
use super::ha1::Ha1;
use super::nonce::Nonces;
use super::parameters::{Fault, Parameters, quote};
use super::response::{Counted, Proof};
use super::target;
use super::uses::{Refusal, Uses};
use crate::limits::{DIGEST_NONCE_LIFETIME, DIGEST_NONCES_MAX, DIGEST_USER_BYTES_MAX};

/// What a challenger asks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is offered, in this order. Default: SHA-256, then MD5. Offer only what every user has an [`Ha1`] of, as a client
    /// takes what it likes best; and MD5 alone where telephones stumble over a first challenge that they do not know.
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce is good for. Default: [`DIGEST_NONCE_LIFETIME`].
    pub nonce_lifetime: Duration,
    /// Nonces whose counts are known. Default: [`DIGEST_NONCES_MAX`].
    pub nonces_max: usize,
    /// Whether clients may answer without `qop`, as RFC 2069 has it, with MD5 and each nonce once. Default: they may.
    pub admits_old_clients: bool,
}

/// Asks for credentials and checks them.
///
/// A nonce says when it was made, and for whom: the peer's address. Nothing is kept of it before it was answered rightly.
/// The clock may start anywhere, but must not go back as long as the key is the same.
#[derive(Debug)]
pub struct Challenger {
    nonces: Nonces,
    uses: Uses,
    settings: Settings,
}

/// What credentials are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sender knows the user's password. Whether this user may do what is asked for is for others to say.
    Good {
        /// As the client names itself.
        user: String,
    },
    /// The nonce is ours, and used up or too old. Ask again, with `stale`.
    Stale,
    /// The nonce is not ours, or another peer's: of before a restart, or the peer has another address now. Ask again, with
    /// `stale`. It says nothing of who the sender is, not even that it is where it says.
    Foreign,
    /// These very credentials were there before, or others with a much higher count. Ask again, with `stale`.
    Replayed {
        /// Whose they are: the password is right.
        user: String,
    },
    /// The password is wrong.
    Wrong {
        /// As the client names itself.
        user: String,
    },
    /// There is no such user. The answer must be the same as to [`Verdict::Wrong`].
    Unknown {
        /// As the client names itself.
        user: String,
    },
    /// They are for another realm. A request may have more than one header (RFC 3261, section 22.3): look at the next.
    OtherRealm,
    /// They cannot be read, or are not what was asked for.
    Malformed(Fault),
}

impl Verdict {
    /// Whether to ask again with `stale`, so that the client tries once more by itself.
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::Stale | Self::Foreign | Self::Replayed { .. })
    }
}

impl Challenger {
    /// `key`: random bytes. With those of the last run, and a clock that went on, nonces of then are still good.
    pub fn new(realm: &str, key: [u8; 32]) -> Self {
        Self::with(realm, key, Settings::default())
    }

    /// The same, with other settings.
    pub fn with(realm: &str, key: [u8; 32], settings: Settings) -> Self {
        // No header can carry control characters, so no client could repeat them.
        let realm = realm.chars().filter(|character| !character.is_control()).collect();
        Self {
            nonces: Nonces::new(realm, &key),
            uses: Uses::new(settings.nonces_max),
            settings,
        }
    }

    /// Header values for a 401 (`WWW-Authenticate`) or a 407 (`Proxy-Authenticate`), in the order in which they must stand:
    /// the client answers the first that it knows (RFC 8760, section 2.4). ACK and CANCEL are never asked
    /// (RFC 3261, section 22.1).
    pub fn challenge(&mut self, now: Duration, peer: IpAddr, is_stale: bool) -> Vec<String> {
        let nonce = self.nonces.issue(now, peer);
        let realm = quote(self.nonces.realm());
        let stale = if is_stale { ", stale=true" } else { "" };
        let offers = self.settings.algorithms.iter().map(|algorithm| {
            let algorithm = algorithm.name();
            format!("Digest realm={realm}, nonce=\"{nonce}\", qop=\"auth\", algorithm={algorithm}{stale}")
        });
        offers.collect()
    }

    /// Looks at one value of `Authorization` or `Proxy-Authorization`. `secret` is asked for a user's secret of the algorithm
    /// that the client chose; one of another algorithm counts as none.
    pub fn check(
        &mut self,
        now: Duration,
        method: &str,
        request_uri: &str,
        credentials: &str,
        peer: IpAddr,
        secret: impl FnOnce(&str, Algorithm) -> Option<Ha1>,
    ) -> Verdict {
        let parameters = match Parameters::parse(credentials) {
            Ok(parameters) => parameters,
            Err(fault) => return Verdict::Malformed(fault),
        };
        if parameters
            .get("realm")
            .is_some_and(|realm| realm != self.nonces.realm())
        {
            return Verdict::OtherRealm;
        }
        match Claim::read(&parameters, &self.settings) {
            Ok(claim) if target::is_same(claim.uri, request_uri) => self.judge(now, method, &claim, peer, secret),
            Ok(_) => Verdict::Malformed(Fault::Uri),
            Err(fault) => Verdict::Malformed(fault),
        }
    }

    /// Nonces whose counts are known.
    pub fn nonces(&self) -> usize {
        self.uses.len()
    }

    fn judge(
        &mut self,
        now: Duration,
        method: &str,
        claim: &Claim<'_>,
        peer: IpAddr,
        secret: impl FnOnce(&str, Algorithm) -> Option<Ha1>,
    ) -> Verdict {
        let lifetime = self.settings.nonce_lifetime;
        self.uses.expire(now, lifetime);
        let Some(id) = self.nonces.recognise(claim.nonce, peer) else {
            return Verdict::Foreign;
        };
        if id.age(now).is_none_or(|age| age > lifetime) {
            return Verdict::Stale;
        }
        // Made for known users as well, so that both take as long.
        let nobody = self.nobody(claim);
        let known = secret(claim.user, claim.algorithm).filter(|ha1| ha1.algorithm() == claim.algorithm);
        let response = claim.proof(method).response(known.as_ref().unwrap_or(&nobody));
        let is_right = self
            .nonces
            .are_equal(response.as_bytes(), claim.response.to_ascii_lowercase().as_bytes());
        let user = claim.user.to_owned();
        match (known.is_some(), is_right) {
            (false, _) => Verdict::Unknown { user },
            (true, false) => Verdict::Wrong { user },
            (true, true) => match self.uses.note(id, claim.counted.as_ref().map(|(count, _)| *count)) {
                Ok(()) => Verdict::Good { user },
                Err(Refusal::Stale) => Verdict::Stale,
                Err(Refusal::Replayed) => Verdict::Replayed { user },
            },
        }
    }

    fn nobody(&self, claim: &Claim<'_>) -> Ha1 {
        let secret = self.nonces.secret_of_nobody(claim.user);
        Ha1::of(claim.algorithm, "", "", &secret)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            nonce_lifetime: DIGEST_NONCE_LIFETIME,
            nonces_max: DIGEST_NONCES_MAX,
            admits_old_clients: true,
        }
    }
}

/// What a client says, of a form that was asked for.
struct Claim<'a> {
    user: &'a str,
    algorithm: Algorithm,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    /// The count, and that with the rest as they are written. Not of old clients.
    counted: Option<(u32, Counted<'a>)>,
}

impl<'a> Claim<'a> {
    fn read(parameters: &'a Parameters, settings: &Settings) -> Result<Self, Fault> {
        parameters.need("realm")?;
        let user = parameters.need("username")?;
        if user.is_empty() {
            return Err(Fault::Missing("username"));
        }
        if user.len() > DIGEST_USER_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        if parameters.is_true("userhash") {
            return Err(Fault::UserHash);
        }
        // Who names none means MD5 (RFC 7616, section 3.3).
        let algorithm = Algorithm::parse(parameters.get("algorithm").unwrap_or("MD5"))
            .filter(|algorithm| settings.algorithms.contains(algorithm))
            .ok_or(Fault::Algorithm)?;
        let response = parameters.need("response")?;
        if response.len() != algorithm.digits() || !response.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fault::Response);
        }
        let counted = match parameters.get("qop") {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let nc = parameters.need("nc")?;
                let cnonce = parameters.need("cnonce")?;
                Some((count(nc)?, Counted { nc, cnonce, qop }))
            }
            None if settings.admits_old_clients && algorithm == Algorithm::Md5 => None,
            Some(_) | None => return Err(Fault::Quality),
        };
        Ok(Self {
            user,
            algorithm,
            nonce: parameters.need("nonce")?,
            uri: parameters.need("uri")?,
            response,
            counted,
        })
    }

    fn proof(&self, method: &'a str) -> Proof<'a> {
        Proof {
            method,
            uri: self.uri,
            nonce: self.nonce,
            counted: self.counted.as_ref().map(|(_, counted)| *counted),
        }
    }
}

/// Eight hexadecimal digits (RFC 7616, section 3.4); of clients that write fewer, fewer. The first use is 1.
fn count(text: &str) -> Result<u32, Fault> {
    let is_count = text.len() <= COUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = u32::from_str_radix(text, 16)
        .ok()
        .filter(|count| is_count && *count > 0);
    count.ok_or(Fault::Count)
}

const COUNT_DIGITS: usize = 8;
