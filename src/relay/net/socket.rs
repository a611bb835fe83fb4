//! UDP sockets as the ring wants them: one for each shard in a steered SO_REUSEPORT group that no
//! second instance can join by mistake, or a plain one for dialing.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

use socket2::{Domain, Protocol, Socket, Type};

use super::steering::{self, Steering};
use crate::limits::{GENERATIONS_MAX, SHARDS_MAX, SOCKET_BUFFER_BYTES_DEFAULT};

/// What is asked of the kernel for each UDP socket.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// Kernel receive buffer of each socket. Default 4 MiB; memory is used only by what waits in it.
    pub receive_buffer_bytes: usize,
    /// Kernel send buffer of each socket. Default 4 MiB.
    pub send_buffer_bytes: usize,
    /// Datagrams that arrive in a train are received as one buffer (UDP GRO). Default; who reads without looking for the
    /// train's segment size takes it for one datagram.
    pub joins_received: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            receive_buffer_bytes: SOCKET_BUFFER_BYTES_DEFAULT,
            send_buffer_bytes: SOCKET_BUFFER_BYTES_DEFAULT,
            joins_received: true,
        }
    }
}

/// The sockets of all shards, those of one generation after those of another. The kernel steers by that order, so none
/// may be closed while another is in use.
#[derive(Debug)]
pub struct SocketGroup {
    /// One for each shard of each generation.
    pub sockets: Vec<UdpSocket>,
    /// Shards of a generation.
    pub shards: usize,
    /// The address that all of them are bound to, its port chosen.
    pub local: SocketAddr,
    /// What the kernel granted of the buffers asked for; less means `net.core.rmem_max` or
    /// `net.core.wmem_max` is in the way.
    pub granted: SocketOptions,
    /// Keeps other instances away from the address; to be dropped after the sockets.
    pub guard: InstanceGuard,
}

/// Marks the address as taken by this process; keep it as long as the sockets.
#[derive(Debug)]
pub struct InstanceGuard {
    name: Option<UnixDatagram>,
}

/// Why sockets could not be had. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the address.
    #[error(
        "UDP {addr} is already in use: another moqswitch or another program has it; \
         stop that one first (find it with: ss -ulpn) or listen elsewhere with --listen"
    )]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The system refused the address for another reason.
    #[error("cannot bind UDP {addr}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a socket option.
    #[error("cannot set {option} on the UDP socket for {addr}: {source}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The address that the socket was for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No shard, or more than [`SHARDS_MAX`] of all generations.
    #[error("{shards} shards asked for; between 1 and {SHARDS_MAX} are possible")]
    Shards {
        /// The shards asked for.
        shards: usize,
    },
}

/// Binds one socket for each shard to one address; port 0 lets the kernel choose the port.
///
/// The first bind is exclusive, without SO_REUSEPORT, so that it fails when anyone has the
/// address, even a group that would let us join; only then is the group opened to our other
/// sockets. A program that asks for SO_REUSEPORT under our user id *later* can still join; another
/// moqswitch cannot, because its first bind is exclusive too. A lone socket needs no group and
/// keeps the address to itself.
///
/// Sockets of generations to come are there from the beginning and cost a kilobyte or two each: nothing is steered to
/// them. The first generation is the current one.
pub fn bind_group(
    addr: SocketAddr,
    shards: usize,
    generations: usize,
    options: &SocketOptions,
) -> Result<SocketGroup, BindError> {
    let count = shards.saturating_mul(generations);
    if !(1..=SHARDS_MAX).contains(&count) || generations > GENERATIONS_MAX {
        return Err(BindError::Shards { shards });
    }
    let early_guard = if addr.port() == 0 {
        None
    } else {
        Some(InstanceGuard::take(addr)?)
    };
    let first = bind(addr, options, Sharing::Exclusive)?;
    let local = local_addr(&first, addr)?;
    let guard = match early_guard {
        Some(guard) => guard,
        None => InstanceGuard::take(local)?,
    };
    let set = |option| {
        move |source| BindError::Option {
            option,
            addr: local,
            source,
        }
    };
    let mut sockets = vec![first];
    if count > 1 {
        sockets[0].set_reuse_port(true).map_err(set("SO_REUSEPORT"))?;
        for _ in 1..count {
            sockets.push(bind(local, options, Sharing::Group)?);
        }
    }
    let granted = granted(&sockets[0]).map_err(set("SO_RCVBUF"))?;
    let sockets = sockets.into_iter().map(UdpSocket::from).collect();
    let group = SocketGroup {
        sockets,
        shards,
        local,
        granted,
        guard,
    };
    if count > 1 {
        group.steer(0, &[]).map_err(set("SO_ATTACH_REUSEPORT_CBPF"))?;
    }
    Ok(group)
}

