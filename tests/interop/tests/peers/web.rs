//! HTTP/3 on the relay's UDP port: the answers of its HTTP server, and what becomes of those who
//! misspeak it, by each rule and at random.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::metrics::http_get;
use moqswitch_interop::payload::seed;
use moqswitch_interop::raw_peer::{FIRST_BIDI, FIRST_UNI, HTTP3_SETTINGS, STREAM_STEP, StreamEnd, connect_request};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Carrier, Case, Draft, Publisher, Random, RawPeer, Relay, Subscriber, run_matrix};
use quiche::h3::{self, NameValue};

#[tokio::test(flavor = "multi_thread")]
async fn http3_is_answered_as_http_is() {
    run_matrix(&over_webtransport(), LIMIT, ask_over_http3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_http3_disturbs_no_call() {
    run_matrix(&over_webtransport(), LIMIT, misspeak).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_http3_is_closed_cleanly_and_counted() {
    let seed = seed();
    tokio::time::timeout(LIMIT, offend(Random::new(seed)))
        .await
        .unwrap_or_else(|_| panic!("still running after {LIMIT:?} (seed {seed})"))
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

/// What a hostile client does: writes, some of them in a session of its own.
struct Offence {
    name: &'static str,
    in_session: bool,
    writes: Vec<(u64, Vec<u8>)>,
    outcome: Outcome,
    /// The counter that tells of it, and by how much it rises.
    counted: (&'static str, f64),
}

enum Outcome {
    /// The connection is closed with a code.
    Closed(u64),
    /// A stream is, and all else goes on.
    Ended(u64, StreamEnd),
    /// A request is answered with a status, and all else goes on.
    Answered(&'static [u8]),
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
    for path in ["/healthz", "/certificate.sha256", "/readyz"] {
        let (status, body) = get(&mut peer, &mut http, path).await?;
        ensure!(status == "200", "{path}: {status}");
        let expected = http_get(case.relay.http(), path).await?;
        ensure!(body == expected, "{path}: {body:?} and {expected:?}");
    }
    for path in ["/nothing", "/announced/room"] {
        let (status, _) = get(&mut peer, &mut http, path).await?;
        ensure!(status == "404", "{path}: {status}");
    }
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

async fn offend(mut random: Random) -> Result<()> {
    let relay = Relay::start_with(1, &[("MOQSWITCH_AUTH_PUBLIC", "room/**")]).await?;
    if relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    let publisher = Publisher::connect_to(Carrier::WebTransport.url(&relay), Draft::Lite06).await?;
    let mut subscriber = Subscriber::connect_to(Carrier::Quic.url(&relay), Draft::Lite06, "").await?;
    let mut call = Call::start(&publisher, &mut subscriber, "room/call", random.clone()).await?;
    for offence in offences() {
        commit(&relay, &offence, &mut random).await.context(offence.name)?;
        call.exchange().await.context(offence.name)?;
    }
    Ok(())
}

async fn commit(relay: &Relay, offence: &Offence, random: &mut Random) -> Result<()> {
    let mut peer = RawPeer::dial(relay.udp(), b"h3", random).await?;
    peer.handshake().await?;
    if offence.in_session {
        peer.open_web_session("/room").await?;
    }
    let (counter, rise) = offence.counted;
    let before = relay.metrics().await?.sum_containing(counter);
    for (stream, bytes) in &offence.writes {
        peer.send(*stream, bytes, false).await?;
    }
    match offence.outcome {
        Outcome::Closed(code) => {
            let closed = peer.until_closed(ANSWER_LIMIT).await?;
            ensure!(closed == (true, code), "closed with {closed:x?}");
        }
        Outcome::Ended(stream, expected) => {
            let end = peer.until_stream_end(stream, ANSWER_LIMIT).await?;
            ensure!(end == expected, "{end:x?}");
        }
        Outcome::Answered(field) => {
            // HEADERS, its length, the prefix of the field section.
            let answer = peer.receive(FIRST_BIDI, 4 + field.len()).await?;
            ensure!(answer[0] == 1 && answer[4..] == *field, "answered {answer:02x?}");
        }
    }
    if !matches!(offence.outcome, Outcome::Closed(_)) {
        ensure!(peer.peer_close().is_none(), "closed with {:x?}", peer.peer_close());
    }
    let after = relay.metrics().await?.sum_containing(counter);
    ensure!(after - before == rise, "{counter} rose by {}", after - before);
    Ok(())
}

fn offences() -> Vec<Offence> {
    let violation = |name, in_session, writes, code| Offence {
        name,
        in_session,
        writes,
        outcome: Outcome::Closed(code),
        counted: ("web_violations_total", 1.0),
    };
    let refusal = |name, in_session, writes, outcome, rise| Offence {
        name,
        in_session,
        writes,
        outcome,
        counted: ("web_streams_refused_total", rise),
    };
    let (second, third) = (FIRST_BIDI + STREAM_STEP, FIRST_UNI + STREAM_STEP);
    // Streams of a session that nobody asked for: so many wait for it.
    let early: Vec<_> = (1..=HELD + 1)
        .map(|index| (FIRST_UNI + index * STREAM_STEP, b"\x40\x54\x00early".to_vec()))
        .collect();
    let last_early = FIRST_UNI + (HELD + 1) * STREAM_STEP;
    // DATA with capsules of a type that nobody knows.
    let capsules = [&b"\x00\x67\x10"[..], &b"\x17\x00".repeat(5000)].concat();
    let unknown_path = Offence {
        name: "CONNECT to an unknown path",
        in_session: false,
        writes: vec![
            (FIRST_UNI, HTTP3_SETTINGS.to_vec()),
            (FIRST_BIDI, connect_request("/closed")),
        ],
        outcome: Outcome::Answered(STATUS_403),
        counted: ("web_sessions_refused_total", 1.0),
    };
    vec![
        violation(
            "a setting of HTTP/2",
            false,
            vec![(FIRST_UNI, b"\x00\x04\x02\x02\x00".to_vec())],
            0x109,
        ),
        violation(
            "a setting twice",
            false,
            vec![(FIRST_UNI, b"\x00\x04\x04\x08\x01\x08\x01".to_vec())],
            0x109,
        ),
        violation(
            "no SETTINGS",
            false,
            vec![(FIRST_UNI, b"\x00\x07\x01\x00".to_vec())],
            0x10a,
        ),
        violation(
            "endless SETTINGS",
            false,
            vec![(FIRST_UNI, b"\x00\x04\x7f\xff".to_vec())],
            0x107,
        ),
        unknown_path,
        violation(
            "a head of 16 KiB and a byte",
            false,
            vec![(FIRST_BIDI, b"\x01\x80\x00\x40\x01".to_vec())],
            0x107,
        ),
        refusal(
            "streams for a session that never comes",
            false,
            early,
            Outcome::Ended(last_early, StreamEnd::Stopped(0x3994_bd84)),
            1.0,
        ),
        refusal(
            "a stream for a session that is not there",
            true,
            vec![(third, b"\x40\x54\x41\x90lost".to_vec())],
            Outcome::Ended(third, StreamEnd::Stopped(0x170d_7b68)),
            1.0,
        ),
        refusal(
            "a second session",
            true,
            vec![(second, connect_request("/room"))],
            Outcome::Ended(second, StreamEnd::Stopped(0x10b)),
            1.0,
        ),
        violation("a flood of capsules", true, vec![(FIRST_BIDI, capsules)], 0x107),
    ]
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
/// Of the static table, `:status 403` (RFC 9204, appendix A).
const STATUS_403: &[u8] = &[0xff, 0x05];
/// Streams that may wait for a session.
const HELD: u64 = 64;
const PEERS: usize = 40;
const STREAMS: u64 = 20;
const SETTLE: Duration = Duration::from_millis(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(60);
