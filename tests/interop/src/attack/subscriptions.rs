//! Subscriptions by the thousand.

use std::time::{Duration, Instant};

use anyhow::Result;
use moq_net::group;

use super::{Done, Target};
use crate::draft::Draft;
use crate::payload::Random;
use crate::peer::{PublishedTrack, Publisher};
use crate::raw_peer::{FIRST_BIDI, RawPeer, STREAM_STEP};

/// One session subscribes 1,000 times to one track with `rate` groups a second, and reads what comes.
pub async fn same_track(target: &Target, mut random: Random) -> Result<Done> {
    let mut source = Source::start(target, &mut random).await?;
    let mut done = Done::default();
    let mut peer = subscribe(target, &mut random, &mut done).await?;
    let mut scratch = vec![0; 64 * 1024];
    let started = Instant::now();
    while started.elapsed() < target.duration {
        source.write(target, started, &mut random)?;
        peer.drive_some().await;
        done.heard += peer.read_everything(&mut scratch);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    note_close(&peer, &mut done);
    Ok(done)
}

/// `count` sessions do the same and then take no packet any more.
pub async fn unread(target: &Target, mut random: Random) -> Result<Done> {
    let mut source = Source::start(target, &mut random).await?;
    let mut done = Done::default();
    let mut peers = Vec::new();
    for _ in 0..target.count {
        peers.push(subscribe(target, &mut random, &mut done).await?);
    }
    let started = Instant::now();
    while started.elapsed() < target.duration {
        source.write(target, started, &mut random)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for peer in &mut peers {
        peer.drive_some().await;
        note_close(peer, &mut done);
    }
    Ok(done)
}

/// The track that is subscribed to.
pub(super) struct Source {
    published: PublishedTrack,
    sequence: u64,
    _publisher: Publisher,
}

impl Source {
    pub(super) async fn start(target: &Target, random: &mut Random) -> Result<Self> {
        let publisher = Publisher::connect(target.relay, Draft::Lite05).await?;
        let published = publisher.publish(BROADCAST, TRACK, &random.group(0, &[FRAME_BYTES]))?;
        Ok(Self {
            published,
            sequence: 0,
            _publisher: publisher,
        })
    }

    /// The number of the last group.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn write(&mut self, target: &Target, started: Instant, random: &mut Random) -> Result<()> {
        let due = started.elapsed().as_millis() * u128::from(target.rate) / 1_000;
        while u128::from(self.sequence) < due {
            self.sequence += 1;
            let mut group = self.published.track.create_group(group::Info {
                sequence: self.sequence,
            })?;
            group.write_frame(
                moq_net::Timestamp::from_millis(self.sequence * 20)?,
                random.bytes(FRAME_BYTES),
            )?;
            group.finish()?;
        }
        Ok(())
    }
}

async fn subscribe(target: &Target, random: &mut Random, done: &mut Done) -> Result<RawPeer> {
    let mut peer = target.connect(Draft::Lite05, random).await?;
    for index in 0..SUBSCRIPTIONS {
        let stream = Draft::Lite05.subscribe_stream(index, BROADCAST, TRACK);
        done.sent += u64::from(peer.try_send(FIRST_BIDI + index * STREAM_STEP, &stream).await);
    }
    peer.drive_some().await;
    Ok(peer)
}

fn note_close(peer: &RawPeer, done: &mut Done) {
    if let Some((_, code)) = peer.peer_close() {
        done.closed += 1;
        done.code = Some(code);
    }
}

pub(super) const BROADCAST: &str = "anon/attacked";
pub(super) const TRACK: &str = "audio";
const FRAME_BYTES: usize = 120;
const SUBSCRIPTIONS: u64 = 1_000;
