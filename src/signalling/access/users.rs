//! Who may register which number: by password, or anybody on this host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use moqswitch_calls::{Number, Text};
use moqswitch_sip::digest::{Algorithm, Ha1};
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Semaphore;

use super::token::TokenKey;
use crate::limits::{
    LOGIN_BACK_OFF, LOGIN_BACK_OFF_MAX, LOGIN_FAILURES_FREE, LOGIN_FAILURES_MAX, PASSWORD_CHECKS_MAX,
    PASSWORD_CHECKS_WAITING_MAX,
};
use crate::outward::{Callback, Verdict};

/// Those who may register, by number.
#[derive(Clone, Default)]
pub struct Users(BTreeMap<Number, User>);

/// By what devices are let in. Without any of it: whoever comes from this host, as any number, and nobody else.
#[derive(Clone, Debug, Default)]
pub struct Entrance {
    /// Passwords, by number.
    pub users: Option<Users>,
    /// Tokens, beside passwords or instead of them.
    pub tokens: Option<TokenKey>,
    /// A program that says who may register, where neither of these does.
    pub callback: Option<Callback>,
}

/// Why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The text is no PHC string of Argon2.
    #[error("it is no hash of Argon2: $argon2id$…")]
    Malformed,
    /// The system has no randomness, or the password is too long.
    #[error("the password cannot be hashed")]
    Failed,
}

/// Somebody who may register.
#[derive(Clone)]
pub struct User {
    hash: Arc<str>,
    supervisor: bool,
    name: Option<Text>,
    /// By which telephones of SIP are let in.
    digests: Vec<Ha1>,
}

impl User {
    /// `hash` is a PHC string of Argon2id: `$argon2id$v=19$m=…`.
    ///
    /// # Errors
    /// It is none.
    pub fn new(hash: &str, supervisor: bool) -> Result<Self, HashError> {
        let parsed = PasswordHash::new(hash).map_err(|_| HashError::Malformed)?;
        // Of another algorithm, or without its hash, it would let nobody in.
        if !parsed.algorithm.as_str().starts_with("argon2") || parsed.hash.is_none() {
            return Err(HashError::Malformed);
        }
        Ok(Self {
            hash: hash.into(),
            supervisor,
            name: None,
            digests: Vec::new(),
        })
    }

    /// The same, let in by digests of SIP as well: one of each algorithm.
    pub fn with_digests(self, digests: Vec<Ha1>) -> Self {
        Self { digests, ..self }
    }

    /// The same, shown to others by this name, whatever the device says.
    pub fn named(self, name: Text) -> Self {
        let name = Some(name).filter(|name| !name.is_empty());
        Self { name, ..self }
    }

    /// Of a password that is there in the clear. `about` tells it from other passwords of the installation: with the same
    /// two, it is the same user. It takes tens of milliseconds.
    ///
    /// # Errors
    /// The password is too long.
    pub fn of_password(password: &str, about: &str, supervisor: bool) -> Result<Self, HashError> {
        let digest = digest::digest(&digest::SHA256, about.as_bytes());
        let salt = digest.as_ref().get(..SALT_BYTES).unwrap_or_default();
        Self::new(&hash_with(password, salt)?, supervisor)
    }

    /// Hashes a password, for a configuration.
    ///
    /// # Errors
    /// The system has no randomness, or the password is too long.
    pub fn hash(password: &str) -> Result<String, HashError> {
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| HashError::Failed)?;
        hash_with(password, &salt)
    }
}

impl Users {
    /// Adds one, or takes the place of what was there.
    pub fn insert(&mut self, number: Number, user: User) {
        self.0.insert(number, user);
    }

    /// Takes one out, if it is there.
    pub fn remove(&mut self, number: &Number) {
        self.0.remove(number);
    }

    /// Adds those of another list, which take the place of what was there.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there nobody?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is there such a user, and what does its digest of SIP start from?
    pub(crate) fn digest(&self, number: &Number, algorithm: Algorithm) -> Option<Ha1> {
        let digests = &self.0.get(number)?.digests;
        digests.iter().find(|digest| digest.algorithm() == algorithm).cloned()
    }

    /// The name that others are shown. None: that which the device says.
    pub(crate) fn name(&self, number: &Number) -> Option<&Text> {
        self.0.get(number)?.name.as_ref()
    }

