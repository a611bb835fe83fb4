//! Whether the configured ports can be bound. A port of a running moqswitch counts as taken:
//! a second one would join its group of sockets and steal datagrams. One that has just ended may keep it for a moment,
//! for which a start waits too.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Instant;

use moqswitch_relay::limits::ADDRESS_WAIT_MAX;
use moqswitch_relay::net::bind_by;

use super::{ADMIN_PORT, Check, Status, TCP_PORT, UDP_PORT};

pub(super) fn check(listen: SocketAddr, http: SocketAddr, admin: Option<SocketAddr>) -> Vec<Check> {
    let deadline = Instant::now() + ADDRESS_WAIT_MAX;
    let is_in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let udp = bind_by(deadline, is_in_use, || UdpSocket::bind(listen).map(drop));
    let tcp = bind_by(deadline, is_in_use, || TcpListener::bind(http).map(drop));
    let mut checks = vec![
        judge(UDP_PORT, "listen", listen, udp),
        judge(TCP_PORT, "http", http, tcp),
    ];
    match admin {
        None => checks.push(Check::new(
            ADMIN_PORT,
            Status::Pass,
            "none: operators are answered nowhere",
        )),
        Some(admin) => {
            let bound = bind_by(deadline, is_in_use, || TcpListener::bind(admin).map(drop));
            checks.push(match judge(ADMIN_PORT, "admin.listen", admin, bound) {
                check if check.status == Status::Pass && !admin.ip().to_canonical().is_loopback() => Check::new(
                    ADMIN_PORT,
                    Status::Warn,
                    format!("{admin} is reachable from other machines, and has no access control"),
                )
                .advise("let only those reach it who may see all metrics and all announced paths; or set `admin.listen` to loopback"),
                check => check,
            });
        }
    }
    checks
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
