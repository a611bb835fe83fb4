//! Where a URL leads.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::Context;
use moqswitch_proto::wire::Version;

use crate::engine::Target;
use crate::load::Transport;

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

/// Whether one client can reach all of them: each shard has one socket, and one kind of handshake.
pub(super) fn ensure_alike(targets: &[Target]) -> anyhow::Result<()> {
    let kind = |target: &Target| (target.address.is_ipv4(), target.authority.is_some());
    let is_alike = targets.windows(2).all(|pair| kind(&pair[0]) == kind(&pair[1]));
    anyhow::ensure!(
        is_alike && targets.len() <= RELAYS_MAX,
        "several --relay, at most {RELAYS_MAX}, are all moql:// or all https://, and all of IPv4 or all of IPv6"
    );
    Ok(())
}

/// Where telephones register.
#[derive(Clone, Debug)]
pub(super) struct Signalling {
    pub(super) address: SocketAddr,
    pub(super) url: String,
}

/// URLs of relays with their signalling, each made of the other where it was not given.
pub(super) fn both(relays: &[String], ws: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    anyhow::ensure!(
        relays.is_empty() || ws.is_empty() || relays.len() == ws.len(),
        "there are {} --relay and {} --ws: give as many, in the same order, or one kind only",
        relays.len(),
        ws.len()
    );
    let authority = |text: &str| -> anyhow::Result<String> {
        let url = url::Url::parse(text).with_context(|| format!("`{text}` is no URL"))?;
        let host = url.host_str().context("the URL names no host")?;
        let port = url.port().unwrap_or(4443);
        Ok(format!("{host}:{port}"))
    };
    let pair = |at: usize| match (relays.get(at), ws.get(at)) {
        (Some(relay), Some(ws)) => Ok((relay.clone(), ws.clone())),
        (Some(relay), None) => Ok((relay.clone(), format!("ws://{}/ws", authority(relay)?))),
        (None, Some(ws)) => Ok((format!("moql://{}/", authority(ws)?), ws.clone())),
        (None, None) => anyhow::bail!("there is no such switch"),
    };
    (0..relays.len().max(ws.len())).map(pair).collect()
}

/// What the URL of the signalling says.
pub(super) fn parse_signalling(ws: &str) -> anyhow::Result<Signalling> {
    let url = url::Url::parse(ws).with_context(|| format!("`{ws}` is no URL"))?;
    anyhow::ensure!(
        url.scheme() == "ws",
        "`{}` is not spoken: signalling is ws://host:port/path, TLS is a proxy's matter",
        url.scheme()
    );
    let name = url.host_str().context("the URL names no host")?;
    let port = url.port_or_known_default().unwrap_or(4443);
    let addresses = Addresses::choose(name, port, |address| {
        TcpStream::connect_timeout(&address, CONNECT_MAX).map(drop)
    })?;
    Ok(Signalling {
        address: addresses.chosen,
        url: ws.to_owned(),
    })
}

/// Where telephones of SIP register, `host:port`: the host as addresses name it, and what it stands for.
pub(super) fn parse_sip(text: &str, transport: Transport) -> anyhow::Result<(String, Addresses)> {
    // As a URL has an authority, with brackets about IPv6.
    let url = url::Url::parse(&format!("sip://{text}"));
    let url = url.with_context(|| format!("`{text}` is no host:port"))?;
    let name = url.host_str().with_context(|| format!("`{text}` names no host"))?;
    let addresses = Addresses::choose(name, url.port().unwrap_or(SIP_PORT), |address| match transport {
        Transport::Tcp => TcpStream::connect_timeout(&address, CONNECT_MAX).map(drop),
        Transport::Udp => sip_answers(address),
    })?;
    Ok((name.to_owned(), addresses))
}

/// Whether anything answers by SIP at an address: OPTIONS is answered, whatever by.
fn sip_answers(address: SocketAddr) -> io::Result<()> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let local = socket.local_addr()?;
    let tag = local.port();
    let options = format!(
        "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKwhere{tag};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:loadgen@{address}>;tag={tag}\r\nTo: <sip:{address}>\r\nCall-ID: where{tag}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    );
    socket.set_read_timeout(Some(CONNECT_MAX))?;
    socket.send(options.as_bytes())?;
    socket.recv(&mut [0; 2048]).map(drop)
}

/// Participants are told apart by less; more relays would have nobody.
const RELAYS_MAX: usize = 64;

/// RFC 3261, section 19.1.2.
const SIP_PORT: u16 = 5060;
const CONNECT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_relay_and_signalling_one_is_enough() {
        let list = |urls: &[&str]| -> Vec<String> { urls.iter().map(|url| (*url).to_owned()).collect() };
        let urls = |relays: &[&str], ws: &[&str]| both(&list(relays), &list(ws)).unwrap();
        let pair = |relay: &str, ws: &str| vec![(relay.to_owned(), ws.to_owned())];
        assert_eq!(
            urls(&["https://[::1]:9/x"], &[]),
            pair("https://[::1]:9/x", "ws://[::1]:9/ws")
        );
        assert_eq!(urls(&[], &["ws://h:9/ws"]), pair("moql://h:9/", "ws://h:9/ws"));
        assert_eq!(urls(&["moql://a/"], &["ws://b/ws"]), pair("moql://a/", "ws://b/ws"));
        assert_eq!(urls(&[], &[]), []);
        assert!(both(&list(&["nonsense"]), &[]).is_err());
        let two = urls(&["moql://a:1/", "moql://b:2/"], &[]);
        assert_eq!(two[1], ("moql://b:2/".to_owned(), "ws://b:2/ws".to_owned()));
        assert!(both(&list(&["moql://a/", "moql://b/"]), &list(&["ws://a/ws"])).is_err());
        assert!(parse_signalling("wss://127.0.0.1:9/ws").is_err());
        assert_eq!(
            parse_signalling("ws://127.0.0.1:9/ws").unwrap().address,
            "127.0.0.1:9".parse().unwrap()
        );
    }
}
