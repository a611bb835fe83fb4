//! The side that is asked: of a carrier, by which we register and make calls.
//!
//! A nonce is used as long as the other side takes it, with a count that goes up, so most requests are asked nothing. A
//! challenge to what was answered already ends the request, unless the nonce alone was at fault: never an endless loop.

use super::algorithm::Algorithm;
use super::ha1::Ha1;
use super::parameters::{Fault, Parameters, quote};
use super::response::{Counted, Proof};
use crate::limits::{DIGEST_CHALLENGES_MAX, DIGEST_REALMS_MAX, DIGEST_TRIES_MAX};

/// What a user is known by. `Debug` does not show it.
#[derive(Clone)]
pub enum Secret {
    /// For whichever realm asks.
    Password(String),
    /// For one realm, and challenges of one algorithm.
    Hash {
        /// As the other side writes it.
        realm: String,
        /// Of that realm.
        ha1: Ha1,
    },
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A server, by a 401.
    Server,
    /// A proxy on the way, by a 407.
    Proxy,
}

impl Place {
    /// The header that the challenges stand in.
    pub const fn asking(self) -> &'static str {
        match self {
            Self::Server => "WWW-Authenticate",
            Self::Proxy => "Proxy-Authenticate",
        }
    }

    /// The header that the answer stands in.
    pub const fn answering(self) -> &'static str {
        match self {
            Self::Server => "Authorization",
            Self::Proxy => "Proxy-Authorization",
        }
    }
}

/// A header to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Whom it is for; [`Place::answering`] is the header's name.
    pub place: Place,
    /// The header's value.
    pub value: String,
}

/// Why a request is at its end: its 401 or 407 is the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUp {
    /// Nothing that was asked can be answered.
    #[error("no challenge that can be answered")]
    Unsupported,
    /// The answer was refused: the user or the password is wrong.
    #[error("the credentials were refused")]
    Refused,
    /// More than [`DIGEST_TRIES_MAX`] challenges.
    #[error("asked too often for one request")]
    TooMany,
}

/// One user of one carrier, and what that asked last.
#[derive(Debug)]
pub struct Client {
    user: String,
    secret: Secret,
    /// The oldest is the first.
    known: Vec<Known>,
}

/// One request, from when it is first sent until it is answered otherwise than by a challenge.
#[derive(Debug, Default)]
pub struct Attempt {
    tries: u32,
    answered: Vec<Answered>,
}

impl Client {
    /// `user` is the name for authentication, which need not be the number.
    pub fn new(user: &str, secret: Secret) -> Self {
        Self {
            user: user.to_owned(),
            secret,
            known: Vec::new(),
        }
    }

    /// What goes along with a request before anybody asks: an answer to each nonce that was good last time. Empty when there
    /// is none yet. Each time the request is sent anew, but for retransmissions, this or [`Client::answer`] is called.
    ///
    /// An ACK has the headers of its INVITE as they were (RFC 3261, section 22.1), and CANCEL none.
    pub fn begin(&mut self, attempt: &mut Attempt, method: &str, uri: &str, cnonce: &str) -> Vec<Credentials> {
        let (user, secret) = (&self.user, &self.secret);
        let mut all = Vec::with_capacity(self.known.len());
        attempt.forget_what_was_sent();
        for known in &mut self.known {
            // Without `qop` a nonce is good for the request that was asked.
            if !known.challenge.has_qop && !attempt.was_asked(known) {
                continue;
            }
            if let Some(value) = known.answer(user, secret, method, uri, cnonce) {
                attempt.note_sent(known);
                all.push(Credentials {
                    place: known.place,
                    value,
                });
            }
        }
        all
    }

    /// What to send after a 401 or 407: the request once more, with the same Call-ID, the next `CSeq` (RFC 3261,
    /// section 22.2) and these headers, which take the place of those before. `challenges` are the values of
    /// [`Place::asking`]; of a realm's the strongest is answered. `cnonce` is random text.
    ///
    /// # Errors
    /// The request has failed.
    pub fn answer(
        &mut self,
        attempt: &mut Attempt,
        place: Place,
        challenges: &[&str],
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> Result<Vec<Credentials>, GiveUp> {
        attempt.tries += 1;
        if attempt.tries > DIGEST_TRIES_MAX {
            return Err(GiveUp::TooMany);
        }
        let best = self.choose(challenges);
        if best.is_empty() {
            return Err(GiveUp::Unsupported);
        }
        for challenge in best {
            let before = self.forget(place, &challenge.realm);
            attempt.take_challenge(place, &challenge)?;
            if self.known.len() >= DIGEST_REALMS_MAX {
                self.known.remove(0);
            }
            // Another request may have been asked the same.
            let same = before.filter(|before| before.challenge.nonce == challenge.nonce);
            self.known.push(Known {
                place,
                challenge,
                count: same.map_or(0, |before| before.count),
            });
        }
        Ok(self.begin(attempt, method, uri, cnonce))
    }

    /// Of each realm the strongest that can be answered; of two alike the first.
    fn choose(&self, challenges: &[&str]) -> Vec<Challenge> {
        let mut best: Vec<Challenge> = Vec::new();
        let readable = challenges.iter().take(DIGEST_CHALLENGES_MAX);
        for challenge in readable.filter_map(|text| Challenge::parse(text).ok()) {
            if !self.secret.answers(&challenge) {
                continue;
            }
            match best.iter_mut().find(|other| other.realm == challenge.realm) {
                Some(other) if challenge.algorithm > other.algorithm => *other = challenge,
                Some(_) => {}
                None => best.push(challenge),
            }
        }
        best.truncate(DIGEST_REALMS_MAX);
        best
    }

    fn forget(&mut self, place: Place, realm: &str) -> Option<Known> {
        let is_it = |known: &Known| known.place == place && known.challenge.realm == realm;
        let index = self.known.iter().position(is_it)?;
        Some(self.known.remove(index))
    }
}

/// What a realm asked last of a request, or was answered without having asked.
#[derive(Debug)]
struct Answered {
    place: Place,
    realm: String,
    nonce: String,
    /// The nonce is of a challenge to this very request.
    is_fresh: bool,
    /// The answer went along when the request was sent last.
    is_sent: bool,
}

impl Attempt {
    /// May this be answered?
    fn take_challenge(&mut self, place: Place, challenge: &Challenge) -> Result<(), GiveUp> {
        if let Some(before) = self.of_realm(place, &challenge.realm)
            && before.is_sent
        {
            // A nonce that was good for other requests need not be good any more, whether or not that is said. A fresh one
            // is at fault only if that is said. None is if it is asked for again.
            if before.nonce == challenge.nonce || (before.is_fresh && !challenge.is_stale) {
                return Err(GiveUp::Refused);
            }
        }
        self.note(place, challenge, true, false);
        Ok(())
    }

