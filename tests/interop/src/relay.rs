//! The relay under test as a child process on loopback.
//!
//! Two kinds of binary are known: `moqswitch`, which says on standard output where it listens, and
//! `moq-relay`, which the suite itself is checked against.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::metrics::{Metrics, http_get};

/// A process, and where it has UDP, HTTP and HTTP for operators.
type Running = (Child, SocketAddr, SocketAddr, SocketAddr);

/// A running relay. Dropping it kills the child.
pub struct Relay {
    child: Child,
    kind: RelayKind,
    shards: usize,
    udp: SocketAddr,
    http: SocketAddr,
    /// Where metrics are.
    admin: SocketAddr,
    log: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayKind {
    Moqswitch,
    MoqRelay,
}

impl Relay {
    pub async fn start(shards: usize) -> Result<Relay> {
        Self::start_with(shards, &[]).await
    }

    /// A node of a mesh: at this address, and with links to those at the others. moq-relay is the program that
    /// MOQSWITCH_INTEROP_PEER names.
    pub async fn start_node(
        kind: RelayKind,
        udp: SocketAddr,
        shards: usize,
        settings: &[(&str, &str)],
        links: &[SocketAddr],
    ) -> Result<Relay> {
        let log = log_path();
        let links: Vec<String> = links.iter().map(|link| format!("moql://{link}")).collect();
        let starting = async {
            match kind {
                RelayKind::Moqswitch => {
                    let (binary, _) = binary()?;
                    let listed = links.join(",");
                    let mut settings = settings.to_vec();
                    settings.extend([
                        ("MOQSWITCH_CLUSTER_ACCEPT", "true"),
                        ("MOQSWITCH_CLUSTER_INSECURE", "true"),
                    ]);
                    // The settings may have their own.
                    if !links.is_empty() {
                        settings.push(("MOQSWITCH_CLUSTER_PEERS", &listed));
                    }
                    start_moqswitch(&binary, udp, shards, &settings, &log).await
                }
                RelayKind::MoqRelay => {
                    let binary = std::env::var_os("MOQSWITCH_INTEROP_PEER").context("MOQSWITCH_INTEROP_PEER")?;
                    start_moq_relay(Path::new(&binary), Some(udp), &links, settings, &log).await
                }
            }
        };
        Self::started(kind, shards, log.clone(), starting).await
    }

    /// With further settings of moqswitch, as its environment has them.
    pub async fn start_with(shards: usize, settings: &[(&str, &str)]) -> Result<Relay> {
        let (binary, kind) = binary()?;
        let log = log_path();
        let starting = async {
            match kind {
                RelayKind::Moqswitch => start_moqswitch(&binary, ANY_PORT, shards, settings, &log).await,
                RelayKind::MoqRelay => start_moq_relay(&binary, None, &[], &[], &log).await,
            }
        };
        Self::started(kind, shards, log.clone(), starting).await
    }

    async fn started(
        kind: RelayKind,
        shards: usize,
        log: PathBuf,
        starting: impl Future<Output = Result<Running>>,
    ) -> Result<Relay> {
        let (child, udp, http, admin) = tokio::time::timeout(START_LIMIT, starting)
            .await
            .with_context(|| format!("{kind:?} did not start, see {}", log.display()))?
            .with_context(|| format!("start {kind:?}, see {}", log.display()))?;
        Ok(Relay {
            child,
            kind,
            shards,
            udp,
            http,
            admin,
            log,
        })
    }

    pub fn kind(&self) -> RelayKind {
        self.kind
    }

    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Whether clients can be placed on a shard of choice and counted there.
    pub fn is_sharded(&self) -> bool {
        self.kind == RelayKind::Moqswitch && self.shards > 1
    }

    pub fn udp(&self) -> SocketAddr {
        self.udp
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the relay's standard error went.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What the operators' address answers to a `GET`.
    pub async fn ask(&self, path: &str) -> Result<String> {
        http_get(self.admin, path).await
    }

    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::scrape(self.admin).await
    }

    /// Live sessions of each shard.
    pub async fn sessions_by_shard(&self) -> Result<Vec<f64>> {
        Ok(self.metrics().await?.sessions_by_shard(self.shards))
    }

    /// Resident memory of the relay process, from `/proc/<pid>/status`.
    pub fn resident_bytes(&self) -> Result<u64> {
        let pid = self.child.id().context("the relay is gone")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kibibytes * 1024)
    }

    /// Sends it a signal, named as `kill` wants it.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().context("the relay is gone")?.to_string();
        let status = Command::new("kill").args([signal, &pid]).status().await?;
        ensure!(status.success(), "kill {signal} {pid}: {status}");
        Ok(())
    }

    /// An error if the relay has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the relay ended with {status}, see {}", self.log.display());
        }
        Ok(())
    }

    /// Connects until a client lands on `shard`. The kernel picks the shard of a new connection
    /// from its address, so every try must come from a new port. Clients that landed elsewhere
    /// are dropped, and seen to be gone, before this returns.
    pub async fn place<Client, Connect, Connecting>(&self, shard: usize, connect: Connect) -> Result<Client>
    where
        Connect: Fn() -> Connecting,
        Connecting: Future<Output = Result<Client>>,
    {
        if !self.is_sharded() {
            return connect().await;
        }
        let mut elsewhere = Vec::new();
        for _ in 0..PLACEMENT_TRIES {
            let before = self.sessions_by_shard().await?;
            let client = connect().await?;
            let total = before.iter().sum::<f64>() + 1.0;
            let after = self.until_session_total(total).await?;
            if after[shard] == before[shard] {
                elsewhere.push(client);
                continue;
            }
            let remaining = total - elsewhere.len() as f64;
            drop(elsewhere);
            self.until_session_total(remaining).await?;
            return Ok(client);
        }
        bail!("no client in {PLACEMENT_TRIES} landed on shard {shard}");
    }

    /// Waits until the relay reports `total` live sessions; returns them by shard.
    pub async fn until_session_total(&self, total: f64) -> Result<Vec<f64>> {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        let polling = async {
            loop {
                poll.tick().await;
                let sessions = self.sessions_by_shard().await?;
                if sessions.iter().sum::<f64>() == total {
                    return Ok::<_, anyhow::Error>(sessions);
                }
            }
        };
        tokio::time::timeout(SESSION_COUNT_LIMIT, polling)
            .await
            .with_context(|| format!("the relay never reported {total} sessions"))?
    }
}

