//! What is read of a description.

use super::*;
use crate::limits::{ATTRIBUTES_PER_SECTION_MAX, DESCRIPTION_BYTES_MAX, FORMATS_PER_SECTION_MAX, MEDIA_SECTIONS_MAX};
use crate::sdp::{EventType, Format, Meaning, Place, SdpError};

const fn events(payload_type: u8, clock_hz: u32) -> EventType {
    EventType { payload_type, clock_hz }
}

#[test]
fn a_telephone_is_understood() {
    let audio = audio(phones::CISCO);
    let codecs: Vec<_> = audio.codecs().collect();
    assert_eq!(codecs, [(Codec::Pcmu, 0), (Codec::Pcma, 8), (Codec::G722, 9)]);
    assert_eq!(audio.events().collect::<Vec<_>>(), [events(101, 8000)]);
    assert_eq!(audio.place, Place::At(address("10.10.10.10:20096")));
    assert_eq!(audio.rtcp, Some(address("10.10.10.10:20097")));
    assert_eq!((audio.direction, audio.ptime_ms), (Direction::SendReceive, None));
    assert!(!audio.is_secure && !audio.rtcp_mux && audio.crypto.is_empty());
}

#[test]
fn each_section_is_told_in_order() {
    let sections = parsed(phones::DIDWW).sections;
    let told: Vec<_> = sections
        .iter()
        .map(|section| (section.kind.as_str(), section.port))
        .collect();
    assert_eq!(told, [("audio", 13960), ("image", 13962)]);
    assert_eq!(
        (sections[1].protocol.as_str(), &sections[1].formats[..]),
        ("udptl", &["t38".to_owned()][..])
    );
    assert!(sections[0].audio.is_some() && sections[1].audio.is_none());
    // Where a browser is ICE tells.
    let browser = audio(phones::BROWSER);
    assert!(browser.is_browser && !browser.is_secure && browser.place == Place::Unknown);
}

#[test]
fn what_others_say_of_rtcp_and_packets() {
    let baresip = audio(phones::BARESIP);
    assert!(baresip.rtcp_mux);
    assert_eq!(
        (baresip.rtcp, baresip.ptime_ms),
        (Some(address("10.0.1.8:17443")), Some(20))
    );
    let genesys = audio(phones::GENESYS);
    assert_eq!((genesys.ptime_ms, genesys.maxptime_ms), (Some(20), Some(60)));
    assert_eq!(genesys.events().collect::<Vec<_>>(), [events(96, 8000)]);
    let rtcp = |told: &str| audio(&phones::of("4000 RTP/AVP 0", &[told])).rtcp;
    assert_eq!(
        rtcp("rtcp:53020 IN IP4 126.16.64.4"),
        Some(address("126.16.64.4:53020"))
    );
    assert_eq!(rtcp("rtcp:53020"), Some(address("203.0.113.5:53020")));
    assert_eq!(rtcp("rtcp:0"), None);
    assert_eq!(rtcp("rtcp:53020 IN IP4 0.0.0.0"), None);
    assert_eq!(rtcp("rtcp:what"), Some(address("203.0.113.5:4001")));
    assert_eq!(audio(&phones::of("65535 RTP/AVP 0", &[])).rtcp, None);
    let time = |told: &str| audio(&phones::of("4000 RTP/AVP 0", &[told])).ptime_ms;
    assert_eq!(time("ptime:30"), Some(30));
    assert_eq!(time("ptime: 2.5"), Some(2));
    assert_eq!(time("ptime:soon"), None);
}

