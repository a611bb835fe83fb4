//! What channels of Asterisk need.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use moqswitch_asterisk::Format;
use moqswitch_signalling::calls::Number;

use crate::limits::ASTERISK_CHANNELS_MAX;

use super::layers::Layers;
use super::{ConfigError, values};

/// Where channels of Asterisk are listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsteriskConfig {
    /// Of AudioSocket. `None`: nowhere.
    pub audiosocket: Option<SocketAddr>,
    /// Of `chan_websocket`. `None`: nowhere.
    pub websocket: Option<SocketAddr>,
    /// File with the key by which they are let in. `None`: whoever is on this host is.
    pub key: Option<PathBuf>,
    /// Who may connect. Empty: whoever reaches the addresses.
    pub allow: Vec<IpAddr>,
    /// The number of those who do not say who calls, and of the device that they are.
    pub number: Number,
    /// File of the ways to Asterisk, and of UUIDs. `None`: there are none.
    pub ways: Option<PathBuf>,
    /// Connections.
    pub channels_max: usize,
    /// How AudioSocket is written until a channel has said something.
    pub format: Format,
}

/// There is nothing of it unless it has an address or a way.
pub(super) fn asterisk(layers: &Layers) -> Result<Option<AsteriskConfig>, ConfigError> {
    let key = layers.optional("asterisk.key", values::path)?;
    let address = |path| {
        layers.optional(path, |text| {
            let address = values::address(text)?;
            match key.is_some() || address.ip().to_canonical().is_loopback() {
                true => Ok(address),
                false => Err("any but a loopback address also needs `asterisk.key`".to_owned()),
            }
        })
    };
    let config = AsteriskConfig {
        audiosocket: address("asterisk.audiosocket")?,
        websocket: address("asterisk.websocket")?,
        allow: layers
            .list("asterisk.allow", |text| {
                text.parse::<IpAddr>().map_err(|_| "write an IP address".to_owned())
            })?
            .unwrap_or_default(),
        number: layers.one("asterisk.number", |text| {
            Number::new(text).map_err(|error| error.to_string())
        })?,
        ways: layers.optional("asterisk.ways", values::path)?,
        channels_max: layers.one("asterisk.channels", |text| {
            values::count(text, u32::try_from(ASTERISK_CHANNELS_MAX).unwrap_or(u32::MAX))
        })?,
        format: layers.one("asterisk.format", |text| match text.parse::<Format>() {
            Ok(format) if format.is_of_audiosocket() => Ok(format),
            Ok(_) => Err("AudioSocket has formats of linear samples only: slin, slin16 …".to_owned()),
            Err(error) => Err(error.to_string()),
        })?,
        key,
    };
    let is_wanted = config.audiosocket.is_some() || config.websocket.is_some() || config.ways.is_some();
    Ok(is_wanted.then_some(config))
}
