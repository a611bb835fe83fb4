//! Keys of tokens, as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037): what moq-token and moq-auth write, old and new.

use std::fmt;

use boring::bn::BigNum;
use boring::ec::{EcGroup, EcKey};
use boring::nid::Nid;
use ring::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use ring::{digest, hmac, signature};
use serde_json::Value;

use crate::auth::limits::{
    KEY_ID_BYTES_MAX, KEY_TEXT_BYTES_MAX, RSA_MODULUS_BYTES_MAX, RSA_MODULUS_BYTES_MIN, SECRET_BYTES_MIN,
};

use super::algorithm::Algorithm;
use super::base64;
use super::members::Members;
use super::patterns::{Granted, PatternsError, Prefixes};

/// One key. What it holds of secrets is not shown by `Debug`.
#[derive(Clone)]
pub struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) id: Option<String>,
    pub(super) operations: Operations,
    pub(super) material: Material,
    /// What tokens of the key may grant at most.
    pub(super) scope: Option<Granted>,
    /// The JWK, to be written again.
    pub(super) written: Value,
    print: KeyPrint,
    /// It was read with what must not become known. A key that only verifies lets go of that.
    is_private: bool,
}

/// What tells one key from another: its numbers, its algorithm and its scope, but not its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyPrint([u8; 32]);

/// What `key_ops` allows. Both, when it is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operations {
    pub(super) sign: bool,
    pub(super) verify: bool,
}

#[derive(Clone)]
pub(super) enum Material {
    Secret(Vec<u8>),
    /// The point without compression, and the private scalar.
    Curve {
        point: Vec<u8>,
        private: Option<Vec<u8>>,
    },
    Edwards {
        public: Vec<u8>,
        seed: Option<Vec<u8>>,
    },
    Rsa {
        public: RsaPublicKeyComponents<Vec<u8>>,
        private: Option<RsaPrivate>,
    },
}

#[derive(Clone)]
pub(super) struct RsaPrivate {
    pub(super) exponent: Vec<u8>,
    pub(super) primes: [Vec<u8>; 2],
    /// `dp`, `dq` and `qi`.
    pub(super) remainders: [Vec<u8>; 3],
}

