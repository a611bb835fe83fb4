//! TLS on the TCP side. One port serves TLS and plain HTTP: the first byte of a connection tells
//! them apart, as no HTTP request begins with that of a TLS handshake.

use std::pin::Pin;
use std::sync::Arc;
use std::{fmt, io};

use boring::nid::Nid;
use boring::ssl::{Ssl, SslContext};
use boring::x509::X509Ref;
use moqswitch_signalling::{Duplex, Encrypted, Encrypting, Encryption};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_boring::{SslStream, SslStreamBuilder};

use crate::limits;

/// How connections are secured.
#[derive(Clone)]
pub struct Tls {
    /// The certificates, by server name; connections that begin after a change get the new ones.
    pub context: watch::Receiver<SslContext>,
    /// Connections that begin otherwise are dropped.
    pub is_required: bool,
}

impl Tls {
    /// Shakes hands. `None`: it failed, and the connection is gone.
    pub(super) async fn accept(&self, stream: TcpStream) -> Option<SslStream<TcpStream>> {
        let ssl = Ssl::new(&self.context.borrow()).ok()?;
        match SslStreamBuilder::new(ssl, stream).accept().await {
            Ok(stream) => Some(stream),
            Err(error) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
        }
    }
}

/// What connections of telephones and trunks are accepted with.
#[derive(Clone)]
pub struct StreamContext {
    /// The same certificates.
    pub context: SslContext,
    /// Who issues those of trunks (DER), which are known by the names in them. None: they are not.
    pub authorities: Option<Arc<[Vec<u8>]>>,
}

/// What encrypts streams of telephones, as it is now.
#[derive(Clone)]
pub struct StreamTls(pub watch::Receiver<StreamContext>);

impl Encryption for StreamTls {
    fn accept(&self, stream: TcpStream) -> Encrypting {
        let mut seen = self.0.clone();
        let StreamContext { context, authorities } = seen.borrow().clone();
        let ssl = Ssl::new(&context);
        Box::pin(async move {
            let ssl = ssl.map_err(io::Error::other)?;
            let stream = SslStreamBuilder::new(ssl, stream).accept().await;
            let stream = stream.map_err(|error| io::Error::other(error.to_string()))?;
            let shown = stream.ssl().peer_certificate().filter(|_| authorities.is_some());
            let names = shown.as_deref().map(names_of).unwrap_or_default();
            let stream = Box::new(stream) as Box<dyn Duplex>;
            let is_named = !names.is_empty();
            let distrusted: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
                let others = |other: &StreamContext| other.authorities != authorities;
                if !is_named || seen.wait_for(others).await.is_err() {
                    std::future::pending::<()>().await;
                }
            });
            Ok(Encrypted {
                stream,
                names,
                distrusted,
            })
        })
    }
}

/// Whom a certificate is of (RFC 5922, section 7.1): the domains of `sip:` that it names, or names of DNS where there are none, or the
/// common name where it names nothing else.
fn names_of(certificate: &X509Ref) -> Vec<String> {
    let Some(alternatives) = certificate.subject_alt_names() else {
        let common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
        return common.filter_map(|entry| host_of(entry.data().as_slice())).collect();
    };
    let uris = alternatives.iter().filter_map(|name| name.uri());
    let domains: Vec<String> = uris.filter_map(domain_of).collect();
    if !domains.is_empty() {
        return domains;
    }
    let hosts = alternatives.iter().filter_map(|name| name.dnsname());
    hosts.map(str::to_ascii_lowercase).collect()
}

/// A common name as it is. What would be cut at a zero by some is none, nor is what is no UTF-8.
fn host_of(common: &[u8]) -> Option<String> {
    let name = str::from_utf8(common).ok().filter(|name| !name.contains('\0'));
    name.map(str::to_ascii_lowercase)
}

/// `sip:carrier.example` is a domain; `sip:somebody@carrier.example` is somebody.
fn domain_of(uri: &str) -> Option<String> {
    let (scheme, domain) = uri.split_once(':')?;
    let is_domain = scheme.eq_ignore_ascii_case("sip") && !domain.is_empty() && !domain.contains(['@', ';', '?', ':']);
    is_domain.then(|| domain.to_ascii_lowercase())
}

impl fmt::Debug for StreamTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StreamTls")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("is_required", &self.is_required)
            .finish_non_exhaustive()
    }
}

/// Whether the first record is that of a TLS handshake (RFC 8446, section 5.1). Takes nothing.
pub(super) async fn begins_with_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first == [TLS_HANDSHAKE]
}

/// No delay for small messages, and little in the kernel that what is urgent has to wait behind.
pub(super) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    // A kernel that cannot is only slower.
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(limits::WEBSOCKET_UNSENT_BYTES_MAX);
}

const TLS_HANDSHAKE: u8 = 0x16;

#[cfg(test)]
mod tests {
    use boring::x509::X509;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_is_of_its_sip_domain_or_its_host_or_its_common_name() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let host = |text: &str| SanType::DnsName(text.try_into().unwrap());
        let named = |alternatives: Vec<SanType>, common: &str| {
            let mut parameters = CertificateParams::default();
            parameters.subject_alt_names = alternatives;
            parameters.distinguished_name.push(DnType::CommonName, common);
            let signed = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
            names_of(&X509::from_der(signed.der()).unwrap())
        };
        let names = |alternatives| named(alternatives, "Common.example");
        assert_eq!(names(Vec::new()), ["common.example"]);
        let cut = named(Vec::new(), "carrier.example\0.evil.example");
        assert!(cut.is_empty(), "{cut:?}");
        assert_eq!(names(vec![host("Host.example")]), ["host.example"]);
        let both = vec![
            host("host.example"),
            uri("SIP:Carrier.example"),
            uri("sip:other.example"),
        ];
        assert_eq!(names(both), ["carrier.example", "other.example"]);
        // Somebody is no domain, and what is not of SIP none of ours.
        let people = vec![
            uri("sip:alice@carrier.example"),
            uri("https://carrier.example"),
            host("host.example"),
        ];
        assert_eq!(names(people), ["host.example"]);
        let nobody: Vec<String> = names(vec![uri("sip:alice@carrier.example")]);
        assert!(nobody.is_empty(), "{nobody:?}");
    }
}