    pub(crate) fn has(&self, number: &Number) -> bool {
        self.0.contains_key(number)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = &Number> {
        self.0.keys()
    }

    /// Is the number's password that by which somebody was let in?
    fn stand_by(&self, number: &Number, proof: Proof) -> bool {
        self.0.get(number).is_some_and(|user| Proof::of(&user.hash) == proof)
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Users").field(&self.0.len()).finish()
    }
}

/// By what somebody was let in, to know whether it would let them in again: by a password with a hash of this SHA-256, or
/// by something else. It says nothing of the password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof(Option<[u8; digest::SHA256_OUTPUT_LEN]>);

impl Proof {
    fn of(hash: &str) -> Self {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, hash.as_bytes()).as_ref());
        Self(Some(bytes))
    }

    /// `None`: by something else than a password.
    pub(crate) fn hexadecimal(self) -> Option<String> {
        let bytes = self.0?;
        Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// As [`hexadecimal`](Self::hexadecimal) wrote it. `None`: it is none.
    pub(crate) fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(Some(bytes)))
    }

    pub(crate) fn is_password(self) -> bool {
        self.0.is_some()
    }
}

/// Somebody is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    /// As a supervisor, who asks to be one?
    pub(crate) supervisor: bool,
    /// The name that others are shown. None: that which the device says.
    pub(crate) name: Option<Text>,
    pub(crate) proof: Proof,
    /// What let it in is valid for so long. None: for as long as it is registered.
    pub(crate) valid_for: Option<Duration>,
}

impl Admission {
    fn of(supervisor: bool) -> Self {
        Self {
            supervisor,
            ..Self::default()
        }
    }
}

/// Who is not let in: why, and the code.
pub(crate) type Refused = (&'static str, u16);

/// By what somebody wants to be let in.
#[derive(Clone, Copy)]
pub(crate) struct Credentials<'a> {
    pub(crate) password: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
    pub(crate) peer: Option<IpAddr>,
}

/// Where devices are let in. Used by one thread.
pub(crate) struct Door {
    /// Whoever is being let in is let in by what was so when it came.
    guard: RefCell<Rc<Guard>>,
    checks: Arc<Semaphore>,
    waiting: Semaphore,
    /// By number and address: who guesses keeps nobody else out.
    failures: RefCell<BTreeMap<Guesser, Failures>>,
}

/// An entrance that is watched.
#[derive(Debug)]
pub(crate) struct Guard {
    entrance: Entrance,
    /// Checked for who is not there, so that it takes as long.
    nobody: Arc<str>,
}

impl Guard {
    /// Takes as long as a check of a password.
    pub(crate) fn new(entrance: Entrance) -> Self {
        let nobody = match &entrance.users {
            Some(_) => User::hash("nobody").unwrap_or_default(),
            None => String::new(),
        };
        let nobody = nobody.into();
        Self { entrance, nobody }
    }

    pub(crate) fn users(&self) -> Option<&Users> {
        self.entrance.users.as_ref()
    }

    /// Is whoever comes from this host let in, as any number?
    pub(crate) fn is_open(&self) -> bool {
        let Entrance {
            users,
            tokens,
            callback,
        } = &self.entrance;
        users.is_none() && tokens.is_none() && callback.is_none()
    }

    /// Whether a device that was let in by a password would be let in by the same again.
    pub(crate) fn knows(&self, dn: &Number, proof: Proof) -> bool {
        self.users().is_some_and(|users| users.stand_by(dn, proof))
    }
}

