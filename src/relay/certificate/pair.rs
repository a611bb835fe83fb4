//! A certificate chain and its private key from PEM, and whether they fit each other.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits;

/// PEM files that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
}

/// What the TLS stack is given. Never printed: no `Debug`.
#[derive(Clone)]
pub struct CertificatePair {
    /// DER, leaf first; never empty.
    pub chain: Vec<Vec<u8>>,
    /// The private key of the leaf.
    pub key: PrivateKey,
}

/// A private key as its file has it. Never printed: no `Debug`.
#[derive(Clone)]
pub struct PrivateKey {
    /// How `der` is laid out.
    pub kind: KeyKind,
    /// The key, in DER.
    pub der: Vec<u8>,
}

/// The layouts of private keys that PEM files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// PKCS #8 (RFC 5208 PrivateKeyInfo), whatever the algorithm.
    Pkcs8,
    /// RFC 8017 RSAPrivateKey.
    Rsa,
    /// RFC 5915 ECPrivateKey.
    EllipticCurve,
}

/// What a pair's leaf certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Subject alternative names, addresses included.
    pub names: Vec<String>,
    /// The certificate is not good before this time.
    pub not_before: SystemTime,
    /// The certificate is not good after this time.
    pub not_after: SystemTime,
    /// Whether the key belongs to the certificate.
    pub key_match: KeyMatch,
}

/// Whether a private key is that of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyMatch {
    /// The public halves are equal.
    Matches,
    /// The public halves differ: TLS would fail.
    Differs,
    /// A kind of key this check cannot compute the public half of.
    Unknown,
}

/// Why files are no certificate with its key. The messages name the file, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// A file is not there or may not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The named file has no certificate in it.
    #[error("{0} holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate(String),
    /// The named file has no private key in it.
    #[error("{0} holds no PEM private key (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey(String),
    /// The named file has a private key that needs a passphrase.
    #[error("{0} holds an encrypted private key; decrypt it first, with `openssl pkey`")]
    EncryptedKey(String),
    /// The first named file has the key of another certificate than that of the second.
    #[error(
        "the private key in {0} belongs to another certificate than that in {1}; pair each certificate with the key it was issued for"
    )]
    OtherKey(String, String),
    /// The named file is not valid PEM; then the fault.
    #[error("{0} is damaged PEM: {1}")]
    Pem(String, String),
    /// The first certificate of the chain cannot be read; the fault.
    #[error("the leaf certificate is damaged: {0}")]
    Leaf(String),
}

impl CertificatePair {
    /// Reads both files and takes the chain and the key out of them. A file above
    /// [`PEM_FILE_BYTES_MAX`](crate::limits::PEM_FILE_BYTES_MAX) is refused unread.
    pub fn load(files: &CertificateFiles) -> Result<Self, PairError> {
        let chain = read_pem(&files.certificate)?;
        let key = read_pem(&files.key)?;
        Self::from_pem(
            &files.certificate.display().to_string(),
            &chain,
            &files.key.display().to_string(),
            &key,
        )
    }

    /// The names are for error messages.
    pub fn from_pem(chain_name: &str, chain: &[u8], key_name: &str, key: &[u8]) -> Result<Self, PairError> {
        let pair = Self {
            chain: certificates(chain_name, chain)?,
            key: private_key(key_name, key)?,
        };
        // What else is wrong with the certificate, TLS or `inspect` says.
        if pair.inspect().is_ok_and(|found| found.key_match == KeyMatch::Differs) {
            return Err(PairError::OtherKey(key_name.to_owned(), chain_name.to_owned()));
        }
        Ok(pair)
    }

    /// SHA-256 of the leaf certificate, in lowercase hexadecimal.
    pub fn fingerprint(&self) -> String {
        let leaf = self.chain.first().map_or(&[][..], Vec::as_slice);
        super::fingerprint(leaf)
    }

    /// What the leaf certificate says, and whether the key fits it. `Leaf` when it cannot be read.
    pub fn inspect(&self) -> Result<Inspection, PairError> {
        let leaf = self.chain.first().map_or(&[][..], Vec::as_slice);
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| PairError::Leaf(error.to_string()))?;
        let names = match leaf.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).collect(),
            Ok(None) => Vec::new(),
            Err(error) => return Err(PairError::Leaf(error.to_string())),
        };
        let certified = leaf.public_key().subject_public_key.data.as_ref();
        Ok(Inspection {
            names,
            not_before: time(leaf.validity().not_before.timestamp()),
            not_after: time(leaf.validity().not_after.timestamp()),
            key_match: match self.key.public() {
                None => KeyMatch::Unknown,
                Some(public) if public == certified => KeyMatch::Matches,
                Some(_) => KeyMatch::Differs,
            },
        })
    }
}

