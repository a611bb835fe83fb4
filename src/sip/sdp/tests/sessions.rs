//! Offers and answers of one leg, one after the other.

use super::*;
use crate::sdp::{Crypto, Local, Material, Secret, Suite};

/// What is agreed between two of us.
fn call(caller: &mut Session, called: &mut Session, codecs: &[Codec]) -> (Agreed, Agreed) {
    let offer = caller.offer(codecs, Direction::SendReceive);
    let (text, theirs) = answer(called, &offer, &ORDER);
    (caller.take_answer(&parsed(&text)).unwrap(), theirs)
}

fn other() -> Session {
    Session::new(address("198.51.100.20:20000"), 77, 5)
}

#[test]
fn an_offer_is_written_so() {
    assert_eq!(
        session().offer(&Codec::ALL, Direction::SendReceive),
        "v=0\r\no=- 4611686018 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
         m=audio 10000 RTP/AVP 0 8 9 111 101 110\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:9 G722/8000\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtpmap:110 telephone-event/48000\r\n\
         a=fmtp:110 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    );
    let offer = session().offer(&[Codec::Pcma], Direction::SendOnly);
    assert_eq!(line(&offer, "m="), "audio 10000 RTP/AVP 8 101");
    assert!(offer.contains("a=sendonly\r\n"));
    assert_eq!(
        line(&session().offer(&[], Direction::SendReceive), "m="),
        "audio 10000 RTP/AVP 0 8 9 111 101 110"
    );
}

#[test]
fn both_sides_agree() {
    for codecs in [&ORDER[..], &NARROW, &[Codec::G722], &[Codec::Opus]] {
        let (ours, theirs) = call(&mut session(), &mut other(), codecs);
        assert_eq!(ours.codec, theirs.codec);
        assert_eq!(
            (ours.payload_type_send, ours.payload_type_receive),
            (theirs.payload_type_receive, theirs.payload_type_send)
        );
        assert_eq!(
            (ours.event_send, &ours.events_receive),
            (theirs.event_send, &theirs.events_receive)
        );
        assert_eq!(ours.event_send.map(|event| event.clock_hz), Some(ours.codec.clock_hz()));
        assert_eq!(
            (ours.peer, theirs.peer),
            (Some(address("198.51.100.20:20000")), Some(address("192.0.2.10:10000")))
        );
        assert_eq!(
            (ours.rtcp, theirs.rtcp),
            (Some(address("198.51.100.20:20001")), Some(address("192.0.2.10:10001")))
        );
        assert!(ours.sends && ours.receives && theirs.sends && theirs.receives);
        assert!(!ours.is_held_by_peer && !theirs.is_held_by_peer);
        assert!(ours.also_receives.is_empty() && ours.keys.is_none());
    }
}

#[test]
fn every_telephone_is_answered() {
    for (phone, codec, peer) in [
        (phones::CISCO, Codec::G722, "10.10.10.10:20096"),
        (phones::CISCO_GATEWAY, Codec::Pcma, "10.0.0.4:43712"),
        (phones::YEALINK, Codec::G722, "192.168.1.57:11792"),
        (phones::GENESYS, Codec::Opus, "52.129.96.10:16492"),
        (phones::TWILIO, Codec::Pcmu, "168.86.150.12:14082"),
        (phones::ASTERISK, Codec::G722, "192.168.0.150:16104"),
        (phones::LINPHONE, Codec::Opus, "192.168.1.20:7078"),
        (phones::BARESIP, Codec::Opus, "10.0.1.8:17442"),
        (phones::SIX, Codec::Pcmu, "[2001:db8::7]:5004"),
        (phones::PHONERLITE, Codec::G722, "10.1.15.11:42236"),
        (phones::DIDWW, Codec::Pcmu, "46.19.209.78:13960"),
    ] {
        let (_, agreed) = answer(&mut session(), phone, &ORDER);
        assert_eq!((agreed.codec, agreed.peer), (codec, Some(address(peer))), "{phone}");
        assert!(agreed.sends && agreed.receives && !agreed.is_held_by_peer && agreed.event_send.is_some());
        assert_eq!(agreed.ptime_ms, 20);
    }
    assert_eq!(refusal(&mut session(), phones::BROWSER, &ORDER), Refused::NoAudio);
}

