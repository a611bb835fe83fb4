//! Lists of peers that change: a file that is looked at, a URL that is asked, and the addresses of a name. A list is taken as
//! a whole or not at all; the last good one stays.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use moqswitch_proto::limits::{SETUP_PATH_BYTES_MAX, VARINT_MAX};
use serde::Deserialize;
use serde_json::Value;

use crate::config::{MeshConfig, PEERS_MAX, PeerSource, PeerUrl, Prices};
use crate::limits;

use super::asking::Asking;

/// Peers, by name.
pub(super) type Named = BTreeMap<String, PeerUrl>;

/// An entry with more than a URL, as moq-relay has it: a field that is not known is a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    url: String,
    #[serde(default)]
    cost: Option<u64>,
    #[serde(default)]
    egress: Option<u64>,
    #[serde(default)]
    token: Option<String>,
}

/// Reads the list of a source.
pub(super) struct Reader {
    /// What it is called in reports.
    pub(super) shown: String,
    from: From,
    /// Where this relay is; nobody dials himself.
    node: Option<PeerUrl>,
    prices: Prices,
    interval: Duration,
}

enum From {
    File(PathBuf),
    Dns { name: String, port: u16 },
    Url(Box<Asking>),
}

impl Reader {
    /// `None`: the configuration names no source.
    pub(super) fn new(config: &MeshConfig) -> anyhow::Result<Option<Self>> {
        let Some(source) = &config.source else { return Ok(None) };
        let (from, interval) = match source {
            PeerSource::File(path) => (From::File(path.clone()), limits::PEER_FILE_LOOK_INTERVAL),
            PeerSource::Dns { name, port } => {
                let (name, port) = (name.clone(), *port);
                (From::Dns { name, port }, limits::PEER_NAME_LOOK_INTERVAL)
            }
            PeerSource::Url(url) => {
                let asking = Asking::new(url, config).context("cluster.peers_from")?;
                (From::Url(Box::new(asking)), config.interval)
            }
        };
        Ok(Some(Self {
            shown: source.shown(),
            from,
            node: config.node.clone(),
            prices: config.prices.clone(),
            interval: interval.max(limits::PEER_ASK_INTERVAL_MIN),
        }))
    }

    /// From the end of one look at it to the next.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// What the source says now. `None`: what it said before.
    pub(super) async fn read(&mut self) -> anyhow::Result<Option<Named>> {
        let listed = match &mut self.from {
            From::File(path) => {
                let path = path.clone();
                // A file may be on a disk that is gone; the control thread does not wait for it.
                Some(tokio::task::spawn_blocking(move || read_file(&path)).await??)
            }
            From::Dns { name, port } => Some(look_up(name, *port).await?),
            From::Url(asking) => match asking.ask().await? {
                Some(answer) => {
                    let listed = parse(&answer.text).with_context(|| self.shown.clone())?;
                    asking.keep(answer);
                    Some(listed)
                }
                None => None,
            },
        };
        Ok(listed.map(|listed| {
            let is_other = |peer: &PeerUrl| self.node.as_ref().is_none_or(|node| !peer.is_where(node));
            let others = listed.into_iter().filter(|(_, peer)| is_other(peer));
            others.map(|(name, peer)| (name, peer.priced(&self.prices))).collect()
        }))
    }
}

async fn look_up(name: &str, port: u16) -> anyhow::Result<Named> {
    let found = tokio::net::lookup_host((name, port)).await;
    let addresses = found.with_context(|| format!("cannot look up {name}"))?;
    by_name(addresses.map(|address| {
        // The name is what their certificates are for.
        let url = format!("moql://{address}").parse::<PeerUrl>();
        let peer = url.map_err(anyhow::Error::msg)?;
        Ok(PeerUrl {
            server_name: name.to_owned(),
            ..peer
        })
    }))
}

fn read_file(path: &Path) -> anyhow::Result<Named> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut text = String::new();
    file.take(limits::PEER_LIST_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)?;
    anyhow::ensure!(
        text.len() <= limits::PEER_LIST_BYTES_MAX,
        "{} is longer than {} bytes",
        path.display(),
        limits::PEER_LIST_BYTES_MAX
    );
    parse(text.as_bytes()).with_context(|| path.display().to_string())
}

fn parse(text: &[u8]) -> anyhow::Result<Named> {
    let listed: Vec<Value> =
        serde_json::from_slice(text).context("no JSON array of URLs, or of objects with `url`, `cost` and `token`")?;
    by_name(listed.into_iter().enumerate().map(|(place, listed)| {
        let listed = match listed {
            Value::String(url) => Listed {
                url,
                cost: None,
                egress: None,
                token: None,
            },
            // What is in it may be secret, and of any length: of an entry with a fault only its place is said.
            object if object.is_object() => Listed::deserialize(object).map_err(|_| {
                anyhow::anyhow!(
                    "entry {}: no object of `url`, and perhaps `cost`, `egress` and `token`",
                    place + 1
                )
            })?,
            _ => anyhow::bail!("entry {}: neither a URL nor an object", place + 1),
        };
        peer(&listed).with_context(|| format!("entry {}", place + 1))
    }))
}

