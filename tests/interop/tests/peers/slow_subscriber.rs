//! A subscriber that stops reading costs the others nothing, and the relay no more than its limits.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moq_net::{Timescale, Timestamp, track};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::peer::{check_same, read_group};
use moqswitch_interop::raw_peer::FIRST_BIDI;
use moqswitch_interop::{Case, Draft, PlannedGroup, Publisher, RawPeer, Subscriber, run_matrix};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread")]
async fn stalled_subscriber_harms_nobody() {
    run_matrix(&same_draft(&Draft::ALL), LIMIT, stall).await;
}

async fn stall(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut subscriber = case.subscriber().await?;
    let mut flow = Flow::start(&mut case, &publisher, &mut subscriber).await?;

    let alone = flow.pump(GROUPS / 3).await.context("alone")?;
    // What as many more that do read cost: bandwidth and the cores that all share.
    let mut readers = Vec::new();
    for _ in 0..OTHER_SUBSCRIBERS {
        readers.push(read_all(&case).await?);
    }
    let shared = flow.pump(GROUPS / 3).await.context("beside readers")?;
    for reader in readers {
        reader.abort();
        match reader.await {
            Ok(lost) => lost.context("a reader lost its subscription")?,
            Err(error) => ensure!(error.is_cancelled(), "a reader failed: {error}"),
        }
    }
    let resident_before = case.relay.resident_bytes()?;

    let mut stalled = Vec::new();
    for _ in 0..OTHER_SUBSCRIBERS {
        stalled.push(Stalled::start(&mut case).await?);
    }
    let disturbed = flow.pump(GROUPS / 3).await.context("beside stalled subscribers")?;
    let resident_after = case.relay.resident_bytes()?;
    for stalled in stalled {
        stalled.stop().await?;
    }

    let grown = resident_after.saturating_sub(resident_before);
    eprintln!(
        "{alone} alone, {shared} beside {OTHER_SUBSCRIBERS} readers, {disturbed} beside as many stalled; \
         resident {} + {} MiB",
        resident_before / MIB,
        grown / MIB
    );
    ensure!(
        disturbed.median <= shared.median * LATENCY_FACTOR + LATENCY_SLACK && disturbed.p99 <= LATENCY_MAX,
        "{shared} beside readers, {disturbed} beside stalled ones"
    );
    ensure!(grown <= grown_bytes_max(), "the relay grew by {} MiB", grown / MIB);
    Ok(())
}

/// A track in lockstep: every group has to arrive, and the time each took is kept.
struct Flow {
    track: track::Producer,
    subscription: track::Subscriber,
    sequence: u64,
    bulk: PlannedGroup,
    _broadcast: moq_net::broadcast::Producer,
}

impl Flow {
    async fn start(case: &mut Case, publisher: &Publisher, subscriber: &mut Subscriber) -> Result<Flow> {
        let broadcast = publisher.broadcast(PATH)?;
        // The default window of five seconds: the flow's timestamps run far ahead of the clock, so
        // that old groups leave every cache that goes by them.
        let info = track::Info::default().with_timescale(Timescale::MILLI);
        let track = broadcast.create_track(TRACK, info)?;
        broadcast.announce(Default::default())?;
        subscriber.until_announced(PATH, true).await?;
        let bulk = case.random.group(0, &[GROUP_BYTES / 4; 4]);
        let subscription = subscriber.subscribe(PATH, TRACK).await?;
        let mut flow = Flow {
            track,
            subscription,
            sequence: 0,
            bulk,
            _broadcast: broadcast,
        };
        flow.exchange().await?;
        Ok(flow)
    }

    async fn pump(&mut self, groups: usize) -> Result<Latency> {
        let mut times = Vec::with_capacity(groups);
        for _ in 0..groups {
            times.push(self.exchange().await?);
        }
        times.sort();
        Ok(Latency {
            median: times[groups / 2],
            p99: times[groups * 99 / 100],
        })
    }

    async fn exchange(&mut self) -> Result<Duration> {
        self.bulk.sequence = self.sequence;
        let started = Instant::now();
        let mut group = self.track.create_group(moq_net::group::Info {
            sequence: self.sequence,
        })?;
        for frame in &self.bulk.frames {
            group.write_frame(Timestamp::from_millis(self.sequence * GROUP_MILLIS)?, frame.clone())?;
        }
        group.finish()?;
        let received = read_group(&mut self.subscription)
            .await
            .with_context(|| format!("group {} was lost", self.sequence))?;
        let took = started.elapsed();
        check_same(&received, &self.bulk)?;
        self.sequence += 1;
        Ok(took)
    }
}

/// What groups took from the first frame written to the last one read.
struct Latency {
    median: Duration,
    p99: Duration,
}

impl fmt::Display for Latency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "median {:?} p99 {:?}", self.median, self.p99)
    }
}

/// A subscriber that reads whatever comes. What it reads too late it loses, and reads on.
async fn read_all(case: &Case) -> Result<JoinHandle<Result<()>>> {
    let subscriber = case.subscriber().await?;
    let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
    Ok(tokio::spawn(async move {
        loop {
            if let Err(error) = read_group(&mut subscription).await {
                ensure!(matches!(error.downcast_ref(), Some(moq_net::Error::Old)), error);
            }
            ensure!(subscriber.is_connected(), "disconnected");
        }
    }))
}

/// A subscriber that answers packets and reads no stream.
struct Stalled {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Stalled {
    async fn start(case: &mut Case) -> Result<Stalled> {
        let draft = case.subscriber_draft;
        let mut peer = RawPeer::connect(case.relay.udp(), draft, &mut case.random).await?;
        peer.send(FIRST_BIDI, &draft.subscribe_stream(0, PATH, TRACK), false)
            .await?;
        // The relay serves it before it stalls: a data stream has come.
        let served =
            |connection: &mut quiche::Connection| connection.readable().any(|stream| stream % 4 == 3).then_some(());
        peer.drive_until(Duration::from_secs(5), served)
            .await?
            .context("the stalled subscriber was never served")?;
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    driven = peer.drive_without_reading(LIMIT) => {
                        // A relay that closes whoever stalls for long is within its rights.
                        if let Err(error) = driven {
                            eprintln!("stalled subscriber: {error:#}");
                            return Ok(());
                        }
                    }
                    _ = &mut stopped => return Ok(()),
                }
            }
        });
        Ok(Stalled { stop, task })
    }

    async fn stop(self) -> Result<()> {
        self.stop.send(()).ok();
        self.task.await?
    }
}

fn grown_bytes_max() -> u64 {
    let mebibytes = std::env::var("MOQSWITCH_INTEROP_GROWTH_MIB")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(96);
    mebibytes * MIB
}

const PATH: &str = "interop/slow";
const TRACK: &str = "video";
const OTHER_SUBSCRIBERS: usize = 3;
const GROUP_BYTES: usize = 400_000;
/// 240 MB in all.
const GROUPS: usize = 600;
const GROUP_MILLIS: u64 = 500;
const MIB: u64 = 1024 * 1024;
/// Stalled subscribers cost no more than reading ones. The medians are compared: the percentiles of
/// two hundred groups are as noisy as the machine, and are printed.
const LATENCY_FACTOR: u32 = 2;
const LATENCY_SLACK: Duration = Duration::from_millis(20);
/// Nobody waits for a stalled subscriber's timer to fire.
const LATENCY_MAX: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(180);
