//! Peers that agree on their version in band and are no peer crate's: gomoqt, driven by hand as its
//! message definitions (v0.9.0) have it, and moq-transport, which is turned away.

use std::time::Duration;

use anyhow::{Result, ensure};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::peer::{check_same, read_group};
use moqswitch_interop::raw_peer::{FIRST_BIDI, FIRST_BIDI_OF_RELAY, FIRST_UNI, FIRST_UNI_OF_RELAY, STREAM_STEP};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Case, Draft, PlannedGroup, RawPeer, run_matrix};

#[tokio::test(flavor = "multi_thread")]
async fn what_gomoqt_publishes_arrives() {
    run_matrix(&same_draft(&READERS), LIMIT, publish_as_gomoqt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gomoqt_gets_what_others_publish() {
    run_matrix(&same_draft(&READERS), LIMIT, subscribe_as_gomoqt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moq_transport_is_turned_away() {
    run_matrix(&same_draft(&[Draft::Lite06]), LIMIT, offer_moq_transport).await;
}

/// A gomoqt session, its handshake done.
async fn gomoqt(case: &mut Case) -> Result<RawPeer> {
    let mut peer = RawPeer::dial(case.relay.udp(), b"moq-00", &mut case.random).await?;
    peer.handshake().await?;
    // StreamTypeSession, SessionClientMessage with 0xfeedbabe and the path "/".
    let hello = b"\x00\x0d\x01\xc0\x00\x00\x00\xfe\xed\xba\xbe\x01\x01\x01/";
    peer.send(FIRST_BIDI, hello, false).await?;
    // SessionServerMessage.
    let answer = peer.receive(FIRST_BIDI, 10).await?;
    ensure!(
        answer == b"\x09\xc0\x00\x00\x00\xfe\xed\xba\xbe\x00",
        "answered {answer:02x?}"
    );
    // StreamTypeAnnounce, AnnouncePleaseMessage for everything.
    let please = peer.receive(FIRST_BIDI_OF_RELAY, 4).await?;
    ensure!(please == b"\x01\x02\x01/", "asked {please:02x?}");
    Ok(peer)
}

async fn publish_as_gomoqt(mut case: Case) -> Result<()> {
    if case.relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    let mut peer = gomoqt(&mut case).await?;
    // AnnounceInitMessage.
    peer.send(FIRST_BIDI_OF_RELAY, b"\x0a\x01\x08room/ali", false).await?;
    let mut subscriber = case.subscriber().await?;
    let announced = subscriber.until_announced("room/ali", true);
    let others = driving(&mut peer, announced).await?;
    ensure!(others.is_empty(), "also announced: {others:?}");

    let subscribing = async {
        let mut subscription = subscriber.subscribe("room/ali", "audio").await?;
        let group = read_group(&mut subscription).await?;
        Ok::<_, anyhow::Error>((subscription, group))
    };
    let publishing = async {
        // StreamTypeSubscribe, SubscribeMessage, whatever its priority.
        let stream = FIRST_BIDI_OF_RELAY + STREAM_STEP;
        let mut subscribe = peer.receive(stream, 2).await?;
        let rest = usize::from(subscribe[1]);
        subscribe.extend(peer.receive(stream, rest).await?);
        ensure!(
            subscribe[3..].starts_with(b"\x09/room/ali\x05audio"),
            "asked {subscribe:02x?}"
        );
        // SubscribeOkMessage; StreamTypeGroup, GroupMessage, frames.
        peer.send(stream, &[0], false).await?;
        let group = [&[0, 2, subscribe[2], 7][..], b"\x05hello\x00\x05world"].concat();
        peer.send(FIRST_UNI, &group, true).await?;
        peer.drive_without_reading(Duration::from_millis(200)).await
    };
    let (read, published) = tokio::join!(subscribing, publishing);
    published?;
    check_same(&read?.1, &hello_world())
}

async fn subscribe_as_gomoqt(mut case: Case) -> Result<()> {
    if case.relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    let publisher = case.publisher().await?;
    let _published = publisher.publish("room/bob", "audio", &hello_world())?;
    let mut watcher = case.subscriber().await?;
    watcher.until_announced("room/bob", true).await?;

    let mut peer = gomoqt(&mut case).await?;
    peer.send(FIRST_BIDI_OF_RELAY, &[1, 0], false).await?;
    let announce = FIRST_BIDI + STREAM_STEP;
    peer.send(announce, b"\x01\x07\x06/room/", false).await?;
    let init = peer.receive(announce, 6).await?;
    ensure!(init == b"\x05\x01\x03bob", "announced {init:02x?}");

    let subscribe = announce + STREAM_STEP;
    peer.send(subscribe, b"\x02\x12\x01\x09/room/bob\x05audio\x07", false)
        .await?;
    ensure!(peer.receive(subscribe, 1).await? == [0], "no SubscribeOkMessage");
    let expected = b"\x00\x02\x01\x07\x05hello\x00\x05world";
    let group = peer.receive(FIRST_UNI_OF_RELAY, expected.len()).await?;
    ensure!(group == expected, "sent {group:02x?}");
    Ok(())
}

async fn offer_moq_transport(mut case: Case) -> Result<()> {
    // It speaks that, too.
    if case.relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    // CLIENT_SETUP with the version of draft 14, and with that of draft 07.
    let draft_14 = b"\x20\x00\x0d\x01\xc0\x00\x00\x00\xff\x00\x00\x0e\x01\x02\x40\x64";
    let draft_07 = b"\x40\x40\x0c\x01\xc0\x00\x00\x00\xff\x00\x00\x07\x01\x00\x01\x03";
    for alpn in [&b"moq-00"[..], b"moql"] {
        for setup in [&draft_14[..], draft_07] {
            let mut peer = RawPeer::dial(case.relay.udp(), alpn, &mut case.random).await?;
            peer.handshake().await?;
            peer.send(FIRST_BIDI, setup, false).await?;
            let closed = peer.until_closed(CLOSE_LIMIT).await?;
            ensure!(closed == (true, VERSION_NEGOTIATION_FAILED), "closed with {closed:?}");
        }
    }
    Ok(())
}

/// Waits for something while the peer's packets go on moving.
async fn driving<Answer>(peer: &mut RawPeer, waiting: impl Future<Output = Result<Answer>>) -> Result<Answer> {
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            answer = &mut waiting => return answer,
            driven = peer.drive_without_reading(Duration::from_millis(50)) => driven?,
        }
    }
}

fn hello_world() -> PlannedGroup {
    PlannedGroup {
        sequence: 7,
        frames: ["hello", "", "world"].map(Into::into).to_vec(),
    }
}

const READERS: [Draft; 3] = [Draft::Lite01, Draft::Lite03, Draft::Lite06];
const VERSION_NEGOTIATION_FAILED: u64 = 0x15;
const LIMIT: Duration = Duration::from_secs(60);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
