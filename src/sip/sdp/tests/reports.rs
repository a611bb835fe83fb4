//! What others got wrong, by who reported it: the list is in the research of this project, with its numbers.

use super::*;
use crate::sdp::{EventType, Place};

const fn events(payload_type: u8, clock_hz: u32) -> EventType {
    EventType { payload_type, clock_hz }
}

/// A call that we made, and what Asterisk answered: PCMU.
fn called() -> Session {
    let mut session = session();
    session.offer(&[Codec::G722, Codec::Pcmu, Codec::Pcma], Direction::SendReceive);
    let answered = phones::of(
        "45832 RTP/AVP 0 101",
        &["rtpmap:0 PCMU/8000", "rtpmap:101 telephone-event/8000"],
    );
    let agreed = session.take_answer(&parsed(&answered)).unwrap();
    assert_eq!(agreed.codec, Codec::Pcmu);
    session
}

/// livekit/sip#597, #208, #141: the address is the one that we were given, never one of theirs or of nobody.
#[test]
fn report_8_our_address_is_what_the_peer_can_reach() {
    let mut session = session();
    let offer = session.offer(&Codec::ALL, Direction::SendReceive);
    let (answered, _) = answer(&mut session, phones::CISCO, &ORDER);
    for text in [&offer, &answered] {
        assert_eq!(line(text, "c="), "IN IP4 192.0.2.10");
        assert!(line(text, "o=").ends_with(" IN IP4 192.0.2.10"));
        assert!(line(text, "m=audio").starts_with(" 10000 "));
    }
    let mut six = Session::new(address("[2001:db8::10]:10002"), 1, 1);
    let (answered, agreed) = answer(&mut six, phones::SIX, &ORDER);
    assert_eq!(line(&answered, "c="), "IN IP6 2001:db8::10");
    assert_eq!(agreed.peer, Some(address("[2001:db8::7]:5004")));
}

/// livekit/sip#779: a hold that was answered `sendrecv` ended the call.
#[test]
fn report_9_hold_is_answered_by_its_mirror() {
    for (theirs, ours, sends, receives, is_held) in [
        ("sendonly", "recvonly", false, true, true),
        ("inactive", "inactive", false, false, true),
        ("recvonly", "sendonly", true, false, false),
        ("sendrecv", "sendrecv", true, true, false),
    ] {
        let mut session = called();
        let hold = phones::of("45832 RTP/AVP 0 101", &["rtpmap:101 telephone-event/8000", theirs]);
        let (text, agreed) = answer(&mut session, &hold, &NARROW);
        assert!(text.contains(&format!("a={ours}\r\n")), "{text}");
        assert_eq!(
            (agreed.sends, agreed.receives, agreed.is_held_by_peer),
            (sends, receives, is_held)
        );
        assert_eq!(agreed.peer, Some(address("203.0.113.5:45832")));
    }
}

/// diago#125: the last line counts, without an end of its own, too.
#[test]
fn report_9_the_last_line_needs_no_end() {
    let hold = phones::of("45832 RTP/AVP 0", &["rtpmap:0 PCMU/8000", "sendonly"]);
    for text in [hold.trim_end(), &hold.trim_end().replace("\r\n", "\n")] {
        assert_eq!(audio(text).direction, Direction::SendOnly);
        assert!(answer(&mut called(), text, &NARROW).0.contains("a=recvonly\r\n"));
    }
}

/// diago#125, livekit/sip#850: `0.0.0.0` is a hold; it is not said back, and the call resumes with the line of before.
#[test]
fn report_9_an_address_of_nowhere_holds_until_it_is_one() {
    for nowhere in ["IN IP4 0.0.0.0", "IN IP6 ::"] {
        let mut session = called();
        let talk = phones::of("45832 RTP/AVP 0 101", &["rtpmap:101 telephone-event/8000"]);
        let hold = talk.replace("c=IN IP4 203.0.113.5", &format!("c={nowhere}"));
        let (text, agreed) = answer(&mut session, &hold, &NARROW);
        assert_eq!(line(&text, "c="), "IN IP4 192.0.2.10");
        assert!(text.contains("a=recvonly\r\n"));
        assert!(agreed.is_held_by_peer && agreed.receives && !agreed.sends);
        assert_eq!((agreed.peer, agreed.rtcp), (None, None));
        let (text, agreed) = answer(&mut session, &talk, &NARROW);
        assert!(text.contains("a=sendrecv\r\n"));
        assert!(agreed.sends && agreed.receives && !agreed.is_held_by_peer);
        assert_eq!(agreed.peer, Some(address("203.0.113.5:45832")));
        assert_eq!(agreed.rtcp, Some(address("203.0.113.5:45833")));
    }
}

