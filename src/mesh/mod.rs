//! The mesh, seen from the control thread: which other relays there are, where they are, and when they are dialled again. A
//! shard does the dialling, by a command; everything else about a link is the shard's.
#![forbid(unsafe_code)]

mod asking;
mod board;
mod difference;
mod list;
mod redial;
pub mod view;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use moqswitch_relay::certificate::{CertificateFiles, CertificatePair, ClientAuthorities};
use moqswitch_relay::quic::{ServerCertificate, Trust};
use moqswitch_relay::shard::{LinkDial, LinkEnd, ShardCommand, ShardPort};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{MeshConfig, PeerUrl};
use crate::limits;

use list::Named;

pub use board::{Board, Dialled, List, ListCounts};
pub use difference::Difference;

/// Keeps links to other relays.
pub struct Mesh {
    plan: Plan,
    plans: mpsc::Receiver<Plan>,
    dialler: Arc<Dialler>,
}

/// Gives a [`Mesh`] that runs another plan.
#[derive(Clone)]
pub struct MeshHandle {
    plans: mpsc::Sender<Plan>,
    board: Arc<Board>,
}

/// What is wanted, with the files that the configuration names read.
pub struct Plan {
    fixed: Named,
    reader: Option<list::Reader>,
    credentials: Credentials,
}

/// What it takes to dial.
struct Dialler {
    shards: Vec<ShardPort>,
    /// Where the relay listens: links leave by the same sockets.
    listen: SocketAddr,
    credentials: watch::Sender<Credentials>,
    board: Arc<Board>,
    random: SystemRandom,
}

/// Who this relay is, and whom it believes, when it dials.
#[derive(Clone)]
struct Credentials {
    trust: Trust,
    certificate: Option<ServerCertificate>,
    token: Option<String>,
}

impl Plan {
    /// Reads the files, as a whole or not at all. It may take a moment.
    pub fn read(config: &MeshConfig) -> anyhow::Result<Self> {
        let named = |peer: &PeerUrl| (peer.name.clone(), peer.clone());
        Ok(Self {
            fixed: config.peers.iter().map(named).collect(),
            reader: list::Reader::new(config)?,
            credentials: Credentials::read(config)?,
        })
    }

    /// Those that the configuration names, and those of its list, where the former count.
    fn wanted(&self, listed: &Named) -> Named {
        // A list may spell one of them otherwise.
        let is_fixed = |peer: &PeerUrl| self.fixed.values().any(|fixed| fixed.is_same(peer));
        let mut wanted = listed.clone();
        wanted.retain(|_, peer| !is_fixed(peer));
        wanted.extend(self.fixed.clone());
        wanted
    }

    /// When it is due; without a list never.
    async fn listed(&mut self, due: tokio::time::Instant) -> anyhow::Result<Option<Named>> {
        let Some(reader) = &mut self.reader else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(due).await;
        reader.read().await
    }
}

impl Credentials {
    fn read(config: &MeshConfig) -> anyhow::Result<Self> {
        if !config.dials() {
            return Ok(Self {
                trust: Trust::Roots,
                certificate: None,
                token: None,
            });
        }
        let token = config.token_file.as_deref().map(|path| {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cluster.token_file: cannot read {}", path.display()))?;
            anyhow::Ok(text.trim().to_owned())
        });
        let identity = config.identity.as_ref().map(|(certificate, key)| {
            let files = CertificateFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            };
            let pair = CertificatePair::load(&files).context("cluster.certificate")?;
            anyhow::Ok(ServerCertificate::from_der(&pair.chain, &pair.key.der)?)
        });
        let trust = match (&config.ca, config.is_insecure) {
            (_, true) => Trust::Anyone,
            (Some(path), false) => {
                let authorities = ClientAuthorities::load(path, false).context("cluster.ca")?;
                Trust::Authorities(authorities.certificates.into())
            }
            (None, false) => Trust::Roots,
        };
        if config.is_insecure {
            tracing::warn!("cluster.insecure: whoever answers at the address of a peer is taken for it");
        }
        Ok(Self {
            trust,
            certificate: identity.transpose()?,
            token: token.transpose()?,
        })
    }
}

