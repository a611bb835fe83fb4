//! Servers of STUN and TURN that browsers are told of, with credentials for a while: a name that says until when, and its
//! hash under a secret that the server has as well (draft-uberti-behave-turn-rest, which coturn calls `use-auth-secret`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use base64ct::{Base64, Encoding};
use ring::hmac;

use crate::config::WebrtcConfig;
use crate::directory;

/// What browsers are told of.
pub struct IceServers {
    urls: Vec<String>,
    secret: Option<hmac::Key>,
    life: Duration,
}

/// One of them, for one browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    pub urls: String,
    pub username: Option<String>,
    pub credential: Option<String>,
    /// For how long both are good.
    pub life: Option<Duration>,
}

impl IceServers {
    pub(super) fn load(config: &WebrtcConfig) -> anyhow::Result<Self> {
        let secret = match &config.turn_secret {
            None => None,
            Some(path) => {
                let secret = directory::turn_secret(path).context("`webrtc.turn_secret`")?;
                Some(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()))
            }
        };
        Ok(Self {
            urls: config.ice_servers.clone(),
            secret,
            life: config.turn_life,
        })
    }

    /// For one that is called this. It may contain anything but the colon that ends the time.
    pub(super) fn for_a_while(&self, name: &str, now: SystemTime) -> Vec<IceServer> {
        let until = now.duration_since(UNIX_EPOCH).unwrap_or_default() + self.life;
        let username = format!("{}:{name}", until.as_secs());
        let credential = self
            .secret
            .as_ref()
            .map(|secret| Base64::encode_string(hmac::sign(secret, username.as_bytes()).as_ref()));
        let server = |urls: &String| {
            let needs_one = urls.starts_with("turn:") || urls.starts_with("turns:");
            let credential = credential.clone().filter(|_| needs_one);
            IceServer {
                urls: urls.clone(),
                username: credential.is_some().then(|| username.clone()),
                life: credential.is_some().then_some(self.life),
                credential,
            }
        };
        self.urls.iter().map(server).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_what_coturn_makes_of_the_secret() {
        let servers = IceServers {
            urls: vec!["stun:a".to_owned(), "turn:b?transport=udp".to_owned()],
            secret: Some(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"north")),
            life: Duration::from_secs(600),
        };
        let told = servers.for_a_while("7001", UNIX_EPOCH + Duration::from_secs(1_000_000));
        assert_eq!((&told[0].username, &told[0].credential), (&None, &None));
        assert_eq!((told[0].life, told[1].life), (None, Some(Duration::from_secs(600))));
        assert_eq!(told[1].username.as_deref(), Some("1000600:7001"));
        // `printf 1000600:7001 | openssl dgst -sha1 -hmac north -binary | base64`
        assert_eq!(told[1].credential.as_deref(), Some("iWxNOp0HJqPZFW2ZYEa9Mb+DYJw="));
    }
}