#[test]
fn the_version_goes_up_exactly_with_a_change() {
    let mut session = session();
    let first = session.offer(&NARROW, Direction::SendReceive);
    assert_eq!(version(&first), 1);
    assert_eq!(session.offer(&NARROW, Direction::SendReceive), first);
    let hold = session.offer(&NARROW, Direction::SendOnly);
    assert_eq!(version(&hold), 2);
    assert_eq!(session.offer(&NARROW, Direction::SendOnly), hold);
    assert_eq!(version(&session.offer(&NARROW, Direction::SendReceive)), 3);
    session.move_to(address("192.0.2.10:10004"));
    assert_eq!(version(&session.offer(&NARROW, Direction::SendReceive)), 4);
    // Answers count with offers: it is one description that changes.
    let (text, _) = answer(&mut session, phones::TWILIO, &NARROW);
    assert_eq!(version(&text), 5);
    assert_eq!(answer(&mut session, phones::TWILIO, &NARROW).0, text);
    let mut last = Session::new(address("192.0.2.10:10000"), 1, u64::MAX);
    last.offer(&NARROW, Direction::SendReceive);
    assert_eq!(version(&last.offer(&NARROW, Direction::Inactive)), 0);
}

#[test]
fn we_hold_and_are_held() {
    let (mut ours, mut theirs) = (session(), other());
    call(&mut ours, &mut theirs, &NARROW);
    let mut change = |direction, theirs_would| {
        let offer = ours.offer(&NARROW, direction);
        let (text, held) = theirs.answer(&parsed(&offer), &NARROW, theirs_would).unwrap();
        (ours.take_answer(&parsed(&text)).unwrap(), held)
    };
    let (agreed, held) = change(Direction::SendOnly, Direction::SendReceive);
    assert!(agreed.sends && !agreed.receives && !agreed.is_held_by_peer);
    assert!(!held.sends && held.receives && held.is_held_by_peer);
    // They hold as well, while we do.
    let (agreed, _) = change(Direction::SendOnly, Direction::SendOnly);
    assert!(!agreed.sends && !agreed.receives && agreed.is_held_by_peer);
    // What they would do is not to be known of an answer to nothing.
    let (agreed, _) = change(Direction::Inactive, Direction::SendOnly);
    assert!(agreed.is_held_by_peer);
    let (agreed, _) = change(Direction::SendReceive, Direction::SendOnly);
    assert!(!agreed.sends && agreed.receives && agreed.is_held_by_peer);
    let (agreed, held) = change(Direction::SendReceive, Direction::SendReceive);
    assert!(agreed.sends && agreed.receives && !agreed.is_held_by_peer && !held.is_held_by_peer);
    let (agreed, held) = change(Direction::Inactive, Direction::SendReceive);
    assert!(!agreed.is_held_by_peer && held.is_held_by_peer && !held.receives);
}

#[test]
fn an_answer_that_allows_too_much_is_cut() {
    let mut session = session();
    session.offer(&NARROW, Direction::SendOnly);
    let agreed = session.take_answer(&parsed(phones::TWILIO)).unwrap();
    assert!(agreed.sends && !agreed.receives);
}

#[test]
fn an_answer_says_no_more_than_we_do() {
    let offer = parsed(phones::TWILIO);
    let (text, agreed) = session().answer(&offer, &NARROW, Direction::SendOnly).unwrap();
    assert!(text.contains("a=sendonly\r\n") && agreed.sends && !agreed.receives);
    let (text, agreed) = session().answer(&offer, &NARROW, Direction::Inactive).unwrap();
    assert!(text.contains("a=inactive\r\n") && !agreed.sends && !agreed.is_held_by_peer);
}

