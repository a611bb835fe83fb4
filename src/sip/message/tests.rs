use super::*;
use crate::limits::{ADDRESS_BYTES_MAX, HEADERS_MAX, NAME_BYTES_MAX};

const INVITE: &str = "INVITE sip:1002@192.0.2.1 SIP/2.0\r\n\
    v: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport\r\n\
    Via: SIP/2.0/TCP a.example;branch=z9hG4bK0\r\n\
    f: \"Al\" <sip:1001@a.example>;tag=8\r\n\
    t: <sip:1002@a.example>\r\n\
    i: 7@a.example\r\n\
    CSeq: 3 INVITE\r\n\
    Record-Route: <sip:p1;lr>\r\n\
    Subject: a\r\n b\r\n\
    c: application/sdp\r\n\
    l: 3\r\n\r\nv=0 and what is behind it";

#[test]
fn what_is_repeated_is_repeated_as_it_came() {
    let invite = Message::parse(INVITE.as_bytes()).unwrap();
    assert_eq!(invite.cseq(), Some((3, Method::Invite)));
    assert_eq!(invite.get("subject"), Some("a b"));
    assert_eq!(invite.body_of("application/SDP"), Some(&b"v=0"[..]));
    assert_eq!(invite.via().unwrap().port, Some(5062));
    let mut ringing = Message::response(&invite, 180, "Ringing");
    ringing.set("To", "<sip:1002@a.example>;tag=9");
    let text = String::from_utf8(ringing.to_bytes()).unwrap();
    let expected = "SIP/2.0 180 Ringing\r\n\
        Via: SIP/2.0/UDP 192.0.2.9:5062;branch=z9hG4bK1;rport\r\n\
        Via: SIP/2.0/TCP a.example;branch=z9hG4bK0\r\n\
        From: \"Al\" <sip:1001@a.example>;tag=8\r\n\
        To: <sip:1002@a.example>;tag=9\r\n\
        Call-ID: 7@a.example\r\n\
        CSeq: 3 INVITE\r\n\
        Record-Route: <sip:p1;lr>\r\n\
        Content-Length: 0\r\n\r\n";
    assert_eq!(text, expected);
    assert_eq!(Message::parse(text.as_bytes()).unwrap().to_tag().as_deref(), Some("9"));
}

#[test]
fn lines_may_end_without_a_return_and_the_length_may_be_missing() {
    let text = INVITE.replace("\r\n", "\n").replace("l: 3\n", "");
    let invite = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(invite.body, b"v=0 and what is behind it");
}

