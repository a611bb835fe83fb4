//! Trunks: ways to carriers and PBXs, by SIP.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use moqswitch_signalling::calls::Number;
use moqswitch_signalling::sip::agent::Trunk;
use moqswitch_signalling::sip::digest::Secret;
use moqswitch_signalling::sip::flow::{Flow, Transport};
use moqswitch_signalling::{SrtpPolicy, TrunkSettings};
use serde::Deserialize;
use toml::Spanned;

use crate::limits::{PROGRAMS_BYTES_MAX, TRUNKS_MAX};

use super::file::{Document, FileError};
use super::secret;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    trunks: BTreeMap<Spanned<String>, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `host:port`. A name is looked up once, at the start.
    address: Spanned<String>,
    /// Of its addresses. Default: the host of `address`.
    domain: Option<String>,
    #[serde(default)]
    tcp: bool,
    #[serde(default)]
    user: String,
    login: Option<String>,
    secret_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    register: bool,
    /// Seconds. 0: never.
    ping: Option<u16>,
    #[serde(default)]
    trusted: bool,
    /// As `sip.srtp`. Default: that.
    srtp: Option<Srtp>,
    /// Calls are from `user`, whoever calls. Default: those of a trunk that is registered with.
    from_line: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Srtp {
    Off,
    Accept,
    Offer,
    Require,
}

impl From<Srtp> for SrtpPolicy {
    fn from(srtp: Srtp) -> Self {
        match srtp {
            Srtp::Off => Self::Off,
            Srtp::Accept => Self::Accept,
            Srtp::Offer => Self::Offer,
            Srtp::Require => Self::Require,
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<TrunkSettings>, FileError> {
    let (document, File { trunks }) = Document::read::<File>(path, PROGRAMS_BYTES_MAX)?;
    if trunks.len() > TRUNKS_MAX {
        return Err(FileError::new(path, None, format!("has more than {TRUNKS_MAX} trunks")));
    }
    trunks
        .iter()
        .map(|(name, entry)| trunk(&document, name, entry))
        .collect()
}

fn trunk(document: &Document, name: &Spanned<String>, entry: &Entry) -> Result<TrunkSettings, FileError> {
    let number = Number::new(name.get_ref()).map_err(|error| document.fault(name.span(), error.to_string()))?;
    let address = entry.address.get_ref();
    let found = address.to_socket_addrs().ok().and_then(|mut found| found.next());
    let peer: SocketAddr = found.ok_or_else(|| {
        let reason = format!("`address`: {address} is no host:port that can be found");
        document.fault(entry.address.span(), reason)
    })?;
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let secret = match &entry.secret_file {
        None => None,
        Some(file) => Some(Secret::Password(
            secret::read(&document.beside(file.get_ref()), 1)
                .map_err(|error| document.fault(file.span(), format!("`secret_file`: {error}")))?,
        )),
    };
    if entry.register && (entry.user.is_empty() || secret.is_none()) {
        let reason = format!("{}: `register` needs `user` and `secret_file`", name.get_ref());
        return Err(document.fault(name.span(), reason));
    }
    let target = Flow {
        transport: if entry.tcp { Transport::Tcp } else { Transport::Udp },
        peer,
        connection: 0,
    };
    let domain = entry.domain.as_deref().unwrap_or(host);
    Ok(TrunkSettings {
        number,
        srtp: entry.srtp.map(SrtpPolicy::from),
        trunk: Trunk {
            login: entry.login.clone(),
            secret,
            registers: entry.register.then_some(REGISTERED),
            ping: Duration::from_secs(entry.ping.unwrap_or(PING_S).into()),
            is_trusted: entry.trusted,
            is_from_line: entry.from_line.unwrap_or(entry.register),
            ..Trunk::to(target, domain, &entry.user)
        },
    })
}

/// How long a registration is asked for.
const REGISTERED: Duration = Duration::from_secs(600);
/// Between questions whether a trunk is there, in seconds.
const PING_S: u16 = 30;