impl SocketGroup {
    /// A group that another process has bound, of which this one was given the descriptors, and the name that keeps
    /// others away.
    ///
    /// # Errors
    ///
    /// They are no sockets that are bound, or not so many for each generation.
    pub fn inherit(sockets: Vec<UdpSocket>, shards: usize, guard: Option<UnixDatagram>) -> io::Result<Self> {
        let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
        if shards == 0 || !sockets.len().is_multiple_of(shards) || sockets.len() > SHARDS_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let local = first.local_addr()?;
        let granted = granted(&first.try_clone()?.into())?;
        Ok(Self {
            sockets,
            shards,
            local,
            granted,
            guard: InstanceGuard { name: guard },
        })
    }

    /// How many generations it has sockets for.
    pub fn generations(&self) -> usize {
        self.sockets.len() / self.shards
    }

    /// From now on new connections are one generation's, and what belongs to generations that are not named as living
    /// beside it. Of a lone socket there is nothing to decide.
    ///
    /// # Errors
    ///
    /// The group has no such generation, or the kernel refuses the program.
    pub fn steer(&self, current: usize, others: &[usize]) -> io::Result<()> {
        let Some(first) = self.sockets.first().filter(|_| self.sockets.len() > 1) else {
            return Ok(());
        };
        let steering = Steering {
            shards: self.shards,
            generations: self.generations(),
            current,
            others: others.to_vec(),
        };
        steering::attach(first, &steering)
    }

    /// The sockets of one generation, in shard order.
    ///
    /// # Errors
    ///
    /// There is no such generation, or the process has no descriptors left.
    pub fn of_generation(&self, generation: usize) -> io::Result<Vec<UdpSocket>> {
        let own = self.sockets.chunks(self.shards).nth(generation);
        let own = own.ok_or(io::ErrorKind::InvalidInput)?;
        own.iter().map(UdpSocket::try_clone).collect()
    }
}

impl InstanceGuard {
    /// What keeps others away, to be handed on.
    pub fn name(&self) -> Option<&UnixDatagram> {
        self.name.as_ref()
    }
}

/// Binds one socket for dialing out, with the same options.
pub fn bind_client(addr: SocketAddr, options: &SocketOptions) -> Result<UdpSocket, BindError> {
    bind(addr, options, Sharing::Exclusive).map(UdpSocket::from)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Exclusive,
    Group,
}

fn bind(addr: SocketAddr, options: &SocketOptions, sharing: Sharing) -> Result<Socket, BindError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { addr },
        _ => BindError::Bind { addr, source },
    };
    let kind = Type::DGRAM.nonblocking();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::UDP)).map_err(failed)?;
    let set = |option| move |source| BindError::Option { option, addr, source };
    if addr.is_ipv6() {
        let dual_stack = addr.ip().is_unspecified();
        socket.set_only_v6(!dual_stack).map_err(set("IPV6_V6ONLY"))?;
    }
    if sharing == Sharing::Group {
        socket.set_reuse_port(true).map_err(set("SO_REUSEPORT"))?;
    }
    for (option, level, name, value) in switches(addr.ip(), options) {
        set_integer(&socket, level, name, value).map_err(set(option))?;
    }
    set_buffer(
        &socket,
        libc::SO_RCVBUFFORCE,
        libc::SO_RCVBUF,
        options.receive_buffer_bytes,
    )
    .map_err(set("SO_RCVBUF"))?;
    set_buffer(
        &socket,
        libc::SO_SNDBUFFORCE,
        libc::SO_SNDBUF,
        options.send_buffer_bytes,
    )
    .map_err(set("SO_SNDBUF"))?;
    socket.bind(&addr.into()).map_err(failed)?;
    Ok(socket)
}

