//! How far the clocks of two hosts are apart, so that what their processes recorded can be laid
//! side by side. Delays do not depend on it: all of a call is in one process.
//!
//! ```text
//! magic (4) | number (4) | sent by the client (8) | received by the server (8) | sent by it (8)
//! ```
//! Times are Unix ns. A request has zeroes for what it cannot know, so that an answer is no longer
//! than what it answers.

use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::output::file::say;

/// What a clock was found to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offset {
    /// Where the other clock is.
    pub(crate) reference: String,
    /// What the reference shows more than the own clock.
    pub(crate) offset_ms: f64,
    /// Half of the shortest round trip: the offset is off by so much at most.
    pub(crate) uncertainty_ms: f64,
}

/// Answers with the time, until interrupted.
pub(crate) fn serve(listen: SocketAddr) -> anyhow::Result<()> {
    let socket = UdpSocket::bind(listen).with_context(|| format!("cannot listen on {listen} (UDP)"))?;
    say(&format_args!("clock ready: {}", socket.local_addr()?), false)?;
    loop {
        answer(&socket);
    }
}

fn answer(socket: &UdpSocket) {
    let mut packet = [0; PACKET_BYTES + 1];
    // What cannot be received or answered is asked again.
    let Ok((bytes, client)) = socket.recv_from(&mut packet) else {
        return;
    };
    let received = unix_ns();
    // An answer is none to be answered.
    if bytes != PACKET_BYTES || packet[..4] != MAGIC || packet[16..PACKET_BYTES] != [0; 16] {
        return;
    }
    packet[16..24].copy_from_slice(&received.to_be_bytes());
    packet[24..32].copy_from_slice(&unix_ns().to_be_bytes());
    let _ = socket.send_to(&packet[..PACKET_BYTES], client);
}

/// Compares the own clock with that of a `loadgen clock`.
pub(crate) fn measure(reference: &str) -> anyhow::Result<Offset> {
    let addresses: Vec<SocketAddr> = reference
        .to_socket_addrs()
        .with_context(|| format!("`{reference}` is no address of a clock"))?
        .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
        .collect();
    // In turn: the clock may be at one of them only.
    let mut best = None;
    for address in &addresses {
        best = measure_at(*address)?;
        if best.is_some() {
            break;
        }
    }
    let (round_trip, offset) = best.with_context(|| {
        let tried: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!(
            "no clock answers at {reference}, tried {}: `loadgen clock --listen` makes one",
            tried.join(", ")
        )
    })?;
    #[allow(clippy::cast_precision_loss, reason = "differences of clocks, to be read")]
    let (offset_ms, uncertainty_ms) = (offset as f64 / 1e6, round_trip as f64 / 2e6);
    ensure!(
        offset_ms.abs() < 86_400_000.0,
        "the clock at {reference} is more than a day off"
    );
    Ok(Offset {
        reference: reference.to_owned(),
        offset_ms,
        uncertainty_ms,
    })
}

/// The shortest round trip of several, and the offset that it shows.
fn measure_at(address: SocketAddr) -> anyhow::Result<Option<(u64, i128)>> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    if socket.connect(address).is_err() {
        return Ok(None);
    }
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    let mut best: Option<(u64, i128)> = None;
    for number in 0..EXCHANGES {
        // Nobody who is there misses so many.
        if best.is_none() && number >= EXCHANGES_UNANSWERED_MAX {
            break;
        }
        if let Some((round_trip, offset)) = exchange(&socket, number)?
            && best.is_none_or(|(shortest, _)| round_trip < shortest)
        {
            best = Some((round_trip, offset));
        }
    }
    Ok(best)
}

/// Round trip and offset, ns; `None` when no answer came.
fn exchange(socket: &UdpSocket, number: u32) -> anyhow::Result<Option<(u64, i128)>> {
    let mut packet = [0; PACKET_BYTES];
    packet[..4].copy_from_slice(&MAGIC);
    packet[4..8].copy_from_slice(&number.to_be_bytes());
    let sent = unix_ns();
    packet[8..16].copy_from_slice(&sent.to_be_bytes());
    if socket.send(&packet).is_err() {
        return Ok(None);
    }
    let mut answer = [0; PACKET_BYTES];
    // Answers to earlier ones may still come.
    let came = loop {
        let Ok(bytes) = socket.recv(&mut answer) else {
            return Ok(None);
        };
        if bytes == PACKET_BYTES && answer[..16] == packet[..16] {
            break unix_ns();
        }
    };
    let at = |from: usize| -> anyhow::Result<u64> { Ok(u64::from_be_bytes(answer[from..from + 8].try_into()?)) };
    let (received, answered) = (at(16)?, at(24)?);
    let away = came.saturating_sub(sent);
    let round_trip = away.saturating_sub(answered.saturating_sub(received));
    let offset = (i128::from(received) - i128::from(sent) + i128::from(answered) - i128::from(came)) / 2;
    Ok(Some((round_trip, offset)))
}

pub(crate) fn unix_ns() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

const MAGIC: [u8; 4] = *b"mqck";
const PACKET_BYTES: usize = 32;
const EXCHANGES: u32 = 20;
const EXCHANGES_UNANSWERED_MAX: u32 = 5;
const ANSWER_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_agrees_with_itself_within_its_uncertainty() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            // Nonsense is not answered.
            for _ in 0..EXCHANGES + 2 {
                answer(&socket);
            }
        });
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"what time is it?", &address).unwrap();
        client.send_to(&[0; 100], &address).unwrap();
        let measured = measure(&address).unwrap();
        assert!(measured.offset_ms.abs() <= measured.uncertainty_ms, "{measured:?}");
        server.join().unwrap();
    }

    #[test]
    fn a_clock_that_is_not_there_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        drop(socket);
        let error = measure(&address).unwrap_err().to_string();
        assert!(error.contains("no clock answers"), "{error}");
    }
}
