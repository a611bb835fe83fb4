//! What SIP agrees on with telephones: types of payloads, lengths of packets, hold, reports, and what is told of a leg.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use moqswitch_interop::{Draft, Publisher, Random};
use moqswitch_legs::limits::MEDIA_TIMEOUT_DEFAULT;
use moqswitch_legs::{EventType, LegCodec, LegEvent, LegPeer, LegRefused, LegSettings, Rtcp};
use moqswitch_media::dtmf::Event;
use moqswitch_media::rtcp::{Block, Report, Sent, Told, read};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::local::Delivery;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::rtp::{A_WHILE, Came, EVENTS, LIMIT, Said, Telephone, start, stop};

#[tokio::test(flavor = "multi_thread")]
async fn digits_and_comfort_noise_leave_no_gap_in_what_is_heard() -> Result<()> {
    let relay = start()?;
    let talker = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 1).await?;
    let listener = Telephone::new(&relay, 1, "call/7/b", Delivery::Datagram, 2).await?;
    listener.hear("call/7/a")?;
    let listening = listener.packets();
    talker
        .until(|counted| counted.is_wanted && counted.are_digits_wanted)
        .await?;
    let mut number = 65_530_u16;
    let mut say = |kind: u8, timestamp: u32, payload: Vec<u8>| {
        number = number.wrapping_add(1);
        let (talker, number) = (&talker, number);
        async move {
            talker.send(number, timestamp, kind, &payload).await?;
            sleep(Duration::from_millis(5)).await;
            anyhow::Ok(())
        }
    };
    for index in 0..5 {
        say(0, index * 160, Said::new(index).payload).await?;
    }
    for _ in 0..3 {
        say(13, 800, vec![40]).await?;
    }
    // A digit whose end is lost.
    for step in 1..5_u16 {
        let event = Event {
            code: 5,
            is_end: false,
            volume: 10,
            duration: step * 160,
        };
        say(EVENTS, 960, event.encode().to_vec()).await?;
    }
    // Nobody hears speech while a digit is sent, which takes a while to be known to be over.
    let event = talker.event().await?;
    ensure!(
        matches!(
            event,
            LegEvent::Digit {
                digit: '5',
                duration_ms: 80,
                ..
            }
        ),
        "{event:?}"
    );
    sleep(A_WHILE).await;
    for index in 20..25 {
        say(0, index * 160, Said::new(index).payload).await?;
    }
    let heard = listening.await??;
    let (digits, speech): (Vec<&Came>, Vec<&Came>) = heard.iter().partition(|packet| packet.payload_type == EVENTS);
    ensure!(
        speech.len() == 10 && digits.len() >= 5,
        "{} {}",
        speech.len(),
        digits.len()
    );
    // All of them in one count, whatever is sent.
    ensure!(
        heard
            .windows(2)
            .all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1))
    );
    let counted = talker.close().await?;
    let received = counted.received;
    ensure!(
        (received.packets, received.passed, received.lost) == (10, 7, 0) && counted.comfort == 3,
        "{counted:?}"
    );
    ensure!(listener.close().await?.sent.lost == 0);
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_has_its_own_types_and_lengths_of_packets() -> Result<()> {
    let relay = start()?;
    let talker = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 1).await?;
    let listener = Telephone::new(&relay, 0, "call/7/b", Delivery::Datagram, 2).await?;
    let settings = LegSettings {
        codec: LegCodec::Pcma,
        payload_type: 97,
        taken: vec![(8, LegCodec::Pcma), (97, LegCodec::Pcma), (0, LegCodec::Pcmu)],
        event_type: Some(EventType {
            payload_type: 96,
            clock_hz: 8000,
        }),
        ptime: Some(Duration::from_millis(30)),
        ..listener.settings.clone()
    };
    listener.port.change(listener.leg, settings, None)?;
    listener.hear("call/7/a")?;
    let listening = listener.packets();
    talker.until_heard().await?;
    for index in 0..6 {
        talker.say(&Said::new(index)).await?;
        sleep(Duration::from_millis(20)).await;
    }
    let heard = listening.await??;
    let said: Vec<u8> = (0..6).flat_map(|index| Said::new(index).payload).collect();
    ensure!(heard.len() == 4, "{} packets", heard.len());
    for (packet, part) in heard.iter().zip(said.chunks(240)) {
        ensure!(packet.payload == part && packet.payload_type == 97);
    }
    ensure!(heard.windows(2).all(|pair| {
        pair[1].sequence == pair[0].sequence.wrapping_add(1) && pair[1].timestamp == pair[0].timestamp.wrapping_add(240)
    }));
    // Either type of the codec is taken, and another codec told.
    for (number, kind) in [(1, 8), (2, 97), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 18)] {
        listener.send(number, u32::from(number) * 160, kind, &[1; 160]).await?;
    }
    let event = listener.event().await?;
    ensure!(
        matches!(
            event,
            LegEvent::OtherCodec {
                codec: LegCodec::Pcmu,
                ..
            }
        ),
        "{event:?}"
    );
    listener.until(|counted| counted.unusable == 1).await?;
    let counted = listener.close().await?;
    ensure!(
        counted.received.packets == 2 && counted.of_other_codec == 5 && counted.received.lost == 0,
        "{counted:?}"
    );
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_hears_nothing_and_its_numbers_go_on() -> Result<()> {
    let relay = start()?;
    let talker = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 1).await?;
    let listener = Telephone::new(&relay, 1, "call/7/b", Delivery::Datagram, 2).await?;
    listener.hear("call/7/a")?;
    talker.until_heard().await?;
    let listening = listener.packets();
    talker.say(&Said::new(0)).await?;
    let before = listening.await??;

    // Held: nobody subscribes for it, and what it says does not say where it is.
    let held = LegSettings {
        sends: false,
        receives: false,
        ..listener.settings.clone()
    };
    listener.port.change(listener.leg, held, None)?;
    talker.until(|counted| !counted.is_wanted).await?;
    talker.say(&Said::new(1)).await?;
    for number in 0..5 {
        listener.send(number, 0, 0, &[1; 160]).await?;
    }
    listener.until(|counted| counted.held == 5).await?;

    listener.port.change(listener.leg, listener.settings.clone(), None)?;
    talker.until_heard().await?;
    let listening = listener.packets();
    talker.say(&Said::new(50)).await?;
    let after = listening.await??;
    ensure!(
        before.len() == 1 && after.len() == 1,
        "{} {}",
        before.len(),
        after.len()
    );
    ensure!(after[0].sequence == before[0].sequence.wrapping_add(1) && after[0].marker);
    let passed = after[0].timestamp.wrapping_sub(before[0].timestamp);
    // The time between them, which is a second or some.
    ensure!((8000..8000 * 20).contains(&passed), "{passed}");
    listener.send(500, 80_000, 0, &[1; 160]).await?;
    listener.until(|counted| counted.received.packets == 1).await?;
    ensure!(listener.close().await?.received.lost == 0);
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_speaker_goes_on_with_the_same_source() -> Result<()> {
    let relay = start()?;
    let one = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 1).await?;
    let two = Telephone::new(&relay, 1, "call/7/b", Delivery::Datagram, 2).await?;
    let listener = Telephone::new(&relay, 0, "call/7/c", Delivery::Datagram, 3).await?;
    let listening = listener.packets();
    for (speaker, path) in [(&one, "call/7/a"), (&two, "call/7/b"), (&one, "call/7/a")] {
        listener.hear(path)?;
        speaker.until_heard().await?;
        let sent = speaker.counted().await?.received.packets;
        for index in 0..3 {
            speaker.say(&Said::new(u32::try_from(sent)? + index)).await?;
            sleep(Duration::from_millis(5)).await;
        }
        let heard = listener.counted().await?.sent.packets;
        ensure!(heard > 0, "{heard}");
    }
    let heard = listening.await??;
    ensure!(heard.len() == 9, "{} packets", heard.len());
    let markers: Vec<bool> = heard.iter().map(|packet| packet.marker).collect();
    ensure!([0, 3, 6].iter().all(|at| markers[*at]), "{markers:?}");
    for pair in heard.windows(2) {
        ensure!(pair[1].sequence == pair[0].sequence.wrapping_add(1));
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        ensure!((160..8000 * 10).contains(&step), "{step}");
    }
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_report_how_they_are_heard() -> Result<()> {
    let relay = start()?;
    for is_mux in [false, true] {
        let control = UdpSocket::bind("127.0.0.1:0").await?;
        let telephone = Telephone::new(&relay, 0, "call/7/a", Delivery::Datagram, 7).await?;
        let socket = telephone.socket.clone();
        let reports = if is_mux { &*socket } else { &control };
        let settings = LegSettings {
            rtcp: if is_mux {
                Rtcp::Mux
            } else {
                Rtcp::Apart(control.local_addr()?)
            },
            // One of both wants to know more.
            has_metrics: is_mux,
            ..telephone.settings.clone()
        };
        telephone.port.change(telephone.leg, settings, None)?;
        let from = if is_mux { telephone.relay } else { telephone.control };
        for index in [0, 1, 3] {
            telephone.say(&Said::new(index)).await?;
        }
        telephone.until(|counted| counted.received.packets == 3).await?;
        let sent = Sent {
            ssrc: 99,
            ntp: 5 << 32,
            timestamp: 0,
            packets: 3,
            bytes: 480,
        };
        let ours = Report {
            ssrc: 99,
            sent: Some(sent),
            heard: None,
            name: "them",
            metrics: None,
            is_over: false,
        };
        let mut out = Vec::new();
        ours.write(&mut out);
        reports.send_to(&out, from).await?;
        telephone.until(|counted| counted.reports == 1).await?;

        // It has sent nothing, and says how it hears.
        let told = next_report(reports, from).await?;
        let block = told.iter().find_map(|told| match told {
            Told::Heard(block) => Some(*block),
            _ => None,
        });
        let block = block.context("no report")?;
        ensure!(
            (block.ssrc, block.lost, block.fraction_lost, block.last_sent) == (99, 1, 64, 5 << 16),
            "{block:?}"
        );
        ensure!(block.highest == 65_300 + 3 && block.delay > 0, "{block:?}");
        ensure!(!told.iter().any(|told| matches!(told, Told::Sent(_))), "{told:?}");
        let played = told.iter().find_map(|told| match told {
            Told::Played(played) => Some((played.ssrc, played.lost, played.discarded)),
            _ => None,
        });
        ensure!(played == is_mux.then_some((99, 64, 0)), "{played:?}");
        // Of another source than the leg's nothing is taken.
        for ssrc in [8, 7] {
            let heard = Block {
                ssrc,
                fraction_lost: 25,
                lost: 5,
                jitter: 80,
                last_sent: 0,
                ..block
            };
            let report = Report {
                sent: None,
                heard: Some(heard),
                ..ours
            };
            report.write(&mut out);
            reports.send_to(&out, from).await?;
        }
        telephone.until(|counted| counted.reports == 3).await?;
        let counted = telephone.counted().await?;
        ensure!((counted.peer.reports, counted.peer.lost) == (1, 5), "{counted:?}");
        ensure!(counted.peer_jitter == Duration::from_millis(10), "{counted:?}");
        ensure!(
            counted.mos().is_some_and(|mos| mos < 4.0),
            "a quarter is lost: {counted:?}"
        );
        telephone.close().await?;
        let told = next_report(reports, from).await?;
        ensure!(told.contains(&Told::Over { ssrc: 7 }), "{told:?}");
    }
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_at_first_is_heard_later() -> Result<()> {
    let relay = start()?;
    let telephone = Telephone::new(&relay, 0, "call/7/a", Delivery::Stream, 1).await?;
    let publisher = Publisher::connect(relay.address(), Draft::Lite06).await?;
    let mut random = Random::new(5);
    let first = random.group(0, &[160]);
    // There is no audio at first.
    let video = publisher.publish("call/7/client", "video", &first)?;
    telephone.hear("call/7/client")?;
    sleep(A_WHILE).await;
    let listening = telephone.packets();
    let audio = video
        .broadcast
        .create_track("audio", moqswitch_interop::peer::track_info())?;
    let mut number = 0;
    while telephone.counted().await?.sent.packets < 3 {
        ensure!(number < 1000, "it is not tried again");
        let group = random.group(number, &[160]);
        moqswitch_interop::peer::write_group(&audio, &group)?;
        number += 1;
        sleep(Duration::from_millis(20)).await;
    }
    ensure!(listening.await??.len() >= 3);
    telephone.close().await?;
    stop(relay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opened_a_leg_is_told_what_becomes_of_it() -> Result<()> {
    let relay = start()?;
    let path = BroadcastPath::new(&"x".repeat(100_000));
    let settings = LegSettings::new(path, LegCodec::Pcmu, 0, (1, 2, 3));
    let refused = Telephone::with("127.0.0.1", &relay, 0, settings).await?;
    let event = refused.event().await?;
    ensure!(
        matches!(event, LegEvent::Refused { leg, reason: LegRefused::NotAnnounced } if leg == refused.leg),
        "{event:?}"
    );

    // One that speaks IPv6, and after a while does not.
    let path = BroadcastPath::new("call/7/a");
    let settings = LegSettings {
        media_timeout: Some(Duration::from_millis(200)),
        ..LegSettings::new(path, LegCodec::Pcmu, 0, (1, 2, 3))
    };
    ensure!(settings.media_timeout < Some(MEDIA_TIMEOUT_DEFAULT));
    let telephone = Telephone::with("::1", &relay, 0, settings.clone()).await?;
    let nothing = timeout(A_WHILE * 2, telephone.event()).await;
    ensure!(nothing.is_err(), "before it ought to speak: {nothing:?}");
    for round in 1..3 {
        meet(&telephone, &settings, telephone.socket.local_addr()?)?;
        let event = telephone.event().await?;
        ensure!(matches!(event, LegEvent::Silent { .. }), "{event:?}");
        telephone.say(&Said::new(round)).await?;
        telephone
            .until(|counted| counted.received.packets == u64::from(round))
            .await?;
    }
    telephone.port.count_later(telephone.leg)?;
    loop {
        match telephone.event().await? {
            LegEvent::Silent { .. } => {}
            LegEvent::Counted { statistics, .. } => break ensure!(statistics.received.packets == 2),
            event => anyhow::bail!("{event:?}"),
        }
    }
    telephone.port.close(telephone.leg, None)?;
    loop {
        match telephone.event().await? {
            LegEvent::Silent { .. } => {}
            LegEvent::Closed { statistics, .. } => break ensure!(statistics.received.packets == 2),
            event => anyhow::bail!("{event:?}"),
        }
    }
    stop(relay).await
}

fn meet(telephone: &Telephone, settings: &LegSettings, address: SocketAddr) -> Result<()> {
    let peer = LegPeer {
        address,
        is_translated: false,
    };
    Ok(telephone.port.change(telephone.leg, settings.clone(), Some(peer))?)
}

/// The next report of a leg.
async fn next_report(reports: &UdpSocket, leg: SocketAddr) -> Result<Vec<Told>> {
    let mut datagram = [0; 2000];
    let (length, from) = timeout(LIMIT, reports.recv_from(&mut datagram)).await??;
    ensure!(from == leg, "a report from {from}");
    let mut told = Vec::new();
    read(&datagram[..length], |one| told.push(one));
    Ok(told)
}
