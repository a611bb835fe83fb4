//! The files that an operator keeps for telephone calls: users, keys of programs, webhooks, secrets and the dialplan. Each is
//! read whole or not at all, and a fault is told with its file and line. What they hold is never shown.
#![forbid(unsafe_code)]

mod asterisk;
mod file;
mod programs;
mod secret;
mod trunk_tls;
mod trunks;
mod users;
mod webhooks;

use std::path::Path;

use moqswitch_asterisk::uuid::Key;
use moqswitch_signalling::calls::Dialplan;
use moqswitch_signalling::calls::limits::DIALPLAN_BYTES_MAX;
use moqswitch_signalling::{ApiKey, Callback, Entrance, Scopes, TokenKey, TrunkPlan, Webhook};

use crate::config::CallsConfig;

pub(crate) use asterisk::{Announced, AriWay, Way};
pub use file::FileError;

/// Where numbers go.
pub fn dialplan(config: &CallsConfig) -> Result<Dialplan, FileError> {
    let Some(path) = &config.dialplan else {
        return Ok(Dialplan::default());
    };
    let text = file::read(path, DIALPLAN_BYTES_MAX)?;
    Dialplan::parse(&text).map_err(|error| FileError::new(path, error.line, error.fault.to_string()))
}

/// Who may register. Users whose passwords are in the clear take tens of milliseconds each.
pub fn entrance(config: &CallsConfig) -> Result<Entrance, FileError> {
    Ok(Entrance {
        users: config
            .users
            .as_deref()
            .map(|path| users::read(path, realm_of(config)))
            .transpose()?,
        tokens: config.tokens.as_deref().map(secret::token_key).transpose()?,
        // The configuration has tried it.
        callback: config.callback.as_deref().and_then(Callback::new),
    })
}

/// Of the digests by which telephones of SIP are let in.
fn realm_of(config: &CallsConfig) -> &str {
    config.sip.as_ref().map_or("", |sip| &sip.realm)
}

/// Who may use REST.
pub fn programs(config: &CallsConfig) -> Result<(Vec<ApiKey>, Option<TokenKey>), FileError> {
    let keys = config.keys.as_deref().map(programs::read).transpose()?;
    let tokens = config.api_tokens.as_deref().map(secret::token_key).transpose()?;
    Ok((keys.unwrap_or_default(), tokens))
}

/// By which control programs are known. None: whoever is on this host is one.
pub fn control_key(config: &CallsConfig) -> Result<Option<ApiKey>, FileError> {
    let path = config.mediaswitch.as_ref().and_then(|own| own.key.as_deref());
    let secret = path
        .map(|path| secret::read(path, secret::SECRET_BYTES_MIN))
        .transpose()?;
    // It opens mediaswitch's HTTP and nothing else, where scopes are not looked at.
    Ok(secret.map(|secret| ApiKey::new("mediaswitch.key", &secret, Scopes::default())))
}

/// What servers of TURN have, too.
pub fn turn_secret(path: &Path) -> Result<String, FileError> {
    secret::read(path, secret::SECRET_BYTES_MIN)
}

/// Ways to carriers and PBXs.
pub fn trunks(config: &CallsConfig) -> Result<TrunkPlan, FileError> {
    let sip = config.sip.as_ref();
    let knows_certificates = sip.is_some_and(|sip| sip.tls_client_ca.is_some());
    let path = sip.and_then(|sip| sip.trunks.as_deref());
    let plan = path.map(|path| trunks::read(path, knows_certificates));
    Ok(plan.transpose()?.unwrap_or_default())
}

/// Says which trunks by TLS cannot connect to us. `None`: all can.
pub fn without_way_in(config: &CallsConfig, plan: &TrunkPlan) -> Option<String> {
    let listens = config.sip.as_ref().is_some_and(|sip| sip.tls.is_some());
    let mut secure = plan.trunks.iter().filter(|trunk| trunk.encryption.is_some());
    let first = secure.next().filter(|_| !listens)?;
    let others = match secure.count() {
        0 => String::new(),
        count => format!(" and {count} others"),
    };
    Some(format!(
        "`{}`{others}: without `sip.tls` a trunk by TLS calls only by the connection that the switch made to it",
        first.number
    ))
}

/// UUIDs of AudioSocket that call numbers, and ways to Asterisk.
pub(crate) fn asterisk(config: &CallsConfig) -> Result<asterisk::Plan, FileError> {
    let path = config.asterisk.as_ref().and_then(|own| own.ways.as_deref());
    Ok(path.map(asterisk::read).transpose()?.unwrap_or_default())
}

/// By which channels of Asterisk are let in. None: whoever is on this host is.
pub(crate) fn asterisk_key(config: &CallsConfig) -> Result<Option<Key>, FileError> {
    let path = config.asterisk.as_ref().and_then(|own| own.key.as_deref());
    path.map(asterisk::key).transpose()
}

/// Who is told of events.
pub fn webhooks(config: &CallsConfig) -> Result<Vec<Webhook>, FileError> {
    let webhooks = config.webhooks.as_deref().map(webhooks::read).transpose()?;
    Ok(webhooks.unwrap_or_default())
}

#[cfg(test)]
mod tests;
