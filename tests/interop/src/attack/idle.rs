//! Connections that do nothing, and streams that never go on.

use std::time::Instant;

use anyhow::Result;

use super::{Done, Target};
use crate::draft::Draft;
use crate::payload::Random;
use crate::raw_peer::{FIRST_BIDI, FIRST_UNI, RawPeer, STREAM_STEP};

/// `count` connections, kept until the time is over.
pub async fn connections(target: &Target, mut random: Random) -> Result<Done> {
    let until = Instant::now() + target.duration;
    let mut peers = Vec::new();
    let mut done = Done::default();
    while peers.len() < target.count && Instant::now() < until {
        match RawPeer::connect(target.relay, Draft::Lite05, &mut random).await {
            Ok(peer) => {
                done.sent += 1;
                peers.push(peer);
            }
            // The relay takes no more: that is its answer.
            Err(_) => done.closed += 1,
        }
    }
    tokio::time::sleep(until.saturating_duration_since(Instant::now())).await;
    Ok(done)
}

/// `count` connections with streams of one byte each, as many as the relay lets them have.
pub async fn streams(target: &Target, mut random: Random) -> Result<Done> {
    let until = Instant::now() + target.duration;
    let mut peers = Vec::new();
    let mut done = Done::default();
    for _ in 0..target.count {
        let Ok(mut peer) = RawPeer::connect(target.relay, Draft::Lite05, &mut random).await else {
            done.closed += 1;
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

const STREAMS: u64 = 1_020;