#[test]
fn addresses_are_of_one_or_of_none() {
    let place = |connection: &str| {
        let text = phones::of("4000 RTP/AVP 0", &[]).replace("c=IN IP4 203.0.113.5", connection);
        audio(&text).place
    };
    assert_eq!(place("c=IN IP4 10.0.0.9"), Place::At(address("10.0.0.9:4000")));
    assert_eq!(place("c=IN IP4 10.0.0.9/127"), Place::At(address("10.0.0.9:4000")));
    assert_eq!(place("c=IN IP6 2001:db8::1"), Place::At(address("[2001:db8::1]:4000")));
    assert_eq!(
        place("c=IN IP6 [2001:db8::1]"),
        Place::At(address("[2001:db8::1]:4000"))
    );
    assert_eq!(place("c=IN IP6 ::ffff:10.0.0.9"), Place::At(address("10.0.0.9:4000")));
    for nowhere in ["c=IN IP4 0.0.0.0", "c=IN IP6 ::", "c=IN IP6 nobody.invalid"] {
        assert_eq!(place(nowhere), Place::Unspecified, "{nowhere}");
    }
    for unknown in [
        "c=IN IP4 phone.example.com",
        "c=IN IP4 224.2.17.12/127",
        "c=IN IP4 255.255.255.255",
        "b=AS:64",
    ] {
        assert_eq!(place(unknown), Place::Unknown, "{unknown}");
    }
    assert_eq!(audio(&phones::of("0 RTP/AVP 0", &[])).place, Place::Off);
    assert_eq!(audio(phones::SIX).place, Place::At(address("[2001:db8::7]:5004")));
}

#[test]
fn the_sections_word_counts_more_than_the_sessions() {
    let text = phones::of("4000 RTP/AVP 0", &["sendrecv"]).replace("t=0 0", "t=0 0\r\na=inactive\r\na=ptime:40");
    assert_eq!(
        (audio(&text).direction, audio(&text).ptime_ms),
        (Direction::SendReceive, Some(40))
    );
    let text = text.replace("a=sendrecv\r\n", "");
    assert_eq!(audio(&text).direction, Direction::Inactive);
    let text = phones::of("4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.9", &[]);
    assert_eq!(audio(&text).place, Place::At(address("10.0.0.9:4000")));
}

#[test]
fn secrets_are_kept_and_not_shown() {
    let description = parsed(phones::YEALINK);
    let audio = description.sections[0].audio.as_ref().unwrap();
    assert!(audio.is_secure);
    assert_eq!((audio.crypto.len(), audio.crypto[1].tag), (2, 2));
    assert_eq!(audio.crypto[1].suite, "AES_CM_128_HMAC_SHA1_32");
    assert_eq!(
        audio.crypto[1].key.reveal(),
        "inline:YTg4ZTY2ZjY0NzZlNmQ1MmYxZDkzYjM3NTQxMjdm"
    );
    let shown = format!("{description:?}");
    assert!(!shown.contains("NjZh") && !shown.contains("YTg4"), "{shown}");
}

#[test]
fn numbers_that_are_none_do_no_harm() {
    let audio = audio(&phones::of(
        "4000 RTP/AVP 0 128 255 x 0 97 8 99999",
        &["rtpmap:300 PCMU/8000", "rtpmap:8", "rtpmap"],
    ));
    let format = |payload_type, meaning| Format { payload_type, meaning };
    assert_eq!(
        audio.formats,
        [
            format(0, Meaning::Codec(Codec::Pcmu)),
            format(97, Meaning::Untold),
            format(8, Meaning::Codec(Codec::Pcma)),
        ]
    );
    // V.152: of two numbers of a codec the first is meant (twinkle#184).
    let text = phones::of("4000 RTP/AVP 8 121", &["rtpmap:121 PCMA/8000", "gpmd:121 vbd=yes"]);
    assert_eq!(answer(&mut session(), &text, &NARROW).1.payload_type_send, 8);
}

#[test]
fn lines_end_as_they_like() {
    for phone in phones::ALL {
        let expected = parsed(phone);
        assert_eq!(parsed(&phone.replace("\r\n", "\n")), expected);
        assert_eq!(parsed(&phone.replace("\r\n", "\r")), expected);
        assert_eq!(parsed(phone.trim_end()), expected);
        assert_eq!(parsed(&format!("\r\n{phone}\r\n\r\n")), expected);
        assert_eq!(parsed(&phone.replace("\r\n", " \r\n")), expected);
    }
}

