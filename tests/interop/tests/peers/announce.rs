//! Announcements: seen, taken back, filtered by whole path segments, failed over; and what is not
//! announced is refused instead of awaited.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::matrix::{carrier_pairs, same_draft};
use moqswitch_interop::peer::{PublishedTrack, check_same, read_group};
use moqswitch_interop::raw_peer::{FIRST_BIDI, StreamEnd};
use moqswitch_interop::{Case, Draft, PlannedGroup, Publisher, RawPeer, Subscriber, run_matrix};

#[tokio::test(flavor = "multi_thread")]
async fn announcements_come_and_go() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, announce_and_end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_end_with_their_session() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, end_session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_end_with_their_session_over_every_carrier() {
    run_matrix(&carrier_pairs(&Draft::EVERY), LIMIT, end_session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefix_matches_whole_segments() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, filter_by_prefix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_publisher_takes_over() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, fail_over).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_track_is_refused_promptly() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, subscribe_to_missing_track).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_broadcast_is_refused_promptly() {
    run_matrix(&same_draft(&Draft::ALL), LIMIT, subscribe_to_missing_broadcast).await;
}

async fn announce_and_end(case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    // One broadcast is there before the subscriber, one comes after it.
    let before = publisher.broadcast("room/before")?;
    before.announce(Default::default())?;
    let mut subscriber = case.subscriber().await?;
    subscriber.until_announced("room/before", true).await?;
    let after = publisher.broadcast("room/after")?;
    after.announce(Default::default())?;
    subscriber.until_announced("room/after", true).await?;

    before.close();
    let seen = subscriber.until_announced("room/before", false).await?;
    ensure!(seen.is_empty(), "unexpected {seen:?}");
    after.close();
    let seen = subscriber.until_announced("room/after", false).await?;
    ensure!(seen.is_empty(), "unexpected {seen:?}");

    // The path is free to be used again.
    let again = publisher.broadcast("room/before")?;
    again.announce(Default::default())?;
    subscriber.until_announced("room/before", true).await?;
    Ok(())
}

async fn end_session(case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let broadcast = publisher.broadcast("room/session")?;
    broadcast.announce(Default::default())?;
    let mut subscriber = case.subscriber().await?;
    subscriber.until_announced("room/session", true).await?;
    drop(publisher);
    subscriber.until_announced("room/session", false).await?;
    drop(broadcast);
    Ok(())
}

async fn filter_by_prefix(case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut inside = case.subscriber_of("room/a").await?;
    let mut everything = case.subscriber().await?;

    let paths = [
        "room-a",
        "room",
        "room/ab",
        "room/a-b/x",
        "other/room/a",
        "room/a",
        "room/a/x",
        "room/a/x/y",
    ];
    let mut broadcasts = Vec::new();
    for path in paths {
        let broadcast = publisher.broadcast(path)?;
        broadcast.announce(Default::default())?;
        // Seen by the unfiltered subscriber, so the relay has had it when the next is announced.
        everything.until_announced(path, true).await?;
        broadcasts.push(broadcast);
    }
    let mut seen = inside.until_announced("room/a/x/y", true).await?;
    seen.sort();
    let expected = [("room/a".to_owned(), true), ("room/a/x".to_owned(), true)];
    ensure!(seen == expected, "below room/a the subscriber saw {seen:?}");

    for broadcast in &broadcasts {
        broadcast.close();
    }
    let mut ended = Vec::new();
    while ended.len() < 3 {
        let update = tokio::time::timeout(LIMIT, inside.next_announcement()).await??;
        ensure!(!update.1, "{} announced while everything ends", update.0);
        ended.push(update.0);
    }
    ended.sort();
    ensure!(ended == ["room/a", "room/a/x", "room/a/x/y"], "ended: {ended:?}");
    Ok(())
}

