//! What is published arrives: the same bytes in the same frames of the same groups, live, for a late
//! joiner, by fetch, by datagram, and between clients of different drafts.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moq_net::group;
use moqswitch_interop::matrix::{carrier_pairs, same_draft};
use moqswitch_interop::payload::seed;
use moqswitch_interop::peer::{ANSWER_LIMIT, check_same, read_frame, read_frames, read_group, timestamp, write_group};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Carrier, Case, Draft, PlannedGroup, Publisher, Random, Relay, Subscriber, run_matrix};

#[tokio::test(flavor = "multi_thread")]
async fn published_bytes_arrive_identical() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, publish_and_compare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_interoperate_through_the_relay() {
    let pairs = [
        (Draft::Lite03, Draft::Lite06),
        (Draft::Lite06, Draft::Lite03),
        (Draft::Lite04, Draft::Lite05),
        (Draft::Lite05, Draft::Lite04),
        (Draft::Lite01, Draft::Lite06),
        (Draft::Lite06, Draft::Lite01),
        (Draft::Lite02, Draft::Lite05),
        (Draft::Lite05, Draft::Lite02),
        (Draft::Lite01, Draft::Lite03),
        (Draft::Lite04, Draft::Lite02),
    ];
    run_matrix(&pairs, LIMIT, publish_and_compare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn carriers_interoperate_through_the_relay() {
    run_matrix(&carrier_pairs(&Draft::EVERY), LIMIT, publish_and_compare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secure_websockets_interoperate_through_the_relay() {
    let pairs = Draft::ALL.map(|draft| {
        let ends = [Carrier::SecureWebSocket, Carrier::WebSocket].map(|carrier| carrier.with(draft));
        (ends[0], ends[1])
    });
    run_matrix(&pairs, LIMIT, publish_and_compare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_arrive_over_every_carrier() {
    let mut pairs = carrier_pairs(&DATAGRAM_DRAFTS);
    // There they arrive as streams, see websocket.rs.
    pairs.retain(|(_, subscriber)| subscriber.carrier != Carrier::WebSocket);
    run_matrix(&pairs, LIMIT, send_datagrams).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn end_of_a_track_arrives() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, finish_track).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_joiner_starts_at_the_first_frame_of_the_open_group() {
    run_matrix(&same_draft(&Draft::EVERY), LIMIT, join_late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_group_is_fetched() {
    run_matrix(&same_draft(&FETCH_DRAFTS), LIMIT, fetch_older_groups).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_arrive() {
    run_matrix(&same_draft(&DATAGRAM_DRAFTS), LIMIT, send_datagrams).await;
}

/// What a path does not carry goes as a stream, and nothing is lost by it: on a narrow one (`quic.udp_payload`) groups of
/// 1190 bytes, which a datagram of the usual size has room for.
#[tokio::test(flavor = "multi_thread")]
async fn datagram_too_large_for_a_narrow_path_comes_as_a_stream() -> Result<()> {
    for (udp_payload, has_room) in [("1200", false), ("1350", true)] {
        for carrier in [Carrier::Quic, Carrier::WebTransport] {
            let relay = Relay::start_with(1, &[("MOQSWITCH_QUIC_UDP_PAYLOAD", udp_payload)]).await?;
            if relay.kind() != RelayKind::Moqswitch {
                return Ok(());
            }
            send_large_datagrams(&relay, carrier, has_room)
                .await
                .with_context(|| format!("{udp_payload} bytes, {carrier:?}"))?;
        }
    }
    Ok(())
}

/// A publisher whose own path, a WebSocket, carries datagrams of any size.
async fn send_large_datagrams(relay: &Relay, carrier: Carrier, has_room: bool) -> Result<()> {
    let draft = Draft::Lite06;
    let publisher = Publisher::connect_to(Carrier::WebSocket.url(relay), draft).await?;
    let mut subscriber = Subscriber::connect_to(carrier.url(relay), draft, "").await?;
    let mut random = Random::new(seed());
    let first = random.group(0, &[17]);
    let mut published = publisher.publish(PATH, TRACK, &first)?;
    subscriber.until_announced(PATH, true).await?;
    let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
    check_same(&read_group(&mut subscription).await?, &first)?;
    for round in 0..5 {
        for (length, is_datagram) in [(1_000, true), (1_190, has_room)] {
            let payload = random.bytes(length);
            let sequence = published.track.append_datagram(timestamp(1), payload.clone())?;
            let arrived = async {
                if is_datagram {
                    let datagram = subscription.recv_datagram().await?.context("the track ended")?;
                    ensure!(
                        (datagram.sequence, &datagram.payload) == (sequence, &payload),
                        "it differs"
                    );
                    return Ok(());
                }
                let frames = vec![payload];
                check_same(
                    &read_group(&mut subscription).await?,
                    &PlannedGroup { sequence, frames },
                )
            };
            tokio::time::timeout(ANSWER_LIMIT, arrived)
                .await
                .with_context(|| format!("round {round}: {length} bytes never arrived"))?
                .with_context(|| format!("round {round}: {length} bytes"))?;
        }
    }
    Ok(())
}

async fn publish_and_compare(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut subscriber = case.subscriber().await?;

    let first = case.random.group(0, &[17]);
    let published = publisher.publish(PATH, TRACK, &first)?;
    subscriber.until_announced(PATH, true).await?;
    let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
    // The first group shows that the subscription is in place; only then come those to be counted.
    check_same(&read_group(&mut subscription).await?, &first)?;

    let planned = planned_groups(&mut case);
    for group in &planned {
        write_group(&published.track, group)?;
    }
    let mut received = BTreeMap::new();
    while received.len() < planned.len() {
        let group = read_group(&mut subscription)
            .await
            .with_context(|| format!("after groups {:?}", received.keys()))?;
        received.insert(group.sequence, group);
    }
    for group in &planned {
        let arrived = received
            .get(&group.sequence)
            .with_context(|| format!("group {} is missing", group.sequence))?;
        check_same(arrived, group)?;
    }
    Ok(())
}

/// Before draft 05 a publisher cannot say which group is the last, and the peer's client waits some
/// seconds for more before it believes the end.
async fn finish_track(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let subscriber = case.subscriber().await?;
    let first = case.random.group(0, &[17]);
    let published = publisher.publish(PATH, TRACK, &first)?;
    let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
    check_same(&read_group(&mut subscription).await?, &first)?;
    for sequence in 1..4 {
        let group = case.random.group(sequence, &[200]);
        write_group(&published.track, &group)?;
        check_same(&read_group(&mut subscription).await?, &group)?;
    }
    published.track.finish()?;
    let end = tokio::time::timeout(ANSWER_LIMIT, subscription.recv_group())
        .await
        .context("the end of the track never arrived")?;
    ensure!(
        matches!(end, Ok(None)),
        "the track did not end cleanly: {:?}",
        end.err()
    );
    Ok(())
}

/// Groups with gaps in their sequence, and every frame size that has a corner: empty, one byte, a
/// voice frame, a datagram's worth and one over, a key frame.
fn planned_groups(case: &mut Case) -> Vec<PlannedGroup> {
    let mut planned = Vec::new();
    for sequence in [1, 2, 3, 5, 9, 10, 64, 100] {
        let mut frame_bytes = vec![0, 1, 200, 1_200, 1_201, 100_000, 0, 63, 64, 16_383, 16_384];
        frame_bytes.push(case.random.below(30_000));
        frame_bytes.rotate_left(case.random.below(12));
        planned.push(case.random.group(sequence, &frame_bytes));
    }
    // A group without a frame is still a group.
    planned.push(case.random.group(101, &[]));
    planned.push(case.random.group(102, &[200; 50]));
    planned
}

async fn join_late(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let early = case.subscriber().await?;

    let history = case.random.group(0, &[200, 200]);
    let published = publisher.publish(PATH, TRACK, &history)?;
    for sequence in 1..OPEN_SEQUENCE {
        write_group(&published.track, &case.random.group(sequence, &[200, 200]))?;
    }
    let planned = case.random.group(OPEN_SEQUENCE, &[10_000, 200, 0, 200, 40_000, 1]);
    let mut open = published.track.create_group(group::Info {
        sequence: OPEN_SEQUENCE,
    })?;
    for frame in &planned.frames[..FRAMES_BEFORE_JOIN] {
        open.write_frame(timestamp(OPEN_SEQUENCE), frame.clone())?;
    }

    // The first subscriber is late to what the publisher has; the second to what the relay has.
    let mut readers = Vec::new();
    readers.push(early_frames(&early, &planned).await.context("first subscriber")?);
    let late = case.subscriber().await?;
    readers.push(early_frames(&late, &planned).await.context("second subscriber")?);

    for index in FRAMES_BEFORE_JOIN..planned.frames.len() {
        open.write_frame(timestamp(OPEN_SEQUENCE), planned.frames[index].clone())?;
        // The group is still open: a frame has to come without waiting for its end.
        for (_, group) in &mut readers {
            ensure!(
                read_frame(group).await? == planned.frames[index],
                "frame {index} differs"
            );
        }
    }
    open.finish()?;
    for (subscription, mut group) in readers {
        let rest = tokio::time::timeout(ANSWER_LIMIT, read_frames(&mut group)).await??;
        ensure!(rest.frames.is_empty(), "frames beyond the last");
        drop(subscription);
    }
    Ok(())
}

/// Joins at the live edge and reads the frames the open group has; it must be that group, and from
/// its first frame.
async fn early_frames(
    subscriber: &moqswitch_interop::Subscriber,
    planned: &PlannedGroup,
) -> Result<(moq_net::track::Subscriber, group::Consumer)> {
    let mut subscription = subscriber.subscribe_latest(PATH, TRACK).await?;
    let mut group = tokio::time::timeout(ANSWER_LIMIT, subscription.recv_group())
        .await
        .context("no group")??
        .context("the track ended")?;
    ensure!(group.sequence == planned.sequence, "joined at group {}", group.sequence);
    for frame in &planned.frames[..FRAMES_BEFORE_JOIN] {
        ensure!(read_frame(&mut group).await? == *frame, "not from the first frame");
    }
    Ok((subscription, group))
}

async fn fetch_older_groups(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let subscriber = case.subscriber().await?;

    let groups: Vec<_> = (0..6)
        .map(|sequence| case.random.group(sequence, &[1, 0, 200, 50_000]))
        .collect();
    let published = publisher.publish(PATH, TRACK, &groups[0])?;
    for group in &groups[1..] {
        write_group(&published.track, group)?;
    }

    // Nobody has subscribed: the relay has to ask the publisher.
    let track = subscriber.broadcast(PATH).await?.track(TRACK)?;
    for sequence in [2, 0] {
        let mut group = tokio::time::timeout(ANSWER_LIMIT, track.fetch_group(sequence, None))
            .await
            .context("fetch unanswered")?
            .with_context(|| format!("fetch of group {sequence} from upstream"))?;
        check_same(&read_frames(&mut group).await?, &groups[index(sequence)])?;
    }

    // With a live subscription, by another client: cached or not, the answer is the same.
    let mut subscription = subscriber.subscribe_latest(PATH, TRACK).await?;
    check_same(&read_group(&mut subscription).await?, &groups[5])?;
    let live = case.random.group(6, &[300, 4_000]);
    write_group(&published.track, &live)?;
    check_same(&read_group(&mut subscription).await?, &live)?;
    let other = case.subscriber().await?;
    let track = other.broadcast(PATH).await?.track(TRACK)?;
    for sequence in [6, 5, 3] {
        let mut group = tokio::time::timeout(ANSWER_LIMIT, track.fetch_group(sequence, None))
            .await
            .context("fetch unanswered")?
            .with_context(|| format!("fetch of group {sequence}"))?;
        let sent = if sequence == 6 { &live } else { &groups[index(sequence)] };
        check_same(&read_frames(&mut group).await?, sent)?;
    }

    let missing = tokio::time::timeout(REFUSAL_LIMIT, async {
        match track.fetch_group(1_000, None).await {
            Ok(mut group) => read_frames(&mut group).await.map(|_| ()),
            Err(error) => Err(error.into()),
        }
    })
    .await
    .context("fetch of a group that is not there hangs")?;
    ensure!(missing.is_err(), "a group that was never published was fetched");
    Ok(())
}

fn index(sequence: u64) -> usize {
    usize::try_from(sequence).expect("the suite's sequences are small")
}

async fn send_datagrams(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut subscriber = case.subscriber().await?;

    let first = case.random.group(0, &[17]);
    let mut published = publisher.publish(PATH, TRACK, &first)?;
    subscriber.until_announced(PATH, true).await?;
    let mut subscription = subscriber.subscribe(PATH, TRACK).await?;
    check_same(&read_group(&mut subscription).await?, &first)?;

    // One at a time: no queue on the way has a reason to drop any.
    for length in [1, 20, 160, 200, 500, 1_000, 0, 200, 200, 200] {
        let payload = case.random.bytes(length);
        let sequence = published.track.append_datagram(timestamp(1), payload.clone())?;
        let datagram = tokio::time::timeout(DATAGRAM_LIMIT, subscription.recv_datagram())
            .await
            .with_context(|| format!("datagram {sequence} of {length} bytes was lost"))??
            .context("the track ended")?;
        ensure!(
            datagram.sequence == sequence,
            "datagram {} for {sequence}",
            datagram.sequence
        );
        ensure!(datagram.payload == payload, "datagram {sequence}: bytes differ");
    }
    // Streams and datagrams share the sequence; a group still arrives as one.
    let group = case.random.group(50, &[200]);
    write_group(&published.track, &group)?;
    check_same(&read_group(&mut subscription).await?, &group)
}

const PATH: &str = "interop/delivery";
const TRACK: &str = "video";
const OPEN_SEQUENCE: u64 = 4;
const FRAMES_BEFORE_JOIN: usize = 3;
const FETCH_DRAFTS: [Draft; 2] = [Draft::Lite05, Draft::Lite06];
const DATAGRAM_DRAFTS: [Draft; 2] = [Draft::Lite05, Draft::Lite06];
const LIMIT: Duration = Duration::from_secs(60);
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);
const DATAGRAM_LIMIT: Duration = Duration::from_secs(3);