impl MeshHandle {
    /// How links stand.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Links that are wanted no more end, others are dialled. Those that stay keep what they were dialled with.
    ///
    /// # Errors
    ///
    /// The mesh does not run.
    pub async fn replace(&self, plan: Plan) -> anyhow::Result<()> {
        let taken = self.plans.send(plan).await;
        taken.map_err(|_| anyhow::anyhow!("nobody keeps links"))
    }
}

impl Mesh {
    /// Reads the files that the configuration names. Without peers in it nobody is dialled, until there is another plan.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn new(config: &MeshConfig, listen: SocketAddr, shards: Vec<ShardPort>) -> anyhow::Result<(Self, MeshHandle)> {
        let plan = Plan::read(config)?;
        let (sender, plans) = mpsc::channel(1);
        let board = Arc::<Board>::default();
        let handle = MeshHandle {
            plans: sender,
            board: Arc::clone(&board),
        };
        let mesh = Self {
            dialler: Arc::new(Dialler {
                shards,
                listen,
                credentials: watch::Sender::new(plan.credentials.clone()),
                board,
                random: SystemRandom::new(),
            }),
            plan,
            plans,
        };
        Ok((mesh, handle))
    }

    /// Keeps all links, for ever.
    pub async fn serve(mut self) {
        let mut links = Links {
            dialler: Arc::clone(&self.dialler),
            tasks: JoinSet::new(),
            kept: BTreeMap::new(),
        };
        let mut listed = Named::new();
        let mut due = tokio::time::Instant::now();
        self.begin_list(&listed);
        loop {
            links.set(&self.plan.wanted(&listed));
            tokio::select! {
                Some(plan) = self.plans.recv() => {
                    self.plan = plan;
                    self.dialler.credentials.send_replace(self.plan.credentials.clone());
                    // Of another list the last one stays until there is one of it.
                    if self.plan.reader.is_none() {
                        listed.clear();
                    }
                    self.begin_list(&listed);
                    due = tokio::time::Instant::now();
                }
                read = self.plan.listed(due) => {
                    let interval = self.plan.reader.as_ref().map(list::Reader::interval);
                    due = tokio::time::Instant::now() + interval.unwrap_or_default();
                    self.take(read, &mut listed);
                }
            }
        }
    }

    fn begin_list(&self, listed: &Named) {
        let from = self.plan.reader.as_ref().map(|reader| reader.shown.clone());
        self.dialler.board.begin_list(from, listed.len());
    }

    /// What the source of the list has said, or why it has said nothing that counts.
    fn take(&self, read: anyhow::Result<Option<Named>>, listed: &mut Named) {
        let board = &self.dialler.board;
        match read {
            Ok(None) => board.list_taken(listed.len(), false),
            Ok(Some(found)) => {
                let difference = Difference::between(listed, &found);
                if !difference.is_empty() {
                    tracing::info!(%difference, "the list of peers is another");
                }
                board.list_taken(found.len(), !difference.is_empty());
                *listed = found;
            }
            Err(error) => {
                let fault: String = format!("{error:#}").chars().take(FAULT_CHARS_MAX).collect();
                let fault = fault.escape_debug().to_string();
                if board.list_refused(&fault) {
                    tracing::warn!(error = fault, "the list of peers stays as it was");
                }
            }
        }
    }
}

/// The links that are kept.
struct Links {
    dialler: Arc<Dialler>,
    tasks: JoinSet<()>,
    kept: BTreeMap<String, (PeerUrl, tokio::task::AbortHandle)>,
}

impl Links {
    /// Keeps these and no others.
    fn set(&mut self, wanted: &Named) {
        let dialler = &self.dialler;
        self.kept.retain(|name, (peer, task)| {
            let stays = wanted.get(name) == Some(peer);
            if !stays {
                task.abort();
                dialler.hang_up(name);
            }
            stays
        });
        for (name, peer) in wanted {
            if !self.kept.contains_key(name) {
                let task = self.tasks.spawn(keep(Arc::clone(&self.dialler), peer.clone()));
                self.kept.insert(name.clone(), (peer.clone(), task));
            }
        }
        // Those that were aborted leave nothing behind.
        while self.tasks.try_join_next().is_some() {}
    }
}

