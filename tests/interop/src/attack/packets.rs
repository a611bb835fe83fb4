//! Packets of a true connection that no client sends: acknowledgements of what was never sent, challenges and connection
//! ids without end, and its id with nothing behind it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::net::UdpSocket;

use super::subscriptions::{BROADCAST, Source, TRACK};
use super::{Done, Target, floods};
use crate::draft::Draft;
use crate::forger::Forger;
use crate::payload::Random;
use crate::raw_peer::FIRST_BIDI;

/// `rate` packets a second. Whoever is closed comes again.
pub async fn run(name: &str, target: &Target, mut random: Random) -> Result<Done> {
    let mut done = Done::default();
    let mut source = Source::start(target, &mut random).await?;
    let others = sockets(target).await?;
    let started = Instant::now();
    let mut answered = 0;
    while started.elapsed() < target.duration {
        source.write(&target.with_rate(SOURCE_RATE), started, &mut random)?;
        let Ok(mut peer) = target.connect(Draft::Lite05, &mut random).await else {
            // So many handshakes in a second and no more.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let subscribe = Draft::Lite05.subscribe_stream(0, BROADCAST, TRACK);
        peer.send(FIRST_BIDI, &subscribe, false).await?;
        let mut forger = peer.into_forger()?;
        let ends = match name {
            "optimistic-acks" => acknowledge(&mut forger, target, started, &mut done).await?,
            _ => insist(name, &mut forger, &others, target, started, &mut random, &mut done).await?,
        };
        answered = forger.responses_max().max(answered);
        ensure!(answered <= RESPONSES_MAX, "{answered} challenges were answered at once");
        if let Some(code) = ends {
            done.closed += 1;
            done.code = Some(code);
        }
    }
    ensure!(
        name != "path-challenges" || answered > 0,
        "no challenge was answered: nothing was tried"
    );
    Ok(done)
}

/// Once, and by how much too far is different each time. The code, if that ended the connection.
async fn acknowledge(forger: &mut Forger, target: &Target, started: Instant, done: &mut Done) -> Result<Option<u64>> {
    while u128::from(done.sent) >= started.elapsed().as_micros() * u128::from(target.rate) / 1_000_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // A relay that has sent nothing yet has nothing to compare it with.
    let heard = forger.until_heard(CLOSED_LIMIT).await?;
    let beyond = [1_000, 100_000, 100_000_000][usize::try_from(done.sent % 3)?];
    let last = u32::try_from(forger.largest() + beyond)?;
    // Everything up to it, as if it had all come, and no delay (RFC 9000, section 19.3).
    let mut frame = vec![ACK];
    frame.extend_from_slice(&four(last));
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(&four(last));
    forger.send(&frame).await?;
    done.sent += 1;
    done.heard += heard;
    Ok(forger.until_closed(CLOSED_LIMIT).await.ok())
}

/// Packet after packet until the connection is closed or the time is over, by many ports where that is what is tried.
async fn insist(
    name: &str,
    forger: &mut Forger,
    others: &[UdpSocket],
    target: &Target,
    started: Instant,
    random: &mut Random,
    done: &mut Done,
) -> Result<Option<u64>> {
    let begun = (Instant::now(), done.sent);
    let mut scratch = vec![0; 2048];
    let mut id = 1_000;
    while started.elapsed() < target.duration {
        let due = begun.0.elapsed().as_micros() * u128::from(target.rate) / 1_000_000;
        let due = u64::try_from(due)
            .unwrap_or(u64::MAX)
            .min(done.sent - begun.1 + BATCH_MAX);
        while done.sent - begun.1 < due {
            let (frames, is_ours) = match name {
                "retired-ids" => (connection_ids(&mut id, random), true),
                _ => (challenges(random), done.sent.is_multiple_of(2)),
            };
            let packet = forger.seal(&frames)?;
            let other = &others[usize::try_from(done.sent)? % others.len()];
            // What the system has no room for is lost, as on any way.
            let _ = match is_ours {
                true => forger.try_send(&packet),
                false => other.try_send(&packet),
            };
            done.sent += 1;
        }
        let (heard, code) = forger.take();
        done.heard += heard;
        for other in others {
            while let Ok(length) = other.try_recv(&mut scratch) {
                done.heard += length as u64;
                forger.note(&mut scratch[..length]);
            }
        }
        if code.is_some() {
            return Ok(code);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(None)
}

/// The id of a live connection, and behind it what nobody can decrypt, `rate` times a second from many ports. An error unless
/// the connection goes on afterwards, or is closed.
pub async fn forged_ids(target: &Target, mut random: Random) -> Result<Done> {
    let _source = Source::start(target, &mut random).await?;
    let mut peer = target.connect(Draft::Lite05, &mut random).await?;
    let id = peer.relay_id();
    let datagrams = floods::prepare(|| {
        let mut datagram = vec![0x40 | (random.bytes(1)[0] & 0x3f)];
        datagram.extend_from_slice(&id);
        let length = 20 + random.below(1_000);
        datagram.extend_from_slice(&random.bytes(length));
        datagram
    });
    let own = target.clone();
    let mut flood = tokio::task::spawn_blocking(move || floods::send(&datagrams, &own));
    let mut done = loop {
        tokio::select! {
            done = &mut flood => break done??,
            () = tokio::time::sleep(Duration::from_millis(5)) => peer.drive_some().await,
        }
    };
    // Its own packets are as good as before: they are answered.
    let subscribe = Draft::Lite05.subscribe_stream(0, BROADCAST, TRACK);
    let asking = async {
        peer.send(FIRST_BIDI, &subscribe, false).await?;
        peer.receive(FIRST_BIDI, 1).await
    };
    if let Err(error) = asking.await {
        let Some((_, code)) = peer.peer_close() else {
            return Err(error.context("its own packets are answered no more"));
        };
        done.closed += 1;
        done.code = Some(code);
    }
    Ok(done)
}

async fn sockets(target: &Target) -> Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let socket = UdpSocket::bind((target.from, 0)).await?;
        socket.connect(target.relay).await?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// RFC 9000, section 19.17.
fn challenges(random: &mut Random) -> Vec<u8> {
    let mut frames = Vec::new();
    for _ in 0..CHALLENGES {
        frames.push(PATH_CHALLENGE);
        frames.extend_from_slice(&random.number().to_be_bytes());
    }
    frames
}

/// Each retires all before it (RFC 9000, section 19.15).
fn connection_ids(next: &mut u32, random: &mut Random) -> Vec<u8> {
    let mut frames = Vec::new();
    for _ in 0..CONNECTION_IDS {
        frames.push(NEW_CONNECTION_ID);
        frames.extend_from_slice(&four(*next));
        frames.extend_from_slice(&four(*next));
        frames.push(16);
        // The id, and the token of its stateless reset.
        frames.extend_from_slice(&random.bytes(16 + 16));
        *next += 1;
    }
    frames
}

/// A variable-length integer of four bytes.
fn four(value: u32) -> [u8; 4] {
    (value & 0x3fff_ffff | 0x8000_0000).to_be_bytes()
}

const ACK: u8 = 0x02;
const NEW_CONNECTION_ID: u8 = 0x18;
const PATH_CHALLENGE: u8 = 0x1a;
/// What a packet of 1,200 bytes has room for.
const CHALLENGES: usize = 128;
const CONNECTION_IDS: usize = 26;
/// Of challenges that come together, the relay answers so many.
const RESPONSES_MAX: usize = 3;
const SOCKETS: usize = 32;
/// Groups a second of the track that is subscribed to.
const SOURCE_RATE: u64 = 50;
const BATCH_MAX: u64 = 500;
const PAUSE: Duration = Duration::from_millis(20);
const CLOSED_LIMIT: Duration = Duration::from_secs(2);
