//! Connections that do nothing, and streams that never go on.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::Result;
use futures_util::StreamExt;

use super::{Done, Target};
use crate::draft::Draft;
use crate::payload::Random;
use crate::raw_peer::{FIRST_BIDI, FIRST_UNI, RawPeer, STREAM_STEP};

/// `count` connections, kept until the time is over.
pub async fn connections(target: &Target, mut random: Random) -> Result<Done> {
    let until = Instant::now() + target.duration;
    let mut done = Done::default();
    let seeds: Vec<u64> = (0..target.count).map(|_| random.number()).collect();
    let mut connecting = futures_util::stream::iter(seeds.into_iter().enumerate())
        .map(|(number, seed)| async move {
            let from = address(number);
            RawPeer::connect_from(from, target.relay, Draft::Lite05, &mut Random::new(seed)).await
        })
        .buffer_unordered(AT_ONCE);
    let mut peers = Vec::new();
    while Instant::now() < until
        && let Some(connected) = connecting.next().await
    {
        match connected {
            Ok(peer) => {
                done.sent += 1;
                peers.push(peer);
            }
            // The relay takes no more: that is its answer.
            Err(_) => done.refused += 1,
        }
    }
    tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    Ok(done)
}

/// Addresses of this host's loopback, each with as many as one may have.
fn address(number: usize) -> IpAddr {
    let last = u8::try_from(number / PER_ADDRESS + 2).unwrap_or(u8::MAX);
    IpAddr::from([127, 0, 0, last])
}

/// `count` connections with streams of one byte each, as many as the relay lets them have.
pub async fn streams(target: &Target, mut random: Random) -> Result<Done> {
    let until = Instant::now() + target.duration;
    let mut peers = Vec::new();
    let mut done = Done::default();
    for _ in 0..target.count {
        let Ok(mut peer) = target.connect(Draft::Lite05, &mut random).await else {
            done.refused += 1;
            continue;
        };
        for index in 0..STREAMS {
            // The first byte of a Subscribe Stream, and of a Group Stream.
            let bidi = peer.try_send(FIRST_BIDI + index * STREAM_STEP, &[2]).await;
            let uni = peer.try_send(FIRST_UNI + (1 + index) * STREAM_STEP, &[0]).await;
            done.sent += u64::from(bidi) + u64::from(uni);
        }
        peer.drive_some().await;
        peers.push(peer);
    }
    while Instant::now() < until {
        for peer in &mut peers {
            peer.drive_some().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for peer in &peers {
        if let Some((_, code)) = peer.peer_close() {
            done.closed += 1;
            done.code = Some(code);
        }
    }
    Ok(done)
}

/// Handshakes at the same time.
const AT_ONCE: usize = 32;
const PER_ADDRESS: usize = 1_000;
const STREAMS: u64 = 1_020;
