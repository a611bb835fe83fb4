//! Makes tokens and keys: for operators and for tests. Randomness comes from the caller.

use ring::rand::SecureRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RsaEncoding,
};
use ring::{hmac, rsa};
use serde_json::{Map, Value, json};

use super::algorithm::Algorithm;
use super::base64;
use super::claims::Claims;
use super::key::{self, Key, KeyError, Material, RsaPrivate};
use super::refusal::Refusal;

/// Why a token or a key is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each has its text")]
pub enum SignError {
    #[error("the key is not for signing")]
    NotForSigning,
    #[error("the key has no private part")]
    Public,
    #[error("the key is damaged: {0}")]
    Damaged(String),
    #[error("nobody would accept the token: {0}")]
    Refused(#[from] Refusal),
    #[error("the system gave no randomness")]
    Randomness,
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("a secret has no public half")]
    NoPublicHalf,
    #[error("RSA keys are not made here")]
    Rsa,
}

impl From<ring::error::Unspecified> for SignError {
    fn from(_: ring::error::Unspecified) -> Self {
        Self::Randomness
    }
}

impl From<ring::error::KeyRejected> for SignError {
    fn from(error: ring::error::KeyRejected) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl Key {
    /// A token with these claims, a JSON object. They must be ones that would be accepted, but for their time.
    pub fn sign(&self, claims: &str, random: &dyn SecureRandom) -> Result<String, SignError> {
        if !self.operations.sign {
            return Err(SignError::NotForSigning);
        }
        self.check_scope(&Claims::parse(claims.as_bytes())?)?;
        let mut header = json!({ "alg": self.algorithm.to_string(), "typ": "JWT" });
        if let Some(id) = &self.id {
            header["kid"] = id.as_str().into();
        }
        let header = base64::encode(header.to_string().as_bytes());
        let signed = format!("{header}.{}", base64::encode(claims.as_bytes()));
        let signature = self.signature_of(signed.as_bytes(), random)?;
        Ok(format!("{signed}.{}", base64::encode(&signature)))
    }

    /// A new key. `id` is its name. RSA keys are made elsewhere, from their parts.
    pub fn generate(algorithm: Algorithm, id: &str, random: &dyn SecureRandom) -> Result<Self, SignError> {
        let parts = match algorithm {
            Algorithm::HS256 => json!({ "k": base64::encode(&random_bytes::<32>(random)?) }),
            Algorithm::HS384 => json!({ "k": base64::encode(&random_bytes::<48>(random)?) }),
            Algorithm::HS512 => json!({ "k": base64::encode(&random_bytes::<64>(random)?) }),
            Algorithm::ES256 => generate_curve("P-256", 32, &ECDSA_P256_SHA256_FIXED_SIGNING, random)?,
            Algorithm::ES384 => generate_curve("P-384", 48, &ECDSA_P384_SHA384_FIXED_SIGNING, random)?,
            Algorithm::EdDSA => generate_edwards(random)?,
            _ => return Err(SignError::Rsa),
        };
        Self::assemble(algorithm, id, &parts)
    }

    /// An RSA key from its parts, big-endian: `n`, `e`, `d`, `p`, `q`, `dp`, `dq`, `qi`.
    pub fn from_rsa(algorithm: Algorithm, id: &str, parts: &[Vec<u8>; 8]) -> Result<Self, SignError> {
        let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
        let members = names.iter().zip(parts).map(|(name, part)| {
            let part = Value::String(base64::encode(part));
            ((*name).to_owned(), part)
        });
        Self::assemble(algorithm, id, &Value::Object(members.collect()))
    }

    fn assemble(algorithm: Algorithm, id: &str, parts: &Value) -> Result<Self, SignError> {
        let kind = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => "oct",
            Algorithm::ES256 | Algorithm::ES384 => "EC",
            Algorithm::EdDSA => "OKP",
            _ => "RSA",
        };
        let mut written = json!({
            "kty": kind,
            "alg": algorithm.to_string(),
            "kid": id,
            "key_ops": ["sign", "verify"],
        });
        if let (Value::Object(written), Value::Object(parts)) = (&mut written, parts) {
            written.extend(parts.clone());
        }
        Ok(Self::parse(&written.to_string())?)
    }

