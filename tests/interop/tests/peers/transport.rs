//! moq-transport and moq-lite on one embedded relay: who publishes by the one is heard by the other, over raw QUIC and
//! WebTransport, on one shard and on two.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context, Result};
use moqswitch_interop::peer::{check_same, read_group, write_group};
use moqswitch_interop::{Draft, PlannedGroup, Publisher, Random, Subscriber};
use moqswitch_relay::{Relay, RelayOptions};
use tokio::time::timeout;
use url::Url;

#[tokio::test(flavor = "multi_thread")]
async fn moq_transport_and_moq_lite_hear_each_other() -> Result<()> {
    let lite = [Draft::Lite03, Draft::Lite06];
    let pairs = lite
        .into_iter()
        .flat_map(|draft| [(Draft::Moqt18, draft), (draft, Draft::Moqt18)])
        .chain([(Draft::Moqt18, Draft::Moqt18)]);
    for (publisher, subscriber) in pairs {
        for (scheme, shards) in [("moqt", 1), ("https", 2)] {
            let meeting = timeout(LIMIT, meet(scheme, shards, publisher, subscriber));
            let name = || format!("{publisher} to {subscriber}, {scheme}, {shards} shards");
            meeting.await.with_context(name)?.with_context(name)?;
        }
    }
    Ok(())
}

async fn meet(scheme: &str, shards: usize, publisher: Draft, subscriber: Draft) -> Result<()> {
    let relay = Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(shards),
        ..RelayOptions::default()
    })?;
    let url: Url = format!("{scheme}://{}/", relay.address()).parse()?;
    let mut random = Random::new(1);
    let planned: Vec<PlannedGroup> = [
        (0, &[17][..]),
        (1, &[0, 1, 63, 64, 1_200]),
        (2, &[]),
        (7, &[20_000, 200]),
    ]
    .map(|(sequence, frame_bytes)| random.group(sequence, frame_bytes))
    .into();
    let talker = Publisher::connect_to(url.clone(), publisher).await?;
    let published = talker.publish(PATH, TRACK, &planned[0])?;

    let mut listener = Subscriber::connect_to(url, subscriber, "").await?;
    listener.until_announced(PATH, true).await?;
    let mut subscription = listener.subscribe(PATH, TRACK).await?;
    let first = read_group(&mut subscription).await.context("the first group")?;
    check_same(&first, &planned[0])?;
    for group in &planned[1..] {
        write_group(&published.track, group)?;
    }
    let mut received = Vec::new();
    for _ in &planned[1..] {
        received.push(read_group(&mut subscription).await.context("a later group")?);
    }
    received.sort_by_key(|group| group.sequence);
    for (group, planned) in received.iter().zip(&planned[1..]) {
        check_same(group, planned)?;
    }
    drop((published, talker));
    listener.until_announced(PATH, false).await?;
    relay.drain(Duration::from_millis(100));
    tokio::task::spawn_blocking(move || relay.join()).await?
}

const PATH: &str = "room/ali";
const TRACK: &str = "audio";
const LIMIT: Duration = Duration::from_secs(60);
