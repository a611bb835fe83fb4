//! TLS by boring: the certificates of a server, chosen by SNI, and how a client checks.

use std::fmt;
use std::sync::Arc;

use boring::pkey::{PKey, Private};
use boring::ssl::{AlpnError, NameType, SniError, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use boring::x509::X509;
use boring::x509::store::X509StoreBuilder;

use crate::certificate::ClientAuthorities;

use super::QuicError;

/// One certificate chain and its key.
#[derive(Clone)]
pub struct ServerCertificate {
    chain: Vec<X509>,
    key: PKey<Private>,
}

/// How a client decides whether to trust a server.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The system's roots.
    Roots,
    /// Certificates of these authorities, in DER, and no others.
    Authorities(Arc<[Vec<u8>]>),
    /// A certificate with this SHA-256, and no other (checked after the handshake).
    Sha256([u8; 32]),
    /// Anyone. For tests and load generation only.
    Anyone,
}

/// A TLS context under construction; one is made for each shard.
pub struct TlsContext(SslContextBuilder);

impl fmt::Debug for TlsContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsContext").finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// From DER: the chain, leaf first, and the leaf's key (PKCS #8, RSA or EC).
    pub fn from_der(chain: &[Vec<u8>], key: &[u8]) -> Result<Self, QuicError> {
        let wrong = |error: boring::error::ErrorStack| QuicError::Certificate(error.to_string());
        let chain: Vec<X509> = chain
            .iter()
            .map(|der| X509::from_der(der))
            .collect::<Result<_, _>>()
            .map_err(wrong)?;
        if chain.is_empty() {
            return Err(QuicError::Certificate("the chain is empty".into()));
        }
        let key = PKey::private_key_from_der(key).map_err(wrong)?;
        Ok(Self { chain, key })
    }

    /// Whether a TLS server name is one of the leaf's names (RFC 6125: a wildcard stands
    /// for one label).
    fn covers(&self, name: &str) -> bool {
        let Some(names) = self.chain.first().and_then(|leaf| leaf.subject_alt_names()) else {
            return false;
        };
        names.iter().filter_map(|entry| entry.dnsname()).any(|pattern| {
            pattern.eq_ignore_ascii_case(name)
                || pattern
                    .strip_prefix("*.")
                    .zip(name.split_once('.'))
                    .is_some_and(|(suffix, (_, rest))| suffix.eq_ignore_ascii_case(rest))
        })
    }

    fn install(&self, builder: &mut SslContextBuilder) -> Result<(), boring::error::ErrorStack> {
        let (leaf, intermediates) = self.chain.split_first().expect("from_der refuses an empty chain");
        builder.set_certificate(leaf)?;
        for certificate in intermediates {
            builder.add_extra_chain_cert(certificate.clone())?;
        }
        builder.set_private_key(&self.key)
    }
}

impl TlsContext {
    /// A server with one or more certificates; the first serves clients that name none of
    /// the others.
    pub fn server(certificates: &[ServerCertificate], clients: Option<&ClientAuthorities>) -> Result<Self, QuicError> {
        Self::server_on(context, certificates, clients)
    }

    /// Every certificate gets a context of its own, as a connection takes the callbacks of the one
    /// that its server name leads to.
    fn server_on(
        context: fn() -> Result<SslContextBuilder, QuicError>,
        certificates: &[ServerCertificate],
        clients: Option<&ClientAuthorities>,
    ) -> Result<Self, QuicError> {
        let (first, others) = certificates
            .split_first()
            .ok_or_else(|| QuicError::Certificate("no certificate configured".into()))?;
        let mut builder = context()?;
        first.install(&mut builder)?;
        ask_clients(&mut builder, clients)?;
        if !others.is_empty() {
            let by_name = certificates
                .iter()
                .map(|certificate| {
                    let mut builder = context()?;
                    certificate.install(&mut builder)?;
                    ask_clients(&mut builder, clients)?;
                    Ok((certificate.clone(), builder.build()))
                })
                .collect::<Result<Vec<(ServerCertificate, SslContext)>, QuicError>>()?;
            let by_name = Arc::new(by_name);
            builder.set_servername_callback(move |ssl, _alert| {
                let Some(name) = ssl.servername(NameType::HOST_NAME) else {
                    return Ok(());
                };
                match by_name.iter().find(|(certificate, _)| certificate.covers(name)) {
                    Some((_, context)) => ssl.set_ssl_context(context).map_err(|_| SniError::ALERT_FATAL),
                    None => Ok(()),
                }
            });
        }
        Ok(Self(builder))
    }