fn binary() -> Result<(PathBuf, RelayKind)> {
    let binary = match std::env::var_os("MOQSWITCH_INTEROP_RELAY") {
        Some(path) => PathBuf::from(path),
        None => default_binary()?,
    };
    let is_moq_relay = binary.file_name().is_some_and(|name| name == "moq-relay");
    let kind = if is_moq_relay {
        RelayKind::MoqRelay
    } else {
        RelayKind::Moqswitch
    };
    ensure!(
        binary.is_file(),
        "{} is missing: build it with `cargo build --workspace`, or name one by MOQSWITCH_INTEROP_RELAY",
        binary.display()
    );
    Ok((binary, kind))
}

/// `target/<profile>/moqswitch`: the test executable is in `target/<profile>/deps`. The other
/// profile is the fall-back, the newer of the two builds wins.
fn default_binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("no target directory")?;
    let target = profile.parent().context("no target directory")?;
    let newest = ["debug", "release"]
        .iter()
        .map(|name| target.join(name).join("moqswitch"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    Ok(newest.map_or_else(|| profile.join("moqswitch"), |(_, path)| path))
}

async fn start_moqswitch(
    binary: &Path,
    listen: SocketAddr,
    shards: usize,
    settings: &[(&str, &str)],
    log: &Path,
) -> Result<Running> {
    let mut child = command(binary, log)?
        .args(["--listen", &listen.to_string(), "--http", "127.0.0.1:0"])
        .args(["--shards", &shards.to_string()])
        // Small enough that what the suite pumps through reaches the limit many times over.
        .env("MOQSWITCH_LIMITS_CACHE_BYTES", CACHE_BYTES)
        // Nothing is announced but by the tests.
        .env("MOQSWITCH_MEDIA_TONES", "false")
        // Not the state of who runs the tests.
        .env("XDG_STATE_HOME", std::env::temp_dir())
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        let [udp, http, admin] = ["udp=", "http=", "admin="].map(|key| token(&line, key));
        if let (Some(udp), Some(http), Some(admin)) = (udp, http, admin) {
            let (udp, http) = (udp.parse().context("udp=")?, http.parse().context("http=")?);
            let admin = admin.parse().context("admin=")?;
            // Keep reading: a relay that logs to a full pipe would stop.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((child, udp, http, admin));
        }
    }
    bail!("ended before it said where it listens ({})", child.wait().await?)
}

/// Of the settings it gets its own, which begin with `MOQ_`.
async fn start_moq_relay(
    binary: &Path,
    listen: Option<SocketAddr>,
    links: &[String],
    settings: &[(&str, &str)],
    log: &Path,
) -> Result<Running> {
    // moq-relay does not tell which port it was given, so two free ones are chosen for it.
    let udp = match listen {
        Some(udp) => udp,
        None => free_udp()?,
    };
    let http = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut command = command(binary, log)?;
    for link in links {
        command.args(["--cluster-connect", link]);
    }
    let settings = settings.iter().copied();
    let settings: Vec<(&str, &str)> = settings.filter(|(name, _)| name.starts_with("MOQ_")).collect();
    if !links.is_empty() || !settings.is_empty() {
        command.arg("--connect-tls-insecure");
    }
    let mut child = command
        .envs(settings)
        .args(["--listen", &udp.to_string()])
        .args(["--listen-tls-generate", "localhost", "--auth-public", "**"])
        .args(["--web-http-listen", &http.to_string()])
        // Without a target, moq-relay keeps everything for half a minute.
        .args(["--cache-capacity", CACHE_BYTES])
        .stdout(Stdio::null())
        .spawn()?;
    let mut poll = tokio::time::interval(POLL_INTERVAL);
    loop {
        poll.tick().await;
        if http_get(http, "/certificate.sha256").await.is_ok() {
            return Ok((child, udp, http, http));
        }
        if let Some(status) = child.try_wait()? {
            bail!("ended with {status}");
        }
    }
}

fn command(binary: &Path, log: &Path) -> Result<Command> {
    let log = std::fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut command = Command::new(binary);
    // Both relays take settings from their environment, and moqswitch refuses those it does not
    // know, this suite's own among them.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("MOQSWITCH_") || name.starts_with("MOQ_") {
            command.env_remove(&*name);
        }
    }
    command.stdin(Stdio::null()).stderr(log).kill_on_drop(true);
    Ok(command)
}

/// A UDP port that nobody has, unless somebody takes it before it is used.
pub fn free_udp() -> Result<SocketAddr> {
    Ok(UdpSocket::bind(ANY_PORT)?.local_addr()?)
}

/// The value of `key` in a line of `key=value` words.
fn token<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|word| word.strip_prefix(key))
}

fn log_path() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("moqswitch-interop-{}-{number}.log", std::process::id()))
}

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const CACHE_BYTES: &str = "32MiB";
const START_LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const SESSION_COUNT_LIMIT: Duration = Duration::from_secs(15);
/// With two shards, all tries landing on the wrong one has odds of 2^-40.
const PLACEMENT_TRIES: usize = 40;
