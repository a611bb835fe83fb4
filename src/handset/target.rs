//! Where a relay is, and why it is believed.

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::Context;
use moqswitch_relay::certificate::ClientAuthorities;
use moqswitch_relay::quic::Trust;

use crate::config::{PeerUrl, RelayArguments};
use crate::limits::HANDSET_ADDRESSES_MAX;

/// A relay with its name looked up.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// With the token in its query.
    pub(super) url: PeerUrl,
    /// To be tried in turn. Never empty.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) trust: Trust,
}

impl Target {
    /// Looks it up, and reads the files that are named.
    pub(super) fn find(asked: &RelayArguments) -> anyhow::Result<Self> {
        let mut url = asked.relay.clone();
        if let Some(path) = &asked.token_file {
            let token = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            url = url.with_token(token.trim());
        }
        let addresses = addresses(&url)?;
        let trust = match (&asked.certificate_sha256, &asked.ca) {
            (Some(text), _) => {
                Trust::Sha256(sha256(text).context("--certificate-sha256: write 64 hexadecimal digits")?)
            }
            (_, Some(path)) => Trust::Authorities(
                ClientAuthorities::load(path, false)
                    .context("--ca")?
                    .certificates
                    .into(),
            ),
            // Its development certificate is one that nobody vouches for; and who is on this host is trusted anyway.
            _ if asked.insecure || addresses.iter().all(|address| address.ip().is_loopback()) => Trust::Anyone,
            _ => Trust::Roots,
        };
        Ok(Self { url, addresses, trust })
    }
}

/// Those of IPv4 first: a relay that listens there alone is the more usual one.
fn addresses(url: &PeerUrl) -> anyhow::Result<Vec<SocketAddr>> {
    let found = (url.host.as_str(), url.port)
        .to_socket_addrs()
        .with_context(|| format!("{} cannot be looked up", url.host))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())) {
        if !addresses.contains(&address) && addresses.len() < HANDSET_ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(SocketAddr::is_ipv6);
    anyhow::ensure!(!addresses.is_empty(), "{} has no address", url.host);
    Ok(addresses)
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|character| *character != ':')
        .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect();
    match digits.len() {
        64 => bytes.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(relay: &str) -> RelayArguments {
        RelayArguments {
            relay: relay.parse().unwrap(),
            token_file: None,
            certificate_sha256: None,
            ca: None,
            insecure: false,
        }
    }

    #[test]
    fn who_is_on_this_host_is_believed_and_others_have_to_prove_it() {
        let trust = |relay: &str| Target::find(&asked(relay)).unwrap().trust;
        assert!(matches!(trust("moql://127.0.0.1:4443/"), Trust::Anyone));
        assert!(matches!(trust("https://192.0.2.1/"), Trust::Roots));
        let pinned = RelayArguments {
            certificate_sha256: Some("ab:".repeat(31) + "cd"),
            ..asked("moql://192.0.2.1")
        };
        let Trust::Sha256(hash) = Target::find(&pinned).unwrap().trust else {
            panic!("it is not pinned")
        };
        assert_eq!((hash[0], hash[31]), (0xab, 0xcd));
        for bad in ["", "ab", "zz", &"a".repeat(63), &"a".repeat(66)] {
            assert_eq!(sha256(bad), None, "{bad}");
        }
    }
}