#[test]
fn later_offers_have_the_sections_of_before() {
    let mut session = session();
    answer(&mut session, phones::YEALINK, &NARROW);
    let offer = session.offer(&NARROW, Direction::SendReceive);
    assert!(
        offer.contains("m=audio 0 RTP/SAVP 9 0 8 18 101\r\nm=audio 10000 RTP/AVP 0 8 101\r\n"),
        "{offer}"
    );
    // The answer is at its place; if the other was left out, it is the only one.
    let of = |first: &str| format!("v=0\r\nc=IN IP4 203.0.113.5\r\n{first}m=audio 11792 RTP/AVP 8\r\n");
    for text in [of("m=audio 0 RTP/SAVP 9\r\n"), of("")] {
        assert_eq!(session.take_answer(&parsed(&text)).unwrap().codec, Codec::Pcma);
    }
    let mut session = super::session();
    answer(&mut session, phones::LINPHONE, &NARROW);
    assert_eq!(
        line(&session.offer(&NARROW, Direction::SendReceive), "m="),
        "audio 10000 RTP/AVPF 0 8 100"
    );
}

#[test]
fn later_offers_have_the_numbers_of_before() {
    let mut session = session();
    answer(&mut session, phones::GENESYS, &ORDER);
    let offer = session.offer(&ORDER, Direction::SendReceive);
    assert_eq!(line(&offer, "m="), "audio 10000 RTP/AVP 107 9 0 8 96 110");
    let mut session = super::session();
    // 111 is something else here, and 101 is, too.
    let odd = phones::of(
        "4000 RTP/AVP 0 111 101",
        &["rtpmap:111 G726-32/8000", "rtpmap:101 speex/8000"],
    );
    answer(&mut session, &odd, &ORDER);
    let offer = session.offer(&[Codec::Opus], Direction::SendReceive);
    assert_eq!(line(&offer, "m="), "audio 10000 RTP/AVP 96 97 110");
}

#[test]
fn only_one_stream_of_audio_is_taken() {
    let offer = phones::of(
        "4000 RTP/AVP 18\r\nm=audio 4002 RTP/AVP 0\r\nm=audio 4004 RTP/AVP 8\r\nm=video 4006 RTP/AVP 99",
        &[],
    );
    let (text, agreed) = answer(&mut session(), &offer, &NARROW);
    assert_eq!(agreed.peer, Some(address("203.0.113.5:4002")));
    let ports: Vec<u16> = parsed(&text).sections.iter().map(|section| section.port).collect();
    assert_eq!(ports, [0, 10000, 0, 0]);
}

#[test]
fn what_cannot_be_agreed_to_is_refused() {
    for (offer, refused) in [
        ("v=0\r\n".to_owned(), Refused::NoAudio),
        (phones::of("4000 RTP/AVP 18", &[]), Refused::NoCodec),
        (phones::of("4000 TCP/RTP/AVP 0", &[]), Refused::NoAudio),
        (phones::of("4000 RTP/SAVP 0", &[]), Refused::Keys),
        (phones::of("0 RTP/AVP 18", &[]), Refused::NoCodec),
        ("v=0\r\nm=video 0 RTP/AVP 99\r\n".to_owned(), Refused::NoAudio),
    ] {
        assert_eq!(refusal(&mut session(), &offer, &ORDER), refused, "{offer}");
    }
    assert_eq!(refusal(&mut session(), phones::TWILIO, &[]), Refused::NoCodec);
    for (answered, refused) in [
        (phones::of("0 RTP/AVP 0", &[]), Refused::NoAudio),
        (phones::of("4000 RTP/AVP 8", &[]), Refused::NoCodec),
        (
            phones::of("4000 RTP/SAVP 0", &["crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"]),
            Refused::Keys,
        ),
        ("v=0\r\nm=image 4000 udptl t38\r\n".to_owned(), Refused::NoAudio),
    ] {
        let mut session = session();
        session.offer(&[Codec::Pcmu], Direction::SendReceive);
        assert_eq!(session.take_answer(&parsed(&answered)), Err(refused), "{answered}");
        assert!(session.agreed().is_none());
    }
}