/// RFC 3264, section 8.4, with both spellings at once, and one that wants to hear at no place.
#[test]
fn report_9_both_spellings_of_hold_together() {
    for (theirs, ours) in [
        ("sendonly", "recvonly"),
        ("inactive", "inactive"),
        ("recvonly", "inactive"),
    ] {
        let hold = phones::of("45832 RTP/AVP 0", &[theirs]).replace("c=IN IP4 203.0.113.5", "c=IN IP4 0.0.0.0");
        let (text, agreed) = answer(&mut called(), &hold, &NARROW);
        assert!(text.contains(&format!("a={ours}\r\n")), "{theirs}");
        assert!(agreed.is_held_by_peer && !agreed.sends);
    }
}

/// livekit/sip#766: a change of codec is answered from the new offer, #661: and its port is used.
#[test]
fn report_10_a_new_offer_is_answered_by_itself() {
    let mut session = called();
    let pcma = phones::of(
        "25446 RTP/AVP 8 96",
        &["rtpmap:8 PCMA/8000", "rtpmap:96 telephone-event/8000"],
    );
    let (text, agreed) = answer(&mut session, &pcma, &NARROW);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVP 8 96");
    assert_eq!((agreed.codec, agreed.payload_type_send), (Codec::Pcma, 8));
    assert_eq!(agreed.event_send, Some(events(96, 8000)));
    assert_eq!(agreed.peer, Some(address("203.0.113.5:25446")));
}

/// livekit/sip#766: or it is refused, and what was agreed stays.
#[test]
fn report_10_what_is_refused_changes_nothing() {
    let mut session = called();
    let before = session.agreed().cloned();
    let said = session.offer(&NARROW, Direction::SendReceive);
    let g729 = phones::of("25446 RTP/AVP 18", &["rtpmap:18 G729/8000"]);
    assert_eq!(refusal(&mut session, &g729, &NARROW), Refused::NoCodec);
    assert_eq!(session.agreed().cloned(), before);
    assert_eq!(session.offer(&NARROW, Direction::SendReceive), said);
}

/// livekit/sip#95: format, rtpmap and what is agreed are of one codec, whatever is preferred.
#[test]
fn report_11_the_answer_says_one_codec() {
    for (preferred, said) in [
        (&[Codec::Pcmu][..], "audio 10000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000"),
        (&[Codec::Pcma], "audio 10000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000"),
        (&[Codec::G722], "audio 10000 RTP/AVP 9 101\r\na=rtpmap:9 G722/8000"),
        (&ORDER, "audio 10000 RTP/AVP 9 101\r\na=rtpmap:9 G722/8000"),
    ] {
        let (text, agreed) = answer(&mut session(), phones::PHONERLITE, preferred);
        assert!(
            text.contains(&format!("m={said}\r\na=rtpmap:101 telephone-event/8000\r\n")),
            "{text}"
        );
        assert_eq!(text.matches("a=rtpmap").count(), 2);
        assert_eq!(Some(agreed.payload_type_send), agreed.codec.static_payload_type());
        assert_eq!(agreed.payload_type_receive, agreed.payload_type_send);
    }
}

/// livekit/sip#95 seen from the other side: a number that is said to be what it is not is not used.
#[test]
fn report_11_contradictions_are_not_believed() {
    let mut session = session();
    session.offer(&ORDER, Direction::SendReceive);
    let odd = phones::of(
        "4000 RTP/AVP 0 101",
        &["rtpmap:0 G722/8000", "rtpmap:101 telephone-event/8000"],
    );
    assert_eq!(session.take_answer(&parsed(&odd)), Err(Refused::NoCodec));
    let other = phones::of(
        "4000 RTP/AVP 0 101",
        &["rtpmap:9 G722/8000", "rtpmap:101 telephone-event/8000"],
    );
    assert_eq!(session.take_answer(&parsed(&other)).unwrap().codec, Codec::Pcmu);
}

/// sipsorcery#1164, baresip#72: their number in their offer is the number, both ways.
#[test]
fn report_14_events_have_the_number_of_the_offer() {
    for number in ["96", "97", "102", "122", "127"] {
        let rtpmap = format!("rtpmap:{number} telephone-event/8000");
        let (text, agreed) = answer(
            &mut session(),
            &phones::of(&format!("4000 RTP/AVP 0 {number}"), &[&rtpmap]),
            &ORDER,
        );
        assert_eq!(line(&text, "m="), format!("audio 10000 RTP/AVP 0 {number}"));
        let told = events(number.parse().unwrap(), 8000);
        assert_eq!(
            (agreed.event_send, &agreed.events_receive[..]),
            (Some(told), &[told][..])
        );
    }
}

