//! Datagrams by the hundred thousand, from a thread of their own; and what a relay says to who never answers.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use boring::ssl::{SslContextBuilder, SslMethod};

use super::{Done, Target};
use crate::payload::Random;

/// Sends datagrams of one kind.
pub fn run(kind: &str, target: &Target) -> Result<Done> {
    let mut random = Random::new(target.seed);
    if kind == "amplification" {
        return amplify(target, &mut random);
    }
    let datagrams = match kind {
        "garbage" => prepare(|| garbage(&mut random)),
        "resets" => prepare(|| short_header(&mut random)),
        "initials" => prepare(|| initial(&mut random, [0, 0, 0, 1])),
        "versions" => prepare(|| initial(&mut random, [0x1a, 0x2a, 0x3a, 0x4a])),
        "half-open" => {
            let flights = first_flights(target.relay, &mut random, FLIGHTS)?;
            flights
                .into_iter()
                .filter_map(|flight| flight.into_iter().next())
                .collect()
        }
        _ => bail!("no flood is called '{kind}'"),
    };
    send(&datagrams, target)
}

/// First packets, those of each connection by a port of its own, and then long silence: what is sent again counts as well (RFC 9000,
/// section 8.1). An error if any port hears more than it may.
#[expect(clippy::disallowed_methods, reason = "a thread of its own, whose pace it is")]
fn amplify(target: &Target, random: &mut Random) -> Result<Done> {
    let flights = first_flights(target.relay, random, PORTS_MAX)?;
    let sending = target.duration.saturating_sub(LISTENING).max(SENDING_MIN);
    let mut ports = Vec::new();
    let mut answer = [0; 2048];
    let mut done = Done::default();
    let started = Instant::now();
    while started.elapsed() < sending + LISTENING {
        let due = started.elapsed().min(sending).as_millis() * u128::from(target.rate) / 1_000;
        if let Some(flight) = flights.get(ports.len())
            && (ports.len() as u128) < due
        {
            let socket = socket(target)?;
            let mut sent = 0;
            for datagram in flight {
                sent += socket.send(datagram)? as u64;
                done.sent += 1;
            }
            ports.push((socket, sent, 0));
            continue;
        }
        for (socket, sent, heard) in &mut ports {
            while let Ok(length) = socket.recv(&mut answer) {
                *heard += length as u64;
                done.heard += length as u64;
            }
            ensure!(
                *heard <= AMPLIFICATION_MAX * *sent,
                "{sent} bytes were answered by {heard}"
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(done)
}

/// Sends them in turn at the rate asked for, in bursts of a millisecond, and counts what comes back.
#[expect(clippy::disallowed_methods, reason = "a thread of its own, whose pace it is")]
pub(super) fn send(datagrams: &[Vec<u8>], target: &Target) -> Result<Done> {
    // Several, so that the kernel spreads them over the shards.
    let sockets = (0..SOCKETS).map(|_| socket(target)).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let mut done = Done::default();
    let mut answer = [0; 2048];
    while started.elapsed() < target.duration {
        let due = started.elapsed().as_micros() * u128::from(target.rate) / 1_000_000;
        if u128::from(done.sent) >= due {
            for socket in &sockets {
                while let Ok(length) = socket.recv(&mut answer) {
                    done.heard += length as u64;
                }
            }
            std::thread::sleep(Duration::from_micros(500));
            continue;
        }
        let index = usize::try_from(done.sent).unwrap_or_default();
        // A refusal of the host that is attacked, or of this one, is not the end of it.
        let _ = sockets[index % SOCKETS].send(&datagrams[index % datagrams.len()]);
        done.sent += 1;
    }
    Ok(done)
}

fn socket(target: &Target) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((target.from, 0))?;
    socket.connect(target.relay)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub(super) fn prepare(mut make: impl FnMut() -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..DATAGRAMS).map(|_| make()).collect()
}

fn garbage(random: &mut Random) -> Vec<u8> {
    let length = 20 + random.below(200);
    let mut datagram = random.bytes(length).to_vec();
    datagram[0] = 0xc0;
    datagram
}

fn short_header(random: &mut Random) -> Vec<u8> {
    let mut datagram = random.bytes(60).to_vec();
    datagram[0] = 0x40 | (datagram[0] & 0x3f);
    datagram
}

/// The head of an Initial packet (RFC 9000, section 17.2.2) before noise.
fn initial(random: &mut Random, version: [u8; 4]) -> Vec<u8> {
    let mut datagram = vec![0xc3];
    datagram.extend_from_slice(&version);
    datagram.push(16);
    datagram.extend_from_slice(&random.bytes(16));
    datagram.push(8);
    datagram.extend_from_slice(&random.bytes(8));
    // No token, and what is left as the length.
    let rest = INITIAL_BYTES - datagram.len() - 3;
    datagram.push(0);
    datagram.extend_from_slice(&(0x4000 | u16::try_from(rest).unwrap_or_default()).to_be_bytes());
    datagram.extend_from_slice(&random.bytes(rest));
    datagram
}

/// All that clients send before they hear anything. With a key of the small kind it is one packet, which is answered by all
/// that a server has to say.
fn first_flights(relay: SocketAddr, random: &mut Random, count: usize) -> Result<Vec<Vec<Vec<u8>>>> {
    let mut tls = SslContextBuilder::new(SslMethod::tls())?;
    tls.set_curves_list("X25519")?;
    let mut config = quiche::Config::with_boring_ssl_ctx_builder(quiche::PROTOCOL_VERSION, tls)?;
    config.set_application_protos(&[b"moq-lite-05"])?;
    let local = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut flights = Vec::new();
    for _ in 0..count {
        let id = random.bytes(16);
        let id = quiche::ConnectionId::from_ref(&id);
        let mut connection = quiche::connect(None, &id, local, relay, &mut config)?;
        let mut flight = Vec::new();
        let mut datagram = vec![0; 1_350];
        while let Ok((length, _)) = connection.send(&mut datagram) {
            flight.push(datagram[..length].to_vec());
        }
        flights.push(flight);
    }
    Ok(flights)
}

const SOCKETS: usize = 64;
/// RFC 9000, section 8.1.
const AMPLIFICATION_MAX: u64 = 3;
const DATAGRAMS: usize = 4_096;
const FLIGHTS: usize = 8_192;
/// Of one connection each.
const PORTS_MAX: usize = 500;
const SENDING_MIN: Duration = Duration::from_secs(1);
/// Three times what is sent again comes in this: after one second, three, and seven.
const LISTENING: Duration = Duration::from_secs(8);
const INITIAL_BYTES: usize = 1_200;