type Switch = (&'static str, libc::c_int, libc::c_int, libc::c_int);

/// Coalesced receive, the local address of each datagram, and no fragmentation: QUIC needs DF set
/// (RFC 9000, section 14) and does its own path MTU discovery, so the kernel's guess is ignored.
fn switches(ip: IpAddr, options: &SocketOptions) -> Vec<Switch> {
    let probe = libc::IP_PMTUDISC_PROBE;
    let mut switches = vec![
        (
            "UDP_GRO",
            libc::SOL_UDP,
            libc::UDP_GRO,
            libc::c_int::from(options.joins_received),
        ),
        // An IPv6 socket consults this one for the IPv4 peers of a dual-stack socket.
        ("IP_MTU_DISCOVER", libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, probe),
    ];
    if ip.is_ipv4() {
        switches.push(("IP_PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO, 1));
    } else {
        let level = libc::IPPROTO_IPV6;
        switches.push(("IPV6_RECVPKTINFO", level, libc::IPV6_RECVPKTINFO, 1));
        switches.push(("IPV6_MTU_DISCOVER", level, libc::IPV6_MTU_DISCOVER, probe));
    }
    switches
}

/// The forced form may exceed the host's maximum but needs CAP_NET_ADMIN.
fn set_buffer(socket: &Socket, forced: libc::c_int, plain: libc::c_int, bytes: usize) -> io::Result<()> {
    // The kernel doubles the value and clamps what it cannot represent.
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX / 2);
    set_integer(socket, libc::SOL_SOCKET, forced, value)
        .or_else(|_| set_integer(socket, libc::SOL_SOCKET, plain, value))
}

/// The kernel reports twice what it grants, the other half being its own overhead.
fn granted(socket: &Socket) -> io::Result<SocketOptions> {
    Ok(SocketOptions {
        receive_buffer_bytes: socket.recv_buffer_size()? / 2,
        send_buffer_bytes: socket.send_buffer_size()? / 2,
        ..SocketOptions::default()
    })
}

fn local_addr(socket: &Socket, addr: SocketAddr) -> Result<SocketAddr, BindError> {
    let local = socket.local_addr().map_err(|source| BindError::Bind { addr, source })?;
    let wrong = || BindError::Bind {
        addr,
        source: io::ErrorKind::InvalidData.into(),
    };
    local.as_socket().ok_or_else(wrong)
}

/// Has the kernel note when each datagram comes in.
pub(super) fn note_arrivals(socket: &UdpSocket) -> io::Result<()> {
    set_integer(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Makes the kernel say which local address each datagram was sent to.
pub(super) fn report_local(socket: &UdpSocket, ip: IpAddr) -> io::Result<()> {
    if ip.is_ipv4() {
        set_integer(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    } else {
        set_integer(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    }
}

/// Has each datagram received by itself (no UDP GRO).
pub(super) fn receive_singly(socket: &UdpSocket) -> io::Result<()> {
    set_integer(socket, libc::SOL_UDP, libc::UDP_GRO, 0)
}

fn set_integer(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option value is a live c_int and its length is passed with it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("four bytes"),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

impl InstanceGuard {
    /// A name in the abstract unix namespace, which like a port belongs to the network namespace
    /// and vanishes with the process.
    fn take(addr: SocketAddr) -> Result<Self, BindError> {
        let name = UnixAddr::from_abstract_name(format!("moqswitch/udp/{addr}"));
        match name.and_then(|name| UnixDatagram::bind_addr(&name)) {
            Ok(socket) => Ok(Self { name: Some(socket) }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(BindError::InUse { addr }),
            // Unix sockets may be forbidden to the service; the exclusive bind still protects.
            Err(_) => Ok(Self { name: None }),
        }
    }
}

#[cfg(test)]
mod tests;
