//! One session that asks without end: for updates of a subscription, for groups, for reports.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::BytesMut;
use moqswitch_proto::wire::{
    BidiType, BroadcastPath, Fetch, GroupRange, GroupSequence, Probe, SubscribeUpdate, Version,
};

use super::subscriptions::{BROADCAST, Source, TRACK};
use super::{Done, Target};
use crate::draft::Draft;
use crate::payload::Random;
use crate::raw_peer::{FIRST_BIDI, RawPeer, STREAM_STEP};

/// `rate` a second.
pub async fn run(name: &str, target: &Target, mut random: Random) -> Result<Done> {
    let mut source = Source::start(target, &mut random).await?;
    let mut done = Done::default();
    let mut peer = target.connect(Draft::Lite05, &mut random).await?;
    let subscribe = Draft::Lite05.subscribe_stream(0, BROADCAST, TRACK);
    peer.send(FIRST_BIDI, &subscribe, false).await?;
    let mut scratch = vec![0; 64 * 1024];
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < target.duration && peer.peer_close().is_none() {
        source.write(&target.with_rate(SOURCE_RATE), started, &mut random)?;
        let due = started.elapsed().as_micros() * u128::from(target.rate) / 1_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(number + BATCH_MAX);
        while number < due {
            number += 1;
            done.sent += u64::from(ask(name, &mut peer, number).await?);
        }
        peer.drive_some().await;
        done.heard += peer.read_everything(&mut scratch);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if let Some((_, code)) = peer.peer_close() {
        done.closed = 1;
        done.code = Some(code);
    }
    Ok(done)
}

async fn ask(name: &str, peer: &mut RawPeer, number: u64) -> Result<bool> {
    let mut bytes = BytesMut::new();
    let (stream, fin) = match name {
        "updates" => {
            let update = SubscribeUpdate {
                priority: u8::try_from(number % 200)?,
                ordered: false,
                max_latency_ms: number % 10_000,
                range: GroupRange::default(),
            };
            update.encode(VERSION, &mut bytes)?;
            (FIRST_BIDI, false)
        }
        "fetches" => {
            BidiType::Fetch.encode(VERSION, &mut bytes)?;
            let fetch = Fetch {
                broadcast: BroadcastPath::new(BROADCAST),
                track: TRACK.into(),
                epoch: 0,
                priority: 0,
                group: GroupSequence(number),
                frame_start: 0,
                frame_end: None,
            };
            fetch.encode(VERSION, &mut bytes)?;
            (FIRST_BIDI + number * STREAM_STEP, true)
        }
        _ => {
            BidiType::Probe.encode(VERSION, &mut bytes)?;
            let probe = Probe {
                bitrate: Some(1_000),
                rtt_ms: None,
            };
            probe.encode(VERSION, &mut bytes)?;
            (FIRST_BIDI + number * STREAM_STEP, true)
        }
    };
    Ok(peer.try_end(stream, &bytes, fin).await)
}

const VERSION: Version = Version::Lite05;
/// Groups a second of the track that is asked for.
const SOURCE_RATE: u64 = 50;
const BATCH_MAX: u64 = 500;
