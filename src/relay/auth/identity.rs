//! Who the holder of a client's certificate is. TLS has verified it; here it is only read.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use ring::digest;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a verified certificate of a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The first DNS name, else the common name, else the fingerprint.
    pub name: String,
    /// SHA-256 of the certificate, lowercase hexadecimal.
    pub fingerprint: String,
    /// Until when it is valid.
    pub expires: SystemTime,
    /// The name of who issued it.
    pub issuer: String,
}

impl ClientIdentity {
    /// Of a certificate in DER. `None`: it cannot be read, and says nothing.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, read) = X509Certificate::from_der(certificate).ok()?;
        let fingerprint = digest::digest(&digest::SHA256, certificate);
        let fingerprint = fingerprint.as_ref().iter().fold(String::new(), |mut text, byte| {
            // To write to a text does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let alternative = read.subject_alternative_name().ok().flatten();
        let dns_name = alternative.and_then(|extension| {
            let names = &extension.value.general_names;
            names.iter().find_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
        });
        let common_name = || {
            let mut names = read.subject().iter_common_name();
            names.next()?.as_str().ok().map(str::to_owned)
        };
        let expires = u64::try_from(read.validity().not_after.timestamp()).unwrap_or(0);
        Some(Self {
            name: dns_name.or_else(common_name).unwrap_or_else(|| fingerprint.clone()),
            fingerprint,
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(expires),
            issuer: read.issuer().to_string(),
        })
    }
}
