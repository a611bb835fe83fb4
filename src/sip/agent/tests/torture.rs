//! The torture messages of RFC 4475 and RFC 5118: what an agent says to each, as a datagram and out of a stream.
//!
//! Where the RFC leaves a choice, or we differ from what it suggests, the row says why.

use super::bench::{Bench, datagrams, stream};
use super::rfc4475::{self, BINARY};
use super::*;
use crate::message::syntax::Uri;
use crate::message::{Framed, Framer, FramingError};
use crate::sdp::{Description, Place};

/// What is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// One answer, and nothing is begun.
    Says(u16),
    /// A call, of which somebody is told.
    Rings,
    /// Nothing is said, and nothing begun.
    Nothing,
    /// As a stream: it ends, as nobody can say where the next message begins.
    Ends,
    /// As a stream: the rest is waited for.
    Waits,
}

use Right::{Ends, Nothing, Rings, Says, Waits};

/// Name, answer to a datagram, and on a stream where that is another.
const RIGHT: [(&str, Right, Option<Right>); 49] = [
    // It is of a dialog that is not there. Without the tag it rings: see below.
    ("wsinv", Says(481), None),
    ("intmeth", Says(501), None),
    ("esc01", Rings, None),
    ("escnull", Says(200), None),
    ("esc02", Says(501), None),
    ("lwsdisp", Says(200), None),
    ("longreq", Rings, None),
    // What is behind the REGISTER in the datagram is not looked at. On a stream it is the next message: an INVITE that has no
    // Contact.
    ("dblreq", Says(200), Some(Says(400))),
    ("semiuri", Says(200), None),
    ("transports", Says(200), None),
    // Understood, and not wanted.
    ("mpart01", Says(415), None),
    ("unreason", Nothing, None),
    ("noreason", Nothing, None),
    ("badinv01", Says(400), None),
    ("clerr", Says(400), Some(Waits)),
    ("ncl", Says(400), Some(Ends)),
    ("scalar02", Says(400), None),
    ("scalarlg", Nothing, None),
    ("quotbal", Says(400), None),
    ("ltgtruri", Says(400), None),
    ("lwsruri", Says(400), None),
    ("lwsstart", Says(400), None),
    // Spaces at the end of the line can be meant in one way only.
    ("trws", Says(200), None),
    // Headers in a Request-URI are left aside, which is a choice the RFC gives.
    ("escruri", Rings, None),
    // Nobody here looks at a Date.
    ("baddate", Rings, None),
    ("regbadct", Says(400), None),
    // Spaces in the brackets, and a comma in a name without quotes, where there is one address only: the RFC lets us be liberal.
    ("badaspec", Says(200), None),
    ("baddn", Says(200), None),
    ("badvers", Says(505), None),
    ("mismatch01", Says(400), None),
    ("mismatch02", Says(400), None),
    ("bigcode", Nothing, None),
    // Told apart as by RFC 2543.
    ("badbranch", Says(200), None),
    ("insuf", Says(400), None),
    ("unkscm", Says(416), None),
    ("novelsc", Says(416), None),
    ("unksm2", Says(400), None),
    ("bext01", Says(420), None),
    ("invut", Says(415), None),
    ("regaut01", Says(401), None),
    ("multi01", Says(400), None),
    ("mcl01", Says(400), Some(Ends)),
    ("bcast", Nothing, None),
    // 483 is for those that forward.
    ("zeromf", Says(200), None),
    ("cparam01", Says(200), None),
    ("cparam02", Says(200), None),
    ("regescrt", Says(200), None),
    ("sdp01", Says(406), None),
    // It has neither a tag nor a Contact, so nothing could be said to this caller in the call, not even its end. RFC 2543 is
    // for those who want to talk with what is older than 2002.
    ("inv2543", Says(400), Some(Ends)),
];

