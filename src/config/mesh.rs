//! The mesh: which other relays there are, and how they are dialled.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use moqswitch_proto::limits::VARINT_MAX;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::layers::Layers;
use super::store::{StoreConfig, store};
use super::{ConfigError, ServiceUrl, values};
use crate::limits;

/// The other relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeshConfig {
    /// Those that are dialled.
    pub peers: Vec<PeerUrl>,
    /// Where further ones are found. `None`: nowhere.
    pub source: Option<PeerSource>,
    /// How often a URL of the source is asked.
    pub interval: Duration,
    /// Who may issue the certificate of that URL. `None`: the system's authorities.
    pub source_ca: Option<PathBuf>,
    /// Where others dial this relay. `None`: it is not said. A list that has it does not make the relay dial itself.
    pub node: Option<PeerUrl>,
    /// What links cost, by where the others are.
    pub prices: Prices,
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

/// What a link costs whose URL has no price of its own, by the regions at its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// Where this relay is. `None`: it is not said.
    pub region: Option<String>,
    /// What is agreed, by region of the other relay.
    pub costs: BTreeMap<String, u64>,
}

impl Prices {
    /// `None`: what the other relay declares.
    fn of(&self, peer: &PeerUrl) -> Option<u64> {
        let other = peer.region.as_deref()?;
        let usual = self.region.as_deref().map(|own| match own == other {
            true => COST_WITHIN,
            false => COST_BETWEEN,
        });
        self.costs.get(other).copied().or(usual)
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
    /// Asked again and again for what the file would have.
    Url(ServiceUrl),
}

impl PeerSource {
    /// For reports, without what may be secret.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Dns { name, port } => format!("dns:{name}:{port}"),
            Self::Url(url) => url.shown(),
        }
    }
}

impl FromStr for PeerSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("dns:") else {
            return match text {
                "" => Err("write a file, dns:name:port, or https://".to_owned()),
                text if text.contains("://") => text.parse().map(Self::Url),
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

/// Where another relay is: `moql://host:port/path?cost=2`, or `moqt://`, for raw QUIC, `https://` for WebTransport.
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
    /// Where it is. `None`: that is not known.
    pub region: Option<String>,
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
        if !self.has_token() {
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

    /// Whether a token is in it.
    pub fn has_token(&self) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|part| part.starts_with("jwt="))
    }

    /// Whether both are of one place, by whatever they are dialled there.
    pub fn is_where(&self, other: &Self) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// Whether both are one peer, however they are spelled.
    pub fn is_same(&self, other: &Self) -> bool {
        let path = |peer: &Self| {
            let path = peer.target.split('?').next().unwrap_or_default();
            path.trim_end_matches('/').to_owned()
        };
        self.is_where(other) && path(self) == path(other)
    }

    /// The same at the price of its region, if it has none.
    #[must_use]
    pub fn priced(self, prices: &Prices) -> Self {
        let cost = self.cost.or_else(|| prices.of(&self));
        // Another region is another peer only where that is another price.
        Self {
            cost,
            region: None,
            ..self
        }
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
            "moql" | "moqt" => false,
            "https" => true,
            other => {
                let other = other.chars().take(SCHEME_SHOWN_MAX).collect::<String>();
                return Err(format!(
                    "`{}` is not dialled: moql:// is raw QUIC, https:// is WebTransport",
                    other.escape_debug()
                ));
            }
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(at);
        if authority.contains('@')
            || target.contains('#')
            || text.contains(|one: char| one.is_whitespace() || one.is_control())
        {
            return Err("no user, no fragment, no space and no control character, please".to_owned());
        }
        let (host, port) = split(authority, if is_web { HTTPS_PORT } else { MOQ_PORT })?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (mut cost, mut place) = (None, None);
        let mut kept = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("cost", text)) => cost = Some(price(text).map_err(|error| format!("cost: {error}"))?),
                Some(("region", text)) => place = Some(region(text).map_err(|error| format!("region: {error}"))?),
                _ => kept.push(part),
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
            region: place,
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
    let peers: Vec<PeerUrl> = layers.list("cluster.peers", str::parse)?.unwrap_or_default();
    let costs = layers.list("cluster.costs", agreed)?.unwrap_or_default();
    let prices = Prices {
        region: layers.optional("cluster.region", region)?,
        costs: costs.iter().cloned().collect(),
    };
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
    for (key, count) in [("cluster.peers", peers.len()), ("cluster.costs", costs.len())] {
        if count > PEERS_MAX {
            return Err(refuse(key, format!("at most {PEERS_MAX}")));
        }
    }
    if prices.costs.len() < costs.len() {
        return Err(refuse("cluster.costs", "one cost for each region".to_owned()));
    }
    Ok(MeshConfig {
        peers: peers.into_iter().map(|peer| peer.priced(&prices)).collect(),
        prices,
        source: layers.optional("cluster.peers_from", str::parse)?,
        interval: layers.one("cluster.peers_interval", interval)?,
        source_ca: layers.optional("cluster.peers_ca", values::path)?,
        node: layers.optional("cluster.node", str::parse)?,
        token_file: layers.optional("cluster.token_file", values::path)?,
        ca: layers.optional("cluster.ca", values::path)?,
        identity: certificate.zip(key),
        is_insecure: layers.one("cluster.insecure", values::boolean)?,
        is_accepting: layers.one("cluster.accept", values::boolean)?,
        store: store(layers)?,
    })
}