/// rtpengine#1493, #1789: an answer may number otherwise. Theirs is sent, ours is received, theirs is borne.
#[test]
fn report_14_an_answer_may_have_other_numbers() {
    let mut session = session();
    session.offer(&[Codec::Opus, Codec::Pcmu], Direction::SendReceive);
    let answered = phones::of(
        "4000 RTP/AVP 97 96",
        &["rtpmap:97 opus/48000/2", "rtpmap:96 telephone-event/48000"],
    );
    let agreed = session.take_answer(&parsed(&answered)).unwrap();
    assert_eq!((agreed.payload_type_send, agreed.payload_type_receive), (97, 111));
    assert_eq!(agreed.also_receives, [(Codec::Opus, 97)]);
    assert_eq!(agreed.event_send, Some(events(96, 48_000)));
    assert_eq!(agreed.events_receive, [events(110, 48_000), events(96, 48_000)]);
}

/// pjproject#3700 (Cisco), rtpengine#2044 (Zoiper): they take the number that we gave the other clock.
#[test]
fn report_14_a_number_may_be_taken_for_another_clock() {
    let mut session = session();
    session.offer(&[Codec::Pcma, Codec::Opus], Direction::SendReceive);
    let answered = phones::of(
        "58085 RTP/AVP 8 0 110",
        &["rtpmap:110 telephone-event/8000", "rtcp-mux"],
    );
    let agreed = session.take_answer(&parsed(&answered)).unwrap();
    assert_eq!((agreed.codec, agreed.also_receives.len()), (Codec::Pcma, 0));
    assert_eq!(agreed.event_send, Some(events(110, 8000)));
    assert_eq!(agreed.events_receive, [events(101, 8000), events(110, 8000)]);
}

/// pjproject PR#2679, #2088; freeswitch#1191, rtpengine#1556: of several clocks the codec's.
#[test]
fn report_16_events_have_the_clock_of_the_codec() {
    let offer = phones::of(
        "4000 RTP/AVP 102 0 103 101",
        &[
            "rtpmap:102 opus/48000/2",
            "rtpmap:0 PCMU/8000",
            "rtpmap:103 telephone-event/48000",
            "rtpmap:101 telephone-event/8000",
        ],
    );
    let (text, agreed) = answer(&mut session(), &offer, &NARROW);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVP 0 101");
    assert_eq!(agreed.event_send, Some(events(101, 8000)));
    let (text, agreed) = answer(&mut session(), &offer, &ORDER);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVP 102 103");
    assert_eq!(agreed.event_send, Some(events(103, 48_000)));
    let (text, _) = answer(&mut session(), phones::LINPHONE, &NARROW);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVPF 0 100");
}

/// rtpengine#1136: who has but 8000 (Polycom, Genesys) keeps its digits beside Opus.
#[test]
fn report_16_without_the_codecs_clock_it_is_8000() {
    let (text, agreed) = answer(&mut session(), phones::GENESYS, &ORDER);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVP 107 96");
    assert_eq!((agreed.codec, agreed.event_send), (Codec::Opus, Some(events(96, 8000))));
    let wide = phones::of("4000 RTP/AVP 0 99", &["rtpmap:99 telephone-event/16000"]);
    assert_eq!(answer(&mut session(), &wide, &ORDER).1.event_send, None);
}

/// The same in our offers: both clocks, and the answer decides.
#[test]
fn report_16_both_clocks_are_offered_with_opus() {
    let mut session = session();
    let offer = session.offer(&ORDER, Direction::SendReceive);
    assert_eq!(line(&offer, "m="), "audio 10000 RTP/AVP 111 9 0 8 101 110");
    let both = [
        "rtpmap:111 opus/48000/2",
        "rtpmap:101 telephone-event/8000",
        "rtpmap:110 telephone-event/48000",
    ];
    let agreed = session
        .take_answer(&parsed(&phones::of("4000 RTP/AVP 111 0 101 110", &both)))
        .unwrap();
    assert_eq!(agreed.event_send, Some(events(110, 48_000)));
    assert_eq!(agreed.events_receive, [events(110, 48_000), events(101, 8000)]);
    assert_eq!(agreed.also_receives, [(Codec::Pcmu, 0)]);
    let agreed = session
        .take_answer(&parsed(&phones::of("4000 RTP/AVP 0 101 110", &both)))
        .unwrap();
    assert_eq!(agreed.events_receive, [events(101, 8000), events(110, 48_000)]);
}