/// As above. On a stream they are answered as on datagrams.
const RIGHT_OF_ADDRESSES: [(&str, Right); 12] = [
    ("ipv6-good", Says(200)),
    ("ipv6-bad", Says(400)),
    ("port-ambiguous", Says(200)),
    ("port-unambiguous", Says(200)),
    // Of a dialog that is not there: understood.
    ("via-received-param-with-delim", Says(481)),
    ("via-received-param-no-delim", Says(200)),
    ("ipv6-in-sdp", Rings),
    ("mult-ip-in-header", Says(481)),
    ("mult-ip-in-sdp", Rings),
    ("ipv4-mapped-ipv6", Rings),
    ("ipv6-bug-abnf-3-colons", Says(200)),
    ("ipv6-correct-abnf-2-colons", Says(200)),
];

/// As on the wire.
fn wire(text: &str) -> Vec<u8> {
    let text = text.replace('\n', "\r\n");
    match text.split_once("@BINARY@") {
        None => text.into_bytes(),
        Some((before, behind)) => [before.as_bytes(), &binary(), behind.as_bytes()].concat(),
    }
}

/// Of RFC 5118, whose lengths of bodies are wrong, with any line ends.
fn wire_of_addresses(text: &str) -> Vec<u8> {
    let (head, body) = text.split_once("\n\n").unwrap();
    let length = body.replace('\n', "\r\n").len();
    let lines = head.lines().map(|line| match line.split_once(": ") {
        Some(("Content-Length", _)) => format!("Content-Length: {length}"),
        _ => line.to_owned(),
    });
    wire(&(lines.collect::<Vec<_>>().join("\n") + "\n\n" + body))
}

fn binary() -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&BINARY[at..at + 2], 16).unwrap();
    (0..BINARY.len()).step_by(2).map(digits).collect()
}

