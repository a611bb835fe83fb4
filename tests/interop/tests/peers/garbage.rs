//! Whatever is thrown at the relay, a call through it goes on without a loss.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use moqswitch_interop::matrix::same_draft;
use moqswitch_interop::raw_peer::{FIRST_BIDI, FIRST_UNI, STREAM_STEP};
use moqswitch_interop::relay::RelayKind;
use moqswitch_interop::{Call, Case, Draft, Random, RawPeer, run_matrix};
use tokio::net::UdpSocket;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_disturbs_no_call() {
    run_matrix(&same_draft(&[Draft::Lite06]), LIMIT, throw_everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_version_is_answered_with_version_negotiation() {
    run_matrix(&same_draft(&[Draft::Lite06]), LIMIT, negotiate_version).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_alpn_is_refused() {
    run_matrix(&same_draft(&[Draft::Lite06]), LIMIT, offer_wrong_alpn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_streams_cost_at_most_their_own_session() {
    run_matrix(&same_draft(&Draft::ALL), LIMIT, send_random_streams).await;
}

async fn throw_everything(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut subscriber = case.subscriber().await?;
    let mut call = Call::start(&publisher, &mut subscriber, "interop/call", case.random.clone()).await?;
    let malformed_before = malformed(&case).await?;

    let relay = case.relay.udp();
    let mut random = case.random.clone();
    let throwing = tokio::spawn(async move {
        random_datagrams(relay, &mut random).await?;
        damaged_initials(relay, &mut random).await?;
        for draft in Draft::ALL {
            random_streams(relay, draft, &mut random).await?;
        }
        Ok::<_, anyhow::Error>(())
    });
    while !throwing.is_finished() || call.exchanged() < GROUPS_MIN {
        call.exchange().await.context("while garbage is thrown")?;
    }
    throwing.await??;

    case.relay.check_alive()?;
    if let (Some(before), Some(after)) = (malformed_before, malformed(&case).await?) {
        ensure!(
            after > before,
            "malformed packets were not counted: {before} and {after}"
        );
    }
    ensure!(
        publisher.is_connected() && subscriber.is_connected(),
        "a session was closed"
    );
    Ok(())
}

async fn random_datagrams(relay: std::net::SocketAddr, random: &mut Random) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    for _ in 0..RANDOM_DATAGRAMS {
        let length = random.below(1_500);
        socket.send_to(&random.bytes(length), relay).await?;
    }
    // The same with the bits of a QUIC version 1 packet set, so that it gets past the first look.
    for first_byte in [0xc0, 0xd0, 0xe0, 0xf0, 0x40] {
        for length in [1, 5, 6, 7, 25, 26, 100, 1_200, 1_472] {
            let mut packet = random.bytes(length).to_vec();
            packet[0] = first_byte | (packet[0] & 0x0f);
            for (index, byte) in [0, 0, 0, 1].into_iter().enumerate() {
                if let Some(version) = packet.get_mut(1 + index) {
                    *version = byte;
                }
            }
            socket.send_to(&packet, relay).await?;
        }
    }
    Ok(())
}

/// A true Initial cut short at every kind of place, and with bits turned.
async fn damaged_initials(relay: std::net::SocketAddr, random: &mut Random) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let initial = RawPeer::dial(relay, Draft::Lite06.alpn().as_bytes(), random)
        .await?
        .first_datagram()?;
    ensure!(initial.len() >= 1_200, "an Initial of {} bytes", initial.len());
    for length in (0..64).chain([100, 500, 1_000, 1_199, initial.len() - 1]) {
        socket.send_to(&initial[..length], relay).await?;
    }
    for _ in 0..DAMAGED_INITIALS {
        let mut packet = initial.clone();
        for _ in 0..1 + random.below(4) {
            let index = random.below(packet.len());
            packet[index] ^= 1 << random.below(8);
        }
        socket.send_to(&packet, relay).await?;
    }
    Ok(())
}

/// Streams of noise on a connection that is otherwise valid. The relay may reset them or close the
/// connection; either way this returns.
async fn random_streams(relay: std::net::SocketAddr, draft: Draft, random: &mut Random) -> Result<()> {
    let mut peer = RawPeer::connect(relay, draft, random).await?;
    for index in 0..RANDOM_STREAMS {
        let length = 1 + random.below(3_000);
        let noise = random.bytes(length);
        // The SETUP stream is the first unidirectional one.
        let stream = match index % 2 {
            0 => FIRST_BIDI + index / 2 * STREAM_STEP,
            _ => FIRST_UNI + (1 + index / 2) * STREAM_STEP,
        };
        if peer.send(stream, &noise, random.below(2) == 0).await.is_err() {
            break;
        }
    }
    // Time for the relay to read and judge; whether it closes is its choice.
    peer.drive_without_reading(SETTLE).await.ok();
    Ok(())
}

async fn send_random_streams(mut case: Case) -> Result<()> {
    let publisher = case.publisher().await?;
    let mut subscriber = case.subscriber().await?;
    let mut call = Call::start(&publisher, &mut subscriber, "interop/call", case.random.clone()).await?;
    for _ in 0..5 {
        random_streams(case.relay.udp(), case.subscriber_draft, &mut case.random).await?;
        call.exchange().await?;
    }
    case.relay.check_alive()?;
    ensure!(
        publisher.is_connected() && subscriber.is_connected(),
        "a session was closed"
    );
    Ok(())
}

/// Layout of both packets: RFC 9000, sections 17.2 and 17.2.1.
async fn negotiate_version(mut case: Case) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(case.relay.udp()).await?;
    let (destination, source) = (case.random.bytes(8), case.random.bytes(5));
    let mut packet = vec![0xc0];
    packet.extend(UNKNOWN_VERSION.to_be_bytes());
    packet.push(8);
    packet.extend(&destination);
    packet.push(5);
    packet.extend(&source);
    packet.resize(1_200, 0);
    socket.send(&packet).await?;

    let mut answer = vec![0; 2_048];
    let length = tokio::time::timeout(ANSWER_LIMIT, socket.recv(&mut answer))
        .await
        .context("an unknown version was not answered")??;
    let answer = &answer[..length];
    let header = 1 + 4 + 1 + source.len() + 1 + destination.len();
    ensure!(length > header && (length - header).is_multiple_of(4), "{length} bytes");
    ensure!(answer[0] & 0x80 != 0, "not a long header");
    ensure!(answer[1..5] == [0; 4], "not a Version Negotiation packet");
    ensure!(
        answer[5] == 5 && answer[6..11] == source[..],
        "our source id is not the destination"
    );
    ensure!(
        answer[11] == 8 && answer[12..20] == destination[..],
        "our destination id is not the source"
    );
    let versions: Vec<_> = answer[header..].chunks(4).collect();
    ensure!(
        versions.contains(&&[0, 0, 0, 1][..]),
        "version 1 is not offered: {versions:?}"
    );
    ensure!(
        !versions.contains(&&UNKNOWN_VERSION.to_be_bytes()[..]),
        "the unknown version is offered"
    );

    // Too short to open a connection: must not be answered (section 5.2.2), though moq-relay does.
    // The next answer is then to the full one.
    if case.relay.kind() == RelayKind::MoqRelay {
        return Ok(());
    }
    socket.send(&packet[..100]).await?;
    packet[6] ^= 1;
    socket.send(&packet).await?;
    let mut second = vec![0; 2_048];
    let length = tokio::time::timeout(ANSWER_LIMIT, socket.recv(&mut second))
        .await
        .context("a second unknown version was not answered")??;
    ensure!(length >= 20 && second[12] == packet[6], "a short datagram was answered");
    Ok(())
}

async fn offer_wrong_alpn(mut case: Case) -> Result<()> {
    for alpn in ["moq-lite-99", "http/1.1", "m"] {
        let mut peer = RawPeer::dial(case.relay.udp(), alpn.as_bytes(), &mut case.random).await?;
        let Err(refused) = peer.handshake().await else {
            bail!("{alpn} was accepted");
        };
        if case.relay.kind() == RelayKind::MoqRelay {
            // It drops such a connection without a word.
            return case.relay.check_alive();
        }
        let close = peer
            .peer_close()
            .with_context(|| format!("{alpn}: no close was sent, only {refused:#}"))?;
        ensure!(
            close == (false, NO_APPLICATION_PROTOCOL),
            "{alpn}: closed with {close:?}"
        );
    }
    case.relay.check_alive()
}

/// Packets and streams the relay found malformed; `None` where it does not count them.
async fn malformed(case: &Case) -> Result<Option<f64>> {
    if case.relay.kind() != RelayKind::Moqswitch {
        return Ok(None);
    }
    Ok(Some(case.relay.metrics().await?.sum_containing("malformed")))
}

/// TLS alert 120 as a QUIC error (RFC 9001, section 4.8).
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
/// Of the form reserved to force negotiation (RFC 9000, section 15).
const UNKNOWN_VERSION: u32 = 0x1a2a_3a4a;
const RANDOM_DATAGRAMS: usize = 3_000;
const DAMAGED_INITIALS: usize = 300;
const RANDOM_STREAMS: u64 = 40;
const GROUPS_MIN: u64 = 100;
const SETTLE: Duration = Duration::from_millis(300);
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(90);
