//! `loadgen link`: a UDP proxy with a path of its own for each client, which the relay sees as an
//! address of its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use moqswitch::net::socket::{SocketOptions, bind_client};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Impairment, Link};
use crate::model::{Purpose, random};

/// Datagrams on their way in one direction of one client's path.
struct Lane {
    link: Link,
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    started: Instant,
    taken: u64,
}

/// Forwards until interrupted.
#[allow(clippy::print_stdout, reason = "where it listens is what scripts wait for")]
pub(crate) fn run(listen: SocketAddr, to: SocketAddr, impairment: &Impairment, seed: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = bind(listen).with_context(|| format!("cannot listen on {listen} (UDP)"))?;
        println!("link ready: {} to {to}", socket.local_addr()?);
        tokio::select! {
            result = forward(Arc::new(socket), to, impairment, seed) => result,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

/// With the buffers that a relay's sockets have, so that bursts are not lost beside the plan.
fn bind(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = bind_client(address, &SocketOptions::default())?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

/// Hands each client's datagrams to its path.
async fn forward(socket: Arc<UdpSocket>, to: SocketAddr, impairment: &Impairment, seed: u64) -> anyhow::Result<()> {
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut seen = 0;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is of an earlier datagram that could not be delivered.
        let Ok((bytes, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        clients.retain(|_, path| !path.is_closed());
        if !clients.contains_key(&client) {
            if clients.len() >= CLIENTS_MAX {
                continue;
            }
            let (path, datagrams) = mpsc::channel(PATH_DATAGRAMS_MAX);
            let lane = |direction: u64| Lane {
                link: Link::new(impairment.clone(), random(seed, Purpose::Link, seen * 2 + direction)),
                waiting: BinaryHeap::new(),
                started: Instant::now(),
                taken: 0,
            };
            let (up, down) = (lane(0), lane(1));
            seen += 1;
            let unspecified: SocketAddr = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
            let relay = bind(unspecified)?;
            relay.connect(to).await?;
            tokio::spawn(serve(socket.clone(), client, relay, datagrams, up, down));
            clients.insert(client, path);
        }
        if let Some(path) = clients.get(&client) {
            // A path that is full loses datagrams, as paths do.
            let _ = path.try_send(buffer[..bytes].to_vec());
        }
    }
}

/// One client's path, until nothing was sent for a while.
async fn serve(
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    relay: UdpSocket,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
    mut up: Lane,
    mut down: Lane,
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut idle_at = Instant::now() + IDLE_MAX;
    loop {
        let next = [up.due(), down.due(), Some(idle_at)].into_iter().flatten().min();
        tokio::select! {
            datagram = datagrams.recv() => match datagram {
                Some(datagram) => {
                    idle_at = Instant::now() + IDLE_MAX;
                    up.take(datagram);
                }
                None => return,
            },
            received = relay.recv(&mut buffer) => {
                if let Ok(bytes) = received {
                    down.take(buffer[..bytes].to_vec());
                }
            }
            () = tokio::time::sleep_until(next.unwrap_or(idle_at)) => {}
        }
        let now = Instant::now();
        // What cannot be sent is lost on the way.
        while let Some(datagram) = up.poll(now) {
            let _ = relay.send(&datagram).await;
        }
        while let Some(datagram) = down.poll(now) {
            let _ = socket.send_to(&datagram, client).await;
        }
        if now >= idle_at {
            return;
        }
    }
}

impl Lane {
    fn take(&mut self, datagram: Vec<u8>) {
        let due = self.link.handle(self.started.elapsed(), datagram.len());
        if let Some(due) = due
            && self.waiting.len() < PATH_DATAGRAMS_MAX
        {
            self.taken += 1;
            self.waiting.push(Reverse((self.started + due, self.taken, datagram)));
        }
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, _, _))| *due)
    }

    fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.due()? > now {
            return None;
        }
        self.waiting.pop().map(|Reverse((_, _, datagram))| datagram)
    }
}

const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Clients at once. Datagrams of further ones are lost.
const CLIENTS_MAX: usize = 10_000;

/// Datagrams on one client's path. Further ones are lost.
const PATH_DATAGRAMS_MAX: usize = 10_000;

/// A client that sends nothing for so long is forgotten; its next datagram has another path.
const IDLE_MAX: Duration = Duration::from_secs(120);