type Guesser = (Number, Option<IpAddr>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Door {
    pub(crate) fn new(guard: Guard) -> Self {
        Self {
            guard: RefCell::new(Rc::new(guard)),
            checks: Arc::new(Semaphore::new(PASSWORD_CHECKS_MAX)),
            waiting: Semaphore::new(PASSWORD_CHECKS_WAITING_MAX),
            failures: RefCell::default(),
        }
    }

    /// From here on another entrance counts.
    pub(crate) fn replace(&self, guard: Guard) {
        self.guard.replace(Rc::new(guard));
    }

    /// Whether a device that was let in before may come back without being asked again.
    pub(crate) fn stands_by(&self, dn: &Number, proof: Proof, peer: Option<IpAddr>) -> bool {
        let guard = self.guard.borrow();
        if proof.is_password() {
            return guard.knows(dn, proof);
        }
        match guard.is_open() {
            true => is_here(peer),
            false => guard.entrance.tokens.is_some() || guard.entrance.callback.is_some(),
        }
    }

    /// Lets a number's device in, or says why not. Takes as long for numbers that are not there.
    pub(crate) async fn admit(&self, dn: &Number, credentials: Credentials<'_>) -> Result<Admission, Refused> {
        let Credentials { password, token, peer } = credentials;
        let guard = Rc::clone(&self.guard.borrow());
        let Entrance {
            users,
            tokens,
            callback,
        } = &guard.entrance;
        if let (Some(key), Some(token)) = (tokens, token) {
            let checked = key.check(token, dn, key.now());
            return checked
                .map(|(supervisor, left)| Admission {
                    valid_for: Some(left),
                    ..Admission::of(supervisor)
                })
                .ok_or(("Invalid token", 403));
        }
        let is_listed = users.as_ref().is_some_and(|users| users.0.contains_key(dn));
        if let (Some(callback), false) = (callback, is_listed) {
            return self.ask(callback, dn, credentials).await;
        }
        if users.is_none() && tokens.is_some() {
            return Err(("Missing credentials", 401));
        }
        let Some(users) = users else {
            return if is_here(peer) {
                Ok(Admission::of(true))
            } else {
                Err(("Credentials are needed from other hosts", 403))
            };
        };
        let guesser = (dn.clone(), peer);
        self.check_back_off(&guesser)?;
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(("Too many registrations", 429));
        };
        let Some(password) = password else {
            return Err(("Missing credentials", 401));
        };
        let user = users.0.get(dn);
        let hash = user.map_or(&guard.nobody, |user| &user.hash);
        let is_right = self.check(Arc::clone(hash), password.to_owned()).await;
        match user {
            // The entrance may have been replaced meanwhile.
            Some(user) if is_right && self.guard.borrow().knows(dn, Proof::of(&user.hash)) => {
                self.failures.borrow_mut().remove(&guesser);
                Ok(Admission {
                    supervisor: user.supervisor,
                    name: user.name.clone(),
                    proof: Proof::of(&user.hash),
                    valid_for: None,
                })
            }
            Some(_) | None => {
                self.note_failure(&guesser);
                Err(("Invalid credentials", 403))
            }
        }
    }

    /// Lets in whose secret was looked at elsewhere. Who guesses waits here as well.
    pub(crate) fn admit_known(
        &self,
        dn: &Number,
        credentials: Credentials<'_>,
        is_right: bool,
    ) -> Result<Admission, Refused> {
        let guesser = (dn.clone(), credentials.peer);
        self.check_back_off(&guesser)?;
        if credentials.password.is_none() {
            return Err(("Missing credentials", 401));
        }
        if !is_right {
            self.note_failure(&guesser);
            return Err(("Invalid credentials", 403));
        }
        self.failures.borrow_mut().remove(&guesser);
        Ok(Admission::of(false))
    }

    /// Asks a program. Who guesses waits here as well.
    async fn ask(&self, callback: &Callback, dn: &Number, credentials: Credentials<'_>) -> Result<Admission, Refused> {
        let Credentials { password, token, peer } = credentials;
        let guesser = (dn.clone(), peer);
        self.check_back_off(&guesser)?;
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(("Too many registrations", 429));
        };
        match callback.ask(dn, password, token, peer).await {
            Verdict::Admitted { supervisor } => {
                self.failures.borrow_mut().remove(&guesser);
                Ok(Admission::of(supervisor))
            }
            Verdict::Refused => {
                self.note_failure(&guesser);
                Err(("Invalid credentials", 403))
            }
            Verdict::Unknown => Err(("Nobody can say who may register", 503)),
        }
    }

    /// On a thread of its own: it takes tens of milliseconds, on purpose.
    async fn check(&self, hash: Arc<str>, password: String) -> bool {
        let Ok(permit) = Arc::clone(&self.checks).acquire_owned().await else {
            return false;
        };
        let check = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let Ok(hash) = PasswordHash::new(&hash) else {
                return false;
            };
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        });
        check.await.unwrap_or(false)
    }

    fn check_back_off(&self, guesser: &Guesser) -> Result<(), Refused> {
        match self.failures.borrow().get(guesser) {
            Some(failures) if failures.until > Instant::now() => Err(("Too many failed attempts", 429)),
            Some(_) | None => Ok(()),
        }
    }

    fn note_failure(&self, guesser: &Guesser) {
        let mut all = self.failures.borrow_mut();
        let now = Instant::now();
        if all.len() >= LOGIN_FAILURES_MAX && !all.contains_key(guesser) {
            let oldest = all
                .iter()
                .min_by_key(|(_, failures)| failures.until)
                .map(|(guesser, _)| guesser.clone());
            oldest.map(|oldest| all.remove(&oldest));
        }
        let failures = all.entry(guesser.clone()).or_insert(Failures { count: 0, until: now });
        failures.count = failures.count.saturating_add(1);
        let beyond = failures.count.saturating_sub(LOGIN_FAILURES_FREE);
        let wait = LOGIN_BACK_OFF.saturating_mul(beyond).min(LOGIN_BACK_OFF_MAX);
        failures.until = now.checked_add(wait).unwrap_or(now + Duration::from_secs(1));
    }
}

fn is_here(peer: Option<IpAddr>) -> bool {
    peer.is_some_and(|peer| peer.to_canonical().is_loopback())
}

fn hash_with(password: &str, salt: &[u8]) -> Result<String, HashError> {
    let salt = SaltString::encode_b64(salt).map_err(|_| HashError::Failed)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|_| HashError::Failed)?.to_string())
}

/// As RFC 9106, section 3.1 recommends.
const SALT_BYTES: usize = 16;
