//! Lists of peers that change: a file that is looked at, and the addresses of a name. A list is taken as a whole or not at
//! all; the last good one stays.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use crate::config::{PEERS_MAX, PeerSource, PeerUrl};
use crate::limits;

/// An entry of the file, as moq-relay has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Url(String),
    Object {
        url: String,
        #[serde(default)]
        cost: Option<u64>,
        #[serde(default)]
        token: Option<String>,
    },
}

/// What a source says now, by name.
pub(super) async fn read(source: &PeerSource) -> anyhow::Result<BTreeMap<String, PeerUrl>> {
    match source {
        PeerSource::File(path) => {
            let path = path.clone();
            // A file may be on a disk that is gone; the control thread does not wait for it.
            tokio::task::spawn_blocking(move || read_file(&path)).await?
        }
        PeerSource::Dns { name, port } => {
            let found = tokio::net::lookup_host((name.as_str(), *port)).await;
            let addresses = found.with_context(|| format!("cannot look up {name}"))?;
            by_name(addresses.map(|address| {
                // The name is what their certificates are for.
                let url = format!("moql://{address}").parse::<PeerUrl>();
                let peer = url.map_err(anyhow::Error::msg)?;
                Ok(PeerUrl {
                    server_name: name.clone(),
                    ..peer
                })
            }))
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<BTreeMap<String, PeerUrl>> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    file.take(limits::PEER_LIST_BYTES_MAX + 1).read_to_string(&mut text)?;
    anyhow::ensure!(
        text.len() as u64 <= limits::PEER_LIST_BYTES_MAX,
        "{} is longer than {} bytes",
        path.display(),
        limits::PEER_LIST_BYTES_MAX
    );
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<String, PeerUrl>> {
    let listed: Vec<Listed> = serde_json::from_str(text).context("no JSON array of URLs, or of objects with `url`")?;
    by_name(listed.into_iter().map(|listed| {
        let (url, cost, token) = match listed {
            Listed::Url(url) => (url, None, None),
            Listed::Object { url, cost, token } => (url, cost, token),
        };
        let parsed = url.parse::<PeerUrl>().map_err(anyhow::Error::msg);
        let peer = parsed.with_context(|| format!("`{}`", url.split('?').next().unwrap_or_default()))?;
        let peer = peer.with_cost(cost);
        Ok(match token {
            Some(token) => peer.with_token(&token),
            None => peer,
        })
    }))
}

fn by_name(peers: impl Iterator<Item = anyhow::Result<PeerUrl>>) -> anyhow::Result<BTreeMap<String, PeerUrl>> {
    let mut named = BTreeMap::new();
    for peer in peers {
        let peer = peer?;
        anyhow::ensure!(named.len() < PEERS_MAX, "more than {PEERS_MAX} peers");
        let name = peer.name.clone();
        anyhow::ensure!(named.insert(name.clone(), peer).is_none(), "{name} is there twice");
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_that_of_moq_relay() {
        let peers =
            parse(r#"["moql://a:1", {"url": "https://b/?cost=4", "token": "x.y.z"}, {"url": "moql://c", "cost": 9}]"#);
        let peers = peers.unwrap();
        assert_eq!(peers["moql://a:1"].cost, None);
        assert_eq!(
            (peers["https://b"].cost, peers["https://b"].target.as_str()),
            (Some(4), "/?jwt=x.y.z")
        );
        assert_eq!(peers["moql://c"].cost, Some(9));
    }

    #[test]
    fn one_bad_entry_spoils_the_list() {
        for text in ["{}", r#"["a:1"]"#, r#"["moql://a", "moql://a/"]"#, r#"["moql://a", 7]"#] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
