//! Where browsers without WebTransport are listened for.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::limits;

use super::layers::Layers;
use super::{ConfigError, values};

/// Legs of WebRTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebrtcConfig {
    /// UDP: the port of the first shard; each further one has the next. Port 0: each has one that is free.
    pub listen: SocketAddr,
    /// Told to browsers.
    pub address: IpAddr,
    /// URLs of STUN and TURN that they are told of.
    pub ice_servers: Vec<String>,
    /// File with the secret that the servers of TURN have. `None`: no credentials are handed out.
    pub turn_secret: Option<PathBuf>,
    /// For how long credentials are good.
    pub turn_life: Duration,
    /// Nobody asked for it: without a port it is not there, and that is no error.
    pub is_by_itself: bool,
}

impl WebrtcConfig {
    /// Of a shard. `None`: there is no such port.
    pub fn port(&self, shard: u16) -> Option<u16> {
        match self.listen.port() {
            0 => Some(0),
            first => first.checked_add(shard),
        }
    }
}

/// On loopback it is there by itself, elsewhere it needs an address.
pub(super) fn webrtc(layers: &Layers, addresses: [SocketAddr; 2]) -> Result<Option<WebrtcConfig>, ConfigError> {
    let is_here = addresses
        .iter()
        .all(|address| address.ip().to_canonical().is_loopback());
    let said = layers.optional("webrtc.listen", |text| match text {
        "" => Ok(None),
        text => values::address(text).map(Some),
    })?;
    let unsaid = is_here.then(|| SocketAddr::new(addresses[0].ip().to_canonical(), 0));
    let address = layers.optional("webrtc.address", |text| match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() || address.is_multicast() => {
            Err("an address that browsers reach".to_owned())
        }
        Ok(address) => Ok(address),
        Err(_) => Err("write an IP address".to_owned()),
    })?;
    let ice_servers = layers.list("webrtc.ice_servers", ice_server)?.unwrap_or_default();
    if ice_servers.len() > limits::ICE_SERVERS_MAX {
        return Err(ConfigError::Value {
            at: layers.source("webrtc.ice_servers"),
            key: "webrtc.ice_servers",
            text: format!("{} of them", ice_servers.len()),
            reason: format!("at most {}", limits::ICE_SERVERS_MAX),
        });
    }
    let turn_secret = layers.optional("webrtc.turn_secret", values::path)?;
    let turn_life = layers.one("webrtc.turn_life", |text| {
        match values::duration(text, limits::TURN_LIFE_MAX)? {
            life if life < limits::TURN_LIFE_MIN => Err("at least 1m".to_owned()),
            life => Ok(life),
        }
    })?;
    let Some(listen) = said.unwrap_or(unsaid) else {
        return Ok(None);
    };
    let address = match address {
        Some(address) => address,
        None if !listen.ip().is_unspecified() => listen.ip(),
        None => {
            return Err(ConfigError::Value {
                at: layers.source("webrtc.listen"),
                key: "webrtc.listen",
                text: listen.to_string(),
                reason: "which address browsers reach is to be said by `webrtc.address`".to_owned(),
            });
        }
    };
    Ok(Some(WebrtcConfig {
        listen,
        address,
        ice_servers,
        turn_secret,
        turn_life,
        is_by_itself: said.is_none(),
    }))
}

/// RFC 7064 and RFC 7065.
fn ice_server(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]?=".contains(&byte);
    let is_known = matches!(scheme, "stun" | "stuns" | "turn" | "turns");
    match is_known && !rest.is_empty() && rest.len() <= 256 && rest.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("write stun:host:port, turn:host:port?transport=udp or the like".to_owned()),
    }
}
