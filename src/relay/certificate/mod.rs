//! Certificates: the development certificate made when none is configured, PEM pairs loaded from disk,
//! and the SHA-256 fingerprint clients pin. Also what `moqswitch check` asks of a pair.
//!
//! Begin with [`CertificatePair::load`]: two files go in, DER comes out, as
//! [`RelayOptions::certificates`](crate::RelayOptions::certificates) takes it. [`CertificatePair::inspect`] says for whom
//! and how long it is good, before anybody connects. Without files, [`DevelopmentCertificate::generate`] makes a pair that
//! browsers accept by its [`fingerprint`].

mod client;
mod pair;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};

pub use client::ClientAuthorities;
pub use pair::{CertificateFiles, CertificatePair, Inspection, KeyKind, KeyMatch, PairError, PrivateKey};

/// A self-signed certificate that WebTransport's `serverCertificateHashes` accepts:
/// ECDSA P-256, valid for less than 14 days.
#[derive(Clone)]
pub struct DevelopmentCertificate {
    /// The certificate, in PEM.
    pub certificate_pem: String,
    /// The certificate, in DER.
    pub certificate_der: Vec<u8>,
    /// PKCS #8.
    pub key_pem: String,
    /// The key, PKCS #8 in DER.
    pub key_der: Vec<u8>,
}

impl DevelopmentCertificate {
    /// Names `localhost`, the loopback addresses and the specific addresses listened on.
    pub fn generate(listen: &[SocketAddr], now: SystemTime) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "moqswitch development certificate");
        parameters.subject_alt_names = subject_names(listen)?;
        // Clients' clocks run behind; start in their past.
        parameters.not_before = (now - CLOCK_SKEW_ALLOWED).into();
        parameters.not_after = (now - CLOCK_SKEW_ALLOWED + DEVELOPMENT_VALIDITY).into();
        let certificate = parameters.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate_der: certificate.der().to_vec(),
            key_pem: key.serialize_pem(),
            key_der: key.serialize_der(),
        })
    }

    /// SHA-256 of the certificate, in lowercase hexadecimal, as clients pin it.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.certificate_der)
    }
}

/// SHA-256 of a DER certificate, lowercase hexadecimal.
pub fn fingerprint(certificate_der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate_der);
    digest
        .as_ref()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0x0f])
        .filter_map(|nibble| char::from_digit(u32::from(nibble), 16))
        .collect()
}

fn subject_names(listen: &[SocketAddr]) -> Result<Vec<SanType>, rcgen::Error> {
    let mut addresses: Vec<IpAddr> = vec![
        IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    ];
    for address in listen.iter().map(|address| address.ip().to_canonical()) {
        if !address.is_unspecified() && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut names = vec![SanType::DnsName("localhost".try_into()?)];
    names.extend(addresses.into_iter().map(SanType::IpAddress));
    Ok(names)
}

/// `serverCertificateHashes` refuses a validity of more than 14 days.
pub const DEVELOPMENT_VALIDITY: Duration = Duration::from_secs(13 * 24 * 60 * 60);

const CLOCK_SKEW_ALLOWED: Duration = Duration::from_secs(60 * 60);