/// freeswitch#2170: 30 ms are sent as 30 ms; doubango#516, rtpengine#944: no packet has more than is taken.
#[test]
fn report_17_packets_are_as_long_as_the_peer_wants() {
    for (told, time) in [
        (&["ptime:30"][..], 30),
        (&["ptime:40", "maxptime:20"], 20),
        (&["maxptime:10"], 10),
        (&["ptime:20", "maxptime:150"], 20),
        (&["ptime:120"], 20),
        (&[], 20),
    ] {
        let offer = phones::of("4000 RTP/AVP 8", told);
        let (text, agreed) = answer(&mut session(), &offer, &NARROW);
        assert_eq!(agreed.ptime_ms, time, "{told:?}");
        assert_eq!(line(&text, "a=ptime:"), time.to_string());
        let mut caller = session();
        caller.offer(&NARROW, Direction::SendReceive);
        assert_eq!(caller.take_answer(&parsed(&offer)).unwrap().ptime_ms, time);
    }
}

/// rtpengine#1978, diago#158, pion/sdp#165: numbers that are known need no rtpmap.
#[test]
fn report_18_known_numbers_need_no_rtpmap() {
    for (number, codec) in [(0, Codec::Pcmu), (8, Codec::Pcma), (9, Codec::G722)] {
        let offer = phones::of(
            &format!("34391 RTP/AVP {number} 99"),
            &["rtpmap:99 telephone-event/8000"],
        );
        let (text, agreed) = answer(&mut session(), &offer, &ORDER);
        assert_eq!((agreed.codec, agreed.payload_type_send), (codec, number));
        assert!(text.contains(&format!("a=rtpmap:{number} {}/8000\r\n", codec.name())));
    }
    // diago#159: a clock of 16000 is not believed.
    let (text, _) = answer(
        &mut session(),
        &phones::of("4000 RTP/AVP 9", &["rtpmap:9 G722/16000"]),
        &ORDER,
    );
    assert!(text.contains("a=rtpmap:9 G722/8000\r\n"));
}

/// pjproject#1411: a held call may leave out what its numbers mean. They mean what they meant.
#[test]
fn report_18_a_hold_need_not_explain_its_numbers() {
    let mut session = session();
    answer(&mut session, phones::GENESYS, &ORDER);
    let hold = phones::of("16492 RTP/AVP 107 96", &[]).replace("c=IN IP4 203.0.113.5", "c=IN IP4 0.0.0.0");
    let (text, agreed) = answer(&mut session, &hold, &ORDER);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVP 107 96");
    assert_eq!((agreed.codec, agreed.event_send), (Codec::Opus, Some(events(96, 8000))));
    assert!(agreed.is_held_by_peer);
    // Nobody told a session that begins so.
    assert_eq!(refusal(&mut super::session(), &hold, &ORDER), Refused::NoCodec);
    let known = phones::of("4000 RTP/AVP 107 0 96", &[]);
    assert_eq!(answer(&mut super::session(), &known, &ORDER).1.codec, Codec::Pcmu);
}

/// pjproject#964, #1088, #75, #1233; rtpengine#2122: what is not there is passed over, however it looks.
#[test]
fn report_18_what_has_port_0_is_passed_over() {
    let (text, _) = answer(&mut session(), phones::CISCO_GATEWAY, &ORDER);
    assert!(text.ends_with("m=video 0 RTP/AVP 255\r\n"), "{text}");
    let offer = phones::of("0 RTP/AVP 100\r\nm=video 0 RTP/AVP\r\nm=audio 5000 RTP/AVP 0", &[]);
    let (text, agreed) = answer(&mut session(), &offer, &ORDER);
    assert!(
        text.contains("m=audio 0 RTP/AVP 100\r\nm=video 0 RTP/AVP 0\r\nm=audio 10000 RTP/AVP 0\r\n"),
        "{text}"
    );
    assert_eq!(agreed.peer, Some(address("203.0.113.5:5000")));
}