impl PrivateKey {
    /// The public half, encoded as a certificate's subjectPublicKey holds it.
    fn public(&self) -> Option<Vec<u8>> {
        match self.kind {
            KeyKind::Pkcs8 => public_of_pkcs8(&self.der),
            KeyKind::Rsa => {
                let key = rsa::KeyPair::from_der(&self.der).ok()?;
                Some(key.public_key().as_ref().to_vec())
            }
            KeyKind::EllipticCurve => [P256_PARAMETERS, P384_PARAMETERS]
                .iter()
                .find_map(|parameters| public_of_pkcs8(&wrap_ec_key(parameters, &self.der)?)),
        }
    }
}

fn public_of_pkcs8(der: &[u8]) -> Option<Vec<u8>> {
    let random = ring::rand::SystemRandom::new();
    for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(algorithm, der, &random) {
            return Some(key.public_key().as_ref().to_vec());
        }
    }
    if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        return Some(key.public_key().as_ref().to_vec());
    }
    let key = rsa::KeyPair::from_pkcs8(der).ok()?;
    Some(key.public_key().as_ref().to_vec())
}

/// RFC 5208 PrivateKeyInfo around an RFC 5915 ECPrivateKey:
///
/// ```text
/// SEQUENCE { INTEGER 0, SEQUENCE { OID ecPublicKey, OID curve }, OCTET STRING { ECPrivateKey } }
/// ```
fn wrap_ec_key(parameters: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let mut content = vec![0x02, 0x01, 0x00];
    content.extend(der_element(0x30, parameters)?);
    content.extend(der_element(0x04, key)?);
    der_element(0x30, &content)
}

/// Tag, definite length of up to two bytes, content; longer content is no elliptic curve key.
fn der_element(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let mut element = match content.len() {
        0..0x80 => vec![tag, low],
        0x80..0x100 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    element.extend_from_slice(content);
    Some(element)
}

fn private_key(name: &str, pem: &[u8]) -> Result<PrivateKey, PairError> {
    for block in blocks(name, pem)? {
        let kind = match block.label.as_str() {
            "PRIVATE KEY" => KeyKind::Pkcs8,
            "RSA PRIVATE KEY" => KeyKind::Rsa,
            "EC PRIVATE KEY" => KeyKind::EllipticCurve,
            "ENCRYPTED PRIVATE KEY" => return Err(PairError::EncryptedKey(name.to_owned())),
            // openssl writes "EC PARAMETERS" before the key; certificates may share the file.
            _ => continue,
        };
        return Ok(PrivateKey {
            kind,
            der: block.contents,
        });
    }
    Err(PairError::NoKey(name.to_owned()))
}

fn blocks(name: &str, text: &[u8]) -> Result<Vec<Pem>, PairError> {
    Pem::iter_from_buffer(text)
        .collect::<Result<_, _>>()
        .map_err(|error| PairError::Pem(name.to_owned(), error.to_string()))
}

/// The certificates in a text, of which there is one at least.
pub(super) fn certificates(name: &str, text: &[u8]) -> Result<Vec<Vec<u8>>, PairError> {
    let blocks = blocks(name, text)?.into_iter();
    let certificates: Vec<Vec<u8>> = blocks
        .filter(|block| block.label == "CERTIFICATE")
        .map(|block| block.contents)
        .collect();
    match certificates.is_empty() {
        true => Err(PairError::NoCertificate(name.to_owned())),
        false => Ok(certificates),
    }
}

pub(super) fn read_pem(path: &Path) -> Result<Vec<u8>, PairError> {
    let read = || {
        let mut bytes = Vec::new();
        let limit = limits::PEM_FILE_BYTES_MAX;
        let file = fs::File::open(path)?;
        if file.take(limit + 1).read_to_end(&mut bytes)? as u64 > limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(bytes)
    };
    read().map_err(|source| PairError::Read {
        path: path.to_owned(),
        source,
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => std::net::IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                _ => std::net::IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(address.to_string())
        }
        _ => None,
    }
}

/// Times before 1970 count as 1970.
fn time(timestamp: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp).unwrap_or(0))
}

/// OID 1.2.840.10045.2.1 (ecPublicKey), OID 1.2.840.10045.3.1.7 (prime256v1).
const P256_PARAMETERS: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, //
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// OID 1.2.840.10045.2.1 (ecPublicKey), OID 1.3.132.0.34 (secp384r1).
const P384_PARAMETERS: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, //
    0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];
