//! The audio of a broadcast in another codec than it is published in.

use std::time::Duration;

use anyhow::{Result, ensure};
use moqswitch_audio::{Codec, Decoder, Encoder, Rate, level};
use moqswitch_proto::wire::{BroadcastPath, GroupSequence, SubscribeId, TrackInfo, stream_error};
use moqswitch_relay::routing::PeerKey;
use moqswitch_relay::shard::local::{Delivery, LocalEvent, LocalFrame, LocalSubscription, LocalTrack};
use moqswitch_services::{Pool, install};
use tokio::time::{sleep, timeout};

use super::local::{HEARD, LIMIT, Remote, WATCHED, start, stop, subscription};

#[tokio::test(flavor = "multi_thread")]
async fn a_track_in_another_codec_is_made_once_while_it_is_heard() -> Result<()> {
    // The hearers on the publisher's shard, and on another one.
    for shards in [1, 2] {
        let relay = start(shards)?;
        let pool = Pool::start(1)?;
        for port in relay.ports() {
            timeout(LIMIT, install(port, &pool)?).await???;
        }
        let mut speaker = Speaker::begin(&relay.ports()[0]).await?;
        let mut hearers = Remote::install(&relay.ports()[shards - 1]).await?;
        let peers = hearers
            .run(|host| {
                let peers = [host.open_peer().unwrap(), host.open_peer().unwrap()];
                host.watch(peers[0], &BroadcastPath::root(), WATCHED).unwrap();
                peers
            })
            .await?;
        hearers.until_announced(PATH).await?;
        ensure!(pool.statistics().transcoders == 0);
        let heard = hearers
            .run(move |host| {
                let subscribe = |(peer, tag)| {
                    let wanted = LocalSubscription {
                        tag,
                        ordered: true,
                        ..subscription(PATH, "audio.opus")
                    };
                    host.subscribe(peer, &wanted).unwrap()
                };
                [(peers[0], HEARD), (peers[1], ALSO_HEARD)].map(subscribe)
            })
            .await?;
        let audio = speaker.answer(Codec::Pcmu).await?;
        until(|| pool.statistics().transcoders == 1).await?;
        speaker.say(audio, 50).await?;
        for tag in [HEARD, ALSO_HEARD] {
            let (frames, loud) = listen(&mut hearers, tag, 45).await?;
            ensure!(loud < 20, "{loud} dB below the loudest");
            // One number after another, each 20 ms of 48 kHz later.
            let is_even = |pair: &[(u64, u64)]| pair[1].0 == pair[0].0 + 1 && pair[1].1 == pair[0].1 + 960;
            ensure!(frames.windows(2).all(is_even), "{frames:?}");
        }
        let statistics = pool.statistics();
        ensure!(statistics.transcoders == 1 && statistics.frames <= 50, "{statistics:?}");
        ensure!(statistics.shed == 0 && statistics.malformed == 0, "{statistics:?}");
        hearers
            .run(move |host| {
                host.unsubscribe(peers[0], heard[0]);
                host.unsubscribe(peers[1], heard[1]);
            })
            .await?;
        until(|| pool.statistics().transcoders == 0).await?;
        stop(relay).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_track_ends_with_the_broadcast_and_passes_its_own_codec_as_it_is() -> Result<()> {
    let relay = start(1)?;
    let pool = Pool::start(1)?;
    timeout(LIMIT, install(&relay.ports()[0], &pool)?).await???;
    let mut speaker = Speaker::begin(&relay.ports()[0]).await?;
    let mut hearer = Remote::install(&relay.ports()[0]).await?;
    let peer = hearer.run(|host| host.open_peer().unwrap()).await?;
    // Nobody publishes that.
    hearer
        .run(move |host| host.subscribe(peer, &subscription("call/8/b", "audio.pcmu")).unwrap())
        .await?;
    hearer.until(|event| matches!(event, LocalEvent::Closed { .. })).await?;
    hearer
        .run(move |host| host.subscribe(peer, &subscription(PATH, "audio.pcmu")).unwrap())
        .await?;
    let audio = speaker.answer(Codec::Pcmu).await?;
    speaker.say(audio, 5).await?;
    let event = hearer.until(|event| matches!(event, LocalEvent::Frame { .. })).await?;
    let LocalEvent::Frame { payload, .. } = event else {
        unreachable!()
    };
    ensure!(payload.len() == 160);
    ensure!(pool.statistics().transcoders == 0 && pool.statistics().frames == 0);
    let publisher = speaker.peer;
    speaker.remote.run(move |host| host.close_peer(publisher)).await?;
    let event = hearer.until(|event| matches!(event, LocalEvent::Closed { .. })).await?;
    ensure!(matches!(event, LocalEvent::Closed { code: Some(_), .. }), "{event:?}");
    ensure!(
        !matches!(
            event,
            LocalEvent::Closed {
                code: Some(stream_error::INTERNAL),
                ..
            }
        ),
        "{event:?}"
    );
    stop(relay).await
}

/// Somebody who publishes `audio`, and a catalog.
pub(crate) struct Speaker {
    remote: Remote,
    peer: PeerKey,
}

impl Speaker {
    async fn begin(port: &moqswitch_relay::shard::ShardPort) -> Result<Self> {
        Self::begin_as(port, PATH).await
    }

    pub(crate) async fn begin_as(port: &moqswitch_relay::shard::ShardPort, path: &'static str) -> Result<Self> {
        let remote = Remote::install(port).await?;
        let peer = remote
            .run(move |host| {
                let track = |name: &str, tag, timescale| LocalTrack {
                    name: name.into(),
                    info: TrackInfo {
                        epoch: 0,
                        priority: 0,
                        ordered: true,
                        max_latency_ms: 5000,
                        timescale,
                    },
                    tag,
                };
                let tracks = vec![track("audio", AUDIO, 8000), track("catalog.json", CATALOG, 1000)];
                let peer = host.open_peer().unwrap();
                host.publish(peer, &BroadcastPath::new(path), tracks).unwrap();
                peer
            })
            .await?;
        Ok(Self { remote, peer })
    }

    /// Waits until it is listened to, and says what it speaks.
    pub(crate) async fn answer(&mut self, codec: Codec) -> Result<SubscribeId> {
        let mut ids = Vec::new();
        for wanted in [CATALOG, AUDIO] {
            let event = self
                .remote
                .until(|event| matches!(event, LocalEvent::Wanted { tag, .. } if *tag == wanted))
                .await?;
            let LocalEvent::Wanted { id, .. } = event else {
                unreachable!()
            };
            ids.push(id);
        }
        let name = format!("{codec:?}").to_lowercase();
        let catalog = format!(r#"{{"audio":{{"renditions":{{"audio":{{"codec":"{name}"}}}}}}}}"#);
        let (peer, id) = (self.peer, ids[0]);
        let is_sent = self
            .remote
            .run(move |host| {
                let payload = host.copy(catalog.as_bytes());
                let frame = LocalFrame {
                    group: GroupSequence(0),
                    timestamp: 0,
                    payload,
                };
                host.send(peer, id, frame, Delivery::Stream)
            })
            .await?;
        ensure!(is_sent);
        Ok(ids[1])
    }

    /// Until nobody listens to it any more.
    pub(crate) async fn until_unwanted(&mut self) -> Result<()> {
        let is_audio = |event: &LocalEvent| matches!(event, LocalEvent::Unwanted { tag: AUDIO, .. });
        self.remote.until(is_audio).await?;
        Ok(())
    }

    /// So many frames of a tone of 400 Hz, of G.711.
    pub(crate) async fn say(&self, id: SubscribeId, frames: u64) -> Result<()> {
        let mut encoder = Encoder::new(Codec::Pcmu, Rate::Hz8000)?;
        let samples: Vec<i16> = (0..160).map(|n| if n % 20 < 10 { 8000 } else { -8000 }).collect();
        for number in 0..frames {
            let mut payload = Vec::new();
            encoder.encode(&samples, &mut payload)?;
            let peer = self.peer;
            self.remote
                .run(move |host| {
                    let payload = host.copy(&payload);
                    let frame = LocalFrame {
                        group: GroupSequence(number),
                        timestamp: number * 160,
                        payload,
                    };
                    host.send(peer, id, frame, Delivery::Stream)
                })
                .await?;
        }
        Ok(())
    }
}

/// The numbers and timestamps of frames of Opus, and how loud all of it is.
pub(crate) async fn listen(hearer: &mut Remote, of: u64, frames: usize) -> Result<(Vec<(u64, u64)>, u8)> {
    let mut decoder = Decoder::new(Codec::Opus, Rate::Hz48000)?;
    let (mut told, mut samples) = (Vec::new(), Vec::new());
    for _ in 0..frames {
        let event = hearer
            .until(|event| matches!(event, LocalEvent::Frame { tag, .. } if *tag == of))
            .await?;
        let LocalEvent::Frame {
            group,
            timestamp,
            payload,
            ..
        } = event
        else {
            unreachable!()
        };
        told.push((group.0, timestamp));
        decoder.decode(&payload, &mut samples)?;
    }
    Ok((told, level(&samples)))
}

pub(crate) async fn until(is_so: impl Fn() -> bool) -> Result<()> {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    Ok(timeout(LIMIT, waiting).await?)
}

const PATH: &str = "call/7/a";
const AUDIO: u64 = 1;
const CATALOG: u64 = 2;
const ALSO_HEARD: u64 = 9;
