//! Connections to those who are asked by HTTP: TLS, plain TCP on this host, or a unix socket.
#![forbid(unsafe_code)]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fs, io};

use anyhow::Context as _;
use axum::http::Uri;
use boring::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_boring::SslStream;
use tower::Service;

use crate::config::ServiceUrl;

/// Makes connections to one place, whatever is asked for.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Place>);

/// What TLS is done with.
pub(crate) struct Credentials<'a> {
    /// PEM file with the authorities that the server's certificate may be of. `None`: those of the system.
    pub(crate) ca: Option<&'a Path>,
    /// PEM files of the certificate that is shown if it is asked for, and of its key.
    pub(crate) own: Option<(&'a Path, &'a Path)>,
}

enum Place {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, tls: SslConnector },
    Unix(PathBuf),
}

/// A connection.
pub(crate) enum Transport {
    Tcp(TokioIo<TcpStream>),
    Tls(Box<TokioIo<SslStream<TcpStream>>>),
    Unix(TokioIo<UnixStream>),
}

impl Connector {
    pub(crate) fn new(url: &ServiceUrl, credentials: &Credentials<'_>) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(match url.clone() {
            ServiceUrl::Http { host, port, .. } => Place::Tcp { host, port },
            ServiceUrl::Unix(path) => Place::Unix(path),
            ServiceUrl::Https { host, port, .. } => {
                let tls = credentials.connector()?;
                Place::Tls { host, port, tls }
            }
        })))
    }
}

impl Credentials<'_> {
    /// What is read for a connector, the system's bundle included where that is who is believed.
    pub(crate) fn files(&self) -> [Option<&Path>; 3] {
        let (certificate, key) = self.own.unzip();
        [self.ca.or(system_bundle()), certificate, key]
    }

    /// What connections are made with.
    pub(crate) fn connector(&self) -> anyhow::Result<SslConnector> {
        let mut tls = SslConnector::builder(SslMethod::tls())?;
        self.install(&mut tls)?;
        Ok(tls.build())
    }

    fn install(&self, tls: &mut SslConnectorBuilder) -> anyhow::Result<()> {
        match self.ca {
            Some(ca) => {
                let read = fs::metadata(ca).map_err(anyhow::Error::new);
                read.and_then(|_| Ok(tls.set_ca_file(ca)?))
                    .with_context(|| format!("cannot use {}", ca.display()))?;
            }
            None => {
                if let Some(path) = system_bundle() {
                    tls.set_ca_file(path)
                        .with_context(|| format!("cannot use {}", path.display()))?;
                }
            }
        }
        if let Some((certificate, key)) = self.own {
            tls.set_certificate_chain_file(certificate)
                .with_context(|| format!("cannot use {}", certificate.display()))?;
            tls.set_private_key_file(key, SslFiletype::PEM)
                .with_context(|| format!("cannot use {}", key.display()))?;
        }
        Ok(())
    }
}

impl Place {
    async fn connect(&self) -> io::Result<Transport> {
        let tcp = async |host: &str, port: u16| {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        match self {
            Self::Tcp { host, port } => Ok(Transport::Tcp(TokioIo::new(tcp(host, *port).await?))),
            Self::Unix(path) => Ok(Transport::Unix(TokioIo::new(UnixStream::connect(path).await?))),
            Self::Tls { host, port, tls } => {
                let configuration = tls.configure().map_err(io::Error::other)?;
                let stream = tcp(host, *port).await?;
                let stream = tokio_boring::connect(configuration, host, stream).await;
                let stream = stream.map_err(|error| io::Error::other(error.to_string()))?;
                Ok(Transport::Tls(Box::new(TokioIo::new(stream))))
            }
        }
    }
}

impl Service<Uri> for Connector {
    type Response = Transport;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let place = Arc::clone(&self.0);
        Box::pin(async move { place.connect().await })
    }
}

impl Connection for Transport {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Write for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

fn system_bundle() -> Option<&'static Path> {
    SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists())
}

/// Where Debian, Red Hat and Alpine have theirs. BoringSSL knows none of them by itself.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];