#[test]
fn each_answer_is_one_to_the_offer() {
    let mut session = session();
    session.offer(&ORDER, Direction::SendReceive);
    // Two telephones ring; each has a dialog of its own.
    let mut forked = session.clone();
    let early = session
        .take_answer(&parsed(&phones::of("4000 RTP/AVP 0", &["sendonly"])))
        .unwrap();
    assert!(early.receives && !early.sends);
    let last = session
        .take_answer(&parsed(&phones::of("4002 RTP/AVP 8", &[])))
        .unwrap();
    assert_eq!(
        (last.codec, last.peer),
        (Codec::Pcma, Some(address("203.0.113.5:4002")))
    );
    assert_eq!(
        forked
            .take_answer(&parsed(&phones::of("9000 RTP/AVP 9", &[])))
            .unwrap()
            .codec,
        Codec::G722
    );
    // Numbers that an answer does not explain are those of the offer.
    let bare = session
        .take_answer(&parsed(&phones::of("4000 RTP/AVP 111 110", &[])))
        .unwrap();
    assert_eq!(
        (bare.codec, bare.event_send.map(|event| event.clock_hz)),
        (Codec::Opus, Some(48_000))
    );
    // An answer of ours ends it.
    answer(&mut session, phones::TWILIO, &ORDER);
    assert_eq!(session.take_answer(&parsed(phones::TWILIO)), Err(Refused::NotOffered));
}

#[test]
fn rtcp_goes_with_the_stream_if_both_want_it() {
    let with = |rtcp_mux| Local {
        rtcp_mux,
        ..Local::from(address("192.0.2.10:10000"))
    };
    let (text, agreed) = answer(&mut Session::new(with(true), 1, 1), phones::BARESIP, &ORDER);
    assert!(text.contains("a=rtcp-mux\r\n") && agreed.rtcp_mux);
    assert_eq!(agreed.rtcp, agreed.peer);
    let (text, agreed) = answer(&mut Session::new(with(false), 1, 1), phones::BARESIP, &ORDER);
    assert!(!text.contains("rtcp-mux") && !agreed.rtcp_mux);
    assert_eq!(agreed.rtcp, Some(address("10.0.1.8:17443")));
    let (text, agreed) = answer(&mut Session::new(with(true), 1, 1), phones::CISCO, &ORDER);
    assert!(!text.contains("rtcp-mux") && !agreed.rtcp_mux);
    let mut caller = Session::new(with(true), 1, 1);
    assert!(caller.offer(&ORDER, Direction::SendReceive).contains("a=rtcp-mux\r\n"));
    assert!(caller.take_answer(&parsed(phones::BARESIP)).unwrap().rtcp_mux);
}

#[test]
fn who_wants_metrics_in_rtcp_is_told_that_it_has_them() {
    for (offer, wants) in [(phones::LINPHONE, true), (phones::BARESIP, false)] {
        let (text, agreed) = answer(&mut session(), offer, &ORDER);
        assert_eq!(
            (agreed.has_metrics, text.contains("a=rtcp-xr:voip-metrics\r\n")),
            (wants, wants)
        );
    }
    let of = |format: &str| phones::of("4000 RTP/AVP 0", &[format]);
    for (offer, wants) in [
        (of("rtcp-xr:rcvr-rtt=all:10000 VOIP-METRICS"), true),
        (of("rtcp-xr:stat-summary=loss,dup,jitt,TTL"), false),
        (of("rtcp-xr"), false),
    ] {
        let mut caller = session();
        let text = caller.offer(&NARROW, Direction::SendReceive);
        assert!(!text.contains("rtcp-xr"), "nobody is asked for what it may not know");
        assert_eq!(
            caller.take_answer(&parsed(&offer)).unwrap().has_metrics,
            wants,
            "{offer}"
        );
    }
}

