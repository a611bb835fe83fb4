//! Publishing and subscribing clients of the peer crates, each restricted to one draft and each on
//! a UDP socket of its own (so that each may land on another shard).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use moq_net::{Pattern, Patterns, Timescale, Timestamp, announce, broadcast, group, origin, track};
use moq_tokio::{Client, Connection};
use url::Url;

use crate::carrier::raw_quic_url;
use crate::draft::Draft;
use crate::payload::PlannedGroup;

/// A client that only publishes.
pub struct Publisher {
    origin: origin::Producer,
    connection: Connection,
}

/// A client that only subscribes.
pub struct Subscriber {
    origin: origin::Consumer,
    announced: announce::Consumer,
    connection: Connection,
}

/// A broadcast with one track, announced.
pub struct PublishedTrack {
    pub broadcast: broadcast::Producer,
    pub track: track::Producer,
}

impl Publisher {
    pub async fn connect(relay: SocketAddr, draft: Draft) -> Result<Publisher> {
        Self::connect_to(raw_quic_url(relay), draft).await
    }

    /// Connects as the scheme of `url` says, see [`crate::Carrier`].
    pub async fn connect_to(url: Url, draft: Draft) -> Result<Publisher> {
        let origin = moq_tokio::origin::spawn();
        let client = client(draft)?.with_publisher(&origin);
        let connection = establish(client, url, draft).await?;
        Ok(Publisher { origin, connection })
    }

    /// As [`Self::connect_to`], with a certificate of its own: PEM files of chain and key.
    pub async fn connect_certified(url: Url, draft: Draft, files: [&Path; 2]) -> Result<Publisher> {
        let origin = moq_tokio::origin::spawn();
        let client = client_with(draft, Some(files))?.with_publisher(&origin);
        let connection = establish(client, url, draft).await?;
        Ok(Publisher { origin, connection })
    }

    /// A broadcast that nobody sees before its `announce`.
    pub fn broadcast(&self, path: &str) -> Result<broadcast::Producer> {
        self.origin
            .create_broadcast(path)
            .with_context(|| format!("create broadcast {path}"))
    }

    /// Announces `path` with one track, which already has `first` in it (so that a subscriber
    /// always has something to begin with).
    pub fn publish(&self, path: &str, name: &str, first: &PlannedGroup) -> Result<PublishedTrack> {
        let broadcast = self.broadcast(path)?;
        let track = broadcast.create_track(name, track_info())?;
        write_group(&track, first)?;
        broadcast.announce(Default::default())?;
        Ok(PublishedTrack { broadcast, track })
    }

    pub fn is_connected(&self) -> bool {
        self.connection.connected()
    }

    /// Why it is connected no more.
    pub async fn why_ended(&self) -> String {
        why_ended(&self.connection).await
    }
}

impl Subscriber {
    /// Connects and asks for every announcement.
    pub async fn connect(relay: SocketAddr, draft: Draft) -> Result<Subscriber> {
        Self::connect_with_prefix(relay, draft, "").await
    }

    /// Connects and asks for the announcements at or below `prefix`.
    pub async fn connect_with_prefix(relay: SocketAddr, draft: Draft, prefix: &str) -> Result<Subscriber> {
        Self::connect_to(raw_quic_url(relay), draft, prefix).await
    }

    /// Connects as the scheme of `url` says.
    pub async fn connect_to(url: Url, draft: Draft, prefix: &str) -> Result<Subscriber> {
        let origin = moq_tokio::origin::spawn();
        let origin = match prefix {
            "" => origin,
            prefix => origin.scope("", &Patterns::from(Pattern::subtree(prefix)?))?,
        };
        let consumer = origin.consume();
        let announced = consumer.announced();
        let client = client(draft)?.with_subscriber(origin);
        let connection = establish(client, url, draft).await?;
        Ok(Subscriber {
            origin: consumer,
            announced,
            connection,
        })
    }

    /// The next announcement change: the path, and whether it is live.
    pub async fn next_announcement(&mut self) -> Result<(String, bool)> {
        let Some(update) = self.announced.next().await else {
            bail!("announcements ended: {}", why_ended(&self.connection).await);
        };
        Ok((update.prefix.as_str().to_owned(), update.kind.is_active()))
    }

    /// Waits for `path` to become live (or to end); returns what was seen on other paths.
    pub async fn until_announced(&mut self, path: &str, active: bool) -> Result<Vec<(String, bool)>> {
        let mut others = Vec::new();
        let waiting = async {
            loop {
                let seen = self.next_announcement().await?;
                if seen.0 == path && seen.1 == active {
                    return Ok::<_, anyhow::Error>(());
                }
                others.push(seen);
            }
        };
        tokio::time::timeout(ANNOUNCE_LIMIT, waiting)
            .await
            .with_context(|| format!("{path}: no announcement with active={active}"))??;
        Ok(others)
    }

    /// A broadcast that is, or is about to be, announced.
    pub async fn broadcast(&self, path: &str) -> Result<broadcast::Consumer> {
        tokio::time::timeout(ANNOUNCE_LIMIT, self.origin.routed_broadcast(path))
            .await
            .with_context(|| format!("{path}: never announced"))?
            .with_context(|| format!("{path}: not resolved"))
    }

