//! The keys that tokens are checked by: one, or a set of which tokens name one.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::auth::limits::KEYS_MAX;

use super::claims::Claims;
use super::jwt::Jwt;
use super::key::{self, Key, KeyError, KeyPrint};
use super::members::Members;
use super::refusal::Refusal;

/// Keys that have been read, for verifying: of pairs the public halves. They do not change; others take their place. There
/// may be none, so that each token is refused until there is one.
#[derive(Clone, Debug)]
pub struct Keys(Kind);

/// A token whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// The key that it was signed by.
    pub key: KeyPrint,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Of a file with a single key: a token need not name it.
    One(Box<Key>),
    /// A token must name one, unless there is only one without a name.
    Set {
        named: BTreeMap<String, Key>,
        unnamed: Vec<Key>,
    },
}

/// Why keys are not taken; none of them is then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// One of them is none.
    #[error("key {name}: {error}")]
    Key {
        /// Its name, or its number from 0 on.
        name: String,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The text is neither a key nor a set.
    #[error("{0}")]
    Text(#[from] KeyError),
    /// The set is not a list.
    #[error("`keys` is not a list of keys")]
    NoList,
    /// Two keys have one name.
    #[error("two keys have the name {0}")]
    Twice(String),
    /// A key calls itself something else than its file does.
    #[error("the key of the file {file} has the `kid` {id}")]
    Named {
        /// The name of the file without its ending.
        file: String,
        /// What the key says.
        id: String,
    },
    /// There are more than [`KEYS_MAX`].
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
}

impl Keys {
    /// The text of a file: one key (a JWK), or a set of them (a JWKS).
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut members = key::parse_members(text)?;
        let Some(keys) = members.take("keys") else {
            let key = Key::from_members(members)?;
            return Ok(Self(Kind::One(Box::new(key.into_verifying()))));
        };
        let Value::Array(values) = keys else {
            return Err(KeysError::NoList);
        };
        let keys = values.into_iter().enumerate().map(|(index, value)| {
            let key = Members::of(value).ok_or(KeyError::Syntax).and_then(Key::from_members);
            key.map_err(|error| KeysError::Key {
                name: index.to_string(),
                error,
            })
        });
        Self::set(keys)
    }

    /// The files of a directory, each with one key: the name without `.jwk`, and the text. The name is the key's.
    pub fn of_files(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, KeysError> {
        let keys = files.into_iter().map(|(file, text)| {
            let key = key::check_id(&file).and_then(|()| Key::parse(&text));
            let mut key = key.map_err(|error| KeysError::Key {
                name: file.clone(),
                error,
            })?;
            match key.id.replace(file.clone()) {
                Some(id) if id != file => Err(KeysError::Named { file, id }),
                _ => Ok(key),
            }
        });
        Self::set(keys)
    }

    fn set(keys: impl Iterator<Item = Result<Key, KeysError>>) -> Result<Self, KeysError> {
        let (mut named, mut unnamed) = (BTreeMap::new(), Vec::new());
        for key in keys {
            let key = key?.into_verifying();
            if named.len() + unnamed.len() == KEYS_MAX {
                return Err(KeysError::TooMany);
            }
            let Some(id) = key.id.clone() else {
                unnamed.push(key);
                continue;
            };
            if named.insert(id.clone(), key).is_some() {
                return Err(KeysError::Twice(id));
            }
        }
        Ok(Self(Kind::Set { named, unnamed }))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        let (one, set) = match &self.0 {
            Kind::One(key) => (Some(&**key), None),
            Kind::Set { named, unnamed } => (None, Some(named.values().chain(unnamed))),
        };
        one.into_iter().chain(set.into_iter().flatten())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether one of them is this key, and may verify.
    pub fn has(&self, print: KeyPrint) -> bool {
        self.iter().any(|key| key.may_verify() && key.print() == print)
    }

    /// Whether a token names one of these keys. It need not be signed by it.
    pub fn is_named_by(&self, token: &str) -> bool {
        let Ok(jwt) = Jwt::parse(token) else { return false };
        jwt.key_id
            .is_some_and(|id| self.iter().any(|key| key.id() == Some(id.as_ref())))
    }

    /// What a token says, if a key of these has signed it and may grant so much. Of time nothing is checked here, see
    /// [`Claims::grant`].
    pub fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        self.check(token, || true).map(|verified| verified.claims)
    }

    /// As [`Self::verify`]. `may_compute` is asked when all is right but for the signature, which costs some ten to some
    /// hundred microseconds to check. It is not checked if the answer is no.
    pub fn check(&self, token: &str, may_compute: impl FnOnce() -> bool) -> Result<Verified, Refusal> {
        let jwt = Jwt::parse(token)?;
        let key = self.choose(jwt.key_id.as_deref())?;
        if !key.may_verify() {
            return Err(Refusal::NotForVerifying);
        }
        // The key decides how a token is to be signed, never the token.
        if jwt.algorithm != key.algorithm {
            return Err(Refusal::AlgorithmMismatch);
        }
        if !key.may_be_signature(&jwt.signature) {
            return Err(Refusal::Signature);
        }
        if !may_compute() {
            return Err(Refusal::TooManyChecks);
        }
        if !key.is_signed_by(jwt.signed.as_bytes(), &jwt.signature) {
            return Err(Refusal::Signature);
        }
        let claims = Claims::parse(&jwt.claims()?)?;
        key.check_scope(&claims)?;
        let key = key.print();
        Ok(Verified { claims, key })
    }

    fn choose(&self, id: Option<&str>) -> Result<&Key, Refusal> {
        match (&self.0, id) {
            (Kind::One(key), _) => Ok(key),
            (Kind::Set { named, .. }, Some(id)) => named.get(id).ok_or(Refusal::UnknownKey),
            (Kind::Set { .. }, None) => {
                let mut keys = self.iter();
                let first = keys.next().ok_or(Refusal::UnknownKey)?;
                keys.next().is_none().then_some(first).ok_or(Refusal::NoKeyId)
            }
        }
    }
}

impl Key {
    /// Each pattern must be contained in one of the scope.
    pub(super) fn check_scope(&self, claims: &Claims) -> Result<(), Refusal> {
        let is_within = self
            .scope
            .as_ref()
            .is_none_or(|scope| scope.publish.cover(&claims.publish) && scope.subscribe.cover(&claims.subscribe));
        is_within.then_some(()).ok_or(Refusal::ScopeExceeded)
    }
}
