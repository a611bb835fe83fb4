//! `loadgen link`: a UDP proxy with a path of its own for each source address, which the relay sees as an
//! address of its own. What the proxy loses beside the plan is counted, so that nobody takes it for the relay's doing.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use moqswitch_relay::net::socket::{SocketOptions, bind_client};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Impairment, Link};
use crate::host::own_sockets;
use crate::interrupt;
use crate::model::{Purpose, random};
use crate::output::file::{complain, say};

/// What became of datagrams, all clients together.
#[derive(Debug, Default)]
struct Tally {
    clients: AtomicU64,
    taken: AtomicU64,
    /// Payload of those.
    bytes: AtomicU64,
    /// As the impairment says.
    lost: AtomicU64,
    /// Of clients that no path could be made for, and those that a path had no room for.
    dropped: AtomicU64,
    /// By the kernel, for want of room in the proxy's sockets.
    overflowed: AtomicU64,
    /// The kernel refused to send them, mostly because nobody listens there.
    unsent: AtomicU64,
}

// No comment here as documentation: it would be that of the command.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Moves {
    /// Come to the relay from another port so often, as behind a NAT that forgets.
    #[arg(long = "move-every", id = "move_every", value_name = "DUR", value_parser = humantime::parse_duration)]
    every: Option<Duration>,
    /// The first time, counted from a client's first datagram; by default after the same.
    #[arg(long = "move-after", value_name = "DUR", value_parser = humantime::parse_duration, requires = "move_every")]
    after: Option<Duration>,
    /// Another address of the relay: at each move, go by the other of the two.
    #[arg(long, value_name = "ADDR", requires = "move_every")]
    also: Option<SocketAddr>,
}

struct Proxy {
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    moves: Moves,
    impairment: Impairment,
    seed: u64,
    clients: HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>,
    /// Each tells whose it was when it ends.
    paths: JoinSet<SocketAddr>,
    tally: Arc<Tally>,
    /// Since when the last client without a path was spoken of.
    refused_at: Option<Instant>,
}

/// Datagrams on their way in one direction of one client's path.
struct Lane {
    link: Link,
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    started: Instant,
    taken: u64,
    tally: Arc<Tally>,
}

/// Looks now and then what was dropped beside the plan, and says so.
struct Watch {
    tally: Arc<Tally>,
    /// Drops of each socket that there was at the last look, by inode.
    sockets: HashMap<u64, u64>,
    told: u64,
}

/// Forwards until interrupted. The status to exit with: 0, or 3 when the proxy itself lost datagrams.
pub(crate) fn run(
    listen: SocketAddr,
    to: SocketAddr,
    impairment: &Impairment,
    seed: u64,
    moves: &Moves,
) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = bind(listen, None).with_context(|| format!("cannot listen on {listen} (UDP)"))?;
        say(&format_args!("link ready: {} to {to}", socket.local_addr()?), false)?;
        let tally = Arc::new(Tally::default());
        let mut watch = Watch {
            tally: tally.clone(),
            sockets: HashMap::new(),
            told: 0,
        };
        let mut proxy = Proxy {
            socket: Arc::new(socket),
            to,
            moves: moves.clone(),
            impairment: impairment.clone(),
            seed,
            clients: HashMap::new(),
            paths: JoinSet::new(),
            tally: tally.clone(),
            refused_at: None,
        };
        tokio::select! {
            () = proxy.forward() => {}
            result = watch.run() => result?,
            result = interrupt::first() => result?,
        }
        // While its sockets are still there.
        watch.look().await?;
        // Who read the first line may have gone.
        let _ = say(&format_args!("link ended: {tally}"), false);
        Ok(if tally.own() > 0 { 3 } else { 0 })
    })
}