    /// A server of HTTP/1.1 over TCP with the same certificates. TLS 1.2 is taken as well: a client
    /// that has no QUIC may be an old one.
    pub fn http_server(
        certificates: &[ServerCertificate],
        clients: Option<&ClientAuthorities>,
    ) -> Result<SslContext, QuicError> {
        let Self(builder) = Self::server_on(http_context, certificates, clients)?;
        Ok(builder.build())
    }

    /// The context that a client dials with, TLS 1.3 alone. A pinned certificate is compared after the handshake.
    pub fn client(trust: &Trust) -> Result<Self, QuicError> {
        Self::client_as(trust, None)
    }

    /// The same, of a client with a certificate of its own.
    pub fn client_as(trust: &Trust, own: Option<&ServerCertificate>) -> Result<Self, QuicError> {
        let mut builder = context()?;
        if let Some(own) = own {
            own.install(&mut builder)?;
        }
        match trust {
            Trust::Roots => {
                builder.set_default_verify_paths()?;
                builder.set_verify(SslVerifyMode::PEER);
            }
            Trust::Authorities(authorities) => {
                let mut store = X509StoreBuilder::new()?;
                for der in &**authorities {
                    let wrong =
                        |error: boring::error::ErrorStack| QuicError::Certificate(format!("of an authority: {error}"));
                    store.add_cert(X509::from_der(der).map_err(wrong)?).map_err(wrong)?;
                }
                builder.set_cert_store(store.build());
                builder.set_verify(SslVerifyMode::PEER);
            }
            Trust::Sha256(_) | Trust::Anyone => builder.set_verify(SslVerifyMode::NONE),
        }
        Ok(Self(builder))
    }

    pub(super) fn into_builder(self) -> SslContextBuilder {
        self.0
    }
}

/// Asks clients for a certificate, if somebody may issue them.
fn ask_clients(builder: &mut SslContextBuilder, clients: Option<&ClientAuthorities>) -> Result<(), QuicError> {
    let Some(clients) = clients else { return Ok(()) };
    let wrong = |error: boring::error::ErrorStack| QuicError::Certificate(format!("of a client authority: {error}"));
    let mut store = X509StoreBuilder::new()?;
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for der in &clients.certificates {
        let certificate = X509::from_der(der).map_err(wrong)?;
        builder.add_client_ca(&certificate).map_err(wrong)?;
        store.add_cert(certificate).map_err(wrong)?;
        digest.update(der);
    }
    builder.set_cert_store(store.build());
    // A session that is resumed brings its certificate along: not one that others have let in.
    builder.set_session_id_context(digest.finish().as_ref())?;
    let mut mode = SslVerifyMode::PEER;
    if clients.is_required {
        mode |= SslVerifyMode::FAIL_IF_NO_PEER_CERT;
    }
    builder.set_verify(mode);
    Ok(())
}

/// As ALPN has it, with its length in front.
const HTTP_ALPN: &[u8] = b"\x08http/1.1";

fn context() -> Result<SslContextBuilder, QuicError> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    Ok(builder)
}

fn http_context() -> Result<SslContextBuilder, QuicError> {
    let mut builder = context()?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_alpn_select_callback(|_, offered| {
        // A client that offers others only is served HTTP/1.1 nevertheless.
        boring::ssl::select_next_proto(HTTP_ALPN, offered)
            .filter(|chosen| *chosen == &HTTP_ALPN[1..])
            .ok_or(AlpnError::NOACK)
    });
    Ok(builder)
}
