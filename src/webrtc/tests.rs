//! Sessions against str0m itself as the browser, without a network.

use std::time::Duration;

use super::*;
use crate::exercise::Browser;

const OURS: &str = "192.0.2.1:5000";
const THEIRS: &str = "198.51.100.7:6000";

/// What a session told.
#[derive(Default)]
struct Seen {
    up: Option<SocketAddr>,
    packets: Vec<SessionPacket<std::sync::Arc<[u8]>>>,
    is_over: bool,
}

fn browser(now: Instant) -> Browser {
    Browser::new(
        &certificate(),
        THEIRS.parse().unwrap(),
        &[Codec::Opus, Codec::Pcmu],
        now,
    )
}

fn certificate() -> Certificate {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    Certificate {
        certificate: certificate.der().to_vec(),
        key: key.serialize_der(),
    }
}

fn settings<'a>(certificate: &'a Certificate, codecs: &'a [Codec], now: Instant) -> SessionSettings<'a> {
    SessionSettings {
        certificate,
        address: OURS.parse().unwrap(),
        codecs,
        now,
    }
}

/// Both sides until nothing is said any more at this moment.
fn exchange(session: &mut Session, browser: &mut Browser, seen: &mut Seen, now: Instant) {
    loop {
        let mut is_quiet = true;
        for (destination, datagram) in browser.poll().0 {
            assert_eq!(destination, OURS.parse().unwrap());
            is_quiet = false;
            session.handle_datagram(THEIRS.parse().unwrap(), &datagram, now);
        }
        let mut sent = Vec::new();
        session.poll(|told| match told {
            Told::Send { destination, datagram } => {
                assert_eq!(destination, THEIRS.parse().unwrap());
                sent.push(datagram);
            }
            Told::Packet(packet) => seen.packets.push(packet),
            Told::Up(remote) => seen.up = Some(remote),
            Told::Over => seen.is_over = true,
            Told::Wait(_) => {}
        });
        for datagram in sent {
            is_quiet = false;
            browser.handle_datagram(OURS.parse().unwrap(), &datagram, now);
        }
        if is_quiet {
            return;
        }
    }
}

/// Time passes in steps until something is so.
fn run(
    session: &mut Session,
    browser: &mut Browser,
    seen: &mut Seen,
    now: &mut Instant,
    is_done: impl Fn(&Browser, &Seen) -> bool,
) {
    for _ in 0..2000 {
        exchange(session, browser, seen, *now);
        if is_done(browser, seen) || seen.is_over {
            return;
        }
        *now += Duration::from_millis(10);
        session.handle_timeout(*now);
        browser.handle_timeout(*now);
    }
    panic!("it takes too long");
}

/// A browser that has called, and is up.
fn connected(codecs: &[Codec], now: &mut Instant) -> (Session, Browser, Seen) {
    let (certificate, mut browser, mut seen) = (certificate(), browser(*now), Seen::default());
    let offer = browser.offer(true, true);
    let (mut session, answer) = Session::answer(&settings(&certificate, codecs, *now), &offer).unwrap();
    assert!(answer.contains("a=ice-lite") && answer.contains(session.username()));
    browser.answered(&answer);
    run(&mut session, &mut browser, &mut seen, now, |browser, seen| {
        browser.is_up && seen.up.is_some()
    });
    assert_eq!(seen.up, Some(THEIRS.parse().unwrap()));
    (session, browser, seen)
}

#[test]
fn a_browser_that_calls_is_heard_and_hears_untouched() {
    let mut now = Instant::now();
    let (mut session, mut browser, mut seen) = connected(&[Codec::Opus], &mut now);
    let agreed = session.agreed().clone();
    assert!(agreed.sends && agreed.receives);
    let [(payload_type, Codec::Opus)] = agreed.codecs[..] else {
        panic!("{agreed:?}");
    };
    assert_eq!(agreed.events, [(110, 48_000)]);
    for sequence in 0..20_u8 {
        browser.speak(payload_type, 60_000 + u32::from(sequence), &[sequence; 50], now);
        let packet = SessionPacket {
            marker: sequence == 0,
            payload_type,
            sequence: 65_530_u16.wrapping_add(u16::from(sequence)),
            timestamp: 7 + u32::from(sequence) * 960,
            ssrc: 0,
            payload: &[100 + sequence; 80][..],
        };
        assert!(session.send(&packet, now));
        exchange(&mut session, &mut browser, &mut seen, now);
        now += Duration::from_millis(20);
    }
    let said: Vec<_> = seen.packets.iter().map(|packet| packet.payload.to_vec()).collect();
    assert_eq!(said, (0..20).map(|byte| vec![byte; 50]).collect::<Vec<_>>());
    assert!(seen.packets.iter().all(|packet| packet.payload_type == payload_type));
    assert_eq!(seen.packets[0].sequence, 60_000);
    let heard: Vec<_> = browser.heard.iter().map(|packet| packet.payload.to_vec()).collect();
    assert_eq!(heard, (100..120).map(|byte| vec![byte; 80]).collect::<Vec<_>>());
    assert!(browser.heard[0].marker && !browser.heard[1].marker);
    assert_eq!(browser.heard[19].timestamp, 7 + 19 * 960);
    // What was not agreed on is not sent.
    let other = SessionPacket {
        marker: false,
        payload_type: 0,
        sequence: 100,
        timestamp: 0,
        ssrc: 0,
        payload: &[1; 160][..],
    };
    assert!(!session.send(&other, now));
}