/// With the buffers that a relay's sockets have, so that bursts are not lost beside the plan. Each datagram by itself: it
/// has a fate of its own, and one that was joined with others would arrive as no packet at all.
fn bind(address: SocketAddr, peer: Option<SocketAddr>) -> anyhow::Result<UdpSocket> {
    let options = SocketOptions {
        joins_received: false,
        ..SocketOptions::default()
    };
    let socket = bind_client(address, &options)?;
    if let Some(peer) = peer {
        socket.connect(peer)?;
    }
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

impl Proxy {
    /// Hands each client's datagrams to its path, for ever.
    async fn forward(&mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    // An error is of an earlier datagram that could not be delivered.
                    if let Ok((bytes, client)) = received {
                        self.handle_datagram(client, &buffer[..bytes]);
                    }
                }
                Some(ended) = self.paths.join_next() => {
                    // It may have another path by now.
                    if let Ok(client) = ended && self.clients.get(&client).is_some_and(mpsc::Sender::is_closed) {
                        self.clients.remove(&client);
                    }
                }
            }
        }
    }

    fn handle_datagram(&mut self, client: SocketAddr, datagram: &[u8]) {
        self.tally.count(datagram.len());
        if self.clients.get(&client).is_none_or(mpsc::Sender::is_closed)
            && let Err(error) = self.open(client)
        {
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
            let is_news = self.refused_at.is_none_or(|told| told.elapsed() >= LOOK_INTERVAL);
            if is_news {
                self.refused_at = Some(Instant::now());
                complain(&format_args!(
                    "loadgen link: no path for {client}, whose datagrams are lost: {error:#}"
                ));
            }
            return;
        }
        let is_taken = self
            .clients
            .get(&client)
            .is_some_and(|path| path.try_send(datagram.to_vec()).is_ok());
        self.tally.dropped.fetch_add(u64::from(!is_taken), Ordering::Relaxed);
    }

    /// Makes a path for a client.
    fn open(&mut self, client: SocketAddr) -> anyhow::Result<()> {
        anyhow::ensure!(self.clients.len() < CLIENTS_MAX, "there are {CLIENTS_MAX} clients");
        let relay = dial(self.to)?;
        let number = self.tally.clients.fetch_add(1, Ordering::Relaxed);
        let lane = |direction: u64| Lane {
            link: Link::new(
                self.impairment.clone(),
                random(self.seed, Purpose::Link, number * 2 + direction),
            ),
            waiting: BinaryHeap::new(),
            started: Instant::now(),
            taken: 0,
            tally: self.tally.clone(),
        };
        let (up, down) = (lane(0), lane(1));
        let (path, datagrams) = mpsc::channel(PATH_DATAGRAMS_MAX);
        let client_path = ClientPath {
            socket: self.socket.clone(),
            client,
            relay,
            to: self.to,
            moves: self.moves.clone(),
            datagrams,
            up,
            down,
        };
        self.paths.spawn(async move {
            client_path.serve().await;
            client
        });
        self.clients.insert(client, path);
        Ok(())
    }
}

/// One client's way to the relay and back.
struct ClientPath {
    /// Where clients send to.
    socket: Arc<UdpSocket>,
    client: SocketAddr,
    relay: UdpSocket,
    to: SocketAddr,
    moves: Moves,
    /// What the client sent.
    datagrams: mpsc::Receiver<Vec<u8>>,
    up: Lane,
    down: Lane,
}

impl ClientPath {
    /// Until nothing was sent for a while.
    async fn serve(mut self) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        let mut idle_at = Instant::now() + IDLE_MAX;
        let mut move_at = self.moves.after.or(self.moves.every).map(|wait| Instant::now() + wait);
        loop {
            let next = [self.up.due(), self.down.due(), move_at, Some(idle_at)]
                .into_iter()
                .flatten()
                .min();
            tokio::select! {
                datagram = self.datagrams.recv() => match datagram {
                    Some(datagram) => {
                        idle_at = Instant::now() + IDLE_MAX;
                        self.up.take(datagram);
                    }
                    None => return,
                },
                received = self.relay.recv(&mut buffer) => {
                    if let Ok(bytes) = received {
                        self.down.tally.count(bytes);
                        self.down.take(buffer[..bytes].to_vec());
                    }
                }
                () = tokio::time::sleep_until(next.unwrap_or(idle_at)) => {}
            }
            let now = Instant::now();
            if move_at.is_some_and(|due| due <= now) {
                self.change_port();
                move_at = self.moves.every.map(|wait| now + wait);
            }
            while let Some(datagram) = self.up.poll(now) {
                let is_sent = self.relay.send(&datagram).await.is_ok();
                self.up.tally.unsent.fetch_add(u64::from(!is_sent), Ordering::Relaxed);
            }
            while let Some(datagram) = self.down.poll(now) {
                let is_sent = self.socket.send_to(&datagram, self.client).await.is_ok();
                self.down.tally.unsent.fetch_add(u64::from(!is_sent), Ordering::Relaxed);
            }
            if now >= idle_at {
                return;
            }
        }
    }
}

impl ClientPath {
    /// What is on its way to the old port is lost, as it is behind a NAT. When there is no other it keeps the old one.
    fn change_port(&mut self) {
        if let Some(also) = &mut self.moves.also {
            std::mem::swap(also, &mut self.to);
        }
        if let Ok(relay) = dial(self.to) {
            self.relay = relay;
        }
    }
}

