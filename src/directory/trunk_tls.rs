//! TLS to trunks: whom they have to be, and who we show ourselves to be.

use std::fmt;
use std::io;
use std::path::Path;

use boring::ssl::SslConnector;
use moqswitch_signalling::{Encrypted, Encrypting, TrunkEncryption};
use tokio::net::TcpStream;

use crate::connector::Credentials;

/// What a trunk is connected to with.
pub(super) struct TrunkTls {
    connector: SslConnector,
    /// What its certificate has to be for.
    host: String,
}

impl TrunkTls {
    /// `ca`: who may issue its certificate; none: whom the system believes. `own`: files of ours, and of its key.
    pub(super) fn new(host: &str, ca: Option<&Path>, own: Option<(&Path, &Path)>) -> anyhow::Result<Self> {
        Ok(Self {
            connector: Credentials { ca, own }.connector()?,
            host: host.to_owned(),
        })
    }
}

impl TrunkEncryption for TrunkTls {
    fn connect(&self, stream: TcpStream) -> Encrypting {
        let (configuration, host) = (self.connector.configure(), self.host.clone());
        Box::pin(async move {
            let configuration = configuration.map_err(io::Error::other)?;
            let stream = tokio_boring::connect(configuration, &host, stream).await;
            let stream = stream.map_err(|error| io::Error::other(error.to_string()))?;
            Ok(Encrypted {
                stream: Box::new(stream),
                names: Vec::new(),
            })
        })
    }
}

impl fmt::Debug for TrunkTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TrunkTls to {}", self.host)
    }
}
