//! A telephone on SRTP and one without hear each other; who has no key is not heard, and moves nothing.

use anyhow::{Context, Result, ensure};
use moqswitch_legs::{LegSettings, Rtcp, SrtpKey, SrtpKeys, SrtpSuite};
use moqswitch_media::rtcp::{Report, Sent};
use moqswitch_media::rtp::{self, Packet};
use moqswitch_media::srtp::{Opener, Sealer};
use moqswitch_relay::shard::local::Delivery;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::rtp::{A_WHILE, LIMIT, Said, Telephone, start, stop};

#[tokio::test(flavor = "multi_thread")]
async fn a_telephone_on_srtp_talks_to_a_plain_one_and_strangers_do_not() -> Result<()> {
    for suite in [SrtpSuite::AesCm32, SrtpSuite::AesGcm128] {
        let relay = start()?;
        let secret = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 1).await?;
        let plain = Telephone::new(&relay, 1, "call/7/b", Delivery::Datagram, 2).await?;
        let keys = |ours: u8, theirs: u8| SrtpKeys {
            ours: key(suite, ours),
            theirs: key(suite, theirs),
        };
        let over_srtp = |srtp: SrtpKeys| LegSettings {
            srtp: Some(srtp),
            rtcp: Rtcp::Mux,
            ..secret.settings.clone()
        };
        secret.port.change(secret.leg, over_srtp(keys(1, 2)), None)?;
        secret.hear("call/7/b")?;
        plain.hear("call/7/a")?;
        secret.until_heard().await?;
        plain.until_heard().await?;

        // A stranger of the same host, in the moment in which the port may change: without a key it is nobody.
        let stranger = UdpSocket::bind("127.0.0.1:0").await?;
        let mut wrong = Sealer::new(&key(suite, 9), 99);
        for sequence in 0..10 {
            stranger.send_to(&datagram(sequence, None), secret.relay).await?;
            stranger
                .send_to(&datagram(sequence, Some(&mut wrong)), secret.relay)
                .await?;
        }
        secret.until(|counted| counted.unauthentic == 20).await?;

        // Numbers begin anew on the way.
        let listening = plain.packets();
        let mut sealer = Sealer::new(&key(suite, 2), 99);
        for sequence in [65_534, 65_535, 0, 1] {
            let datagram = datagram(sequence, Some(&mut sealer));
            secret.socket.send_to(&datagram, secret.relay).await?;
            // Twice is once.
            secret.socket.send_to(&datagram, secret.relay).await?;
        }
        let report = report(&mut sealer);
        secret.socket.send_to(&report, secret.relay).await?;
        let heard = listening.await??;
        ensure!(heard.len() == 4, "{} packets", heard.len());
        ensure!(heard.iter().all(|came| came.payload == [55; 160]));
        let counted = secret.counted().await?;
        ensure!(
            (
                counted.unauthentic,
                counted.reports,
                counted.received.packets,
                counted.foreign
            ) == (24, 1, 4, 0),
            "{counted:?}"
        );

        // And back, under the other key; with another one from here on, and the same of ours.
        let mut opener = Opener::new(&key(suite, 1));
        for (index, theirs) in [(0, 2), (1, 3)] {
            secret.port.change(secret.leg, over_srtp(keys(1, theirs)), None)?;
            plain.say(&Said::new(index)).await?;
            let opened = next(&secret.socket, &mut opener).await?;
            let packet = Packet::parse(&opened)?;
            ensure!(packet.payload == Said::new(index).payload && packet.ssrc == 1);
        }
        let old = datagram(2, Some(&mut sealer));
        secret.socket.send_to(&old, secret.relay).await?;
        secret.until(|counted| counted.unauthentic == 25).await?;
        let mut sealer = Sealer::new(&key(suite, 3), 99);
        secret
            .socket
            .send_to(&datagram(3, Some(&mut sealer)), secret.relay)
            .await?;
        secret.until(|counted| counted.received.packets == 5).await?;
        secret.close().await?;
        plain.close().await?;
        stop(relay).await?;
    }
    Ok(())
}

/// The next packet of RTP that comes. What is no SRTP under the key fails.
async fn next(socket: &UdpSocket, opener: &mut Opener) -> Result<Vec<u8>> {
    let (mut datagram, mut opened) = ([0; 2000], Vec::new());
    loop {
        let received = timeout(LIMIT + A_WHILE, socket.recv_from(&mut datagram)).await;
        let (length, _) = received.context("nothing comes")??;
        if rtp::is_control(&datagram[..length]) {
            opener.open_rtcp(&datagram[..length], &mut opened)?;
            continue;
        }
        opener.open_rtp(&datagram[..length], &mut opened)?;
        return Ok(opened);
    }
}

fn key(suite: SrtpSuite, first: u8) -> SrtpKey {
    let bytes = vec![first; suite.key_bytes() + suite.salt_bytes()];
    SrtpKey::new(suite, &bytes, &[]).expect("it is as long as the suite says")
}

fn datagram(sequence: u16, sealer: Option<&mut Sealer>) -> Vec<u8> {
    let mut datagram = Vec::new();
    Packet {
        marker: false,
        payload_type: 0,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 99,
        payload: &[55; 160],
    }
    .write(&mut datagram);
    if let Some(sealer) = sealer {
        sealer.seal_rtp(&mut datagram).expect("it is the next");
    }
    datagram
}

fn report(sealer: &mut Sealer) -> Vec<u8> {
    let report = Report {
        ssrc: 99,
        sent: Some(Sent {
            ssrc: 99,
            ntp: 1,
            timestamp: 1,
            packets: 4,
            bytes: 640,
        }),
        heard: None,
        name: "telephone",
        metrics: None,
        is_over: false,
    };
    let mut datagram = Vec::new();
    report.write(&mut datagram);
    sealer.seal_rtcp(&mut datagram).expect("it is the first");
    datagram
}
