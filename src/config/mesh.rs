//! The mesh: which other relays there are, and how they are dialled.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use moqswitch_proto::limits::VARINT_MAX;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::layers::Layers;
use super::store::{StoreConfig, store};
use super::{ConfigError, values};

/// The other relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshConfig {
    /// Those that are dialled.
    pub peers: Vec<PeerUrl>,
    /// Where further ones are found. `None`: nowhere.
    pub source: Option<PeerSource>,
    /// File with the token that is shown to those whose URL has none. `None`: none is shown.
    pub token_file: Option<PathBuf>,
    /// Who may issue their certificates. `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Files of the certificate and of the key that are shown to whoever asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Their certificates are not looked at.
    pub is_insecure: bool,
    /// There is a mesh even if nobody is dialled.
    pub is_accepting: bool,
    /// What carries messages about calls. `None`: calls are of this machine alone.
    pub store: Option<StoreConfig>,
}

impl MeshConfig {
    /// Whether this relay is part of a mesh.
    pub fn is_on(&self) -> bool {
        self.is_accepting || self.dials()
    }

    /// Whether it dials.
    pub fn dials(&self) -> bool {
        !self.peers.is_empty() || self.source.is_some()
    }
}

/// Where peers are found besides those that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerSource {
    /// A file with a JSON array of URLs, or of objects with `url`, `cost` and `token`. Read again when it changes.
    File(PathBuf),
    /// Every address of a name is a peer.
    Dns {
        /// The name.
        name: String,
        /// The port of all of them.
        port: u16,
    },
}

impl FromStr for PeerSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("dns:") else {
            return match text {
                "" => Err("write a file, or dns:name:port".to_owned()),
                text if text.contains("://") => Err("write a file, or dns:name:port; URLs are not asked".to_owned()),
                path => Ok(Self::File(path.into())),
            };
        };
        let (name, port) = rest.rsplit_once(':').ok_or("write dns:name:port")?;
        match (name, port.parse()) {
            ("", _) | (_, Err(_)) => Err("write dns:name:port".to_owned()),
            (name, Ok(port)) => Ok(Self::Dns {
                name: name.to_owned(),
                port,
            }),
        }
    }
}

/// Where another relay is: `moql://host:port/path?cost=2` for raw QUIC, `https://` for WebTransport.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerUrl {
    /// Without the query: what it is called in reports.
    pub name: String,
    /// A name or an address.
    pub host: String,
    /// The UDP port.
    pub port: u16,
    /// Path and query of the session, the token in it.
    pub target: String,
    /// Whether the session is one of WebTransport.
    pub is_web: bool,
    /// What the link costs. `None`: what the other relay declares.
    pub cost: Option<u64>,
    /// What its certificate is for; usually the host.
    pub server_name: String,
}

impl PeerUrl {
    /// The host as URLs have it.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// The same with a token, if it has none of its own.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        let has_one = self
            .target
            .split_once('?')
            .is_some_and(|(_, query)| query.split('&').any(|part| part.starts_with("jwt=")));
        if !has_one {
            let mark = if self.target.contains('?') { '&' } else { '?' };
            // A token is base64url and dots, which need no escape; a file may hold anything.
            let escaped = utf8_percent_encode(token, NON_ALPHANUMERIC).to_string();
            let plain = token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            self.target = format!("{}{mark}jwt={}", self.target, if plain { token } else { &escaped });
        }
        self
    }

    /// The same at a price.
    #[must_use]
    pub fn with_cost(self, cost: Option<u64>) -> Self {
        Self {
            cost: cost.or(self.cost),
            ..self
        }
    }
}

/// The token is in the query.
impl fmt::Debug for PeerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl FromStr for PeerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("write moql://host:port for raw QUIC, or https://host:port for WebTransport")?;
        let is_web = match scheme {
            "moql" => false,
            "https" => true,
            other => {
                return Err(format!(
                    "`{other}` is not dialled: moql:// is raw QUIC, https:// is WebTransport"
                ));
            }
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        if authority.contains('@') || target.contains('#') || text.contains(char::is_whitespace) {
            return Err("no user, no fragment and no space, please".to_owned());
        }
        let (host, port) = split(authority, if is_web { HTTPS_PORT } else { MOQ_PORT })?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut cost = None;
        let mut kept = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.strip_prefix("cost=") {
                Some(text) => {
                    cost = Some(values::integer(text, 0..=VARINT_MAX).map_err(|error| format!("cost: {error}"))?)
                }
                None => kept.push(part),
            }
        }
        let path = if path.is_empty() { "/" } else { path };
        let query = kept.join("&");
        Ok(Self {
            name: format!("{scheme}://{authority}{}", path.trim_end_matches('/')),
            server_name: host.clone(),
            host,
            port,
            target: if query.is_empty() {
                path.to_owned()
            } else {
                format!("{path}?{query}")
            },
            is_web,
            cost,
        })
    }
}