    /// The key with a scope, a JSON object, that its tokens may not exceed.
    pub fn with_scope(&self, scope: Value) -> Result<Self, SignError> {
        let mut written = self.written.clone();
        written["scope"] = scope;
        Ok(Self::parse(&written.to_string())?)
    }

    /// The JWK, secrets included.
    pub fn to_json(&self) -> String {
        self.written.to_string()
    }

    /// The public half, for those who verify.
    pub fn to_public(&self) -> Result<Self, SignError> {
        if matches!(self.material, Material::Secret(_)) {
            return Err(SignError::NoPublicHalf);
        }
        let is_private = |name: &str| name == "key_ops" || key::PRIVATE_MEMBERS.contains(&name);
        let mut public: Map<String, Value> = match &self.written {
            Value::Object(members) => members.clone(),
            _ => Map::new(),
        };
        public.retain(|name, _| !is_private(name));
        public.insert("key_ops".to_owned(), json!(["verify"]));
        Ok(Self::parse(&Value::Object(public).to_string())?)
    }

    fn signature_of(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, SignError> {
        match &self.material {
            Material::Secret(secret) => {
                let hash = key::hmac_of(self.algorithm).ok_or(SignError::NotForSigning)?;
                Ok(hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec())
            }
            Material::Curve { point, private } => {
                let private = private.as_ref().ok_or(SignError::Public)?;
                let signing = match self.algorithm {
                    Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
                    _ => &ECDSA_P384_SHA384_FIXED_SIGNING,
                };
                let pair = EcdsaKeyPair::from_private_key_and_public_key(signing, private, point, random)?;
                Ok(pair.sign(random, message)?.as_ref().to_vec())
            }
            Material::Edwards { public, seed } => {
                let seed = seed.as_ref().ok_or(SignError::Public)?;
                let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public)?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            Material::Rsa { public, private } => {
                let RsaPrivate {
                    exponent,
                    primes: [p, q],
                    remainders: [dp, dq, qi],
                } = private.clone().ok_or(SignError::Public)?;
                let pair = rsa::KeyPair::from_components(&rsa::KeyPairComponents {
                    public_key: public.clone(),
                    d: exponent,
                    p,
                    q,
                    dP: dp,
                    dQ: dq,
                    qInv: qi,
                })?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(rsa_encoding(self.algorithm), random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

fn generate_curve(
    curve: &str,
    length: usize,
    algorithm: &'static EcdsaSigningAlgorithm,
    random: &dyn SecureRandom,
) -> Result<Value, SignError> {
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, random)?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), random)?;
    let point = pair.public_key().as_ref();
    let (x, y) = point.get(1..).unwrap_or_default().split_at(length);
    // RFC 5915: version 1, then the private scalar as an octet string of its full length.
    let length_byte = u8::try_from(length).unwrap_or_default();
    let private = octets_behind(document.as_ref(), &[2, 1, 1, 4, length_byte], length);
    let private = private.ok_or_else(|| SignError::Damaged("no scalar".to_owned()))?;
    Ok(json!({
        "crv": curve,
        "x": base64::encode(x),
        "y": base64::encode(y),
        "d": base64::encode(private),
    }))
}

fn generate_edwards(random: &dyn SecureRandom) -> Result<Value, SignError> {
    let seed = random_bytes::<32>(random)?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed)?;
    Ok(json!({
        "crv": "Ed25519",
        "x": base64::encode(pair.public_key().as_ref()),
        "d": base64::encode(&seed),
    }))
}

fn octets_behind<'a>(bytes: &'a [u8], marker: &[u8], length: usize) -> Option<&'a [u8]> {
    let at = bytes.windows(marker.len()).position(|window| window == marker)? + marker.len();
    bytes.get(at..at + length)
}

fn random_bytes<const COUNT: usize>(random: &dyn SecureRandom) -> Result<[u8; COUNT], SignError> {
    let mut bytes = [0; COUNT];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

fn rsa_encoding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        _ => &signature::RSA_PSS_SHA512,
    }
}
