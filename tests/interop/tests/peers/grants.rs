//! A relay that is embedded: the feed tells who is there, and a grant that is replaced ends what it no longer covers, for
//! clients of the peer crates.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use moqswitch_interop::{Call, Draft, Publisher, Random, Subscriber};
use moqswitch_relay::auth::{Grant, Patterns};
use moqswitch_relay::routing::Source;
use moqswitch_relay::shard::{FeedEvent, FeedReader, ShardCommand, feed};
use moqswitch_relay::{Relay, RelayHandle, RelayOptions};
use tokio::sync::oneshot;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_grant_no_longer_covers_ends_at_once() -> Result<()> {
    for draft in Draft::ALL {
        for shards in [1, 2] {
            revoke(draft, shards)
                .await
                .with_context(|| format!("{draft:?}, {shards} shards"))?;
        }
    }
    Ok(())
}

async fn revoke(draft: Draft, shards: usize) -> Result<()> {
    let (writer, mut events) = feed(1024);
    let relay = start(shards, Some(writer))?;
    let publisher = Publisher::connect(relay.address(), draft).await?;
    let publishing = opened(&mut events).await?;
    let mut subscriber = Subscriber::connect(relay.address(), draft).await?;
    let subscribing = opened(&mut events).await?;
    let mut call = Call::start(&publisher, &mut subscriber, "call/7/alice", Random::new(7)).await?;
    call.exchange().await?;
    let published = until(&mut events, |event| matches!(event, FeedEvent::Published { .. })).await?;
    ensure!(
        matches!(&published, FeedEvent::Published { session, path } if *session == publishing && path.as_str() == "call/7/alice"),
        "{published:?}"
    );
    let subscribed = until(&mut events, |event| matches!(event, FeedEvent::Subscribed { .. })).await?;
    ensure!(
        matches!(&subscribed, FeedEvent::Subscribed { session, .. } if *session == subscribing),
        "{subscribed:?}"
    );

    // A grant that covers what goes on changes nothing.
    set_grant(&relay, subscribing, &["call/7/**"], None).await??;
    call.exchange().await?;

    // One that does not cover it ends the subscription and the announcement.
    set_grant(&relay, subscribing, &["call/8/**"], None).await??;
    let ended = until(&mut events, |event| matches!(event, FeedEvent::Unsubscribed { .. })).await?;
    ensure!(
        matches!(&ended, FeedEvent::Unsubscribed { session, .. } if *session == subscribing),
        "{ended:?}"
    );
    subscriber.until_announced("call/7/alice", false).await?;
    ensure!(
        timeout(QUIET, call.exchange())
            .await
            .map_or(true, |exchanged| exchanged.is_err()),
        "media came after its grant had gone"
    );

    // With the old one back the broadcast is announced, and may be subscribed.
    set_grant(&relay, subscribing, &["call/**"], None).await??;
    subscriber.until_announced("call/7/alice", true).await?;

    // A publisher that may not publish any more is not announced.
    set_grant(&relay, publishing, &["call/8/**"], None).await??;
    subscriber.until_announced("call/7/alice", false).await?;
    until(
        &mut events,
        |event| matches!(event, FeedEvent::Ended { session, .. } if *session == publishing),
    )
    .await?;

    // A grant lapses by itself.
    let lapses = Instant::now() + Duration::from_millis(200);
    let other = Publisher::connect(relay.address(), draft).await?;
    let lapsing = opened(&mut events).await?;
    let _published = other.publish("call/9/bob", "audio", &Random::new(9).group(0, &[10]))?;
    subscriber.until_announced("call/9/bob", true).await?;
    set_grant(&relay, lapsing, &["call/**"], Some(lapses)).await??;
    subscriber.until_announced("call/9/bob", false).await?;
    ensure!(Instant::now() >= lapses, "it lapsed early");

    drop((publisher, subscriber, other));
    relay.drain(Duration::from_millis(100));
    tokio::task::spawn_blocking(move || relay.join()).await??;
    Ok(())
}

/// The thread that reads the feed does nothing for a while. What finds no room is lost to it, and told; the shard goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_goes_on_while_the_thread_that_reads_its_feed_stands_still() -> Result<()> {
    let (writer, mut events) = feed(4);
    let relay = start(1, Some(writer))?;
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let runtime = tokio::runtime::Handle::current();
    let reading = tokio::task::spawn_blocking(move || {
        released.recv()?;
        runtime.block_on(until(&mut events, |event| matches!(event, FeedEvent::Lost { .. })))
    });
    let draft = Draft::Lite06;
    let publisher = Publisher::connect(relay.address(), draft).await?;
    let mut subscriber = Subscriber::connect(relay.address(), draft).await?;
    let mut call = Call::start(&publisher, &mut subscriber, "call/7/alice", Random::new(7)).await?;
    let before = turns(&relay).await?;
    for _ in 0..20 {
        // Each is told of, or would be.
        let newcomer = Publisher::connect(relay.address(), draft).await?;
        call.exchange().await?;
        drop(newcomer);
    }
    ensure!(!reading.is_finished(), "it read");
    ensure!(turns(&relay).await? > before, "the shard stood still too");
    release.send(())?;
    let lost = timeout(LIMIT, reading).await???;
    ensure!(
        matches!(lost, FeedEvent::Lost { count, .. } if count > 0),
        "nothing was lost: {lost:?}"
    );
    call.exchange().await?;
    relay.drain(Duration::from_millis(100));
    tokio::task::spawn_blocking(move || relay.join()).await?
}