fn message(name: &str) -> Vec<u8> {
    let find = |all: &[(&str, &'static str)]| Some(all.iter().find(|(own, _)| *own == name)?.1);
    match find(&rfc4475::MESSAGES) {
        Some(text) => wire(text),
        None => wire_of_addresses(find(&rfc5118::MESSAGES).unwrap()),
    }
}

impl Bench {
    /// Is it as it should be, and is nothing left when what it began is over?
    fn judge(&mut self, name: &str, right: Right, (answers, calls): (Vec<Message>, Vec<Invited>)) {
        let statuses: Vec<u16> = answers.iter().map(Message::status).collect();
        match right {
            Says(status) => assert_eq!((statuses, calls.len()), (vec![status], 0), "{name}"),
            Rings => assert_eq!((statuses, calls.len()), (vec![100], 1), "{name}"),
            Nothing | Ends | Waits => assert_eq!((statuses, calls.len()), (Vec::new(), 0), "{name}"),
        }
        assert_eq!(self.agent.counts().0, calls.len(), "{name}: a leg for each call");
        if right != Says(200) && right != Rings && name != "dblreq" {
            self.agent.check_idle().unwrap();
        }
        for call in calls {
            self.agent.hang_up(self.now, call.leg, 486, None);
            let (answers, _) = self.outcome();
            assert_eq!(answers[0].status(), 486, "{name}");
        }
        self.is_idle();
    }
}

/// For the one that is asked for a password.
fn door(bench: &mut Bench, name: &str) {
    if name == "regaut01" {
        bench.house.access = Access::Password("realm".to_owned());
    }
}

#[test]
fn messages_are_those_of_the_archives() {
    // Computed from the archives that both RFCs have at their ends, with line feeds alone and without what is blank at the end.
    for (messages, expected) in [
        (
            &rfc4475::MESSAGES[..],
            "6014dd696559f2d3296d23b9f5d4813bb5482d5946cc2f9ba38b01fc6d577b46",
        ),
        (
            &rfc5118::MESSAGES[..],
            "40e19fe36fc7981f2f4132dca0439978e956bd70a9d5ee86f50509716daea94b",
        ),
    ] {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        for (name, text) in messages {
            digest.update(format!("{name}\n").as_bytes());
            let (before, behind) = text.split_once("@BINARY@").unwrap_or((text, ""));
            digest.update(before.trim_end().as_bytes());
            if !behind.is_empty() {
                digest.update(b"\n\n");
                digest.update(&binary());
                digest.update(behind.trim_end().as_bytes());
            }
            digest.update(b"\n");
        }
        let digest: String = digest
            .finish()
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(digest, expected);
    }
}

#[test]
fn each_message_of_rfc_4475_is_answered_rightly() {
    for ((name, text), (row, right, _)) in rfc4475::MESSAGES.iter().zip(RIGHT) {
        assert_eq!(*name, row);
        let mut bench = Bench::new(datagrams("192.0.2.200:5070"));
        door(&mut bench, name);
        let outcome = bench.take(&wire(text));
        bench.judge(name, right, outcome);
    }
}

#[test]
fn each_message_of_rfc_5118_is_answered_rightly() {
    for ((name, text), (row, right)) in rfc5118::MESSAGES.iter().zip(RIGHT_OF_ADDRESSES) {
        assert_eq!(*name, row);
        for flow in [datagrams("[2001:db8::9:1]:5060"), stream("[2001:db8::9:1]:40000")] {
            let mut bench = Bench::new(flow);
            let outcome = bench.take(&wire_of_addresses(text));
            bench.judge(name, right, outcome);
        }
    }
}

#[test]
fn streams_are_cut_where_messages_end_and_answered_the_same() {
    for ((name, text), (_, right, on_stream)) in rfc4475::MESSAGES.iter().zip(RIGHT) {
        let right = on_stream.unwrap_or(right);
        for step in [1, 7, 100, usize::MAX] {
            let mut bench = Bench::new(stream("192.0.2.200:40000"));
            door(&mut bench, name);
            let (mut framer, mut outcome, mut came) = (Framer::default(), (Vec::new(), Vec::new()), 0);
            let mut is_over = None;
            for bytes in wire(text).chunks(step) {
                framer.push(bytes);
                while let Some(framed) = framer.poll().unwrap_or_else(|error| {
                    is_over = Some(error);
                    None
                }) {
                    let Framed::Message(bytes) = framed else { continue };
                    came += 1;
                    outcome = bench.take(&bytes);
                }
                if is_over.is_some() {
                    break;
                }
            }
            // Its INVITE says that it is shorter than it is. What is behind that is no message.
            let is_ended = right == Ends || *name == "dblreq";
            let expected = is_ended.then_some(FramingError::Length);
            assert_eq!(is_over, expected, "{name}");
            let expected = match *name {
                _ if right == Ends || right == Waits => 0,
                "dblreq" => 2,
                _ => 1,
            };
            assert_eq!(came, expected, "{name}");
            bench.judge(name, right, outcome);
        }
    }
}

#[test]
fn what_is_understood_is_understood_rightly() {
    let call = |bytes: &[u8]| {
        let mut bench = Bench::new(datagrams("192.0.2.200:5070"));
        bench.take(bytes).1.remove(0)
    };
    let text = String::from_utf8(message("wsinv")).unwrap();
    let called = call(text.replace(" ;   tag    = 1918181833n", "").as_bytes());
    let caller = &called.caller;
    assert_eq!(
        (caller.user.as_str(), caller.name.as_str()),
        ("jdrosen", r#"J Rosenberg \""#)
    );
    assert_eq!(
        (called.to.as_str(), called.domain.as_str()),
        ("vivekg", "chair-dnrc.example.com")
    );
    // An escaped address in a user is a user.
    let called = call(&message("esc01"));
    assert_eq!(called.to, "sips:user@example.com");
    assert_eq!(called.caller.user, "I have spaces");
    let called = call(&message("escruri"));
    assert_eq!((called.to.as_str(), called.domain.as_str()), ("user", "example.com"));
}

#[test]
fn answers_say_what_they_should() {
    let answer = |name: &str| {
        let mut bench = Bench::new(datagrams("192.0.2.200:5070"));
        bench.take(&message(name)).0.remove(0)
    };
    let answered = answer("intmeth");
    assert!(answered.get("Allow").unwrap().contains("INVITE"));
    assert_eq!(
        answered.get("Via"),
        Some("SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~;received=192.0.2.200")
    );
    let to = answered.get("To").unwrap();
    assert!(
        to.starts_with("\"BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}\" <sip:1_unusual"),
        "{to:?}"
    );
    assert_eq!(
        answer("bext01").get("Unsupported"),
        Some("nothingSupportsThis, nothingSupportsThisEither")
    );
    assert_eq!(answer("invut").get("Accept"), Some("application/sdp, multipart/mixed"));
    assert_eq!(answer("longreq").all("Via").count(), 34);
    // There is no To to put a tag on.
    assert_eq!(answer("insuf").get("To"), None);
    let versions = answer("badvers");
    assert_eq!(versions.to_bytes().get(..11), Some(&b"SIP/2.0 505"[..]));
}

#[test]
fn contacts_are_kept_as_they_are_meant() {
    let contacts = |name: &str| {
        let mut bench = Bench::new(datagrams("192.0.2.200:5070"));
        let (answers, _) = bench.take(&message(name));
        let told: Vec<String> = answers[0].all("Contact").map(str::to_owned).collect();
        let targets: Vec<String> = bench.agent.bindings().map(|(_, own)| own.target().uri).collect();
        (told, targets)
    };
    let (told, targets) = contacts("cparam01");
    assert_eq!(told, ["<sip:+19725552222@gw1.example.net>;expires=3600"]);
    assert_eq!(targets, ["sip:+19725552222@gw1.example.net"]);
    let (told, _) = contacts("cparam02");
    assert_eq!(told, ["<sip:+19725552222@gw1.example.net;unknownparam>;expires=3600"]);
    // NUL is a letter, and two are more than one.
    let (_, targets) = contacts("escnull");
    assert_eq!(targets, ["sip:%00@host5.example.com", "sip:%00%00@host5.example.com"]);
    // Told as it came; but requests are not made of what it says.
    let (told, targets) = contacts("regescrt");
    assert_eq!(
        told,
        ["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=3600"]
    );
    assert_eq!(targets, ["sip:user@example.com"]);
    let (told, _) = contacts("dblreq");
    assert_eq!(told, ["<sip:j.user@host.example.com>;expires=3600"]);
}

#[test]
fn addresses_of_ipv6_are_read_and_written() {
    let asked = |name: &str| Uri::parse(Message::parse(&message(name)).unwrap().uri()).unwrap();
    // What is in the brackets is the address (section 4.3), and a port is behind them (section 4.4).
    let ambiguous = asked("port-ambiguous");
    assert_eq!(
        (ambiguous.to_string().as_str(), ambiguous.port),
        ("sip:[2001:db8::10:5070]", None)
    );
    let plain = asked("port-unambiguous");
    assert_eq!(
        (plain.to_string().as_str(), plain.port),
        ("sip:[2001:db8::10]:5070", Some(5070))
    );
    // A third colon is none (section 4.10).
    assert_eq!(asked("ipv6-bug-abnf-3-colons"), asked("ipv6-correct-abnf-2-colons"));
    // `received` is as in section 4.5, and of ours without brackets, as the grammar of RFC 3261 has it.
    let mut bench = Bench::new(datagrams("[2001:db8::77]:5070"));
    let (answers, _) = bench.take(&message("mult-ip-in-header"));
    let hops: Vec<&str> = answers[0].all("Via").collect();
    let expected = [
        "SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bKas3-111;received=2001:db8::77",
        "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKjhja8781hjuaij65144",
        "SIP/2.0/TCP [2001:db8::9:255];branch=z9hG4bK451jj;received=192.0.2.200",
    ];
    assert_eq!(hops, expected);
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let (answers, _) = bench.take(&message(name));
        let via = answers[0].via().unwrap();
        assert_eq!(
            via.parameters.value("received"),
            Some("2001:db8::77"),
            "what was said is not believed"
        );
    }
}

#[test]
fn descriptions_have_addresses_of_both_kinds() {
    for (name, count) in [("ipv6-in-sdp", 2), ("mult-ip-in-sdp", 2), ("ipv4-mapped-ipv6", 2)] {
        let invite = Message::parse(&message(name)).unwrap();
        let description = Description::parse(&invite.body).unwrap();
        assert_eq!(description.sections.len(), count, "{name}");
        let audio = description.sections[0].audio.as_ref().unwrap();
        assert!(matches!(audio.place, Place::At(_)), "{name}");
    }
}
