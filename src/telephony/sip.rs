//! SIP of the switch: its sockets, and the legs of its telephones.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::Context;
use moqswitch_relay::shard::ShardPort;
use moqswitch_signalling::sip::agent::Reached;
use moqswitch_signalling::{Encryption, SipSettings, SipSockets};

use super::pool::RtpPool;
use super::rtp::RtpGateways;
use super::services::Mixers;
use crate::browsers::Browsers;
use crate::config::{CallsConfig, SipConfig};
use crate::control::StreamTls;
use crate::directory;

/// `None`: there is no SIP. On loopback it is there by itself, and an address that somebody else has is a warning then.
pub(super) fn start(
    config: &CallsConfig,
    shards: &[ShardPort],
    encryption: StreamTls,
    (pool, browsers, mixers): (Option<RtpPool>, Option<Browsers>, Option<Mixers>),
) -> anyhow::Result<Option<SipSettings>> {
    let Some(sip) = &config.sip else { return Ok(None) };
    let bound = bind(sip, encryption);
    let sockets = match bound {
        Err(error) if sip.is_by_itself => {
            tracing::warn!(
                error = format!("{error:#}"),
                "no SIP: set `sip.udp` and `sip.tcp` to other addresses"
            );
            return Ok(None);
        }
        bound => bound?,
    };
    let udp = sockets.udp.as_ref().map(UdpSocket::local_addr).transpose()?;
    let tcp = sockets.tcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let tls = sockets
        .tls
        .as_ref()
        .map(|(listener, _)| listener.local_addr())
        .transpose()?;
    let Some(any) = udp.or(tcp).or(tls) else {
        return Ok(None);
    };
    let trunks = directory::trunks(config).context("sip.trunks")?;
    if let Some(reason) = directory::without_way_in(config, &trunks) {
        tracing::warn!("{reason}");
    }
    let address = sip.address.unwrap_or_else(|| reached(any.ip()));
    let bound = config.rtp.address.unwrap_or(any.ip());
    let pool = match pool {
        Some(pool) => pool,
        None => RtpPool::new(&families(bound), &config.rtp.ports, shards).context("RTP of telephones")?,
    };
    let said = config
        .rtp
        .address
        .filter(|address| !address.is_unspecified())
        .or(sip.address);
    let told: Vec<IpAddr> = said
        .into_iter()
        .chain(families(bound).into_iter().map(reached))
        .collect();
    let at = |bound: Option<SocketAddr>| SocketAddr::new(address, bound.unwrap_or(any).port());
    tracing::info!(udp = ?udp, tcp = ?tcp, tls = ?tls, %address, rtp = ?told, "SIP");
    Ok(Some(SipSettings {
        sockets,
        reached: Reached {
            udp: at(udp),
            tcp: at(tcp),
            tls: at(tls),
        },
        realm: sip.realm.clone(),
        ping: sip.ping,
        srtp: sip.srtp,
        algorithms: sip.digest.clone(),
        trunks,
        media: Box::new(RtpGateways::new(pool, browsers, mixers)),
        media_addresses: told,
    }))
}

fn bind(sip: &SipConfig, encryption: StreamTls) -> anyhow::Result<SipSockets> {
    let udp = sip
        .udp
        .map(|address| datagrams(address).with_context(|| format!("`sip.udp`: {address}")));
    let listener = |key: &str, address: Option<SocketAddr>| {
        let bound = address.map(|address| streams(address).with_context(|| format!("`{key}`: {address}")));
        bound.transpose()
    };
    let tls = listener("sip.tls", sip.tls)?;
    Ok(SipSockets {
        udp: udp.transpose()?,
        tcp: listener("sip.tcp", sip.tcp)?,
        tls: tls.map(|listener| (listener, Box::new(encryption) as Box<dyn Encryption>)),
    })
}

fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    // What ten thousand telephones may send in a moment. Less is what the host allows.
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BYTES)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn streams(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Any address of IPv6 is any of IPv4 as well.
fn families(bound: IpAddr) -> Vec<IpAddr> {
    match bound {
        IpAddr::V6(ip) if ip.is_unspecified() => vec![bound, Ipv4Addr::UNSPECIFIED.into()],
        _ => vec![bound],
    }
}

/// From this host, if nothing else is said.
fn reached(bound: IpAddr) -> IpAddr {
    match bound {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

const RECEIVE_BYTES: usize = 4 << 20;