#[test]
fn a_browser_that_is_called_answers() {
    let mut now = Instant::now();
    let (certificate, mut browser, mut seen) = (certificate(), browser(now), Seen::default());
    let (mut offered, offer) = Session::offer(&settings(&certificate, &[Codec::Pcmu], now)).unwrap();
    assert!(offer.contains(&offered.username()) && offer.contains("PCMU"));
    let answer = browser.answer(&offer);
    let mut session = offered.accept(&answer, now).unwrap();
    assert_eq!(session.agreed().codecs, [(0, Codec::Pcmu)]);
    run(&mut session, &mut browser, &mut seen, &mut now, |browser, seen| {
        browser.is_up && seen.up.is_some()
    });
    browser.speak(0, 5, &[0xff; 160], now);
    run(&mut session, &mut browser, &mut seen, &mut now, |_, seen| {
        !seen.packets.is_empty()
    });
    assert_eq!(seen.packets[0].payload[..], [0xff; 160]);
}

#[test]
fn a_peer_that_is_gone_or_never_comes_is_over() {
    let mut now = Instant::now();
    let (mut session, _, mut seen) = connected(&[Codec::Opus], &mut now);
    let mut waited = Duration::ZERO;
    while !seen.is_over && waited < Duration::from_secs(120) {
        waited += Duration::from_millis(100);
        session.handle_timeout(now + waited);
        session.poll(|told| seen.is_over |= matches!(told, Told::Over));
    }
    assert!(seen.is_over, "it is waited for for ever");

    let (certificate, mut browser) = (certificate(), browser(now));
    let offer = browser.offer(true, true);
    let (mut session, _) = Session::answer(&settings(&certificate, &[Codec::Opus], now), &offer).unwrap();
    let mut is_over = false;
    session.handle_timeout(now + CONNECT_TIME_MAX - Duration::from_millis(1));
    session.poll(|told| is_over |= matches!(told, Told::Over));
    assert!(!is_over);
    session.handle_timeout(now + CONNECT_TIME_MAX);
    session.poll(|told| is_over |= matches!(told, Told::Over));
    assert!(is_over);
}

#[test]
fn one_side_that_ends_it_tells_the_other() {
    let mut now = Instant::now();
    let (mut session, mut browser, mut seen) = connected(&[Codec::Opus], &mut now);
    browser.close();
    run(&mut session, &mut browser, &mut seen, &mut now, |_, seen| seen.is_over);
    assert!(seen.is_over);
}

#[test]
fn strangers_change_nothing() {
    let mut now = Instant::now();
    let (mut session, mut browser, mut seen) = connected(&[Codec::Opus], &mut now);
    let stranger: SocketAddr = "203.0.113.9:1".parse().unwrap();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for length in (0..1500).step_by(7) {
        for first in [0_u8, 1, 20, 22, 63, 127, 128, 144, 191, 200, 255] {
            let mut datagram: Vec<u8> = (0..length)
                .map(|_| {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    noise.to_be_bytes()[0]
                })
                .collect();
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            // From where the peer is, too.
            session.handle_datagram(stranger, &datagram, now);
            session.handle_datagram(THEIRS.parse().unwrap(), &datagram, now);
            session.poll(|told| match told {
                Told::Send { destination, .. } => assert_eq!(destination, THEIRS.parse().unwrap()),
                Told::Packet(_) | Told::Up(_) => panic!("it is believed"),
                Told::Over => seen.is_over = true,
                Told::Wait(_) => {}
            });
            assert!(!seen.is_over, "{length} bytes that begin with {first} end it");
        }
    }
    let payload_type = session.agreed().codecs[0].0;
    browser.speak(payload_type, 9, b"it goes on", now);
    run(&mut session, &mut browser, &mut seen, &mut now, |_, seen| {
        !seen.packets.is_empty()
    });
    assert_eq!(seen.packets[0].payload[..], *b"it goes on");
}

#[test]
fn what_is_no_offer_is_refused() {
    let (certificate, now) = (certificate(), Instant::now());
    let refused = |offer: &str, codecs: &[Codec]| Session::answer(&settings(&certificate, codecs, now), offer).err();
    let offer = browser(now).offer(true, true);
    let unusable = |error| matches!(error, Some(DescriptionError::Unusable(_)));
    for text in [
        "",
        "v=0",
        "m=audio",
        "nonsense\r\n",
        &offer[..offer.len() / 2],
        &offer[1..],
    ] {
        assert!(refused(text, &[Codec::Opus]).is_some(), "{text}");
    }
    assert!(unusable(refused(
        &offer.replace("a=fingerprint", "a=fingerprinx"),
        &[Codec::Opus]
    )));
    assert_eq!(refused(&offer, &[Codec::Pcma]), Some(DescriptionError::NoCodec));
    // Cut anywhere, or with any byte changed, it is refused or answered, and nothing else happens.
    for at in 0..offer.len() {
        let _ = refused(&offer[..at], &[Codec::Opus]);
        let mut bytes = offer.clone().into_bytes();
        bytes[at] = bytes[at].wrapping_add(1) & 0x7f;
        let _ = refused(&String::from_utf8(bytes).unwrap(), &[Codec::Opus]);
    }
}