/// By moq-relay's rules: what a URL says, the fields beside it do not say again.
fn peer(listed: &Listed) -> anyhow::Result<PeerUrl> {
    let url = match listed.url.contains("://") {
        true => listed.url.clone(),
        // Lists may have hosts alone.
        false => format!("https://{}/", listed.url),
    };
    let peer: PeerUrl = url.parse().map_err(anyhow::Error::msg)?;
    anyhow::ensure!(
        listed.cost.is_none_or(|cost| cost <= VARINT_MAX),
        "`cost` is above {VARINT_MAX}"
    );
    let is_priced = listed.cost.is_some() || listed.egress.is_some();
    anyhow::ensure!(
        !is_priced || peer.cost.is_none(),
        "`cost` or `egress` beside a URL with `?cost=`"
    );
    let peer = peer.with_cost(listed.cost);
    let price = peer.cost.unwrap_or(1);
    anyhow::ensure!(
        listed.egress.is_none_or(|egress| egress == price),
        "`egress` must be what `cost` is"
    );
    let peer = match listed.token.as_deref().filter(|token| !token.is_empty()) {
        Some(token) => {
            anyhow::ensure!(!peer.has_token(), "`token` beside a URL with `?jwt=`");
            peer.with_token(token)
        }
        None => peer,
    };
    anyhow::ensure!(
        peer.target.len() <= SETUP_PATH_BYTES_MAX,
        "path and token have more than {SETUP_PATH_BYTES_MAX} bytes"
    );
    Ok(peer)
}

fn by_name(peers: impl Iterator<Item = anyhow::Result<PeerUrl>>) -> anyhow::Result<Named> {
    let mut named = Named::new();
    for peer in peers {
        let peer = peer?;
        let name = peer.name.clone();
        let before = named.insert(name.clone(), peer.clone());
        anyhow::ensure!(
            before.is_none_or(|before| before == peer),
            "{name} is there twice, and not the same"
        );
        anyhow::ensure!(named.len() <= PEERS_MAX, "more than {PEERS_MAX} peers");
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_says_wrong_is_not_repeated() {
        let secret = "eyJhbGciOiJIUzI1NiJ9".repeat(50);
        for text in [
            r#"[{"url":"moql://a:1","cost":4611686018427387904}]"#.to_owned(),
            format!(r#"[["moql://a:1","{secret}"]]"#),
            format!(r#"[{{"token":"{secret}"}}]"#),
            format!(r#"["https://user:{secret}@host"]"#),
            format!(r#"["{secret}://host"]"#),
            format!(r#"[{{"url":"moql://a:1","token":"{}"}}]"#, "x".repeat(8192)),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).expect_err("it is wrong"));
            assert!(error.contains("entry 1"), "{error}");
            assert!(error.len() < 300 && !error.contains(&secret[..40]), "{error}");
        }
    }

    #[test]
    fn a_list_is_that_of_moq_relay() {
        let text = r#"["moql://a:1", {"url": "https://b/?cost=4", "token": "x.y.z"}, {"url": "moqt://c", "cost": 9}, "d:5",
            {"url": "moql://a:1/"}, {"url": "moql://e", "cost": 2, "egress": 2}, {"url": "moql://f", "egress": 1}]"#;
        let peers = parse(text.as_bytes()).unwrap();
        assert_eq!(peers["moql://a:1"].cost, None);
        assert_eq!(
            (peers["https://b"].cost, peers["https://b"].target.as_str()),
            (Some(4), "/?jwt=x.y.z")
        );
        assert_eq!((peers["moqt://c"].cost, peers["moqt://c"].is_web), (Some(9), false));
        assert_eq!((peers["https://d:5"].port, peers["https://d:5"].is_web), (5, true));
        assert_eq!((peers["moql://e"].cost, peers["moql://f"].cost), (Some(2), None));
        assert_eq!(peers.len(), 6);
        assert_eq!(parse(b"[]").unwrap().len(), 0);
    }

    #[test]
    fn one_bad_entry_spoils_the_list() {
        for (text, words) in [
            ("{}", "no JSON array"),
            (r#"["moql://a", "wss://b"]"#, "entry 2: `wss` is not dialled"),
            (r#"["moql://a?cost=1", "moql://a?cost=2"]"#, "twice"),
            (r#"["moql://a", 7]"#, "entry 2"),
            (r#"[{"url": "moql://a", "cosst": 1}]"#, "entry 1: no object of `url`"),
            (
                r#"[{"url": "moql://a", "cost": "cheap"}]"#,
                "entry 1: no object of `url`",
            ),
            (r#"[{"url": "moql://a?cost=1", "cost": 1}]"#, "beside"),
            (r#"[{"url": "moql://a?jwt=x", "token": "x"}]"#, "beside"),
            (r#"[{"url": "moql://a", "egress": 2}]"#, "egress"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
        }
        let many: Vec<String> = (0..=PEERS_MAX).map(|peer| format!("moql://a:{}", peer + 1)).collect();
        assert!(parse(&serde_json::to_vec(&many).unwrap()).is_err());
        assert!(parse(&serde_json::to_vec(&many[1..]).unwrap()).is_ok());
    }
}
