//! One relay, and at once on it a publisher of every draft over every carrier. Subscribers of every
//! draft over every carrier, on the publishers' shard and on another, get all of them: what is
//! announced, the bytes, and that it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moq_net::track;
use moqswitch_interop::payload::seed;
use moqswitch_interop::peer::{PublishedTrack, check_same, read_group, write_group};
use moqswitch_interop::{Carrier, Dial, Draft, PlannedGroup, Publisher, Random, Relay, Subscriber};

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_drafts_and_carriers_shares_a_relay() {
    let seed = seed();
    tokio::time::timeout(LIMIT, meet(Random::new(seed)))
        .await
        .unwrap_or_else(|_| panic!("still running after {LIMIT:?} (seed {seed})"))
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

/// A publisher and what it has to say.
struct Talker {
    path: String,
    publisher: Publisher,
    published: PublishedTrack,
    planned: Vec<PlannedGroup>,
}

/// A subscriber, and its subscription to every path.
struct Listener {
    name: String,
    subscriber: Subscriber,
    subscriptions: BTreeMap<String, track::Subscriber>,
}

async fn meet(mut random: Random) -> Result<()> {
    let relay = Relay::start(SHARDS).await?;
    let mut talkers = Vec::new();
    for dial in ends() {
        talkers.push(
            talk(&relay, dial, &mut random)
                .await
                .with_context(|| dial.to_string())?,
        );
    }
    let expected: BTreeMap<String, Vec<PlannedGroup>> = talkers
        .iter()
        .map(|talker| (talker.path.clone(), talker.planned.clone()))
        .collect();

    let mut listeners = Vec::new();
    for shard in 0..if relay.is_sharded() { SHARDS } else { 1 } {
        for dial in ends() {
            let listener = listen(&relay, dial, shard, &expected).await;
            listeners.push(listener.with_context(|| format!("{dial} on shard {shard}"))?);
        }
    }
    for talker in &talkers {
        for group in &talker.planned[1..] {
            write_group(&talker.published.track, group)?;
        }
    }
    let listeners = each(listeners, expected.clone(), compare).await?;
    for talker in talkers {
        drop(talker.publisher);
        drop(talker.published);
    }
    each(listeners, expected, until_all_ended).await?;
    Ok(())
}

/// Every draft over every carrier.
fn ends() -> impl Iterator<Item = Dial> {
    let drafts = Draft::EVERY.into_iter().chain(Draft::TRANSPORT);
    let dials = drafts.flat_map(|draft| Carrier::ALL.map(|carrier| carrier.with(draft)));
    dials.filter(|dial| dial.draft.is_lite() || dial.carrier != Carrier::WebSocket)
}

/// Announces a broadcast with one group in it, from shard 0.
async fn talk(relay: &Relay, dial: Dial, random: &mut Random) -> Result<Talker> {
    let url = dial.carrier.url(relay);
    let connect = || Publisher::connect_to(url.clone(), dial.draft);
    let publisher = relay.place(0, connect).await?;
    let path = format!("everyone/{}-{:?}", dial.draft, dial.carrier);
    let planned: Vec<_> = [
        (0, &[17][..]),
        (1, &[0, 1, 63, 64, 1_200]),
        (2, &[]),
        (7, &[20_000, 200]),
    ]
    .map(|(sequence, frame_bytes)| random.group(sequence, frame_bytes))
    .into();
    let published = publisher.publish(&path, TRACK, &planned[0])?;
    Ok(Talker {
        path,
        publisher,
        published,
        planned,
    })
}

/// Sees exactly the expected announcements, and subscribes to all of them.
async fn listen(
    relay: &Relay,
    dial: Dial,
    shard: usize,
    expected: &BTreeMap<String, Vec<PlannedGroup>>,
) -> Result<Listener> {
    let url = dial.carrier.url(relay);
    let connect = || Subscriber::connect_to(url.clone(), dial.draft, "");
    let mut subscriber = relay.place(shard, connect).await?;
    announcements(&mut subscriber, expected.keys(), true).await?;
    let mut subscriptions = BTreeMap::new();
    for (path, planned) in expected {
        let mut subscription = subscriber.subscribe(path, TRACK).await?;
        let first = read_group(&mut subscription).await.with_context(|| path.clone())?;
        check_same(&first, &planned[0]).with_context(|| path.clone())?;
        subscriptions.insert(path.clone(), subscription);
    }
    Ok(Listener {
        name: format!("{dial} on shard {shard}"),
        subscriber,
        subscriptions,
    })
}

async fn compare(mut listener: Listener, expected: BTreeMap<String, Vec<PlannedGroup>>) -> Result<Listener> {
    for (path, planned) in &expected {
        let subscription = listener.subscriptions.get_mut(path).context("not subscribed")?;
        let mut received = BTreeMap::new();
        for _ in &planned[1..] {
            let group = read_group(subscription)
                .await
                .with_context(|| format!("{path}, after groups {:?}", received.keys()))?;
            received.insert(group.sequence, group);
        }
        for group in &planned[1..] {
            let arrived = received.get(&group.sequence);
            let arrived = arrived.with_context(|| format!("{path}: group {} is missing", group.sequence))?;
            check_same(arrived, group).with_context(|| path.clone())?;
        }
    }
    Ok(listener)
}

async fn until_all_ended(mut listener: Listener, expected: BTreeMap<String, Vec<PlannedGroup>>) -> Result<Listener> {
    announcements(&mut listener.subscriber, expected.keys(), false).await?;
    Ok(listener)
}

/// One announcement of each path, and no other.
async fn announcements(subscriber: &mut Subscriber, paths: impl Iterator<Item = &String>, active: bool) -> Result<()> {
    let mut missing: BTreeSet<&String> = paths.collect();
    while !missing.is_empty() {
        let (path, is_active) = tokio::time::timeout(ANNOUNCE_LIMIT, subscriber.next_announcement())
            .await
            .with_context(|| format!("not announced with active={active}: {missing:?}"))??;
        ensure!(
            missing.remove(&path) && is_active == active,
            "{path} announced with active={is_active}, expected {active} of {missing:?}"
        );
    }
    Ok(())
}

/// Runs a step for all listeners at once; an error names every one that failed.
async fn each<Running>(
    listeners: Vec<Listener>,
    expected: BTreeMap<String, Vec<PlannedGroup>>,
    step: impl Fn(Listener, BTreeMap<String, Vec<PlannedGroup>>) -> Running,
) -> Result<Vec<Listener>>
where
    Running: Future<Output = Result<Listener>> + Send + 'static,
{
    let running: Vec<_> = listeners
        .into_iter()
        .map(|listener| (listener.name.clone(), tokio::spawn(step(listener, expected.clone()))))
        .collect();
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (name, task) in running {
        match task.await? {
            Ok(listener) => done.push(listener),
            Err(error) => failures.push(format!("{name}: {error:#}")),
        }
    }
    ensure!(failures.is_empty(), "\n{}", failures.join("\n"));
    Ok(done)
}

const TRACK: &str = "audio";
const SHARDS: usize = 2;
const LIMIT: Duration = Duration::from_secs(240);
const ANNOUNCE_LIMIT: Duration = Duration::from_secs(15);