#[test]
fn a_name_is_no_address_but_no_hold_either() {
    let offer = phones::of("4000 RTP/AVP 0", &[]).replace("c=IN IP4 203.0.113.5", "c=IN IP4 phone.example.com");
    let (text, agreed) = answer(&mut session(), &offer, &NARROW);
    assert!(text.contains("a=sendrecv\r\n"));
    assert_eq!((agreed.peer, agreed.rtcp), (None, None));
    assert!(agreed.sends && !agreed.is_held_by_peer);
}

fn key(tag: u32, text: &str) -> Crypto {
    Crypto {
        tag,
        suite: "AES_CM_128_HMAC_SHA1_80".to_owned(),
        key: Secret::new(format!("inline:{text}")),
        parameters: String::new(),
    }
}

fn secure(at: &str, text: &str) -> Session {
    let local = Local {
        crypto: vec![key(4, text)],
        ..Local::from(address(at))
    };
    Session::new(local, 9, 1)
}

#[test]
fn with_keys_the_secure_stream_is_taken() {
    let mut session = secure("192.0.2.10:10000", OURS);
    let (text, agreed) = answer(&mut session, phones::YEALINK, &ORDER);
    assert!(text.contains("m=audio 10000 RTP/SAVP 9 101\r\n") && text.ends_with("m=audio 0 RTP/AVP 9 0 8 18 101\r\n"));
    assert_eq!(
        line(&text, "a=crypto:"),
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{OURS}")
    );
    assert_eq!(agreed.keys.as_ref().map(|keys| keys.theirs.tag), Some(1));
    assert!(!format!("{session:?} {agreed:?}").contains(OURS));
    // Without keys it is the plain one.
    let (text, agreed) = answer(&mut super::session(), phones::YEALINK, &ORDER);
    assert!(text.contains("m=audio 0 RTP/SAVP 9 0 8 18 101\r\nm=audio 10000 RTP/AVP 9 101\r\n"));
    assert!(agreed.keys.is_none() && !text.contains("crypto"));
    // Keys beside a plain stream are for nobody.
    let (text, agreed) = answer(
        &mut secure("192.0.2.10:10000", OURS),
        &phones::of("4000 RTP/AVP 0", &["crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"]),
        &ORDER,
    );
    assert!(agreed.keys.is_none() && !text.contains("crypto"));
}

#[test]
fn with_keys_secure_streams_are_offered() {
    let (mut ours, mut theirs) = (secure("192.0.2.10:10000", OURS), secure("198.51.100.20:20000", THEIRS));
    let (agreed, of_them) = call(&mut ours, &mut theirs, &NARROW);
    let (keys, others) = (agreed.keys.unwrap(), of_them.keys.unwrap());
    assert_eq!(
        (keys.ours.key.reveal(), keys.theirs.key.reveal()),
        (format!("inline:{OURS}").as_str(), format!("inline:{THEIRS}").as_str())
    );
    assert_eq!((keys.ours, keys.theirs), (others.theirs, others.ours));
    assert!(
        ours.offer(&NARROW, Direction::SendOnly)
            .contains("RTP/SAVP 0 8 101\r\n")
    );
    assert_eq!(ours.take_answer(&parsed(phones::TWILIO)), Err(Refused::Keys));
}