async fn fail_over(mut case: Case) -> Result<()> {
    let contents = [case.random.group(7, &[1_000, 1]), case.random.group(9, &[2_000, 2])];
    let mut watcher = case.subscriber().await?;
    let mut publishers = Vec::new();
    for (index, content) in contents.iter().enumerate() {
        let publisher = case.publisher().await?;
        let published = publisher.publish(PATH, TRACK, content)?;
        // A second announcement, unique to this publisher, tells that the first has arrived.
        let marker = format!("room/marker-{index}");
        let broadcast = publisher.broadcast(&marker)?;
        broadcast.announce(Default::default())?;
        watcher.until_announced(&marker, true).await?;
        publishers.push(Some((publisher, published, broadcast)));
    }

    let served = first_group(&case.subscriber().await?).await?;
    let best = contents
        .iter()
        .position(|content| *content == served)
        .context("neither publisher's content was served")?;
    eprintln!("served by publisher {best}");

    let (publisher, published, _marker) = publishers[best].take().context("taken once")?;
    end_publisher(publisher, published);
    watcher.until_announced(&format!("room/marker-{best}"), false).await?;

    let survivor = &contents[1 - best];
    let taking_over = async {
        loop {
            // A client that came before the fail-over may still hold what the first publisher sent;
            // one that comes after it must get to the survivor.
            let fresh = Subscriber::connect(case.relay.udp(), case.subscriber_draft).await?;
            if first_group(&fresh).await.is_ok_and(|group| group == *survivor) {
                return Ok::<_, anyhow::Error>(());
            }
        }
    };
    tokio::time::timeout(FAIL_OVER_LIMIT, taking_over)
        .await
        .context("the second publisher was never served")??;
    // The path never stopped being announced, or has been announced again.
    watcher
        .broadcast(PATH)
        .await
        .context("the path is gone for a client that was there before")?;
    Ok(())
}

/// The first group of the test's track, as a newcomer gets it.
async fn first_group(subscriber: &Subscriber) -> Result<PlannedGroup> {
    let mut subscription = subscriber.subscribe_latest(PATH, TRACK).await?;
    read_group(&mut subscription).await
}

fn end_publisher(publisher: Publisher, published: PublishedTrack) {
    published.broadcast.close();
    drop(published);
    drop(publisher);
}

async fn subscribe_to_missing_track(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let subscriber = case.subscriber().await?;
    let first = case.random.group(0, &[200]);
    let _published = publisher.publish(PATH, TRACK, &first)?;

    let broadcast = subscriber.broadcast(PATH).await?;
    let subscribing = async {
        let mut subscription = broadcast.track("absent")?.subscribe(None).await?;
        subscription.recv_group().await.map(|group| group.is_some())
    };
    let refused = tokio::time::timeout(REFUSAL_LIMIT, subscribing)
        .await
        .context("a subscription to a missing track hangs")?;
    ensure!(!matches!(refused, Ok(true)), "a missing track gave a group");

    // The refusal is the track's alone.
    let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
    check_same(&read_group(&mut subscription).await?, &first)?;
    ensure!(
        subscriber.is_connected() && publisher.is_connected(),
        "a session was closed"
    );
    Ok(())
}

/// The peer's client refuses an unannounced path by itself, so this subscription is made by hand.
async fn subscribe_to_missing_broadcast(mut case: Case) -> Result<()> {
    let draft = case.subscriber_draft;
    let mut peer = RawPeer::connect(case.relay.udp(), draft, &mut case.random).await?;
    let subscribe = draft.subscribe_stream(0, "nobody/announced/this", TRACK);
    peer.send(FIRST_BIDI, &subscribe, false).await?;
    let end = peer.until_stream_end(FIRST_BIDI, REFUSAL_LIMIT).await?;
    ensure!(end != StreamEnd::Finished, "the subscription was ended, not refused");
    Ok(())
}

const PATH: &str = "room/call";
const TRACK: &str = "audio";
const LIMIT: Duration = Duration::from_secs(60);
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);
const FAIL_OVER_LIMIT: Duration = Duration::from_secs(20);
