//! Where a URL leads.

use anyhow::Context;
use moqswitch_proto::wire::Version;

use crate::engine::Target;

use super::address::{Addresses, quic_answers};

/// What a relay's URL says, with its name looked up.
pub(super) fn parse(relay: &str, draft: u8) -> anyhow::Result<(Target, Addresses)> {
    let url = url::Url::parse(relay).with_context(|| format!("`{relay}` is no URL"))?;
    let authority = match url.scheme() {
        "moql" | "moqt" => None,
        "https" => Some(url.authority().to_owned()),
        other => anyhow::bail!(
            "`{other}` is not spoken: raw QUIC is moql://host:port/path, WebTransport https://host:port/path"
        ),
    };
    let name = url.host_str().context("the URL names no host")?.to_owned();
    let port = url.port_or_known_default().unwrap_or(4443);
    let addresses = Addresses::choose(&name, port, quic_answers)?;
    let draft = match draft {
        3 => Version::Lite03,
        4 => Version::Lite04,
        5 => Version::Lite05,
        6 => Version::Lite06,
        other => anyhow::bail!("moq-lite-{other:02} is not spoken: 3 to 6"),
    };
    let target = Target {
        address: addresses.chosen,
        name,
        path: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
        authority,
        draft,
    };
    Ok((target, addresses))
}