#[test]
fn what_was_secret_stays_so_with_the_same_key_of_ours() {
    let suites = [Suite::AesGcm128, Suite::AesCm80];
    let local = Local {
        crypto: suites
            .iter()
            .zip(1..)
            .map(|(suite, tag)| Crypto::new(tag, &material(*suite, 7)))
            .collect(),
        ..Local::from(address("192.0.2.10:10000"))
    };
    let mut session = Session::new(local, 9, 1);
    let offer = |suite: Suite, first: u8| {
        let line = Crypto::new(3, &material(suite, first)).write();
        phones::of("4000 RTP/SAVP 0", &[&format!("crypto:{line}")])
    };
    let (text, agreed) = answer(&mut session, &offer(Suite::AesCm80, 1), &ORDER);
    let ours = line(&text, "a=crypto:").to_owned();
    assert!(ours.starts_with("3 AES_CM_128_HMAC_SHA1_80 inline:"));
    assert_eq!(
        agreed.keys.unwrap().theirs.material(),
        Some(material(Suite::AesCm80, 1))
    );
    // No plain stream, and no key of theirs that is none.
    for plain in [
        phones::of("4000 RTP/AVP 0", &[]),
        phones::of("4000 RTP/SAVP 0", &["crypto:3 AES_CM_128_HMAC_SHA1_80 inline:short"]),
    ] {
        assert_eq!(session.refuses(&parsed(&plain), &ORDER), Some(Refused::Keys));
        assert_eq!(refusal(&mut session, &plain, &ORDER), Refused::Keys);
    }
    // They may change their key, and we offer the one that there is.
    let (text, agreed) = answer(&mut session, &offer(Suite::AesCm80, 2), &ORDER);
    assert_eq!(line(&text, "a=crypto:"), ours);
    assert_eq!(
        agreed.keys.unwrap().theirs.material(),
        Some(material(Suite::AesCm80, 2))
    );
    let text = session.offer(&ORDER, Direction::SendOnly);
    assert_eq!(text.matches("a=crypto:").count(), 1);
    assert_eq!(line(&text, "a=crypto:"), ours);
    let (text, _) = answer(&mut session, &offer(Suite::AesGcm128, 3), &ORDER);
    assert!(line(&text, "a=crypto:").starts_with("3 AEAD_AES_128_GCM inline:"));
}

#[test]
fn who_needs_keys_takes_nothing_plain() {
    let local = Local {
        crypto: vec![key(1, OURS)],
        needs_keys: true,
        ..Local::from(address("192.0.2.10:10000"))
    };
    let mut session = Session::new(local, 9, 1);
    assert_eq!(refusal(&mut session, phones::TWILIO, &ORDER), Refused::Keys);
    let (text, _) = answer(&mut session, phones::YEALINK, &ORDER);
    assert!(text.contains("m=audio 10000 RTP/SAVP "), "{text}");
}

fn material(suite: Suite, first: u8) -> Material {
    Material::new(suite, vec![first; suite.bytes()].into()).unwrap()
}

const OURS: &str = "b3Vyc291cnNvdXJzb3Vyc291cnNvdXJzb3VycyEh";
const THEIRS: &str = "dGhlaXJzdGhlaXJzdGhlaXJzdGhlaXJzdGhlaXJz";

#[test]
fn browsers_are_taken_where_they_are_expected_and_nobody_else_is() {
    let mut plain = Session::new(address("192.0.2.10:10000"), 9, 1);
    assert_eq!(refusal(&mut plain, phones::BROWSER, &ORDER), Refused::NoAudio);
    let mut session = Session::new(address("192.0.2.10:10000"), 9, 1);
    session.set_browser();
    assert_eq!(refusal(&mut session, phones::CISCO, &ORDER), Refused::NoAudio);
    let (text, agreed) = answer(&mut session, phones::BROWSER, &ORDER);
    assert!(text.contains(" UDP/TLS/RTP/SAVPF "), "{text}");
    assert!(agreed.sends && agreed.receives && agreed.peer.is_none() && agreed.keys.is_none());
    let offer = session.offer(&ORDER, Direction::SendReceive);
    assert!(offer.contains(" UDP/TLS/RTP/SAVPF "), "{offer}");
}
