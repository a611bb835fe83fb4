//! A UDP forwarder between one client and the relay that can change its relay-facing port, as a
//! NAT does that has forgotten a mapping, or its host, as a phone does that leaves the house.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Goes on for a moment after it is dropped, so that the relay hears a client's close.
pub struct Forwarder {
    address: SocketAddr,
    rebind: mpsc::Sender<(Ipv4Addr, oneshot::Sender<SocketAddr>)>,
    is_cut: Arc<AtomicBool>,
}

impl Forwarder {
    pub async fn start(relay: SocketAddr) -> Result<Forwarder> {
        let client_side = UdpSocket::bind("127.0.0.1:0").await?;
        let relay_side = connected_socket(HOST, relay).await?;
        let address = client_side.local_addr()?;
        let (rebind, requests) = mpsc::channel(1);
        let is_cut = Arc::new(AtomicBool::new(false));
        let swallows = is_cut.clone();
        tokio::spawn(async move {
            if let Err(error) = forward(client_side, relay_side, relay, requests, &swallows).await {
                eprintln!("forwarder ended: {error:#}");
            }
        });
        Ok(Forwarder {
            address,
            rebind,
            is_cut,
        })
    }

    /// What the client dials.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on packets are lost, both ways, and nobody is told: the client is dead as far as the relay can see.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// Goes on from a new port, which is returned; what still comes to the old one is lost.
    pub async fn change_port(&self) -> Result<SocketAddr> {
        self.go_on_from(HOST).await
    }

    /// Goes on from a new port of another of this machine's addresses.
    pub async fn change_host(&self, last_octet: u8) -> Result<SocketAddr> {
        self.go_on_from(Ipv4Addr::new(127, 0, 1, last_octet)).await
    }

    async fn go_on_from(&self, host: Ipv4Addr) -> Result<SocketAddr> {
        let (done, changed) = oneshot::channel();
        self.rebind.send((host, done)).await.context("the forwarder is gone")?;
        changed.await.context("the forwarder is gone")
    }
}

async fn forward(
    client_side: UdpSocket,
    mut relay_side: UdpSocket,
    relay: SocketAddr,
    mut requests: mpsc::Receiver<(Ipv4Addr, oneshot::Sender<SocketAddr>)>,
    is_cut: &AtomicBool,
) -> Result<()> {
    let mut client = None;
    let mut end = None;
    // Old ports stay open and unread: a NAT swallows packets, it does not refuse them.
    let mut forgotten = Vec::new();
    let mut up = vec![0; DATAGRAM_BYTES_MAX];
    let mut down = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        tokio::select! {
            received = client_side.recv_from(&mut up) => {
                let (length, from) = received?;
                client = Some(from);
                if is_cut.load(Ordering::Relaxed) {
                    continue;
                }
                relay_side.send(&up[..length]).await.ok();
            }
            received = relay_side.recv(&mut down) => {
                if let (Ok(length), Some(client), false) = (received, client, is_cut.load(Ordering::Relaxed)) {
                    client_side.send_to(&down[..length], client).await.ok();
                }
            }
            () = until(end) => return Ok(()),
            request = requests.recv(), if end.is_none() => {
                let Some((host, done)) = request else {
                    end = Some(Instant::now() + LINGER);
                    continue;
                };
                let fresh = connected_socket(host, relay).await?;
                done.send(fresh.local_addr()?).ok();
                forgotten.push(std::mem::replace(&mut relay_side, fresh));
            }
        }
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn connected_socket(host: Ipv4Addr, relay: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((host, 0)).await?;
    socket.connect(relay).await?;
    Ok(socket)
}

const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const LINGER: Duration = Duration::from_secs(1);
const DATAGRAM_BYTES_MAX: usize = 65_536;