fn split(authority: &str, default: u16) -> Result<(String, u16), String> {
    let wrong = || "write host:port, with brackets about an IPv6 address".to_owned();
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<IpAddr>().map_err(|_| wrong())?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    if host.is_empty() {
        return Err(wrong());
    }
    let port = match port {
        "" => default,
        text => text.parse().map_err(|_| wrong())?,
    };
    Ok((host.to_owned(), port))
}

pub(super) fn mesh(layers: &Layers) -> Result<MeshConfig, ConfigError> {
    let peers = layers.list("cluster.peers", str::parse)?.unwrap_or_default();
    let certificate = layers.optional("cluster.certificate", values::path)?;
    let key = layers.optional("cluster.key", values::path)?;
    let refuse = |key: &'static str, reason: String| ConfigError::Value {
        at: layers.source(key),
        key,
        text: String::new(),
        reason,
    };
    if certificate.is_some() != key.is_some() {
        let (key, other) = match key {
            None => ("cluster.certificate", "cluster.key"),
            Some(_) => ("cluster.key", "cluster.certificate"),
        };
        return Err(refuse(key, format!("set `{other}` too")));
    }
    if peers.len() > PEERS_MAX {
        return Err(refuse("cluster.peers", format!("at most {PEERS_MAX}")));
    }
    Ok(MeshConfig {
        peers,
        source: layers.optional("cluster.peers_from", str::parse)?,
        token_file: layers.optional("cluster.token_file", values::path)?,
        ca: layers.optional("cluster.ca", values::path)?,
        identity: certificate.zip(key),
        is_insecure: layers.one("cluster.insecure", values::boolean)?,
        is_accepting: layers.one("cluster.accept", values::boolean)?,
        store: store(layers)?,
    })
}

/// Other relays that one dials. With more the configuration, or the list, is refused.
pub const PEERS_MAX: usize = 256;

const HTTPS_PORT: u16 = 443;
const MOQ_PORT: u16 = 4443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_how_and_at_what_price() {
        let url: PeerUrl = "moql://relay.example:4444/eu?cost=3&jwt=a.b-c".parse().unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.is_web, url.cost),
            ("relay.example", 4444, false, Some(3))
        );
        assert_eq!(url.target, "/eu?jwt=a.b-c");
        assert_eq!(url.name, "moql://relay.example:4444/eu");
        assert_eq!(format!("{url:?}"), "moql://relay.example:4444/eu", "no token in a log");
        let url: PeerUrl = "https://[::1]".parse().unwrap();
        assert_eq!(
            (url.authority().as_str(), url.target.as_str(), url.cost),
            ("[::1]:443", "/", None)
        );
    }

    #[test]
    fn a_token_of_its_own_comes_first() {
        let url = |text: &str| text.parse::<PeerUrl>().unwrap().with_token("t.o.k");
        assert_eq!(url("moql://a").target, "/?jwt=t.o.k");
        assert_eq!(url("moql://a/?x=1").target, "/?x=1&jwt=t.o.k");
        assert_eq!(url("moql://a/?jwt=own").target, "/?jwt=own");
    }

    #[test]
    fn what_is_no_peer_is_refused_with_what_to_write() {
        for text in [
            "relay:4443",
            "wss://relay",
            "moql://",
            "moql://u@h",
            "moql://h:x",
            "moql://h/?cost=-1",
            "moql://::1",
            "moql://h/#f",
        ] {
            assert!(text.parse::<PeerUrl>().is_err(), "{text}");
        }
        assert_eq!(
            "dns:relays.example:4443".parse(),
            Ok(PeerSource::Dns {
                name: "relays.example".into(),
                port: 4443
            })
        );
        assert!("dns:relays".parse::<PeerSource>().is_err() && "https://x/".parse::<PeerSource>().is_err());
    }
}
