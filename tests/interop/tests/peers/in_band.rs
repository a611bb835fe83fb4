//! Peers that agree on their version in band and are no peer crate's: gomoqt, driven by hand as its
//! message definitions (v0.9.0) have it, and moq-transport, which is turned away.

use std::time::Duration;

use anyhow::{Result, ensure};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::peer::{check_same, read_group};
use moqswitch_interop::raw_peer::{FIRST_BIDI, FIRST_BIDI_OF_RELAY, FIRST_UNI, FIRST_UNI_OF_RELAY, STREAM_STEP};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Carrier, Case, Dial, Draft, PlannedGroup, RawPeer, Subscriber, run_matrix};

#[tokio::test(flavor = "multi_thread")]
async fn what_gomoqt_publishes_arrives() {
    let pairs: Vec<_> = readers().collect();
    run_matrix(&pairs, LIMIT, publish_as_gomoqt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gomoqt_gets_what_others_publish() {
    let pairs: Vec<_> = readers().map(|(gomoqt, other)| (other, gomoqt)).collect();
    run_matrix(&pairs, LIMIT, subscribe_as_gomoqt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moq_transport_is_turned_away() {
    run_matrix(&same_draft(&[Draft::Lite06]), LIMIT, offer_moq_transport).await;
}

/// gomoqt, whose messages are those of 01 but for a few, over each of its carriers, and who is at the other end.
fn readers() -> impl Iterator<Item = (Dial, Dial)> {
    let carriers = [Carrier::Quic, Carrier::WebTransport].into_iter();
    carriers.flat_map(|carrier| READERS.map(|draft| (carrier.with(Draft::Lite01), draft.into())))
}

/// A gomoqt session, its handshake done, and the first free streams of either side.
struct Gomoqt {
    peer: RawPeer,
    /// What stands before a stream's bytes.
    bidi_head: &'static [u8],
    uni_head: &'static [u8],
    bidi: u64,
    uni: u64,
    bidi_of_relay: u64,
    uni_of_relay: u64,
}

impl Gomoqt {
    async fn begin(case: &mut Case, carrier: Carrier) -> Result<Gomoqt> {
        let alpn = if carrier == Carrier::Quic { "moq-00" } else { "h3" };
        let mut gomoqt = Gomoqt {
            peer: RawPeer::dial(case.relay.udp(), alpn.as_bytes(), &mut case.random).await?,
            bidi_head: b"",
            uni_head: b"",
            bidi: FIRST_BIDI,
            uni: FIRST_UNI,
            bidi_of_relay: FIRST_BIDI_OF_RELAY,
            uni_of_relay: FIRST_UNI_OF_RELAY,
        };
        gomoqt.peer.handshake().await?;
        if carrier != Carrier::Quic {
            gomoqt.peer.open_web_session("/").await?;
            (gomoqt.bidi_head, gomoqt.uni_head) = (b"\x40\x41\x00", b"\x40\x54\x00");
            // Behind the CONNECT stream and the control streams.
            gomoqt.bidi += STREAM_STEP;
            gomoqt.uni += STREAM_STEP;
            gomoqt.uni_of_relay += STREAM_STEP;
        }
        // StreamTypeSession, SessionClientMessage with 0xfeedbabe and, over raw QUIC, the path "/".
        let hello = match carrier {
            Carrier::Quic => &b"\x00\x0d\x01\xc0\x00\x00\x00\xfe\xed\xba\xbe\x01\x01\x01/"[..],
            _ => b"\x00\x0a\x01\xc0\x00\x00\x00\xfe\xed\xba\xbe\x00",
        };
        let session = gomoqt.open_bidi(hello).await?;
        // SessionServerMessage.
        let answer = gomoqt.peer.receive(session, 10).await?;
        ensure!(
            answer == b"\x09\xc0\x00\x00\x00\xfe\xed\xba\xbe\x00",
            "answered {answer:02x?}"
        );
        // StreamTypeAnnounce, AnnouncePleaseMessage for everything.
        let please = gomoqt.first_of(gomoqt.bidi_of_relay, 4).await?;
        ensure!(please == b"\x01\x02\x01/", "asked {please:02x?}");
        Ok(gomoqt)
    }

    async fn open_bidi(&mut self, bytes: &[u8]) -> Result<u64> {
        let stream = self.bidi;
        self.bidi += STREAM_STEP;
        self.peer.send(stream, &[self.bidi_head, bytes].concat(), false).await?;
        Ok(stream)
    }

    async fn send_uni(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.uni;
        self.uni += STREAM_STEP;
        self.peer.send(stream, &[self.uni_head, bytes].concat(), true).await
    }

    /// The first bytes of a stream of the relay's.
    async fn first_of(&mut self, stream: u64, length: usize) -> Result<Vec<u8>> {
        let is_uni = stream % STREAM_STEP == FIRST_UNI_OF_RELAY;
        let head = if is_uni { self.uni_head } else { self.bidi_head };
        let begun = self.peer.receive(stream, head.len()).await?;
        ensure!(begun == head, "stream {stream} begins with {begun:02x?}");
        self.peer.receive(stream, length).await
    }
}

async fn publish_as_gomoqt(mut case: Case) -> Result<()> {
    if case.relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    let carrier = case.publisher_carrier;
    let mut gomoqt = Gomoqt::begin(&mut case, carrier).await?;
    // AnnounceInitMessage.
    gomoqt
        .peer
        .send(gomoqt.bidi_of_relay, b"\x0a\x01\x08room/ali", false)
        .await?;
    let shard = case.shard_beside_first().await?;
    let mut subscriber = driving(&mut gomoqt.peer, case.subscriber_on(shard)).await?;
    let announced = subscriber.until_announced("room/ali", true);
    let others = driving(&mut gomoqt.peer, announced).await?;
    ensure!(others.is_empty(), "also announced: {others:?}");

    let subscribing = async {
        let mut subscription = subscriber.subscribe("room/ali", "audio").await?;
        let group = read_group(&mut subscription).await?;
        Ok::<_, anyhow::Error>((subscription, group))
    };
    let publishing = async {
        // StreamTypeSubscribe, SubscribeMessage, whatever its priority.
        let stream = gomoqt.bidi_of_relay + STREAM_STEP;
        let mut subscribe = gomoqt.first_of(stream, 2).await?;
        let rest = usize::from(subscribe[1]);
        subscribe.extend(gomoqt.peer.receive(stream, rest).await?);
        ensure!(
            subscribe[3..].starts_with(b"\x09/room/ali\x05audio"),
            "asked {subscribe:02x?}"
        );
        // SubscribeOkMessage; StreamTypeGroup, GroupMessage, frames.
        gomoqt.peer.send(stream, &[0], false).await?;
        let group = [&[0, 2, subscribe[2], 7][..], b"\x05hello\x00\x05world"].concat();
        gomoqt.send_uni(&group).await?;
        gomoqt.peer.drive_without_reading(Duration::from_millis(200)).await
    };
    let (read, published) = tokio::join!(subscribing, publishing);
    published?;
    check_same(&read?.1, &hello_world())
}

async fn subscribe_as_gomoqt(mut case: Case) -> Result<()> {
    if case.relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    let carrier = case.subscriber_carrier;
    let mut gomoqt = Gomoqt::begin(&mut case, carrier).await?;
    // It has nothing to announce.
    gomoqt.peer.send(gomoqt.bidi_of_relay, &[1, 0], false).await?;
    let shard = case.shard_beside_first().await?;
    let publisher = driving(&mut gomoqt.peer, case.publisher_on(shard)).await?;
    let _published = publisher.publish("room/bob", "audio", &hello_world())?;
    let url = Carrier::Quic.url(&case.relay);
    let mut watcher = Subscriber::connect_to(url, case.publisher_draft, "").await?;
    driving(&mut gomoqt.peer, watcher.until_announced("room/bob", true)).await?;

    let announce = gomoqt.open_bidi(b"\x01\x07\x06/room/").await?;
    let init = gomoqt.peer.receive(announce, 6).await?;
    ensure!(init == b"\x05\x01\x03bob", "announced {init:02x?}");

    let subscribe = gomoqt.open_bidi(b"\x02\x12\x01\x09/room/bob\x05audio\x07").await?;
    ensure!(gomoqt.peer.receive(subscribe, 1).await? == [0], "no SubscribeOkMessage");
    let expected = b"\x00\x02\x01\x07\x05hello\x00\x05world";
    let group = gomoqt.first_of(gomoqt.uni_of_relay, expected.len()).await?;
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
