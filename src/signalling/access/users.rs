//! Who may register which number: by password, or anybody on this host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use moqswitch_calls::Number;
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
}

impl User {
    /// `hash` is a PHC string of Argon2id: `$argon2id$v=19$m=…`.
    ///
    /// # Errors
    /// It is none.
    pub fn new(hash: &str, supervisor: bool) -> Result<Self, HashError> {
        PasswordHash::new(hash).map_err(|_| HashError::Malformed)?;
        Ok(Self {
            hash: hash.into(),
            supervisor,
        })
    }

    /// Hashes a password, for a configuration.
    ///
    /// # Errors
    /// The system has no randomness, or the password is too long.
    pub fn hash(password: &str) -> Result<String, HashError> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| HashError::Failed)?;
        let salt = SaltString::encode_b64(&bytes).map_err(|_| HashError::Failed)?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        Ok(hash.map_err(|_| HashError::Failed)?.to_string())
    }
}

impl Users {
    /// Adds one, or takes the place of what was there.
    pub fn insert(&mut self, number: Number, user: User) {
        self.0.insert(number, user);
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Users").field(&self.0.len()).finish()
    }
}

/// Somebody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// As a supervisor, who asks to be one?
    pub(crate) supervisor: bool,
    /// What let it in is valid for so long. None: for as long as it is registered.
    pub(crate) valid_for: Option<Duration>,
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
    users: Option<Users>,
    tokens: Option<TokenKey>,
    callback: Option<Callback>,
    /// Checked for who is not there, so that it takes as long.
    nobody: Arc<str>,
    checks: Arc<Semaphore>,
    waiting: Semaphore,
    /// By number and address: who guesses keeps nobody else out.
    failures: RefCell<BTreeMap<Guesser, Failures>>,
}

type Guesser = (Number, Option<IpAddr>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Door {
    pub(crate) fn new(users: Option<Users>, tokens: Option<TokenKey>, callback: Option<Callback>) -> Self {
        let nobody = match &users {
            Some(_) => User::hash("nobody").unwrap_or_default(),
            None => String::new(),
        };
        Self {
            users,
            tokens,
            callback,
            nobody: nobody.into(),
            checks: Arc::new(Semaphore::new(PASSWORD_CHECKS_MAX)),
            waiting: Semaphore::new(PASSWORD_CHECKS_WAITING_MAX),
            failures: RefCell::default(),
        }
    }

    /// Lets a number's device in, or says why not. Takes as long for numbers that are not there.
    pub(crate) async fn admit(&self, dn: &Number, credentials: Credentials<'_>) -> Result<Admission, Refused> {
        let Credentials { password, token, peer } = credentials;
        if let (Some(key), Some(token)) = (&self.tokens, token) {
            let checked = key.check(token, dn, SystemTime::now());
            return checked
                .map(|(supervisor, left)| Admission {
                    supervisor,
                    valid_for: Some(left),
                })
                .ok_or(("Invalid token", 403));
        }
        let is_listed = self.users.as_ref().is_some_and(|users| users.0.contains_key(dn));
        if let (Some(callback), false) = (&self.callback, is_listed) {
            return self.ask(callback, dn, credentials).await;
        }
        if self.users.is_none() && self.tokens.is_some() {
            return Err(("Missing credentials", 401));
        }
        let Some(users) = &self.users else {
            return if peer.is_some_and(|peer| peer.to_canonical().is_loopback()) {
                Ok(Admission {
                    supervisor: true,
                    valid_for: None,
                })
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
        let hash = user.map_or(&self.nobody, |user| &user.hash);
        let is_right = self.check(Arc::clone(hash), password.to_owned()).await;
        match user {
            Some(user) if is_right => {
                self.failures.borrow_mut().remove(&guesser);
                Ok(Admission {
                    supervisor: user.supervisor,
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
        Ok(Admission {
            supervisor: false,
            valid_for: None,
        })
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
                Ok(Admission {
                    supervisor,
                    valid_for: None,
                })
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