#[test]
fn what_is_wrong_is_answered_or_not() {
    let refused = |text: &str| Message::parse(text.as_bytes()).unwrap_err();
    let status = |text: &str| {
        let refused = Message::parse(text.as_bytes()).err()?;
        refused.answer.map(|(status, _)| status)
    };
    assert_eq!(status(&INVITE.replace("CSeq: 3 INVITE", "CSeq: 3 BYE")), Some(400));
    assert_eq!(status(&INVITE.replace("CSeq: 3", "CSeq: 2147483648")), Some(400));
    assert_eq!(status(&INVITE.replace("i: 7@a.example\r\n", "")), Some(400));
    assert_eq!(status(&INVITE.replace("i: 7", "i: 8\r\ni: 7")), Some(400));
    assert_eq!(status(&INVITE.replace("l: 3", "l: 300")), Some(400));
    assert_eq!(status(&INVITE.replace("l: 3", "l: -3")), Some(400));
    assert_eq!(status(&INVITE.replace("l: 3", "l: 3\r\nl: 3")), Some(400));
    assert_eq!(status(&INVITE.replacen("SIP/2.0\r", "SIP/7.0\r", 1)), Some(505));
    assert_eq!(status(&INVITE.replacen("sip:1002", "nobodyKnows:1002", 1)), Some(416));
    assert_eq!(status(&INVITE.replacen("sip:1002@", "sip:1002@:", 1)), Some(400));
    assert_eq!(status(&INVITE.replacen("sip:1002", "sip:\u{85}", 1)), Some(400));
    let long = format!("sip:{}", "1".repeat(ADDRESS_BYTES_MAX));
    assert_eq!(status(&INVITE.replacen("sip:1002", &long, 1)), Some(414));
    assert_eq!(status(&INVITE.replace("CSeq: 3", "CSeq: +3")), Some(400));
    // A name is a name in everything that is made of it.
    for bad in ["\"8;to-tag=9\"", "\"8 9\"", "", &"8".repeat(NAME_BYTES_MAX + 1)] {
        assert_eq!(
            status(&INVITE.replace("tag=8", &format!("tag={bad}"))),
            Some(400),
            "{bad}"
        );
    }
    for bad in ["7;to-tag=8", "7 8", "7,8", &"7".repeat(NAME_BYTES_MAX + 1)] {
        assert_eq!(
            status(&INVITE.replace("i: 7", &format!("i: {bad}"))),
            Some(400),
            "{bad}"
        );
    }
    assert_eq!(status(&INVITE.replace("\"Al\" <", "\"Al <")), Some(400));
    let many = "X: y\r\n".repeat(HEADERS_MAX);
    assert_eq!(status(&INVITE.replacen("v: ", &format!("{many}v: "), 1)), None);
    assert_eq!(
        status(&INVITE.replacen("Subject", &format!("{many}Subject"), 1)),
        Some(513)
    );
    // Nobody is there to be answered, or it must not be.
    assert_eq!(status(&INVITE.replace("Via:", "X:").replace("v: ", "X: ")), None);
    assert_eq!(
        status(&INVITE.replace("INVITE", "ACK").replace("i: 7@a.example\r\n", "")),
        None
    );
    for garbage in [
        "",
        "\r\n\r\n",
        "GET / HTTP/1.1\r\nVia: x\r\n\r\n",
        "INVITE\r\n\r\n",
        "SIP/2.0 99 x\r\n\r\n",
        "SIP/2.0 +200 x\r\n\r\n",
        &INVITE.replace(";tag=8", "\rX: y\r;tag=8"),
        &INVITE.replace("f: ", "f: \rx"),
    ] {
        assert_eq!(refused(garbage).fault, Fault::Garbage, "{garbage:?}");
    }
}

#[test]
fn nothing_that_is_cut_off_or_damaged_is_a_panic() {
    for end in 0..INVITE.len() {
        let _ = Message::parse(&INVITE.as_bytes()[..end]);
    }
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..20_000 {
        let mut bytes = INVITE.as_bytes().to_vec();
        for _ in 0..3 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [a, b, c, ..] = state.to_le_bytes();
            let at = usize::from(u16::from_le_bytes([a, b])) % bytes.len();
            bytes[at] = c;
        }
        if let Ok(message) = Message::parse(&bytes) {
            let _ = (message.from().and_then(|from| from.address()), message.to_bytes());
        }
    }
}

#[test]
fn folded_lines_are_one_value() {
    let text = INVITE.replace("Subject: a\r\n b", "Subject:\r\n\ta\r\n  \r\n b ");
    let invite = Message::parse(text.as_bytes()).unwrap();
    assert_eq!(invite.get("Subject"), Some("a b"));
    assert_eq!(Message::parse(&invite.to_bytes()).unwrap(), invite);
}

#[test]
fn what_is_refused_for_having_two_of_a_header_is_answered_with_one() {
    let text = INVITE.replace("i: 7", "f: <sip:x@y>;tag=7\r\ni: 8\r\ni: 7");
    let (status, request) = Message::parse(text.as_bytes()).unwrap_err().answer.unwrap();
    let answer = Message::response(&request, status, "Bad Request");
    assert_eq!((answer.all("From").count(), answer.all("Call-ID").count()), (1, 1));
    assert_eq!(answer.all("Via").count(), 2);
}

#[test]
fn nobodys_text_becomes_a_header() {
    let mut message = Message::request(Method::Message, "sip:a\r\nX: y");
    message.push("Subject", "a\r\nContact: <sip:evil>\r\n\r\nbody");
    let text = String::from_utf8(message.to_bytes()).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
}
