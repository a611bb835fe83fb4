//! Clients without UDP: sessions over WebSocket, beside and against those over QUIC, and what
//! becomes of them when their TCP connection breaks or stalls.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moq_net::{Timescale, Timestamp, track};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::payload::seed;
use moqswitch_interop::peer::{check_same, read_group, timestamp};
use moqswitch_interop::{
    Carrier, Case, Draft, PlannedGroup, Publisher, Random, RawPeer, Relay, Subscriber, run_matrix,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn path_of_the_url_roots_the_session() {
    run_matrix(&same_draft(&[Draft::Lite03, Draft::Lite05]), LIMIT, root_by_path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_reach_a_websocket_as_streams() {
    let over_websocket = Carrier::WebSocket.with(Draft::Lite05);
    run_matrix(&[(Draft::Lite05.into(), over_websocket)], LIMIT, send_datagrams).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_tcp_connection_unannounces() {
    run_matrix(&same_draft(&[Draft::Lite05]), LIMIT, break_connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_that_does_not_read_costs_no_memory() {
    let over_websocket = Carrier::WebSocket.with(Draft::Lite05);
    run_matrix(&[(Draft::Lite05.into(), over_websocket)], LIMIT, stall).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_never_begins_is_closed() {
    let relay = Relay::start(1).await.expect("the relay starts");
    let http = relay.http();
    let (with_setup, in_band, silent, without_setup, of_an_older_draft) = tokio::join!(
        closing_code(relay.udp(), b"moq-lite-05"),
        closing_code(relay.udp(), b"moql"),
        is_closed_after(http, "moq-lite-05", &[]),
        is_closed_after(http, "moq-lite-05", PARAMETERS),
        // It has no SETUP, so that nothing is due.
        is_closed_after(http, "moq-lite-04", PARAMETERS),
    );
    assert_eq!(with_setup.unwrap(), CONTROL_MESSAGE_TIMEOUT, "without SETUP");
    assert_eq!(in_band.unwrap(), CONTROL_MESSAGE_TIMEOUT, "without SESSION_CLIENT");
    assert!(silent.unwrap(), "without transport parameters");
    assert!(without_setup.unwrap(), "without SETUP");
    assert!(!of_an_older_draft.unwrap(), "draft 04 may be silent");
}

/// What the relay closes a QUIC connection with that says nothing: (is it the application's, code).
async fn closing_code(relay: SocketAddr, alpn: &[u8]) -> Result<(bool, u64)> {
    let mut peer = RawPeer::dial(relay, alpn, &mut Random::new(seed())).await?;
    peer.handshake().await?;
    peer.until_closed(BEGIN_LIMIT).await
}

/// Whether the relay closes a WebSocket that sends one binary message and reads what comes.
async fn is_closed_after(relay: SocketAddr, subprotocol: &str, message: &[u8]) -> Result<bool> {
    let mut socket = TcpStream::connect(relay).await?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    // Final, binary and masked with zeros.
    let head = [0x82, 0x80 | u8::try_from(message.len())?, 0, 0, 0, 0];
    socket.write_all(&[&head, message].concat()).await?;
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(BEGIN_LIMIT, socket.read_to_end(&mut answer)).await;
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "no WebSocket");
    Ok(closed.is_ok())
}

/// A datagram has no advantage over TCP, and reaches a subscriber there as a stream.
async fn send_datagrams(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut subscriber = case.subscriber().await?;
    let first = case.random.group(0, &[17]);
    let mut published = publisher.publish(PATH, TRACK, &first)?;
    subscriber.until_announced(PATH, true).await?;
    let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
    check_same(&read_group(&mut subscription).await?, &first)?;
    for _ in 0..20 {
        let payload = case.random.bytes(150);
        let sequence = published.track.append_datagram(timestamp(1), payload.clone())?;
        let frames = vec![payload];
        check_same(
            &read_group(&mut subscription).await?,
            &PlannedGroup { sequence, frames },
        )?;
    }
    Ok(())
}

async fn root_by_path(mut case: Case) -> Result<()> {
    let mut subscriber = case.subscriber().await?;
    for carrier in [Carrier::WebSocket, Carrier::WebTransport] {
        let mut url = carrier.url(&case.relay);
        url.set_path("/room/7");
        url.set_query(Some("jwt=unused"));
        let publisher = Publisher::connect_to(url, case.publisher_draft).await?;
        let first = case.random.group(0, &[17]);
        let name = format!("{carrier:?}");
        let _published = publisher.publish(&name, TRACK, &first)?;
        let full = format!("room/7/{name}");
        subscriber.until_announced(&full, true).await?;
        let mut subscription = subscriber.subscribe(&full, TRACK).await?;
        check_same(&read_group(&mut subscription).await?, &first)?;
    }
    Ok(())
}

async fn break_connection(mut case: Case) -> Result<()> {
    let proxy = Proxy::start(case.relay.http()).await?;
    let mut subscriber = case.subscriber().await?;
    let publisher = Publisher::connect_to(proxy.url(), case.publisher_draft).await?;
    let first = case.random.group(0, &[17]);
    let _published = publisher.publish(PATH, TRACK, &first)?;
    subscriber.until_announced(PATH, true).await?;
    drop(proxy);
    subscriber.until_announced(PATH, false).await?;
    case.relay.until_session_total(1.0).await?;
    Ok(())
}

/// Some hundred megabytes for a subscriber behind a connection that takes nothing.
async fn stall(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut reading = case.subscriber().await?;
    let proxy = Proxy::start(case.relay.http()).await?;
    let stalled = Subscriber::connect_to(proxy.url(), case.subscriber_draft, "").await?;

    let broadcast = publisher.broadcast(PATH)?;
    // Groups age by their timestamps, which run ahead of the clock.
    let info = track::Info::default().with_timescale(Timescale::MILLI);
    let track = broadcast.create_track(TRACK, info)?;
    broadcast.announce(Default::default())?;
    reading.until_announced(PATH, true).await?;
    let mut subscription = reading.subscribe(PATH, TRACK).await?;
    let mut unread = stalled.subscribe(PATH, TRACK).await?;
    let planned = case.random.group(0, &[GROUP_BYTES / 4; 4]);
    exchange(&track, &mut subscription, &planned, 0).await?;
    read_group(&mut unread).await?;
    proxy.pause();
    let before = case.relay.resident_bytes()?;
    for sequence in 1..GROUPS {
        exchange(&track, &mut subscription, &planned, sequence).await?;
    }
    let grown = case.relay.resident_bytes()?.saturating_sub(before);
    eprintln!("resident {} + {} MiB", before / MIB, grown / MIB);
    ensure!(grown < GROWN_BYTES_MAX, "the relay grew by {} MiB", grown / MIB);
    case.relay.check_alive()
}

async fn exchange(
    track: &track::Producer,
    subscription: &mut track::Subscriber,
    planned: &PlannedGroup,
    sequence: u64,
) -> Result<()> {
    let mut group = track.create_group(moq_net::group::Info { sequence })?;
    for frame in &planned.frames {
        group.write_frame(Timestamp::from_millis(sequence * 500)?, frame.clone())?;
    }
    group.finish()?;
    let received = read_group(subscription)
        .await
        .with_context(|| format!("group {sequence} was lost"))?;
    ensure!(received.frames == planned.frames, "group {sequence}: bytes differ");
    Ok(())
}

/// Forwards TCP connections until dropped, and towards the client until paused.
struct Proxy {
    address: SocketAddr,
    is_paused: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (is_paused, paused) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, to, paused.clone()));
            }
        });
        Ok(Proxy {
            address,
            is_paused,
            task,
        })
    }

    fn url(&self) -> Url {
        format!("ws://{}/", self.address)
            .parse()
            .expect("an address makes a valid URL")
    }

    fn pause(&self) {
        self.is_paused.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(client: TcpStream, to: SocketAddr, mut paused: watch::Receiver<bool>) -> Result<()> {
    let relay = TcpStream::connect(to).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_relay, mut to_relay) = relay.into_split();
    let there = async { tokio::io::copy(&mut from_client, &mut to_relay).await.map(drop) };
    let back = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let is_running = paused.wait_for(|paused| !paused).await.is_ok();
            let length = from_relay.read(&mut buffer).await?;
            if length == 0 || !is_running {
                return Ok::<_, std::io::Error>(());
            }
            to_client.write_all(&buffer[..length]).await?;
        }
    };
    tokio::try_join!(there, back)?;
    Ok(())
}

/// QX_TRANSPORT_PARAMETERS that allow nothing.
const PARAMETERS: &[u8] = b"\xffQS0\r\n\r\n\0";
const CONTROL_MESSAGE_TIMEOUT: (bool, u64) = (true, 0x11);
/// A peer has 10 s to begin, and one to close.
const BEGIN_LIMIT: Duration = Duration::from_secs(14);
const PATH: &str = "interop/websocket";
const TRACK: &str = "media";
const GROUP_BYTES: usize = 400_000;
const GROUPS: u64 = 600;
const MIB: u64 = 1024 * 1024;
/// What the caches of two shards of the suite's relay hold. Several times as much is published.
const GROWN_BYTES_MAX: u64 = 64 * MIB;
const _: () = assert!(GROUPS * GROUP_BYTES as u64 > 3 * GROWN_BYTES_MAX);
const LIMIT: Duration = Duration::from_secs(60);
