//! What carries messages between the machines of one phone system.

use std::fmt;
use std::path::{Path, PathBuf};

use moqswitch_signalling::NodeName;

use super::layers::Layers;
use super::{ConfigError, values};

/// The servers of one NATS, and who this machine is there.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `nats://host:port` or `tls://host:port`, maybe with `user:password@`.
    pub servers: Vec<String>,
    /// What this machine is called among the others.
    pub node: NodeName,
    /// What subjects begin with: other phone systems on the same servers have another.
    pub subject: String,
    /// Who may issue the servers' certificates. `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// File with the token that lets this machine in. `None`: what the URLs say.
    pub token_file: Option<PathBuf>,
}

/// There may be passwords in the URLs.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StoreConfig")
            .field("node", &self.node.as_str())
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

pub(super) fn store(layers: &Layers) -> Result<Option<StoreConfig>, ConfigError> {
    let servers = layers.list("cluster.store.servers", server)?.unwrap_or_default();
    if servers.is_empty() {
        return Ok(None);
    }
    let refuse = |key: &'static str, reason: String| ConfigError::Value {
        at: layers.source(key),
        key,
        text: String::new(),
        reason,
    };
    if servers.len() > SERVERS_MAX {
        return Err(refuse("cluster.store.servers", format!("at most {SERVERS_MAX}")));
    }
    let named = layers.optional("cluster.store.node", |text| text.parse::<NodeName>())?;
    let node = match named {
        Some(node) => node,
        None => host_name().ok_or_else(|| {
            let reason = "the name of this host is none of a machine: letters, digits, - and _";
            refuse("cluster.store.node", reason.to_owned())
        })?,
    };
    Ok(Some(StoreConfig {
        servers,
        node,
        subject: layers.one("cluster.store.subject", subject)?,
        ca: layers.optional("cluster.store.ca", values::path)?,
        token_file: layers.optional("cluster.store.token_file", values::path)?,
    }))
}

fn server(text: &str) -> Result<String, String> {
    let wrong = || "write nats://host:port, or tls://host:port".to_owned();
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let is_plain = !rest.is_empty() && !rest.contains(char::is_whitespace) && !rest.contains(['/', '?', '#']);
    match scheme {
        "nats" | "tls" if is_plain => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}

fn subject(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match text.len() {
        1..=SUBJECT_BYTES_MAX if text.bytes().all(is_fit) => Ok(text.to_owned()),
        _ => Err(format!("letters, digits, - and _, at most {SUBJECT_BYTES_MAX}")),
    }
}

/// The host's name up to its first dot.
fn host_name() -> Option<NodeName> {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok()?;
    name.trim().split('.').next()?.parse().ok()
}

/// Servers of one NATS.
const SERVERS_MAX: usize = 16;
const SUBJECT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_those_of_nats_and_no_password_is_shown() {
        for good in [
            "nats://127.0.0.1:4222",
            "tls://user:secret@nats.example:4222",
            "nats://[::1]:4222",
        ] {
            assert!(server(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:4222", "ws://a", "nats://", "nats://a/b", "nats://a b"] {
            assert!(server(bad).is_err(), "{bad}");
        }
        let config = StoreConfig {
            servers: vec!["nats://user:secret@a".to_owned()],
            node: "a".parse().unwrap(),
            subject: "moqswitch".to_owned(),
            ca: None,
            token_file: None,
        };
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn subjects_have_one_part() {
        assert!(subject("moqswitch").is_ok());
        for bad in ["", "a.b", "a.>", "*"] {
            assert!(subject(bad).is_err(), "{bad}");
        }
    }
}