    fn forget_what_was_sent(&mut self) {
        for before in &mut self.answered {
            before.is_sent = false;
        }
    }

    fn note_sent(&mut self, known: &Known) {
        self.note(known.place, &known.challenge, self.was_asked(known), true);
    }

    fn note(&mut self, place: Place, challenge: &Challenge, is_fresh: bool, is_sent: bool) {
        self.answered
            .retain(|before| before.place != place || before.realm != challenge.realm);
        self.answered.push(Answered {
            place,
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            is_fresh,
            is_sent,
        });
    }

    /// Was this nonce given for this request?
    fn was_asked(&self, known: &Known) -> bool {
        self.of_realm(known.place, &known.challenge.realm)
            .is_some_and(|before| before.is_fresh && before.nonce == known.challenge.nonce)
    }

    fn of_realm(&self, place: Place, realm: &str) -> Option<&Answered> {
        let mut all = self.answered.iter();
        all.find(|before| before.place == place && before.realm == realm)
    }
}

/// A challenge that was taken, and how often it was answered.
#[derive(Debug)]
struct Known {
    place: Place,
    challenge: Challenge,
    count: u32,
}

impl Known {
    /// `None`: the count is at its end, and so is the nonce.
    fn answer(&mut self, user: &str, secret: &Secret, method: &str, uri: &str, cnonce: &str) -> Option<String> {
        self.count = self.count.checked_add(1)?;
        let challenge = &self.challenge;
        let nc = format!("{:08x}", self.count);
        let counted = challenge.has_qop.then_some(Counted {
            nc: &nc,
            cnonce,
            qop: "auth",
        });
        let nonce = &challenge.nonce;
        let proof = Proof {
            method,
            uri,
            nonce,
            counted,
        };
        let response = proof.response(&secret.ha1(user, challenge));
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quote(user),
            quote(&challenge.realm),
            quote(nonce),
            quote(uri),
        );
        if challenge.names_algorithm {
            value += &format!(", algorithm={}", challenge.algorithm.name());
        }
        if challenge.has_qop {
            value += &format!(", cnonce={}, qop=auth, nc={nc}", quote(cnonce));
        }
        if let Some(opaque) = &challenge.opaque {
            value += &format!(", opaque={}", quote(opaque));
        }
        Some(value)
    }
}

/// A challenge that can be answered.
#[derive(Debug)]
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// Whoever names none gets none back: it may be so old that it knows no such parameter.
    names_algorithm: bool,
    has_qop: bool,
    is_stale: bool,
}

impl Challenge {
    fn parse(value: &str) -> Result<Self, Fault> {
        let parameters = Parameters::parse(value)?;
        let algorithm = parameters.get("algorithm");
        // RFC 7616, section 3.3: none means MD5, and several words of `qop` are alternatives.
        let qop = parameters.get("qop");
        let is_offered = |qop: &str| qop.split(',').any(|word| word.trim().eq_ignore_ascii_case("auth"));
        if qop.is_some_and(|qop| !is_offered(qop)) {
            return Err(Fault::Quality);
        }
        Ok(Self {
            realm: parameters.need("realm")?.to_owned(),
            nonce: parameters.need("nonce")?.to_owned(),
            opaque: parameters.get("opaque").map(str::to_owned),
            algorithm: Algorithm::parse(algorithm.unwrap_or("MD5")).ok_or(Fault::Algorithm)?,
            names_algorithm: algorithm.is_some(),
            has_qop: qop.is_some(),
            is_stale: parameters.is_true("stale"),
        })
    }
}

impl Secret {
    fn answers(&self, challenge: &Challenge) -> bool {
        match self {
            Self::Password(_) => true,
            Self::Hash { realm, ha1 } => *realm == challenge.realm && ha1.algorithm() == challenge.algorithm,
        }
    }

    fn ha1(&self, user: &str, challenge: &Challenge) -> Ha1 {
        match self {
            Self::Password(password) => Ha1::of(challenge.algorithm, user, &challenge.realm, password),
            Self::Hash { ha1, .. } => ha1.clone(),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret")
    }
}