fn dial(relay: SocketAddr) -> anyhow::Result<UdpSocket> {
    let unspecified: SocketAddr = if relay.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
    bind(unspecified, Some(relay))
}

impl Lane {
    fn take(&mut self, datagram: Vec<u8>) {
        let Some(due) = self.link.handle(self.started.elapsed(), datagram.len()) else {
            self.tally.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if self.waiting.len() >= PATH_DATAGRAMS_MAX {
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.taken += 1;
        self.waiting.push(Reverse((self.started + due, self.taken, datagram)));
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

impl Watch {
    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.look().await?;
            let own = self.tally.own();
            if own > self.told {
                self.told = own;
                complain(&format_args!("loadgen link: it loses datagrams itself: {}", self.tally));
            }
        }
    }

    /// Adds what sockets dropped since the last look.
    async fn look(&mut self) -> anyhow::Result<()> {
        // With thousands of sockets it takes a while, in which datagrams are not to wait.
        let sockets = tokio::task::spawn_blocking(|| own_sockets(|_| true)).await?;
        let known = std::mem::take(&mut self.sockets);
        for (inode, drops) in sockets {
            let before = known.get(&inode).copied().unwrap_or_default();
            self.tally
                .overflowed
                .fetch_add(drops.saturating_sub(before), Ordering::Relaxed);
            self.sockets.insert(inode, drops);
        }
        Ok(())
    }
}

impl Tally {
    fn count(&self, bytes: usize) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.bytes
            .fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
    }

    /// What was lost beside the plan, by the proxy.
    fn own(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.overflowed.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            out,
            "{} clients, {} datagrams, {} bytes, {} lost as asked for, {} dropped for want of room, {} by its sockets, {} could not be sent",
            of(&self.clients),
            of(&self.taken),
            of(&self.bytes),
            of(&self.lost),
            of(&self.dropped),
            of(&self.overflowed),
            of(&self.unsent)
        )
    }
}

const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Clients at once. Datagrams of further ones are lost, and counted as dropped.
const CLIENTS_MAX: usize = 10_000;

/// Datagrams on one client's path. Further ones are lost, and counted as dropped.
const PATH_DATAGRAMS_MAX: usize = 10_000;

/// A client that sends nothing for so long is forgotten; its next datagram has another path.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// How often it is looked whether datagrams are dropped, and complained at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_path_costs_only_its_own_datagrams() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut proxy = proxy(relay.local_addr().unwrap());
            let (one, other) = (address(1), address(2));
            proxy.handle_datagram(one, b"one");
            // As when the process has no descriptor left: a socket that cannot be had.
            proxy.to = "255.255.255.255:9".parse().unwrap();
            proxy.handle_datagram(other, b"other");
            proxy.handle_datagram(one, b"two");
            let mut buffer = [0; 16];
            for expected in ["one", "two"] {
                let bytes = relay.recv(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..bytes], expected.as_bytes());
            }
            assert_eq!(proxy.tally.own(), 1, "{}", proxy.tally);
            assert!(
                proxy
                    .tally
                    .to_string()
                    .starts_with("1 clients, 3 datagrams, 11 bytes, 0 lost")
            );
        });
    }

    #[test]
    fn what_is_lost_as_asked_for_is_none_of_its_own_drops() {
        let tally = Arc::new(Tally::default());
        let mut lane = Lane {
            link: Link::new("loss=100%".parse().unwrap(), random(1, Purpose::Link, 0)),
            waiting: BinaryHeap::new(),
            started: Instant::now(),
            taken: 0,
            tally: tally.clone(),
        };
        lane.take(vec![1]);
        assert_eq!((tally.lost.load(Ordering::Relaxed), tally.own()), (1, 0));
        lane.link = Link::new("delay=60s".parse().unwrap(), random(1, Purpose::Link, 0));
        for _ in 0..=PATH_DATAGRAMS_MAX {
            lane.take(vec![1]);
        }
        assert_eq!((lane.waiting.len(), tally.own()), (PATH_DATAGRAMS_MAX, 1));
    }

    fn proxy(to: SocketAddr) -> Proxy {
        Proxy {
            socket: Arc::new(bind("127.0.0.1:0".parse().unwrap(), None).unwrap()),
            to,
            moves: Moves::default(),
            impairment: "delay=0ms".parse().unwrap(),
            seed: 1,
            clients: HashMap::new(),
            paths: JoinSet::new(),
            tally: Arc::new(Tally::default()),
            refused_at: None,
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }
}