    /// Subscribes so that no group is given up for being late.
    pub async fn subscribe(&self, path: &str, name: &str) -> Result<track::Subscriber> {
        let patient = track::Subscription::default().with_max_age(PATIENCE);
        self.subscribe_with(path, name, patient).await
    }

    /// Subscribes for the live edge: the latest group from its first frame, then newer ones.
    pub async fn subscribe_latest(&self, path: &str, name: &str) -> Result<track::Subscriber> {
        self.subscribe_with(path, name, track::Subscription::default()).await
    }

    async fn subscribe_with(
        &self,
        path: &str,
        name: &str,
        subscription: track::Subscription,
    ) -> Result<track::Subscriber> {
        let track = self.broadcast(path).await?.track(name)?;
        tokio::time::timeout(ANSWER_LIMIT, track.subscribe(subscription))
            .await
            .with_context(|| format!("{path} {name}: subscription unanswered"))?
            .with_context(|| format!("{path} {name}: subscription refused"))
    }

    pub fn is_connected(&self) -> bool {
        self.connection.connected()
    }
}

async fn why_ended(connection: &Connection) -> String {
    match tokio::time::timeout(Duration::from_secs(1), connection.closed()).await {
        Ok(Ok(())) => "closed".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the connection goes on".to_owned(),
    }
}

/// Writes and finishes a whole group.
pub fn write_group(track: &track::Producer, planned: &PlannedGroup) -> Result<()> {
    let mut group = track.create_group(group::Info {
        sequence: planned.sequence,
    })?;
    for frame in &planned.frames {
        group.write_frame(timestamp(planned.sequence), frame.clone())?;
    }
    group.finish()?;
    Ok(())
}

/// A group's presentation time: 20 ms apart, as of a call.
pub fn timestamp(sequence: u64) -> Timestamp {
    Timestamp::from_millis(sequence * 20).expect("the suite's sequences are small")
}

/// The next group of a subscription, whole.
pub async fn read_group(subscription: &mut track::Subscriber) -> Result<PlannedGroup> {
    let reading = async {
        let mut group = subscription
            .recv_group()
            .await
            .context("receive group")?
            .context("the track ended")?;
        read_frames(&mut group).await
    };
    tokio::time::timeout(ANSWER_LIMIT, reading).await.context("no group")?
}

/// The rest of a group up to its end.
pub async fn read_frames(group: &mut group::Consumer) -> Result<PlannedGroup> {
    let sequence = group.sequence;
    let mut frames = Vec::new();
    while let Some(frame) = group
        .read_frame()
        .await
        .with_context(|| format!("group {sequence}, frame {}", frames.len()))?
    {
        frames.push(frame.payload);
    }
    Ok(PlannedGroup { sequence, frames })
}

/// The next frame of an open group.
pub async fn read_frame(group: &mut group::Consumer) -> Result<Bytes> {
    let frame = tokio::time::timeout(ANSWER_LIMIT, group.read_frame())
        .await
        .with_context(|| format!("group {}: no frame", group.sequence))??
        .with_context(|| format!("group {} ended early", group.sequence))?;
    Ok(frame.payload)
}

/// Compares whole groups without printing their bytes.
pub fn check_same(received: &PlannedGroup, sent: &PlannedGroup) -> Result<()> {
    let lengths = |group: &PlannedGroup| group.frames.iter().map(Bytes::len).collect::<Vec<_>>();
    ensure!(
        received.sequence == sent.sequence,
        "group {} arrived for group {}",
        received.sequence,
        sent.sequence
    );
    ensure!(
        lengths(received) == lengths(sent),
        "group {}: frames of {:?} bytes arrived, {:?} were sent",
        sent.sequence,
        lengths(received),
        lengths(sent)
    );
    ensure!(received.frames == sent.frames, "group {}: bytes differ", sent.sequence);
    Ok(())
}

/// Keeps groups long enough that none ages out while a test runs.
pub fn track_info() -> track::Info {
    track::Info::default()
        .with_timescale(Timescale::MILLI)
        .with_max_age(PATIENCE)
}

fn client(draft: Draft) -> Result<Client> {
    client_with(draft, None)
}

fn client_with(draft: Draft, certificate: Option<[&Path; 2]>) -> Result<Client> {
    let mut config = moq_tokio::connect::Config::default();
    config.bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.tls.insecure = Some(true);
    if let Some([chain, key]) = certificate {
        config.tls.cert = Some(chain.to_owned());
        config.tls.key = Some(key.to_owned());
    }
    config.version = vec![draft.version()?];
    config.timeout = CONNECT_LIMIT;
    let mut quic = moq_tokio::quic::Config::default();
    quic.keep_alive = KEEP_ALIVE;
    Ok(config.init(quic)?.with_reconnect(false))
}

async fn establish(client: Client, url: Url, draft: Draft) -> Result<Connection> {
    let connection = client
        .connect(url)
        .established()
        .await
        .with_context(|| format!("connect with {draft}"))?;
    ensure!(
        connection.version() == Some(draft.version()?),
        "asked for {draft}, got {:?}",
        connection.version()
    );
    Ok(connection)
}

/// Longer than any test: nothing is ever too old.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const ANSWER_LIMIT: Duration = Duration::from_secs(20);
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(15);
/// A client that only receives tells the relay of its new address by its next keep-alive.
const KEEP_ALIVE: Duration = Duration::from_millis(250);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