#[test]
fn what_telephones_do_to_other_lines_is_borne() {
    let expected = parsed(phones::TWILIO);
    for (line, instead) in [
        (
            "o=root 1943278142 1943278142 IN IP4 168.86.150.12",
            "o=Front Desk 1 1 IN IP4 h",
        ),
        ("o=root 1943278142", "o=root -1943278142"),
        ("1943278142 IN", "99999999999999999999999 IN"),
        ("s=Twilio Media Gateway\r\n", ""),
        ("s=Twilio Media Gateway", "s="),
        ("t=0 0\r\n", ""),
        ("t=0 0", "t=0"),
        (
            "t=0 0",
            "t=0 0\r\nb=AS\r\nz=x\r\nr=7d\r\nk=prompt\r\nk=prompt\r\ny=?\r\n--boundary--",
        ),
        ("m=audio 14082 RTP/AVP 0 8 101", "m=audio  14082  RTP/AVP 0\t8 101 "),
    ] {
        let text = phones::TWILIO.replace(line, instead);
        assert_ne!(text, phones::TWILIO);
        assert_eq!(parsed(&text), expected, "{instead}");
    }
    let latin = phones::TWILIO.replace("s=Twilio", "s=J\u{f6}rg").into_bytes();
    let latin: Vec<u8> = latin.into_iter().filter(|byte| *byte != 0xc3).collect();
    assert!(std::str::from_utf8(&latin).is_err());
    assert_eq!(Description::parse(&latin), Ok(expected));
}

#[test]
fn what_is_no_description_is_refused() {
    for text in ["", "\r\n", "v=1\r\n", "v", "hello", "m=audio 4000 RTP/AVP 0\r\nv=0\r\n"] {
        assert_eq!(Description::parse(text.as_bytes()), Err(SdpError::Version), "{text:?}");
    }
    for broken in [
        "v=0\r\nm=audio\r\n",
        "v=0\r\nm=audio 70000 RTP/AVP 0\r\n",
        "v=0\r\nm=audio 4000/x RTP/AVP 0\r\n",
        "v=0\r\nc=IN IP4\r\n",
        "v=0\r\nc=IN IP4 10.0.0.1 10.0.0.2\r\n",
    ] {
        let error = Description::parse(broken.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{broken:?}: {error}");
    }
    assert_eq!(parsed("v=0").sections, []);
}

#[test]
fn bounds_hold() {
    let long = format!("{}a={}", phones::TWILIO, "x".repeat(DESCRIPTION_BYTES_MAX));
    assert_eq!(Description::parse(long.as_bytes()), Err(SdpError::TooLong));
    let sections = |count| format!("v=0\r\n{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(count));
    assert_eq!(parsed(&sections(MEDIA_SECTIONS_MAX)).sections.len(), MEDIA_SECTIONS_MAX);
    let error = Description::parse(sections(MEDIA_SECTIONS_MAX + 1).as_bytes());
    assert_eq!(error, Err(SdpError::TooManySections));
    let formats = |count| format!("v=0\r\nm=audio 4000 RTP/AVP{}\r\n", " 0".repeat(count));
    assert_eq!(parsed(&formats(FORMATS_PER_SECTION_MAX)).sections.len(), 1);
    let error = Description::parse(formats(FORMATS_PER_SECTION_MAX + 1).as_bytes());
    assert_eq!(error, Err(SdpError::TooManyFormats));
    for before in ["v=0\r\n", "v=0\r\nm=audio 4000 RTP/AVP 0\r\n"] {
        let attributes = |count| format!("{before}{}", "a=x\r\n".repeat(count));
        parsed(&attributes(ATTRIBUTES_PER_SECTION_MAX));
        let error = Description::parse(attributes(ATTRIBUTES_PER_SECTION_MAX + 1).as_bytes());
        assert_eq!(error, Err(SdpError::TooManyAttributes));
    }
}
