//! TLS on the TCP side. One port serves TLS and plain HTTP: the first byte of a connection tells
//! them apart, as no HTTP request begins with that of a TLS handshake.

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
    /// Trunks are known by the names in theirs.
    pub names_peers: bool,
}

/// What encrypts streams of telephones, as it is now.
#[derive(Clone)]
pub struct StreamTls(pub watch::Receiver<StreamContext>);

impl Encryption for StreamTls {
    fn accept(&self, stream: TcpStream) -> Encrypting {
        let StreamContext { context, names_peers } = self.0.borrow().clone();
        let ssl = Ssl::new(&context);
        Box::pin(async move {
            let ssl = ssl.map_err(io::Error::other)?;
            let stream = SslStreamBuilder::new(ssl, stream).accept().await;
            let stream = stream.map_err(|error| io::Error::other(error.to_string()))?;
            let shown = stream.ssl().peer_certificate().filter(|_| names_peers);
            let names = shown.as_deref().map(names_of).unwrap_or_default();
            let stream = Box::new(stream) as Box<dyn Duplex>;
            Ok(Encrypted { stream, names })
        })
    }
}

/// Whom a certificate is of (RFC 5922, section 7.1): the domains of `sip:` that it names, or names of DNS where there are none, or the
/// common name where it names nothing else.
fn names_of(certificate: &X509Ref) -> Vec<String> {
    let Some(alternatives) = certificate.subject_alt_names() else {
        let common = certificate.subject_name().entries_by_nid(Nid::COMMONNAME);
        let common = common.filter_map(|entry| Some(entry.data().as_utf8().ok()?.to_ascii_lowercase()));
        return common.collect();
    };
    let uris = alternatives.iter().filter_map(|name| name.uri());
    let domains: Vec<String> = uris.filter_map(domain_of).collect();
    if !domains.is_empty() {
        return domains;
    }
    let hosts = alternatives.iter().filter_map(|name| name.dnsname());
    hosts.map(str::to_ascii_lowercase).collect()
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
        let names = |alternatives: Vec<SanType>| {
            let mut parameters = CertificateParams::default();
            parameters.subject_alt_names = alternatives;
            parameters.distinguished_name.push(DnType::CommonName, "Common.example");
            let signed = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
            names_of(&X509::from_der(signed.der()).unwrap())
        };
        assert_eq!(names(Vec::new()), ["common.example"]);
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
