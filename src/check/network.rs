//! Whether the configured ports can be bound. A port of a running moqswitch counts as taken:
//! a second one would join its group of sockets and steal datagrams.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::{Check, Status, TCP_PORT, UDP_PORT};

pub(super) fn check(listen: SocketAddr, http: SocketAddr) -> [Check; 2] {
    let udp = UdpSocket::bind(listen).map(drop);
    let tcp = TcpListener::bind(http).map(drop);
    [
        judge(UDP_PORT, "listen", listen, udp),
        judge(TCP_PORT, "http", http, tcp),
    ]
}

fn judge(name: &'static str, setting: &str, address: SocketAddr, bound: io::Result<()>) -> Check {
    let Err(error) = bound else {
        return Check::new(name, Status::Pass, format!("{address} is free"));
    };
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("moqswitch or another program has it (`ss -lnpu`, `ss -lnpt`); stop that, or change `{setting}`")
        }
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in systemd); or change `{setting}`"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface has this address (`ip address`); change `{setting}`")
        }
        _ => format!("change `{setting}`"),
    };
    Check::new(name, Status::Fail, format!("{address}: {error}")).advise(advice)
}