fn price(text: &str) -> Result<u64, String> {
    values::integer(text, 0..=VARINT_MAX)
}

fn region(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match (1..=REGION_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_fit) {
        true => Ok(text.to_owned()),
        false => Err(format!("letters, digits, - and _, at most {REGION_BYTES_MAX}")),
    }
}

/// `region=cost`.
fn agreed(text: &str) -> Result<(String, u64), String> {
    let (name, cost) = text.split_once('=').ok_or("write region=cost, such as us=20")?;
    Ok((region(name)?, price(cost)?))
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = values::duration(text, limits::PEER_ASK_INTERVAL_MAX)?;
    match interval < limits::PEER_ASK_INTERVAL_MIN {
        true => Err(format!(
            "at least {}",
            humantime::format_duration(limits::PEER_ASK_INTERVAL_MIN)
        )),
        false => Ok(interval),
    }
}

/// Other relays that one dials. With more the configuration, or the list, is refused.
pub const PEERS_MAX: usize = 256;

/// What a link costs between relays of one region, and of two.
const COST_WITHIN: u64 = 1;
const COST_BETWEEN: u64 = 10;

const REGION_BYTES_MAX: usize = 64;

/// Of a scheme that is none.
const SCHEME_SHOWN_MAX: usize = 32;

const HTTPS_PORT: u16 = 443;
const MOQ_PORT: u16 = 4443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_may_be_spelled_in_several_ways() {
        let url = |text: &str| text.parse::<PeerUrl>().unwrap();
        assert!(url("https://B").is_same(&url("https://b:443/?jwt=x")));
        assert!(url("moql://b:1/eu/").is_same(&url("moqt://b:1/eu?cost=4")));
        assert!(!url("moql://b:1/eu").is_same(&url("moql://b:1/us")));
        assert!(!url("moql://b:1").is_same(&url("moql://b:2")));
        assert!("moql://b\u{1b}[2J:1".parse::<PeerUrl>().is_err());
    }

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
    fn a_link_costs_what_its_region_does_unless_it_has_a_price_of_its_own() {
        let prices = Prices {
            region: Some("eu".to_owned()),
            costs: [("us".to_owned(), 20)].into(),
        };
        let cost = |url: &str, prices: &Prices| url.parse::<PeerUrl>().unwrap().priced(prices).cost;
        assert_eq!(cost("moql://a?region=us", &prices), Some(20));
        assert_eq!(cost("moql://a?region=us&cost=3", &prices), Some(3));
        assert_eq!(cost("moql://a?region=eu", &prices), Some(1));
        assert_eq!(cost("moql://a?region=ap", &prices), Some(10));
        assert_eq!(cost("moql://a", &prices), None);
        // Where one end does not say where it is nothing is known.
        assert_eq!(cost("moql://a?region=ap", &Prices::default()), None);
        let url: PeerUrl = "moql://a/eu?region=us&jwt=x".parse().unwrap();
        assert_eq!((url.target.as_str(), url.name.as_str()), ("/eu?jwt=x", "moql://a/eu"));
        assert!(
            agreed("us=20").is_ok() && agreed("us").is_err() && agreed("u s=1").is_err() && agreed("us=-1").is_err()
        );
    }

    #[test]
    fn a_place_is_one_by_whatever_it_is_dialled() {
        let url = |text: &str| text.parse::<PeerUrl>().unwrap();
        assert!(url("moql://Relay.example:443").is_where(&url("https://relay.example/eu")));
        assert!(!url("moql://relay.example:444").is_where(&url("https://relay.example/eu")));
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
        for text in ["dns:relays", "", "http://relays.example/", "ftp://relays.example/"] {
            assert!(text.parse::<PeerSource>().is_err(), "{text}");
        }
        let asked: PeerSource = "https://relays.example/list?key=secret".parse().unwrap();
        assert_eq!(asked.shown(), "https://relays.example:443/list");
    }
}
