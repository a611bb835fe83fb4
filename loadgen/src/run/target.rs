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

/// Where telephones register.
#[derive(Clone, Debug)]
pub(super) struct Signalling {
    pub(super) address: SocketAddr,
    pub(super) url: String,
}

/// URLs of relay and signalling, each made of the other where it was not given.
pub(super) fn both(relay: Option<&str>, ws: Option<&str>) -> anyhow::Result<Option<(String, String)>> {
    let authority = |text: &str| -> anyhow::Result<String> {
        let url = url::Url::parse(text).with_context(|| format!("`{text}` is no URL"))?;
        let host = url.host_str().context("the URL names no host")?;
        let port = url.port().unwrap_or(4443);
        Ok(format!("{host}:{port}"))
    };
    Ok(match (relay, ws) {
        (Some(relay), Some(ws)) => Some((relay.to_owned(), ws.to_owned())),
        (Some(relay), None) => Some((relay.to_owned(), format!("ws://{}/ws", authority(relay)?))),
        (None, Some(ws)) => Some((format!("moql://{}/", authority(ws)?), ws.to_owned())),
        (None, None) => None,
    })
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

/// RFC 3261, section 19.1.2.
const SIP_PORT: u16 = 5060;
const CONNECT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_relay_and_signalling_one_is_enough() {
        let urls = |relay: Option<&str>, ws: Option<&str>| both(relay, ws).unwrap();
        let pair = |relay: &str, ws: &str| Some((relay.to_owned(), ws.to_owned()));
        assert_eq!(
            urls(Some("https://[::1]:9/x"), None),
            pair("https://[::1]:9/x", "ws://[::1]:9/ws")
        );
        assert_eq!(urls(None, Some("ws://h:9/ws")), pair("moql://h:9/", "ws://h:9/ws"));
        assert_eq!(
            urls(Some("moql://a/"), Some("ws://b/ws")),
            pair("moql://a/", "ws://b/ws")
        );
        assert_eq!(urls(None, None), None);
        assert!(both(Some("nonsense"), None).is_err());
        assert!(parse_signalling("wss://127.0.0.1:9/ws").is_err());
        assert_eq!(
            parse_signalling("ws://127.0.0.1:9/ws").unwrap().address,
            "127.0.0.1:9".parse().unwrap()
        );
    }
}
