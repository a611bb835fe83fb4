//! TLS to trunks: whom they have to be, and who we show ourselves to be.

use std::path::Path;
use std::{fmt, fs, io};

use anyhow::Context;
use boring::sha::Sha256;
use boring::ssl::SslConnector;
use moqswitch_signalling::{Encrypted, Encrypting, TrunkEncryption};
use tokio::net::TcpStream;

use crate::connector::Credentials;

/// What a trunk is connected to with.
pub(super) struct TrunkTls {
    connector: SslConnector,
    /// What its certificate has to be for.
    host: String,
    fingerprint: [u8; 32],
}

impl TrunkTls {
    /// `ca`: who may issue its certificate; none: whom the system believes. `own`: files of ours, and of its key.
    pub(super) fn new(host: &str, ca: Option<&Path>, own: Option<(&Path, &Path)>) -> anyhow::Result<Self> {
        let credentials = Credentials { ca, own };
        let mut fingerprint = Sha256::new();
        let mut count = |bytes: &[u8]| {
            fingerprint.update(&bytes.len().to_be_bytes());
            fingerprint.update(bytes);
        };
        count(host.as_bytes());
        // Before they are loaded: one that changes meanwhile is another one the next time.
        for file in credentials.files() {
            let path = file.map(|path| (path, fs::read(path)));
            let read = path.map(|(path, read)| read.with_context(|| format!("cannot use {}", path.display())));
            count(&read.transpose()?.unwrap_or_default());
        }
        Ok(Self {
            connector: credentials.connector()?,
            host: host.to_owned(),
            fingerprint: fingerprint.finish(),
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
                distrusted: Box::pin(std::future::pending()),
            })
        })
    }

    fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

impl fmt::Debug for TrunkTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TrunkTls to {}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_system_believes_counts_as_what_is_loaded() {
        let bundle = Credentials { ca: None, own: None }.files();
        let Some(bundle) = bundle[0] else { return };
        let print = |ca| TrunkTls::new("carrier.example", ca, None).unwrap().fingerprint;
        assert_eq!(print(None), print(Some(bundle)), "the same bytes");
        let other = std::env::temp_dir().join(format!("moqswitch-bundle-{}.pem", std::process::id()));
        let text = fs::read_to_string(bundle).unwrap();
        fs::write(&other, format!("{text}\n")).unwrap();
        assert_ne!(print(None), print(Some(&other)), "what has changed");
        fs::remove_file(&other).unwrap();
    }
}
