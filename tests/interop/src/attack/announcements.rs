//! Announcements without end, and those who ask for them.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::BytesMut;
use moqswitch_proto::wire::{Advertisement, Announce, AnnounceOk, AnnounceRequest, BroadcastPath, HopId, Version};

use super::{Done, Target};
use crate::draft::Draft;
use crate::payload::Random;
use crate::raw_peer::{FIRST_BIDI, FIRST_BIDI_OF_RELAY, RawPeer, STREAM_STEP};

/// One session announces fresh paths, `rate` a second, and soon withdraws them.
pub async fn churn(target: &Target, mut random: Random) -> Result<Done> {
    let mut churner = Churner::connect(target, &mut random).await?;
    let mut done = Done::default();
    let started = Instant::now();
    while started.elapsed() < target.duration && churner.go_on(target, started, &mut done).await {}
    Ok(done)
}

/// The same, before `count` sessions that have 64 announce streams for everything each, and read them or not.
pub async fn watched(target: &Target, random: Random, read: bool) -> Result<Done> {
    watched_by(target, random, read, STREAMS).await
}

/// The same before many that have one each, and read it.
pub async fn crowd(target: &Target, random: Random) -> Result<Done> {
    watched_by(target, random, true, 1).await
}

async fn watched_by(target: &Target, mut random: Random, read: bool, streams: u64) -> Result<Done> {
    let mut watchers = Vec::new();
    for _ in 0..target.count {
        let mut peer = target.connect(Draft::Lite05, &mut random).await?;
        for index in 0..streams {
            let mut request = BytesMut::from(&[ANNOUNCE_STREAM][..]);
            let wanted = AnnounceRequest {
                prefix: BroadcastPath::root(),
                exclude_hop: HopId::UNKNOWN,
                ended: false,
            };
            wanted.encode(Version::Lite05, &mut request)?;
            peer.try_send(FIRST_BIDI + index * STREAM_STEP, &request).await;
        }
        peer.drive_some().await;
        watchers.push(peer);
    }
    let mut churner = Churner::connect(target, &mut random).await?;
    let mut done = Done::default();
    let started = Instant::now();
    let mut scratch = vec![0; 64 * 1024];
    while started.elapsed() < target.duration {
        let goes_on = churner.go_on(target, started, &mut done).await;
        for watcher in &mut watchers {
            watcher.drive_some().await;
            if read {
                done.heard += watcher.read_everything(&mut scratch);
            }
        }
        if !goes_on {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for watcher in &watchers {
        if let Some((_, code)) = watcher.peer_close() {
            done.closed += 1;
            done.code = Some(code);
        }
    }
    Ok(done)
}

/// `count` sessions that announce 4,096 broadcasts each.
pub async fn table(target: &Target, mut random: Random) -> Result<Done> {
    let until = Instant::now() + target.duration;
    let mut sessions = Vec::new();
    let mut done = Done::default();
    for number in 0..target.count {
        let Ok(mut peer) = target.connect(Draft::Lite05, &mut random).await else {
            done.refused += 1;
            continue;
        };
        let mut bytes = accept_announcing(&mut peer).await?;
        for index in 0..4_096 {
            start(&format!("anon/t{number}/{index}")).encode(Version::Lite05, &mut bytes)?;
        }
        if peer.send(FIRST_BIDI_OF_RELAY, &bytes, false).await.is_ok() {
            done.sent += 4_096;
        }
        sessions.push(peer);
        if Instant::now() >= until {
            break;
        }
    }
    loop {
        for peer in &mut sessions {
            peer.drive_some().await;
        }
        if Instant::now() >= until {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for peer in &sessions {
        if let Some((_, code)) = peer.peer_close() {
            done.closed += 1;
            done.code = Some(code);
        }
    }
    Ok(done)
}

struct Churner {
    peer: RawPeer,
    number: u64,
}

impl Churner {
    async fn connect(target: &Target, random: &mut Random) -> Result<Self> {
        let mut peer = target.connect(Draft::Lite05, random).await?;
        let begin = accept_announcing(&mut peer).await?;
        peer.send(FIRST_BIDI_OF_RELAY, &begin, false).await?;
        Ok(Self { peer, number: 0 })
    }

    /// Announces and withdraws as many as are due. False when the relay has closed the session.
    async fn go_on(&mut self, target: &Target, started: Instant, done: &mut Done) -> bool {
        let due = started.elapsed().as_micros() * u128::from(target.rate) / 1_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let batch = due.saturating_sub(self.number).min(BATCH_MAX);
        if batch == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.peer.drive_some().await;
            return self.peer.peer_close().is_none();
        }
        let mut bytes = BytesMut::new();
        for _ in 0..batch {
            let announced = start(&format!("anon/churn/{}", self.number)).encode(Version::Lite05, &mut bytes);
            announced.expect("a message of the draft");
            if let Some(old) = self.number.checked_sub(LIVE) {
                let suffix = BroadcastPath::new(&format!("anon/churn/{old}"));
                let withdrawn = Announce::EndSuffix { suffix }.encode(Version::Lite05, &mut bytes);
                withdrawn.expect("a message of the draft");
            }
            self.number += 1;
        }
        let is_open = self.peer.send(FIRST_BIDI_OF_RELAY, &bytes, false).await.is_ok();
        if is_open {
            done.sent += batch;
        } else {
            done.closed = 1;
            done.code = self.peer.peer_close().map(|(_, code)| code);
        }
        is_open
    }
}

/// The answer to the announce stream that the relay opens.
pub async fn accept_announcing(peer: &mut RawPeer) -> Result<BytesMut> {
    // Its type and the length of the request.
    peer.receive(FIRST_BIDI_OF_RELAY, 2).await?;
    let mut bytes = BytesMut::new();
    let ok = AnnounceOk {
        hop: HopId(7),
        active_count: 0,
    };
    ok.encode(Version::Lite05, &mut bytes)?;
    Ok(bytes)
}

pub fn start(path: &str) -> Announce {
    Announce::Start {
        suffix: BroadcastPath::new(path),
        // The sender, whom ANNOUNCE_OK names, is not among its hops.
        advertisement: Advertisement::default(),
    }
}

const ANNOUNCE_STREAM: u8 = 1;
const STREAMS: u64 = 64;
const BATCH_MAX: u64 = 2_000;
/// Broadcasts that a churner has at once.
const LIVE: u64 = 500;