/// Turns that the shard has made. It answers by itself.
async fn turns(relay: &RelayHandle) -> Result<u64> {
    let (reply, answer) = oneshot::channel();
    relay.ports()[0].send(ShardCommand::Snapshot(reply))?;
    Ok(timeout(LIMIT, answer).await??.statistics.network.turns)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_over_gets_no_grant() -> Result<()> {
    let (writer, mut events) = feed(1024);
    let relay = start(1, Some(writer))?;
    let publisher = Publisher::connect(relay.address(), Draft::ALL[0]).await?;
    let session = opened(&mut events).await?;
    drop(publisher);
    until(
        &mut events,
        |event| matches!(event, FeedEvent::SessionClosed { session: closed } if *closed == session),
    )
    .await?;
    ensure!(
        set_grant(&relay, session, &["**"], None).await?.is_err(),
        "a grant for nobody"
    );
    relay.drain(Duration::from_millis(100));
    tokio::task::spawn_blocking(move || relay.join()).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_is_revoked_or_lapses_is_heard_no_more_announced_or_not() -> Result<()> {
    for shards in [1, 2] {
        for is_lapse in [false, true] {
            for is_withdrawn in [false, true] {
                silence(shards, is_lapse, is_withdrawn)
                    .await
                    .with_context(|| format!("{shards} shards, lapse {is_lapse}, withdrawn {is_withdrawn}"))?;
            }
        }
    }
    Ok(())
}

async fn silence(shards: usize, is_lapse: bool, is_withdrawn: bool) -> Result<()> {
    let draft = Draft::ALL[Draft::ALL.len() - 1];
    let (writer, mut events) = feed(1024);
    let relay = start(shards, Some(writer))?;
    let publisher = Publisher::connect(relay.address(), draft).await?;
    let publishing = opened(&mut events).await?;
    // Those of several connections may land on one shard or another.
    let mut others = Vec::new();
    for number in 0..shards * 2 {
        let mut subscriber = Subscriber::connect(relay.address(), draft).await?;
        let path = format!("call/7/{number}");
        let mut call = Call::start(&publisher, &mut subscriber, &path, Random::new(7)).await?;
        call.exchange().await?;
        if is_withdrawn {
            call.withdraw();
            subscriber.until_announced(&path, false).await?;
        }
        others.push((subscriber, call));
    }
    if is_lapse {
        let until = Instant::now() + Duration::from_millis(100);
        set_grant(&relay, publishing, &["call/7/**"], Some(until)).await??;
        tokio::time::sleep(Duration::from_secs(1)).await;
    } else {
        set_grant(&relay, publishing, &["call/8/**"], None).await??;
    }
    for (_, call) in &mut others {
        ensure!(
            timeout(QUIET, call.exchange())
                .await
                .map_or(true, |exchanged| exchanged.is_err()),
            "media of a revoked publisher came"
        );
    }
    relay.drain(Duration::from_millis(100));
    tokio::task::spawn_blocking(move || relay.join()).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grant_that_all_begin_with_lapses_too() -> Result<()> {
    // Long enough for a call to be set up on a busy machine.
    let lapses = Instant::now() + Duration::from_secs(8);
    let (writer, mut events) = feed(1024);
    let relay = Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(1),
        grant: Grant {
            until: Some(lapses),
            ..Grant::everything()
        },
        feed: Some(writer),
        ..RelayOptions::default()
    })?;
    let publisher = Publisher::connect(relay.address(), Draft::ALL[0]).await?;
    let mut subscriber = Subscriber::connect(relay.address(), Draft::ALL[0]).await?;
    let mut call = Call::start(&publisher, &mut subscriber, "call/1/a", Random::new(1)).await?;
    call.exchange().await?;
    until(&mut events, |event| matches!(event, FeedEvent::Ended { .. })).await?;
    ensure!(Instant::now() >= lapses, "it lapsed early");
    ensure!(
        timeout(QUIET, call.exchange())
            .await
            .map_or(true, |exchanged| exchanged.is_err()),
        "media came after the grant had lapsed"
    );
    relay.drain(Duration::from_millis(100));
    tokio::task::spawn_blocking(move || relay.join()).await?
}

fn start(shards: usize, feed: Option<moqswitch_relay::shard::FeedWriter>) -> Result<RelayHandle> {
    Relay::start(RelayOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        shards: NonZeroUsize::new(shards),
        feed,
        ..RelayOptions::default()
    })
}

type Granted = Result<(), moqswitch_relay::shard::UnknownSession>;

async fn set_grant(relay: &RelayHandle, session: Source, patterns: &[&str], until: Option<Instant>) -> Result<Granted> {
    let patterns = patterns
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<_>, _>>()?;
    let grant = Arc::new(Grant {
        until,
        ..Grant::of(Patterns::new(patterns))
    });
    let (reply, answer) = oneshot::channel();
    let command = ShardCommand::SetGrant {
        session: session.peer,
        grant,
        reply,
    };
    relay.ports()[usize::from(session.shard.0)].send(command)?;
    Ok(timeout(LIMIT, answer).await??)
}

async fn opened(events: &mut FeedReader) -> Result<Source> {
    match until(events, |event| matches!(event, FeedEvent::SessionOpened { .. })).await? {
        FeedEvent::SessionOpened { session, .. } => Ok(session),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn until(events: &mut FeedReader, is_wanted: impl Fn(&FeedEvent) -> bool) -> Result<FeedEvent> {
    let waiting = async {
        loop {
            let event = events.next().await.context("the feed has ended")?;
            if is_wanted(&event) {
                return Ok(event);
            }
        }
    };
    timeout(LIMIT, waiting).await.context("no such event")?
}

const LIMIT: Duration = Duration::from_secs(20);

/// Long enough for media to come that should not.
const QUIET: Duration = Duration::from_millis(500);
