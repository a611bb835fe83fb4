//! HTTP/3 on the relay's UDP port: the answers of its HTTP server, and what becomes of those who
//! misspeak it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::metrics::http_get;
use moqswitch_interop::raw_peer::{FIRST_BIDI, FIRST_UNI, STREAM_STEP};
use moqswitch_interop::{Call, Carrier, Case, Draft, Random, RawPeer, run_matrix};
use quiche::h3::{self, NameValue};

#[tokio::test(flavor = "multi_thread")]
async fn http3_is_answered_as_http_is() {
    run_matrix(&over_webtransport(), LIMIT, ask_over_http3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_http3_disturbs_no_call() {
    run_matrix(&over_webtransport(), LIMIT, misspeak).await;
}

fn over_webtransport() -> Vec<(moqswitch_interop::Dial, moqswitch_interop::Dial)> {
    let dial = Carrier::WebTransport.with(Draft::Lite06);
    vec![(dial, dial)]
}

async fn ask_over_http3(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let broadcast = publisher.broadcast("room/alice")?;
    broadcast.announce(Default::default())?;
    let mut subscriber = case.subscriber().await?;
    subscriber.until_announced("room/alice", true).await?;

    let mut peer = RawPeer::dial(case.relay.udp(), b"h3", &mut case.random).await?;
    peer.handshake().await?;
    let mut http = None;
    for path in ["/healthz", "/certificate.sha256", "/announced/room", "/readyz"] {
        let (status, body) = get(&mut peer, &mut http, path).await?;
        ensure!(status == "200", "{path}: {status}");
        let expected = http_get(case.relay.http(), path).await?;
        ensure!(body == expected, "{path}: {body:?} and {expected:?}");
    }
    let (status, _) = get(&mut peer, &mut http, "/nothing").await?;
    ensure!(status == "404", "{status}");
    let metrics = case.relay.metrics().await?;
    ensure!(
        metrics.sum_containing("web_requests_total") == 5.0,
        "requests are counted"
    );
    ensure!(
        metrics.sum_containing("web_sessions_opened_total") >= 2.0,
        "sessions are counted"
    );
    Ok(())
}

/// A GET on a connection that goes on. Status and body.
async fn get(peer: &mut RawPeer, http: &mut Option<h3::Connection>, path: &str) -> Result<(String, String)> {
    let mut answer = Answer::default();
    let step = |connection: &mut quiche::Connection| match answer.step(connection, http, path) {
        Ok(false) => None,
        Ok(true) => Some(Ok(())),
        Err(error) => Some(Err(error.context(path.to_owned()))),
    };
    let done = peer.drive_until(ANSWER_LIMIT, step).await?;
    done.with_context(|| format!("{path}: no answer"))??;
    Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
}

#[derive(Default)]
struct Answer {
    stream: Option<u64>,
    status: String,
    body: Vec<u8>,
}

impl Answer {
    /// Asks at first, then takes what has come; true at its end.
    fn step(
        &mut self,
        connection: &mut quiche::Connection,
        http: &mut Option<h3::Connection>,
        path: &str,
    ) -> Result<bool> {
        let http = match http {
            Some(http) => http,
            none => none.insert(h3::Connection::with_transport(connection, &h3::Config::new()?)?),
        };
        let stream = match self.stream {
            Some(stream) => stream,
            None => *self.stream.insert(http.send_request(connection, &request(path), true)?),
        };
        loop {
            let event = match http.poll(connection) {
                Ok((from, event)) if from == stream => event,
                Ok(_) => continue,
                Err(h3::Error::Done) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            match event {
                h3::Event::Headers { list, .. } => {
                    let status = list.iter().find(|header| header.name() == b":status");
                    let status = status.context("no status")?;
                    self.status = String::from_utf8_lossy(status.value()).into_owned();
                }
                h3::Event::Data => {
                    let mut part = [0; 4096];
                    while let Ok(length) = http.recv_body(connection, stream, &mut part) {
                        self.body.extend_from_slice(&part[..length]);
                    }
                }
                h3::Event::Finished => return Ok(true),
                other => anyhow::bail!("{other:?}"),
            }
        }
    }
}

fn request(path: &str) -> Vec<h3::Header> {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "relay"),
        (":path", path),
    ];
    fields
        .iter()
        .map(|(name, value)| h3::Header::new(name.as_bytes(), value.as_bytes()))
        .collect()
}

async fn misspeak(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut subscriber = case.subscriber().await?;
    let mut call = Call::start(&publisher, &mut subscriber, "interop/call", case.random.clone()).await?;
    for _ in 0..PEERS {
        random_streams(case.relay.udp(), &mut case.random).await?;
        call.exchange().await?;
    }
    case.relay.check_alive()?;
    ensure!(
        publisher.is_connected() && subscriber.is_connected(),
        "a session was closed"
    );
    let violations = case.relay.metrics().await?.sum_containing("web_violations_total");
    ensure!(violations > 0.0, "violations of HTTP/3 are not counted");
    Ok(())
}

/// Streams that begin as those of HTTP/3 and WebTransport do, and go on as nothing does.
async fn random_streams(relay: SocketAddr, random: &mut Random) -> Result<()> {
    let mut peer = RawPeer::dial(relay, b"h3", random).await?;
    peer.handshake().await?;
    for index in 0..STREAMS {
        let length = 1 + random.below(300);
        let mut noise = random.bytes(length).to_vec();
        let beginning = BEGINNINGS[random.below(BEGINNINGS.len())];
        noise.splice(..0, beginning.iter().copied());
        let stream = match index % 2 {
            0 => FIRST_BIDI + index / 2 * STREAM_STEP,
            _ => FIRST_UNI + index / 2 * STREAM_STEP,
        };
        if peer.send(stream, &noise, random.below(2) == 0).await.is_err() {
            break;
        }
    }
    // Time for the relay to read and judge; whether it closes is its choice.
    peer.drive_without_reading(SETTLE).await.ok();
    Ok(())
}

/// Control stream with empty SETTINGS, QPACK streams, streams of a session, frames of requests.
const BEGINNINGS: [&[u8]; 9] = [
    &[0, 4, 0],
    &[2],
    &[3],
    &[0x40, 0x54, 0],
    &[0x40, 0x41, 0],
    &[1, 5],
    &[0, 3],
    &[4, 2],
    &[],
];
const PEERS: usize = 40;
const STREAMS: u64 = 20;
const SETTLE: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(60);
