//! Subscribers that stop for a while, and then go on.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::BytesMut;
use moqswitch_proto::wire::{BidiType, BroadcastPath, GroupHeader, GroupRange, Subscribe, SubscribeId, Version};

use super::subscriptions::{BROADCAST, Source, TRACK};
use super::{Done, Target};
use crate::draft::Draft;
use crate::payload::Random;
use crate::raw_peer::{FIRST_BIDI, FIRST_UNI_OF_RELAY, RawPeer, STREAM_STEP};

/// `count` sessions subscribe to a track with `rate` groups a second, take nothing for 20 s or what `duration` leaves for
/// it, and then go on: an error if one is closed, and unless the newest comes soon and what is too old for them stays away
/// but what was on its way: what was sent to them before they stopped, or before the relay noticed, comes all the same.
pub async fn run(target: &Target, mut random: Random) -> Result<Done> {
    let mut source = Source::start(target, &mut random).await?;
    let mut done = Done::default();
    let mut peers = Vec::new();
    for _ in 0..target.count {
        peers.push(Stopping::subscribe(target, &mut random).await?);
        done.sent += 1;
    }
    let started = Instant::now();
    let stopped_for = target.duration.saturating_sub(BEFORE + AFTER).min(STOPPED_MAX);
    while started.elapsed() < BEFORE {
        source.write(target, started, &mut random)?;
        for peer in &mut peers {
            peer.go_on(&mut done).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first = source.sequence();
    while started.elapsed() < BEFORE + stopped_for {
        source.write(target, started, &mut random)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let last = source.sequence();
    let patience = Instant::now() + PATIENCE;
    let is_soon = |peer: &Stopping| peer.newest >= last || peer.peer.peer_close().is_some();
    while Instant::now() < patience && !(peers.iter().all(is_soon) && started.elapsed() >= target.duration) {
        source.write(target, started, &mut random)?;
        for peer in &mut peers {
            peer.go_on(&mut done).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let latency = u64::try_from(LATENCY.as_millis())? * target.rate / 1_000;
    for peer in &peers {
        if let Some((_, code)) = peer.peer.peer_close() {
            bail!("one was closed, by {code}, after {} groups", peer.heard.len());
        }
        ensure!(peer.newest >= last, "of {last} groups it heard up to {}", peer.newest);
        let of_the_pause = |sequence: &&u64| (first..last.saturating_sub(latency)).contains(*sequence);
        let old = peer.heard.iter().filter(of_the_pause).count() as u64;
        let missed = last.saturating_sub(latency).saturating_sub(first);
        done.late += old;
        let least = missed.min(ON_ITS_WAY);
        ensure!(old <= least, "{old} of {missed} groups came though they were too old");
    }
    Ok(done)
}

struct Stopping {
    peer: RawPeer,
    /// Sequences of groups, each once, in the order in which they came.
    heard: Vec<u64>,
    streams: HashSet<u64>,
    newest: u64,
    scratch: Vec<u8>,
}

impl Stopping {
    async fn subscribe(target: &Target, random: &mut Random) -> Result<Self> {
        let mut peer = target.connect(Draft::Lite05, random).await?;
        let mut bytes = BytesMut::new();
        BidiType::Subscribe.encode(VERSION, &mut bytes)?;
        let subscribe = Subscribe {
            id: SubscribeId(0),
            broadcast: BroadcastPath::new(BROADCAST),
            track: TRACK.into(),
            epoch: 0,
            priority: 0,
            ordered: false,
            max_latency_ms: u64::try_from(LATENCY.as_millis())?,
            range: GroupRange::default(),
        };
        subscribe.encode(VERSION, &mut bytes)?;
        peer.send(FIRST_BIDI, &bytes, false).await?;
        Ok(Self {
            peer,
            heard: Vec::new(),
            streams: HashSet::new(),
            newest: 0,
            scratch: vec![0; 64 * 1024],
        })
    }

    async fn go_on(&mut self, done: &mut Done) {
        self.peer.drive_some().await;
        for (stream, head) in self.peer.read_heads(&mut self.scratch) {
            let is_new = stream % STREAM_STEP == FIRST_UNI_OF_RELAY && self.streams.insert(stream);
            let Some((&GROUP_STREAM, header)) = head.split_first().filter(|_| is_new) else {
                continue;
            };
            if let Ok((header, _)) = GroupHeader::decode(VERSION, header) {
                self.heard.push(header.sequence.0);
                self.newest = self.newest.max(header.sequence.0);
                done.heard += 1;
            }
        }
    }
}

const VERSION: Version = Version::Lite05;
const GROUP_STREAM: u8 = 0;
/// How old a group may be that they want.
const LATENCY: Duration = Duration::from_millis(500);
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(2);
const STOPPED_MAX: Duration = Duration::from_secs(20);
/// For the newest to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Groups that a congestion window may have in it, and what was in the socket's buffer.
const ON_ITS_WAY: u64 = 200;