/// Dials one peer again and again.
async fn keep(dialler: Arc<Dialler>, peer: PeerUrl) {
    let mut redial = redial::Redial::default();
    let shard = shard_of(&peer.name, dialler.shards.len());
    for attempt in 1.. {
        dialler.board.set(&peer.name, |dialled| {
            dialled.shard = shard;
            dialled.attempts = attempt;
            dialled.next = None;
        });
        let end = match dialler.dial(&peer, shard, attempt).await {
            Ok(end) => end,
            Err(error) => LinkEnd {
                reason: format!("{error:#}"),
                lasted: None,
            },
        };
        let wait = redial.next(end.lasted, dialler.draw());
        let lasted_s = end.lasted.map(|lasted| lasted.as_secs());
        tracing::info!(
            peer = peer.name,
            reason = end.reason,
            lasted_s,
            again_ms = wait.as_millis(),
            "a link is over"
        );
        dialler.board.set(&peer.name, |dialled| {
            dialled.last_end = Some(end.reason);
            dialled.next = Some(Instant::now() + wait);
        });
        tokio::time::sleep(wait).await;
    }
}

impl Dialler {
    /// One link, from its beginning to its end.
    async fn dial(&self, peer: &PeerUrl, shard: usize, attempt: u64) -> anyhow::Result<LinkEnd> {
        let looked_up = tokio::net::lookup_host((peer.host.as_str(), peer.port));
        let found = tokio::time::timeout(limits::PEER_LOOK_UP_MAX, looked_up).await;
        let found = found
            .context("the name is not looked up in time")?
            .context("the name cannot be looked up")?;
        let usable: Vec<SocketAddr> = found.filter(|address| self.reaches(address.ip())).collect();
        anyhow::ensure!(
            !usable.is_empty(),
            "the name has no address that can be reached from {}",
            self.listen
        );
        // A name of several addresses gets its turn at each.
        let turn = usize::try_from(attempt - 1).unwrap_or_default() % usable.len();
        let remote = usable[turn];
        let local = self.local_for(remote).context("no way there")?;
        let Credentials {
            trust,
            certificate,
            token,
        } = self.credentials.borrow().clone();
        let with_token = match &token {
            Some(token) => peer.clone().with_token(token),
            None => peer.clone(),
        };
        let (ended, end) = oneshot::channel();
        let dial = LinkDial {
            name: peer.name.as_str().into(),
            remote,
            local,
            server_name: peer.server_name.clone(),
            target: with_token.target,
            authority: peer.is_web.then(|| peer.authority()),
            trust,
            certificate,
            cost: peer.cost,
            is_kin: false,
            ended,
        };
        let port = self.shards.get(shard).context("no such shard")?;
        port.send(ShardCommand::Dial(Box::new(dial)))?;
        end.await.context("the shard is gone")
    }

    /// Links leave by the socket that is listened on, which is of one family unless it is `[::]`.
    fn reaches(&self, ip: IpAddr) -> bool {
        match self.listen.ip() {
            IpAddr::V6(own) if own.is_unspecified() => true,
            own => own.is_ipv4() == ip.is_ipv4(),
        }
    }

    /// The address of this host that packets to another leave by.
    fn local_for(&self, remote: SocketAddr) -> std::io::Result<IpAddr> {
        let own = self.listen.ip();
        if !own.is_unspecified() {
            return Ok(own);
        }
        let any: SocketAddr = match remote {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0; 16], 0).into(),
        };
        // Nothing is sent: the kernel says which way it would go.
        let socket = UdpSocket::bind(any)?;
        socket.connect(remote)?;
        Ok(socket.local_addr()?.ip())
    }

    fn hang_up(&self, name: &str) {
        self.board.remove(name);
        let shard = shard_of(name, self.shards.len());
        if let Some(port) = self.shards.get(shard)
            && port.send(ShardCommand::HangUp(name.into())).is_err()
        {
            tracing::warn!(
                peer = name,
                "a link that is not wanted any more stays until it ends by itself"
            );
        }
    }

    fn draw(&self) -> u32 {
        let mut bytes = [0; 4];
        // Without randomness the wait is the longest.
        match self.random.fill(&mut bytes) {
            Ok(()) => u32::from_le_bytes(bytes),
            Err(_) => u32::MAX,
        }
    }
}

/// The links of a node are spread over its shards by the names of its peers.
fn shard_of(name: &str, shards: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let shards = u64::try_from(shards).unwrap_or(1).max(1);
    usize::try_from(hasher.finish() % shards).unwrap_or_default()
}

/// What is said of a list with a fault.
const FAULT_CHARS_MAX: usize = 300;