/// Why a text is no key that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each has its text")]
pub enum KeyError {
    #[error("longer than {KEY_TEXT_BYTES_MAX} bytes")]
    TooLong,
    #[error("no JSON object, and no base64url of one; or a member comes twice")]
    Syntax,
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` is not what a key has there")]
    Invalid(&'static str),
    #[error("`alg` is not known: {0}")]
    Algorithm(super::algorithm::UnknownAlgorithm),
    #[error("`{algorithm}` does not go with this `kty` and `crv`")]
    Mismatch { algorithm: Algorithm },
    #[error("the secret `k` has less than {SECRET_BYTES_MIN} bytes")]
    ShortSecret,
    #[error("the modulus `n` has not 2048 to 8192 bits, or is even")]
    Modulus,
    #[error("the exponent `e` is even, 1, or longer than 33 bits")]
    Exponent,
    #[error("`x` and `y` are no point on the curve")]
    Point,
    #[error("`kid` has other characters than letters, digits, `-` and `_`, or more than {KEY_ID_BYTES_MAX}")]
    Id,
    #[error("`use` is not `sig`")]
    Use,
    #[error("`scope`: {0}")]
    Scope(#[from] PatternsError),
    #[error("`scope` has the member `{0}`, which is not known and may narrow it")]
    UnknownScope(String),
    #[error("some parts of the private key are missing")]
    PrivateIncomplete,
}

impl Key {
    /// Reads a JWK, as JSON or, as older writers have it, as base64url of that.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let members = parse_members(text)?;
        Self::from_members(members)
    }

    pub(super) fn from_members(mut members: Members) -> Result<Self, KeyError> {
        let written = members.to_value();
        let algorithm: Algorithm = take_text(&mut members, "alg")?.parse().map_err(KeyError::Algorithm)?;
        let id = members.take("kid").map(key_id).transpose()?;
        let operations = match members.take("key_ops") {
            None => Operations {
                sign: true,
                verify: true,
            },
            Some(value) => operations(&value)?,
        };
        if members.take("use").is_some_and(|value| value != "sig") {
            return Err(KeyError::Use);
        }
        let scope = match members.take("scope") {
            None => None,
            Some(value) => Some(scope(value)?),
        };
        let material = Material::take(&mut members, algorithm)?;
        Ok(Self {
            print: print_of(algorithm, &material, scope.as_ref()),
            is_private: material.is_private(),
            material,
            algorithm,
            id,
            operations,
            scope,
            written,
        })
    }

    /// Without what only signing needs.
    pub(super) fn into_verifying(mut self) -> Self {
        if let Value::Object(members) = &mut self.written
            && !matches!(self.material, Material::Secret(_))
        {
            members.retain(|name, _| !PRIVATE_MEMBERS.contains(&name.as_str()));
        }
        match &mut self.material {
            Material::Secret(_) => {}
            Material::Curve { private, .. } => *private = None,
            Material::Edwards { seed, .. } => *seed = None,
            Material::Rsa { private, .. } => *private = None,
        }
        self
    }

    /// The same for two keys of the same numbers, algorithm and scope.
    pub fn print(&self) -> KeyPrint {
        self.print
    }

    /// How its tokens are signed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name by which tokens refer to it.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether tokens are to be checked by it. One that may not refuses them.
    pub fn may_verify(&self) -> bool {
        self.operations.verify
    }

    /// Whether it was read with what must not become known: a secret, or the private half of a pair.
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// Whether a signature has the one length that those of the key have. Others are not worth a computation.
    pub(super) fn may_be_signature(&self, given: &[u8]) -> bool {
        let bytes = match (self.algorithm, &self.material) {
            (_, Material::Rsa { public, .. }) => public.n.len(),
            (Algorithm::HS256, _) => 32,
            (Algorithm::HS384, _) => 48,
            (Algorithm::ES384, _) => 96,
            _ => 64,
        };
        given.len() == bytes
    }

    pub(super) fn is_signed_by(&self, message: &[u8], given: &[u8]) -> bool {
        let result = match (&self.material, self.algorithm) {
            (Material::Secret(secret), algorithm) => hmac_of(algorithm)
                .ok_or(ring::error::Unspecified)
                .and_then(|hash| hmac::verify(&hmac::Key::new(hash, secret), message, given)),
            (Material::Curve { point, .. }, Algorithm::ES256) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, given)
            }
            (Material::Curve { point, .. }, _) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, given)
            }
            (Material::Edwards { public, .. }, _) => {
                UnparsedPublicKey::new(&signature::ED25519, public).verify(message, given)
            }
            (Material::Rsa { public, .. }, algorithm) => rsa_of(algorithm)
                .ok_or(ring::error::Unspecified)
                .and_then(|parameters| public.verify(parameters, message, given)),
        };
        result.is_ok()
    }
}

/// Of a secret, too; so it is not shown.
impl fmt::Debug for KeyPrint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPrint")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Key")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Material {
    fn take(members: &mut Members, algorithm: Algorithm) -> Result<Self, KeyError> {
        let kind = take_text(members, "kty")?;
        match (kind.as_str(), algorithm) {
            ("oct", Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) => {
                let secret = take_bytes(members, "k")?;
                if secret.len() < SECRET_BYTES_MIN {
                    return Err(KeyError::ShortSecret);
                }
                Ok(Self::Secret(secret))
            }
            ("EC", Algorithm::ES256) => take_curve(members, algorithm, "P-256", Nid::X9_62_PRIME256V1, 32),
            ("EC", Algorithm::ES384) => take_curve(members, algorithm, "P-384", Nid::SECP384R1, 48),
            ("OKP", Algorithm::EdDSA) => {
                expect_curve(members, algorithm, "Ed25519")?;
                Ok(Self::Edwards {
                    public: take_exactly(members, "x", 32)?,
                    seed: take_optional(members, "d", |members| take_exactly(members, "d", 32))?,
                })
            }
            ("RSA", algorithm) if rsa_of(algorithm).is_some() => take_rsa(members),
            ("oct" | "EC" | "OKP" | "RSA", _) => Err(KeyError::Mismatch { algorithm }),
            _ => Err(KeyError::Invalid("kty")),
        }
    }

    fn is_private(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::Curve { private, .. } => private.is_some(),
            Self::Edwards { seed, .. } => seed.is_some(),
            Self::Rsa { private, .. } => private.is_some(),
        }
    }
}

fn print_of(algorithm: Algorithm, material: &Material, scope: Option<&Granted>) -> KeyPrint {
    let algorithm = algorithm.to_string();
    let scope = scope.map_or_else(String::new, |scope| format!("{}\n{}", scope.publish, scope.subscribe));
    let (first, second): (&[u8], &[u8]) = match material {
        Material::Secret(secret) => (secret, &[]),
        Material::Curve { point, .. } => (point, &[]),
        Material::Edwards { public, .. } => (public, &[]),
        Material::Rsa { public, .. } => (&public.n, &public.e),
    };
    let mut context = digest::Context::new(&digest::SHA256);
    // Each part with its length, so that none runs into the next.
    for part in [algorithm.as_bytes(), scope.as_bytes(), first, second] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut print = [0; 32];
    print.copy_from_slice(context.finish().as_ref());
    KeyPrint(print)
}

/// The object in a text that is JSON, or base64url of it.
pub(super) fn parse_members(text: &str) -> Result<Members, KeyError> {
    if text.len() > KEY_TEXT_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    let text = text.trim();
    let members = match text.starts_with('{') {
        true => Members::parse(text.as_bytes()),
        false => base64::decode(text).and_then(|json| Members::parse(&json)),
    };
    members.ok_or(KeyError::Syntax)
}

/// Checks the name of a key: safe in the name of a file.
pub(super) fn check_id(id: &str) -> Result<(), KeyError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_good = (1..=KEY_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_allowed);
    is_good.then_some(()).ok_or(KeyError::Id)
}

fn key_id(value: Value) -> Result<String, KeyError> {
    match value {
        Value::String(id) => check_id(&id).map(|()| id),
        _ => Err(KeyError::Id),
    }
}

fn operations(value: &Value) -> Result<Operations, KeyError> {
    let invalid = KeyError::Invalid("key_ops");
    let names = value.as_array().ok_or_else(|| invalid.clone())?;
    if !names.iter().all(Value::is_string) {
        return Err(invalid);
    }
    Ok(Operations {
        sign: names.iter().any(|name| name == "sign"),
        verify: names.iter().any(|name| name == "verify"),
    })
}

fn scope(value: Value) -> Result<Granted, KeyError> {
    let mut members = Members::of(value).ok_or(KeyError::Invalid("scope"))?;
    let granted = Granted::take(&mut members, Prefixes::Many)?;
    match members.left() {
        Some(name) => Err(KeyError::UnknownScope(name.to_owned())),
        None => Ok(granted),
    }
}

fn take_curve(
    members: &mut Members,
    algorithm: Algorithm,
    curve: &'static str,
    nid: Nid,
    length: usize,
) -> Result<Material, KeyError> {
    expect_curve(members, algorithm, curve)?;
    let (x, y) = (take_exactly(members, "x", length)?, take_exactly(members, "y", length)?);
    check_point(nid, &x, &y).map_err(|_| KeyError::Point)?;
    let point = [&[UNCOMPRESSED], &x[..], &y[..]].concat();
    let private = take_optional(members, "d", |members| take_exactly(members, "d", length))?;
    Ok(Material::Curve { point, private })
}

/// A key with another point verifies nothing. `ring` finds that only with each signature.
fn check_point(curve: Nid, x: &[u8], y: &[u8]) -> Result<(), boring::error::ErrorStack> {
    let group = EcGroup::from_curve_name(curve)?;
    let (x, y) = (BigNum::from_slice(x)?, BigNum::from_slice(y)?);
    EcKey::from_public_key_affine_coordinates(&group, &x, &y)?.check_key()
}

fn expect_curve(members: &mut Members, algorithm: Algorithm, curve: &str) -> Result<(), KeyError> {
    match take_text(members, "crv")? == curve {
        true => Ok(()),
        false => Err(KeyError::Mismatch { algorithm }),
    }
}

fn take_rsa(members: &mut Members) -> Result<Material, KeyError> {
    let public = RsaPublicKeyComponents {
        n: take_number(members, "n")?,
        e: take_number(members, "e")?,
    };
    // No zeros stand in front, so the shortest modulus has its top bit set if it has all its bits.
    let is_whole = public.n.len() > RSA_MODULUS_BYTES_MIN || public.n.first().is_some_and(|first| first >> 7 == 1);
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
    let lengths = RSA_MODULUS_BYTES_MIN..=RSA_MODULUS_BYTES_MAX;
    if !lengths.contains(&public.n.len()) || !is_whole || !is_odd(&public.n) {
        return Err(KeyError::Modulus);
    }
    // The bounds of `ring`, which would refuse each signature.
    let is_longer = match public.e[..] {
        [first, _, _, _, _] => first > 1,
        _ => public.e.len() > 5,
    };
    if is_longer || !is_odd(&public.e) || public.e == [1] {
        return Err(KeyError::Exponent);
    }
    if members.has("oth") {
        return Err(KeyError::Invalid("oth"));
    }
    let private = take_optional(members, "d", |members| {
        Ok(RsaPrivate {
            exponent: take_number(members, "d")?,
            primes: [take_number(members, "p")?, take_number(members, "q")?],
            remainders: [
                take_number(members, "dp")?,
                take_number(members, "dq")?,
                take_number(members, "qi")?,
            ],
        })
    })
    .map_err(|error| match error {
        KeyError::Missing(_) => KeyError::PrivateIncomplete,
        error => error,
    })?;
    Ok(Material::Rsa { public, private })
}

/// `None` if the member `name` is not there.
fn take_optional<T>(
    members: &mut Members,
    name: &str,
    take: impl FnOnce(&mut Members) -> Result<T, KeyError>,
) -> Result<Option<T>, KeyError> {
    match members.has(name) {
        true => take(members).map(Some),
        false => Ok(None),
    }
}

fn take_text(members: &mut Members, name: &'static str) -> Result<String, KeyError> {
    match members.take(name) {
        None => Err(KeyError::Missing(name)),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(KeyError::Invalid(name)),
    }
}

fn take_bytes(members: &mut Members, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let text = take_text(members, name)?;
    // Some older writers padded.
    base64::decode(text.trim_end_matches('=')).ok_or(KeyError::Invalid(name))
}

fn take_exactly(members: &mut Members, name: &'static str, length: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = take_bytes(members, name)?;
    match bytes.len() == length {
        true => Ok(bytes),
        false => Err(KeyError::Invalid(name)),
    }
}

/// A number without zeros in front.
fn take_number(members: &mut Members, name: &'static str) -> Result<Vec<u8>, KeyError> {
    let mut bytes = take_bytes(members, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    match bytes.is_empty() {
        true => Err(KeyError::Invalid(name)),
        false => Ok(bytes),
    }
}

pub(super) fn hmac_of(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa_of(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// What a point without compression begins with (SEC 1, section 2.3.3).
pub(super) const UNCOMPRESSED: u8 = 4;

/// What only the owner of a pair has (RFC 7518, sections 6.2.2 and 6.3.2; RFC 8037, section 2).
pub(super) const PRIVATE_MEMBERS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];