/// pjproject#1411: a call that is held with port 0 is not ended, and goes on when it is resumed.
#[test]
fn report_18_a_call_held_with_port_0_goes_on() {
    let mut session = called();
    let (text, agreed) = answer(&mut session, &phones::of("0 RTP/AVP 0 101", &[]), &NARROW);
    assert_eq!(line(&text, "m="), "audio 0 RTP/AVP 0 101");
    assert!(agreed.is_held_by_peer && !agreed.sends && !agreed.receives);
    assert_eq!((agreed.peer, agreed.codec), (None, Codec::Pcmu));
    let (_, agreed) = answer(&mut session, &phones::of("4000 RTP/AVP 0", &[]), &NARROW);
    assert!(agreed.sends && agreed.receives && !agreed.is_held_by_peer);
    // The other way about: they hang up the stream in an answer to a hold of ours.
    let mut session = called();
    session.offer(&NARROW, Direction::SendOnly);
    let agreed = session.take_answer(&parsed(&phones::of("0 RTP/AVP 0", &[]))).unwrap();
    assert!(!agreed.sends && agreed.peer.is_none());
}

/// livekit/sip#402, PR#820; pjproject#4415: an INVITE without a description is answered by an offer; the ACK answers it.
#[test]
fn report_19_an_offer_may_wait_for_the_ack() {
    let mut session = session();
    let ok = session.offer(&ORDER, Direction::SendReceive);
    assert!(session.agreed().is_none());
    let ack = phones::of("5004 RTP/AVP 8 101", &["rtpmap:101 telephone-event/8000"]);
    let agreed = session.take_answer(&parsed(&ack)).unwrap();
    assert_eq!(
        (agreed.codec, agreed.peer),
        (Codec::Pcma, Some(address("203.0.113.5:5004")))
    );
    // A re-INVITE without a description: the same again, which is not a change.
    assert_eq!(session.offer(&ORDER, Direction::SendReceive), ok);
    assert!(session.take_answer(&parsed(&ack)).is_ok());
    assert_eq!(super::session().take_answer(&parsed(&ack)), Err(Refused::NotOffered));
}

/// freeswitch#1297: audio and fax in one offer.
#[test]
fn reserve_audio_is_taken_and_fax_refused() {
    let (text, agreed) = answer(&mut session(), phones::DIDWW, &NARROW);
    assert_eq!(line(&text, "m=audio"), " 10000 RTP/AVP 0 101");
    assert!(text.ends_with("m=image 0 udptl t38\r\n"));
    assert_eq!(agreed.peer, Some(address("46.19.209.78:13960")));
}

/// freeswitch PR#66, rtpengine#1687, #686: a switch to fax is refused, and the call answers what comes then.
#[test]
fn reserve_after_a_refused_fax_audio_is_answered() {
    let mut session = called();
    let fax = "v=0\r\no=name 1 2 IN IP4 192.168.171.230\r\ns=name\r\nc=IN IP4 192.168.171.230\r\nt=0 0\r\n\
        m=image 20334 udptl t38\r\na=T38FaxVersion:0\r\n";
    let before = session.agreed().cloned();
    assert_eq!(refusal(&mut session, fax, &NARROW), Refused::NoAudio);
    let instead = fax.replace("m=image", "m=audio 0 RTP/AVP 8 101\r\nm=image");
    assert_eq!(refusal(&mut session, &instead, &NARROW), Refused::NoAudio);
    assert_eq!(session.agreed().cloned(), before);
    let (text, agreed) = answer(&mut session, &phones::of("45832 RTP/AVP 8", &[]), &NARROW);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVP 8");
    assert_eq!((agreed.codec, agreed.event_send), (Codec::Pcma, None));
}

/// rtpengine#542: a call that begins on hold (third-party control, RFC 3725) is a call.
#[test]
fn reserve_a_call_may_begin_on_hold() {
    let offer = phones::of("4000 RTP/AVP 0", &[]).replace("c=IN IP4 203.0.113.5", "c=IN IP4 0.0.0.0");
    assert_eq!(audio(&offer).place, Place::Unspecified);
    let (_, agreed) = answer(&mut session(), &offer, &NARROW);
    assert!(agreed.is_held_by_peer && agreed.peer.is_none() && !agreed.sends);
}

/// livekit/sip PR#551, sipsorcery#1303: comfort noise beside the codec is neither agreed to nor a reason to refuse.
#[test]
fn reserve_comfort_noise_is_left_out() {
    let offer = phones::of(
        "4000 RTP/AVP 13 0 101",
        &["rtpmap:13 CN/8000", "rtpmap:101 telephone-event/8000"],
    );
    let (text, _) = answer(&mut session(), &offer, &NARROW);
    assert_eq!(line(&text, "m="), "audio 10000 RTP/AVP 0 101");
}
