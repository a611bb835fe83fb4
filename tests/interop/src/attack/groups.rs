//! A publisher whose groups are not as they should be, and a subscriber that reads them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::BytesMut;
use moqswitch_proto::wire::{
    Advertisement, Announce, BroadcastPath, FrameForm, FrameHeader, GroupHeader, GroupSequence, Subscribe, SubscribeId,
    SubscribeOk, SubscribeResponse, Version,
};

use super::{Done, Target};
use crate::draft::Draft;
use crate::payload::Random;
use crate::raw_peer::{FIRST_BIDI, FIRST_BIDI_OF_RELAY, FIRST_UNI, RawPeer, STREAM_STEP};

/// `rate` groups, or pieces of them, a second.
pub async fn run(name: &str, target: &Target, mut random: Random) -> Result<Done> {
    let (mut publisher, mut subscriber, subscription) = begin(target, &mut random).await?;
    let mut done = Done::default();
    let mut scratch = vec![0; 64 * 1024];
    let started = Instant::now();
    let mut number = 0;
    while started.elapsed() < target.duration && publisher.peer_close().is_none() {
        let due = started.elapsed().as_micros() * u128::from(target.rate) / 1_000_000;
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(number + BATCH_MAX);
        while number < due {
            done.sent += u64::from(send(name, &mut publisher, subscription, number).await?);
            number += 1;
        }
        publisher.drive_some().await;
        publisher.read_everything(&mut scratch);
        subscriber.drive_some().await;
        done.heard += subscriber.read_everything(&mut scratch);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for peer in [&publisher, &subscriber] {
        if let Some((_, code)) = peer.peer_close() {
            done.closed += 1;
            done.code = Some(code);
        }
    }
    Ok(done)
}

/// One more of what the attack is made of. False: it was not taken.
async fn send(name: &str, peer: &mut RawPeer, subscription: SubscribeId, number: u64) -> Result<bool> {
    let stream = FIRST_UNI + number * STREAM_STEP;
    let mut bytes = BytesMut::from(&[GROUP_STREAM][..]);
    let sequence = match name {
        "backwards" => 1_000_000_000 - number,
        _ => number,
    };
    let header = GroupHeader {
        subscribe: subscription,
        sequence: GroupSequence(sequence),
        frame_start: 0,
    };
    header.encode(VERSION, &mut bytes)?;
    let frame = |size: u64, out: &mut BytesMut| {
        let header = FrameHeader {
            size,
            ..FrameHeader::default()
        };
        header.encode(FrameForm::Plain, out)
    };
    match name {
        // More than was said, then what is missing.
        "lying-sizes" => {
            frame(1_000, &mut bytes)?;
            bytes.extend_from_slice(&[7; 10]);
            Ok(peer.try_end(stream, &bytes, true).await)
        }
        "rapid-resets" => {
            frame(1_000, &mut bytes)?;
            let is_sent = peer.try_send(stream, &bytes).await;
            peer.reset(stream, 1);
            Ok(is_sent)
        }
        // Some that never end: each is opened once, and goes on.
        "endless-frames" => {
            let stream = FIRST_UNI + number % ENDLESS * STREAM_STEP;
            if number >= ENDLESS {
                return Ok(peer.try_send(stream, &[7; 1_000]).await);
            }
            frame(FRAME_BYTES_MAX, &mut bytes)?;
            Ok(peer.try_send(stream, &bytes).await)
        }
        _ => {
            frame(1, &mut bytes)?;
            bytes.extend_from_slice(&[7]);
            Ok(peer.try_end(stream, &bytes, true).await)
        }
    }
}

async fn begin(target: &Target, random: &mut Random) -> Result<(RawPeer, RawPeer, SubscribeId)> {
    let mut publisher = target.connect(Draft::Lite04, random).await?;
    // The relay's announce stream: its type and the length of the request.
    publisher.receive(FIRST_BIDI_OF_RELAY, 2).await?;
    let broadcast = format!("anon/groups{}", random.number());
    let mut bytes = BytesMut::new();
    let start = Announce::Start {
        suffix: BroadcastPath::new(&broadcast),
        advertisement: Advertisement::default(),
    };
    start.encode(VERSION, &mut bytes)?;
    publisher.send(FIRST_BIDI_OF_RELAY, &bytes, false).await?;
    let mut subscriber = target.connect(Draft::Lite05, random).await?;
    let wanted = Draft::Lite05.subscribe_stream(0, &broadcast, TRACK);
    let relay_stream = FIRST_BIDI_OF_RELAY + STREAM_STEP;
    let deadline = Instant::now() + SUBSCRIBED_LIMIT;
    // The announcement may be known a little later than the subscription.
    for attempt in 0.. {
        subscriber
            .send(FIRST_BIDI + attempt * STREAM_STEP, &wanted, false)
            .await?;
        subscriber.drive_some().await;
        let head = tokio::time::timeout(Duration::from_millis(500), publisher.receive(relay_stream, 2)).await;
        if let Ok(Ok(head)) = head {
            let body = publisher.receive(relay_stream, usize::from(head[1])).await?;
            let (subscribe, _) = Subscribe::decode(VERSION, &[&head[1..], &body[..]].concat())?;
            let mut answer = BytesMut::new();
            let ok = SubscribeOk {
                timescale: None,
                priority: 0,
                ordered: false,
                max_latency_ms: 10_000,
                start: None,
                end: None,
            };
            SubscribeResponse::Ok(ok).encode(VERSION, &mut answer)?;
            publisher.send(relay_stream, &answer, false).await?;
            return Ok((publisher, subscriber, subscribe.id));
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    None.context("the relay never subscribed")
}

const VERSION: Version = Version::Lite04;
const TRACK: &str = "audio";
const GROUP_STREAM: u8 = 0;
const FRAME_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Frames that never end, at once.
const ENDLESS: u64 = 64;
const BATCH_MAX: u64 = 500;
const SUBSCRIBED_LIMIT: Duration = Duration::from_secs(20);
