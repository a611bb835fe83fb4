//! Peers without a connection: code that runs on a shard is heard by clients of the peer crates, hears them, and hears
//! others of its kind, on its own shard and on another.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use moqswitch_interop::peer::{check_same, read_group, write_group};
use moqswitch_interop::{Draft, PlannedGroup, Publisher, Random, Subscriber};
use moqswitch_proto::wire::{BroadcastPath, GroupRange, GroupSequence, SubscribeId, TrackInfo, stream_error};
use moqswitch_relay::limits::{APPLICATIONS_MAX, LOCAL_EVENTS_PER_TURN_MAX, LOCAL_TRACKS_MAX};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{
    Application, Delivery, Host, Installation, LocalError, LocalEvent, LocalFrame, LocalSubscription, LocalTrack,
    SocketDatagram, TooManyApplications,
};
use moqswitch_relay::shard::{ShardCommand, ShardPort};
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
use tokio::sync::{mpsc as channel, oneshot};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn sessions_hear_a_local_peer_and_it_hears_them() -> Result<()> {
    for draft in Draft::ALL {
        for shards in [1, 2] {
            for delivery in [Delivery::Stream, Delivery::Datagram] {
                // What is sent as a datagram goes as a stream with older drafts.
                if delivery == Delivery::Stream && !has_datagrams(draft) {
                    continue;
                }
                converse(draft, shards, delivery)
                    .await
                    .with_context(|| format!("{draft:?}, {shards} shards, {delivery:?}"))?;
            }
        }
    }
    Ok(())
}

async fn converse(draft: Draft, shards: usize, delivery: Delivery) -> Result<()> {
    let relay = start(shards)?;
    let mut gateway = Remote::install(&relay.ports()[shards - 1]).await?;
    let publisher = Publisher::connect(relay.address(), draft).await?;
    let mut subscriber = Subscriber::connect(relay.address(), draft).await?;
    let mut random = Random::new(3);

    // What it publishes is announced, asked for, and heard.
    let peer = gateway.publish("call/7/gateway").await?;
    subscriber.until_announced("call/7/gateway", true).await?;
    // With old drafts a client subscribes when it begins to read.
    let reading = tokio::spawn(async move {
        let mut subscription = subscriber.subscribe("call/7/gateway", "audio").await?;
        let group = read_group(&mut subscription).await?;
        anyhow::Ok((subscriber, subscription, group))
    });
    let id = gateway.wanted(OFFERED).await.context("nobody asks for it")?;
    let first = random.group(0, &[160]);
    gateway.send(peer, id, &first, Delivery::Stream).await?;
    let (subscriber, mut subscription, group) = reading.await??;
    check_same(&group, &first)?;
    for sequence in 1..20 {
        let sent = random.group(sequence, &[160]);
        gateway.send(peer, id, &sent, delivery).await?;
        if delivery == Delivery::Datagram && has_datagrams(draft) {
            let datagram = timeout(LIMIT, subscription.recv_datagram())
                .await??
                .context("the track ended")?;
            ensure!((datagram.sequence, &datagram.payload) == (sequence, &sent.frames[0]));
        } else {
            check_same(&read_group(&mut subscription).await?, &sent)?;
        }
    }
    // Groups of several frames, one of them beyond what is copied behind its header.
    let sent = random.group(20, &[100, 5000, 0, 1]);
    gateway.send(peer, id, &sent, Delivery::Stream).await?;
    check_same(&read_group(&mut subscription).await?, &sent)?;
    drop((subscription, subscriber));
    gateway
        .until(|event| matches!(event, LocalEvent::Unwanted { tag: OFFERED, id: over } if *over == id))
        .await
        .context("it stays wanted")?;

    // It hears of what sessions publish, subscribes, and hears it.
    let planned = random.group(0, &[160, 30_000, 1]);
    let published = publisher.publish("call/7/alice", "audio", &planned)?;
    gateway
        .until_announced("call/7/alice")
        .await
        .context("it hears of nobody")?;
    gateway.subscribe(peer, "call/7/alice").await?;
    let heard = gateway.group().await.context("the first group")?;
    ensure!(heard == planned, "the first group differs");
    for sequence in 1..10 {
        let sent = random.group(sequence, &[160, 1]);
        write_group(&published.track, &sent)?;
        let heard = gateway.group().await.with_context(|| format!("group {sequence}"))?;
        ensure!(heard == sent, "group {sequence} differs");
    }
    drop((published, publisher));
    gateway
        .until(|event| matches!(event, LocalEvent::Closed { tag: HEARD, .. }))
        .await
        .context("its subscription goes on without a publisher")?;
    gateway
        .until(|event| matches!(event, LocalEvent::Unannounced { path, .. } if path.as_str() == "call/7/alice"))
        .await?;
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn local_peers_hear_each_other_with_their_timestamps() -> Result<()> {
    for (from, to) in [(0, 0), (0, 1)] {
        for delivery in [Delivery::Stream, Delivery::Datagram] {
            let relay = start(2)?;
            let mut talker = Remote::install(&relay.ports()[from]).await?;
            let mut listener = Remote::install(&relay.ports()[to]).await?;
            let talking = talker.publish("call/1/a").await?;
            let listening = listener.publish("call/1/b").await?;
            listener.until_announced("call/1/a").await?;
            listener.subscribe(listening, "call/1/a").await?;
            let id = talker.wanted(OFFERED).await?;
            let info = listener
                .until(|event| matches!(event, LocalEvent::Info { tag: HEARD, .. }))
                .await?;
            ensure!(
                matches!(info, LocalEvent::Info { info, .. } if info == INFO),
                "{info:?}"
            );
            for sequence in 0..100 {
                let sent = Random::new(sequence).group(sequence, &[172]);
                talker.send(talking, id, &sent, delivery).await?;
                let heard = listener
                    .until(|event| matches!(event, LocalEvent::Frame { .. }))
                    .await?;
                let LocalEvent::Frame {
                    tag,
                    group,
                    timestamp,
                    payload,
                    ends_group,
                } = heard
                else {
                    unreachable!()
                };
                ensure!((tag, group.0, timestamp) == (HEARD, sequence, sequence * 160));
                ensure!(payload == sent.frames[0] && ends_group, "group {sequence}");
            }
            stop(relay).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_more_than_a_turn_takes_comes_with_the_next_ones_and_a_paused_peer_waits() -> Result<()> {
    let relay = start(1)?;
    let mut local = Remote::install(&relay.ports()[0]).await?;
    let peer = local.publish("call/1/a").await?;
    let listening = local.publish("call/1/b").await?;
    local.subscribe(listening, "call/1/a").await?;
    let id = local.wanted(OFFERED).await?;
    let count = LOCAL_EVENTS_PER_TURN_MAX as u64 * 2 + 100;
    local
        .run(move |host| {
            let mut group = host.begin_group(peer, id, GroupSequence(0)).unwrap();
            (0..count).for_each(|number| host.write(&mut group, number, &payload(number)));
            host.end_group(group);
        })
        .await?;
    for number in 0..count {
        let heard = local.until(|event| matches!(event, LocalEvent::Frame { .. })).await?;
        ensure!(
            matches!(&heard, LocalEvent::Frame { timestamp, payload: bytes, .. } if *timestamp == number && *bytes == payload(number)),
            "{number}: {heard:?}"
        );
    }

    local.run(move |host| host.pause(listening)).await?;
    let sent = Random::new(1).group(1, &[100]);
    local.send(peer, id, &sent, Delivery::Stream).await?;
    // A datagram is of use now or never.
    let lost = Random::new(9).group(9, &[100]);
    local.send(peer, id, &lost, Delivery::Datagram).await?;
    ensure!(
        timeout(QUIET, local.until(|event| matches!(event, LocalEvent::Frame { .. })))
            .await
            .is_err(),
        "a paused peer was given media"
    );
    local.run(move |host| host.resume(listening)).await?;
    ensure!(local.group().await? == sent);
    ensure!(
        timeout(QUIET, local.group()).await.is_err(),
        "a datagram waited for a peer that was paused"
    );

    // A group that is given up is told of with its code.
    local
        .run(move |host| {
            let mut group = host.begin_group(peer, id, GroupSequence(10)).unwrap();
            host.write(&mut group, 0, &payload(0));
            host.abort_group(group, stream_error::EVICTED);
        })
        .await?;
    let code = stream_error::EVICTED;
    local
        .until(|event| match event {
            LocalEvent::GroupEnded { code: Some(told), .. } | LocalEvent::GroupsDropped { code: told, .. } => {
                *told == code
            }
            _ => false,
        })
        .await?;
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_closed_takes_all_of_its_own_along() -> Result<()> {
    let relay = start(1)?;
    let mut local = Remote::install(&relay.ports()[0]).await?;
    let mut other = Remote::install(&relay.ports()[0]).await?;
    let peer = local.publish("call/1/a").await?;
    let listening = other.publish("call/1/b").await?;
    other.until_announced("call/1/a").await?;
    other.subscribe(listening, "call/1/a").await?;
    let id = local.wanted(OFFERED).await?;

    // It is its own application's alone.
    let refused = other
        .run(move |host| host.publish(peer, &BroadcastPath::new("call/1/stolen"), Vec::new()))
        .await?;
    ensure!(refused == Err(LocalError::UnknownPeer));
    other.run(move |host| host.close_peer(peer)).await?;
    let sent = Random::new(0).group(0, &[10]);
    local.send(peer, id, &sent, Delivery::Stream).await?;
    ensure!(other.group().await? == sent, "it was closed by another");

    local.run(|host| host.end()).await?;
    other
        .until(|event| {
            matches!(
                event,
                LocalEvent::Closed {
                    tag: HEARD,
                    code: Some(_)
                }
            )
        })
        .await?;
    other
        .until(|event| matches!(event, LocalEvent::Unannounced { path, .. } if path.as_str() == "call/1/a"))
        .await?;
    let snapshot = snapshot(&relay.ports()[0]).await?;
    ensure!(snapshot.statistics.local.peers_now == 1, "{snapshot:?}");
    ensure!(snapshot.statistics.sessions.announcements_now == 1, "{snapshot:?}");

    // What is not there, or is not offered, is closed with that reason.
    for (path, track) in [("call/1/a", "audio"), ("call/1/b", "video")] {
        other
            .run(move |host| {
                let peer = host.open_peer().unwrap();
                host.subscribe(peer, &subscription(path, track)).unwrap();
            })
            .await?;
        let not_found = Some(stream_error::NOT_FOUND);
        other
            .until(|event| matches!(event, LocalEvent::Closed { tag: HEARD, code } if *code == not_found))
            .await?;
    }
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_with_its_reason() -> Result<()> {
    let relay = start(1)?;
    let port = &relay.ports()[0];
    let local = Remote::install(port).await?;
    let refused = local
        .run(|host| {
            let peer = host.open_peer().unwrap();
            let tracks = vec![track(); LOCAL_TRACKS_MAX + 1];
            let too_many = host.publish(peer, &BroadcastPath::new("a"), tracks);
            let too_long = host.publish(peer, &BroadcastPath::new(&"a/".repeat(2000)), Vec::new());
            [too_many, too_long]
        })
        .await?;
    ensure!(refused == [Err(LocalError::TooManyTracks), Err(LocalError::NotAnnounced)]);
    let mut others = Vec::new();
    for _ in 1..APPLICATIONS_MAX {
        others.push(Remote::install(port).await?);
    }
    let (reply, answer) = oneshot::channel();
    let (_, application) = Scripted::new();
    port.send(ShardCommand::Install {
        application: Installation::new(|| application),
        reply,
    })?;
    ensure!(answer.await? == Err(TooManyApplications));
    // One that ends makes room.
    local.run(|host| host.end()).await?;
    Remote::install(port).await?;
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_served_awake_and_asleep() -> Result<()> {
    let relay = start(1)?;
    let mut local = Remote::install(&relay.ports()[0]).await?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    let id = local.run(move |host| host.add_socket(socket).unwrap()).await?;
    ensure!(local.run(move |host| host.socket_address(id).unwrap()).await? == address);
    let peer = UdpSocket::bind("127.0.0.1:0")?;
    peer.set_read_timeout(Some(LIMIT))?;
    let mut answer = [0; 100];
    for pause in [0, 0, 0, 600, 0, 600] {
        // After a while without work the shard sleeps, which it must be woken from.
        tokio::time::sleep(Duration::from_millis(pause)).await;
        peer.send_to(b"rtp", address)?;
        let (bytes, from) = loop {
            match peer.recv_from(&mut answer) {
                // A child of another test has ended: with a time-out that is not tried again by itself.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received?,
            }
        };
        ensure!((&answer[..bytes], from) == (&b"RTP"[..], address));
    }
    let figures = snapshot(&relay.ports()[0]).await?.statistics.local;
    ensure!(
        (figures.sockets_now, figures.datagrams_received, figures.datagrams_sent) == (1, 6, 6),
        "{figures:?}"
    );
    local.run(move |host| host.remove_socket(id)).await?;
    // It is closed as soon as the kernel has let go of it: the port is free again.
    let deadline = Instant::now() + LIMIT;
    while UdpSocket::bind(address).is_err() {
        ensure!(Instant::now() < deadline, "the socket stays open");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    relay.drain(Duration::from_millis(100));
    local
        .until(|event| matches!(event, LocalEvent::Draining { .. }))
        .await?;
    stop(relay).await
}

type Script = Box<dyn FnOnce(&mut Host<'_>) + Send>;

/// Does what the test says, and tells it everything. Answers datagrams in capitals.
struct Scripted {
    scripts: mpsc::Receiver<Script>,
    events: channel::Sender<LocalEvent>,
}

/// The test's side of it.
pub(super) struct Remote {
    port: ShardPort,
    scripts: mpsc::SyncSender<Script>,
    events: channel::Receiver<LocalEvent>,
    passed: Vec<LocalEvent>,
}

impl Application for Scripted {
    fn handle(&mut self, event: LocalEvent, _host: &mut Host<'_>) {
        let is_kept = self.events.try_send(event).is_ok();
        assert!(is_kept || self.events.is_closed(), "the test does not listen");
    }

    fn handle_datagram(&mut self, datagram: SocketDatagram<'_>, host: &mut Host<'_>) {
        let SocketDatagram {
            socket,
            source,
            payload,
            ..
        } = datagram;
        payload.make_ascii_uppercase();
        host.send_on(socket, payload, source, None);
    }

    fn handle_turn(&mut self, host: &mut Host<'_>) {
        while let Ok(script) = self.scripts.try_recv() {
            script(host);
        }
    }
}

impl Scripted {
    fn new() -> ((mpsc::SyncSender<Script>, channel::Receiver<LocalEvent>), Self) {
        let (scripts, scripted) = mpsc::sync_channel(SCRIPTS_MAX);
        let (events, told) = channel::channel(EVENTS_MAX);
        let application = Self {
            scripts: scripted,
            events,
        };
        ((scripts, told), application)
    }
}

impl Remote {
    pub(super) async fn install(port: &ShardPort) -> Result<Self> {
        let ((scripts, events), application) = Scripted::new();
        let (reply, answer) = oneshot::channel();
        port.send(ShardCommand::Install {
            application: Installation::new(|| application),
            reply,
        })?;
        timeout(LIMIT, answer).await???;
        Ok(Self {
            port: port.clone(),
            scripts,
            events,
            passed: Vec::new(),
        })
    }

    /// Runs something on the shard.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        script: impl FnOnce(&mut Host<'_>) -> R + Send + 'static,
    ) -> Result<R> {
        let (reply, answer) = oneshot::channel();
        let script: Script = Box::new(move |host| {
            let _ = reply.send(script(host));
        });
        let is_there = self.scripts.send(script).is_ok();
        ensure!(is_there, "the application is gone");
        (self.port.wake)();
        timeout(LIMIT, answer)
            .await
            .context("the shard does not run it")?
            .context("the script failed")
    }

    /// Forgets what was told so far and was not asked for.
    pub(super) fn forget(&mut self) {
        self.passed.clear();
        while self.events.try_recv().is_ok() {}
    }

    /// The first such event that was not asked for before.
    pub(super) async fn until(&mut self, is_wanted: impl Fn(&LocalEvent) -> bool) -> Result<LocalEvent> {
        if let Some(at) = self.passed.iter().position(&is_wanted) {
            return Ok(self.passed.remove(at));
        }
        let waiting = async {
            while let Some(event) = self.events.recv().await {
                if is_wanted(&event) {
                    return Ok(event);
                }
                self.passed.push(event);
            }
            anyhow::bail!("the application is gone")
        };
        let waited = timeout(LIMIT, waiting).await;
        waited.with_context(|| format!("no such event among {:?}", self.passed))?
    }

    /// A peer with one broadcast of one track, that watches all.
    async fn publish(&self, path: &'static str) -> Result<PeerKey> {
        self.run(move |host| {
            let peer = host.open_peer().unwrap();
            host.publish(peer, &BroadcastPath::new(path), vec![track()]).unwrap();
            host.watch(peer, &BroadcastPath::root(), WATCHED).unwrap();
            peer
        })
        .await
    }

    async fn subscribe(&self, peer: PeerKey, path: &'static str) -> Result<SubscribeId> {
        self.run(move |host| host.subscribe(peer, &subscription(path, "audio")).unwrap())
            .await
    }

    async fn send(&self, peer: PeerKey, id: SubscribeId, planned: &PlannedGroup, delivery: Delivery) -> Result<()> {
        let planned = planned.clone();
        let is_sent = self
            .run(move |host| {
                let group = GroupSequence(planned.sequence);
                let timestamp = planned.sequence * 160;
                let [payload] = &planned.frames[..] else {
                    let mut group = host.begin_group(peer, id, group).unwrap();
                    planned
                        .frames
                        .iter()
                        .for_each(|frame| host.write(&mut group, timestamp, frame));
                    host.end_group(group);
                    return true;
                };
                let frame = LocalFrame {
                    group,
                    timestamp,
                    payload: host.copy(payload),
                };
                host.send(peer, id, frame, delivery)
            })
            .await?;
        ensure!(is_sent, "nobody wants it");
        Ok(())
    }

    async fn wanted(&mut self, of: u64) -> Result<SubscribeId> {
        let event = self
            .until(|event| matches!(event, LocalEvent::Wanted { tag, .. } if *tag == of))
            .await?;
        let LocalEvent::Wanted { id, .. } = event else {
            unreachable!()
        };
        Ok(id)
    }

    pub(super) async fn until_announced(&mut self, wanted: &str) -> Result<()> {
        self.until(|event| matches!(event, LocalEvent::Announced { tag: WATCHED, path } if path.as_str() == wanted))
            .await
            .map(drop)
    }

    /// The next group of what it subscribes to, whole.
    async fn group(&mut self) -> Result<PlannedGroup> {
        let mut frames: Vec<Bytes> = Vec::new();
        loop {
            let event = self
                .until(|event| matches!(event, LocalEvent::Frame { .. } | LocalEvent::GroupEnded { .. }))
                .await?;
            let (sequence, is_whole) = match event {
                LocalEvent::Frame {
                    group,
                    payload,
                    ends_group,
                    ..
                } => {
                    frames.push(payload);
                    (group.0, ends_group)
                }
                LocalEvent::GroupEnded { group, code: None, .. } => (group.0, true),
                other => anyhow::bail!("{other:?}"),
            };
            if is_whole {
                return Ok(PlannedGroup { sequence, frames });
            }
        }
    }
}

/// Before 05 they arrive as streams.
fn has_datagrams(draft: Draft) -> bool {
    matches!(draft, Draft::Lite05 | Draft::Lite06)
}

fn track() -> LocalTrack {
    LocalTrack {
        name: "audio".into(),
        info: INFO,
        tag: OFFERED,
    }
}

pub(super) fn subscription(path: &str, track: &str) -> LocalSubscription {
    LocalSubscription {
        broadcast: BroadcastPath::new(path),
        track: track.into(),
        priority: 128,
        ordered: false,
        max_latency: Duration::from_secs(10),
        range: GroupRange::default(),
        tag: HEARD,
    }
}

fn payload(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

async fn snapshot(port: &ShardPort) -> Result<moqswitch_relay::shard::statistics::ShardSnapshot> {
    let (reply, answer) = oneshot::channel();
    port.send(ShardCommand::Snapshot(reply))?;
    Ok(timeout(LIMIT, answer).await??)
}

pub(super) fn start(shards: usize) -> Result<RelayHandle> {
    Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(shards),
        ..RelayOptions::default()
    })
}

pub(super) async fn stop(relay: RelayHandle) -> Result<()> {
    relay.drain(Duration::from_millis(100));
    tokio::task::spawn_blocking(move || relay.join()).await?
}

/// What the tests give their track, subscription and watch.
const OFFERED: u64 = 1;
pub(super) const HEARD: u64 = 2;
pub(super) const WATCHED: u64 = 3;

const INFO: TrackInfo = TrackInfo {
    epoch: 0,
    priority: 7,
    ordered: false,
    max_latency_ms: 10_000,
    timescale: 8000,
};

/// What an application tells before the test has looked.
const EVENTS_MAX: usize = 1 << 16;
const SCRIPTS_MAX: usize = 16;

pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Long enough for media to come that should not.
const QUIET: Duration = Duration::from_millis(300);
