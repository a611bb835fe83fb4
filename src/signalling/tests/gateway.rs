//! Telephones of SIP and phones by WebSocket call each other. Media is what the legs of RTP were told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket as Socket};
use std::time::Duration;

use moqswitch_signalling::calls::{Codec, Number};
use moqswitch_signalling::sip::agent::{Reached, Trunk};
use moqswitch_signalling::sip::digest::Algorithm;
use moqswitch_signalling::sip::flow::Flow;
use moqswitch_signalling::sip::message::{Message, Method};
use moqswitch_signalling::sip::sdp::Suite;
use moqswitch_signalling::{
    RecordingRtp, RtpAgreed, RtpCommand, RtpEvent, SipSettings, SipSockets, SrtpPolicy, TrunkSettings,
};
use serde_json::json;
use tokio::net::UdpSocket;

use crate::harness::Switch;

/// A switch with SIP.
struct House {
    switch: Switch,
    rtp: RecordingRtp,
    sip: SocketAddr,
}

impl House {
    async fn start() -> Self {
        Self::with(SrtpPolicy::Accept).await
    }

    async fn with(srtp: SrtpPolicy) -> Self {
        Self::with_trunks(srtp, Vec::new()).await
    }

    async fn with_trunks(srtp: SrtpPolicy, trunks: Vec<TrunkSettings>) -> Self {
        let socket = Socket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let sip = socket.local_addr().unwrap();
        let rtp = RecordingRtp::default();
        let mut settings = Switch::settings();
        settings.sip = Some(SipSettings {
            sockets: SipSockets {
                udp: Some(socket),
                ..SipSockets::default()
            },
            reached: Reached {
                udp: sip,
                tcp: sip,
                tls: sip,
            },
            realm: "moqswitch".to_owned(),
            algorithms: vec![Algorithm::Md5],
            ping: Duration::ZERO,
            srtp,
            trunks,
            media: Box::new(rtp.clone()),
            media_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        });
        let switch = Switch::start(settings).await;
        Self { switch, rtp, sip }
    }

    async fn telephone(&self, user: &str) -> Telephone {
        let mut telephone = Telephone {
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            switch: self.sip,
            user: user.to_owned(),
            sent: 0,
        };
        let contact = telephone.contact();
        let mut register = telephone.request(Method::Register, "sip:moqswitch", user);
        register.push("Contact", contact);
        telephone.send(&register).await;
        assert_eq!(telephone.status().await, 200);
        telephone
    }

    /// What was agreed on last.
    async fn agreed(&self) -> RtpAgreed {
        let told = self.told(|command| matches!(command, RtpCommand::Agree(..))).await;
        let agreed = told.into_iter().rev().find_map(|command| match command {
            RtpCommand::Agree(_, agreed) => Some(*agreed),
            _ => None,
        });
        agreed.unwrap()
    }

    /// What the legs were told, once they were told this.
    async fn told(&self, wanted: impl Fn(&RtpCommand) -> bool) -> Vec<RtpCommand> {
        let mut all = Vec::new();
        while !all.iter().any(&wanted) {
            all.extend(self.rtp.take_history());
            self.switch.breathe().await;
        }
        all
    }
}

struct Telephone {
    socket: UdpSocket,
    switch: SocketAddr,
    user: String,
    sent: u32,
}

impl Telephone {
    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.socket.local_addr().unwrap())
    }

    fn request(&mut self, method: Method, uri: &str, to: &str) -> Message {
        self.sent += 1;
        let mut request = Message::request(method.clone(), uri);
        let at = self.socket.local_addr().unwrap();
        request.push("Via", format!("SIP/2.0/UDP {at};branch=z9hG4bK{};rport", self.sent));
        request.push("From", format!("<sip:{}@moqswitch>;tag=t{}", self.user, self.user));
        request.push("To", format!("<sip:{to}@moqswitch>"));
        request.push("Call-ID", format!("call-of-{}", self.user));
        request.push("CSeq", format!("{} {method}", self.sent));
        request
    }

    async fn send(&self, message: &Message) {
        self.socket.send_to(&message.to_bytes(), self.switch).await.unwrap();
    }

    async fn receive(&self) -> Message {
        let mut bytes = [0; 4096];
        let (length, _) = self.socket.recv_from(&mut bytes).await.unwrap();
        Message::parse(&bytes[..length]).unwrap()
    }

    /// Of the next response that is not provisional and not one to an earlier request.
    async fn status(&self) -> u16 {
        self.response().await.status()
    }

    async fn response(&self) -> Message {
        loop {
            let message = self.receive().await;
            if message.method().is_none() && message.status() >= 200 {
                return message;
            }
        }
    }

    async fn incoming(&self, method: &Method) -> Message {
        loop {
            let message = self.receive().await;
            if message.method() == Some(method) {
                return message;
            }
        }
    }

    async fn answer(&self, request: &Message, status: u16, body: Option<&str>) {
        let mut response = Message::response(request, status, "Whatever");
        if response.to_tag().is_none() {
            let to = format!("{};tag=own", response.get("To").unwrap());
            response.set("To", to);
        }
        response.push("Contact", self.contact());
        if let Some(body) = body {
            response.set_body("application/sdp", body);
        }
        self.send(&response).await;
    }
}

fn description(types: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\nm=audio 4000 RTP/AVP {types}\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// A description over SRTP, with these lines.
fn secure(types: &str, lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("a=crypto:{line}\r\n")).collect();
    description(types).replace("RTP/AVP", "RTP/SAVP") + &lines
}

/// A line with a key of zeros, or of whatever a letter of base64 stands for.
fn line_of(tag: u32, suite: &str, letter: &str) -> String {
    format!("{tag} {suite} inline:{}", letter.repeat(40))
}

const CM_80: &str = "AES_CM_128_HMAC_SHA1_80";

/// The values of `a=crypto` in a message.
fn keys_in(message: &Message) -> Vec<String> {
    let body = String::from_utf8_lossy(&message.body).into_owned();
    let lines = body.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    lines.map(str::to_owned).collect()
}

fn path(call: &str, leg: u32) -> String {
    format!("call/{call}/{leg}")
}

#[tokio::test]
async fn a_telephone_calls_a_browser_talks_and_hangs_up() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let mut desk = house.telephone("desk").await;
    let mut invite = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
    invite.push("Contact", desk.contact());
    invite.set_body("application/sdp", description("8 0 101"));
    desk.send(&invite).await;
    let incoming = alice.expect("incomingCall").await;
    let call = incoming["callId"].as_str().unwrap().to_owned();
    assert_eq!(incoming["from"], "desk", "{incoming}");
    alice.send("answer", json!({ "callId": call })).await;
    alice.expect("callAccepted").await;
    let accepted = desk.response().await;
    assert_eq!(accepted.status(), 200);
    let body = String::from_utf8_lossy(&accepted.body).into_owned();
    // By the order of the switch: µ-law is before A-law.
    assert!(body.contains("m=audio 10000 RTP/AVP 0 101"), "{body}");
    let told = house.told(|command| matches!(command, RtpCommand::Hear(..))).await;
    let [RtpCommand::Open { leg, path: opened }, RtpCommand::Agree(_, agreed), ..] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((opened.as_str(), agreed.codec), (path(&call, 1).as_str(), Codec::Pcmu));
    assert_eq!(agreed.peer.map(|peer| peer.address.port()), Some(4000));
    assert!(told.contains(&RtpCommand::Hear(*leg, Some(path(&call, 2)))), "{told:?}");
    let to = accepted.get("To").unwrap().to_owned();
    let mut ack = desk.request(Method::Ack, "sip:alice@127.0.0.1", "alice");
    ack.set("To", &to);
    ack.set("CSeq", format!("{} ACK", desk.sent - 1));
    desk.send(&ack).await;

    // Keys, both ways: by telephone events, which the legs tell of, and by messages.
    house.rtp.tell(RtpEvent::Digit {
        leg: *leg,
        digit: '5',
        duration_ms: 100,
    });
    let digit = alice.expect("dtmf").await;
    assert_eq!(digit["digit"], "5");
    alice.send("dtmf", json!({ "callId": call, "digit": "#" })).await;
    house
        .told(|command| matches!(command, RtpCommand::Press(_, '#', _)))
        .await;
    // On hold the telephone hears music, if there is any, and nobody.
    alice.send("hold", json!({ "callId": call, "hold": true })).await;
    house
        .told(|command| matches!(command, RtpCommand::Hear(_, heard) if heard.as_deref() != Some(&path(&call, 2))))
        .await;
    alice.send("hold", json!({ "callId": call, "hold": false })).await;
    house
        .told(|command| matches!(command, RtpCommand::Hear(_, heard) if heard.as_deref() == Some(&path(&call, 2))))
        .await;

    let mut bye = desk.request(Method::Bye, "sip:alice@127.0.0.1", "alice");
    bye.set("To", &to);
    desk.send(&bye).await;
    assert_eq!(desk.status().await, 200);
    let ended = alice.expect("callEnded").await;
    assert_eq!(ended["reason"], "normal_clearing");
    house.told(|command| matches!(command, RtpCommand::Close(_))).await;
    assert!(house.rtp.open_legs().is_empty());
}

#[tokio::test]
async fn a_browser_calls_a_telephone_that_speaks_one_of_what_it_is_offered() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    let offer = String::from_utf8_lossy(&invite.body).into_owned();
    assert!(offer.contains("m=audio 10000 RTP/AVP 111 9 0 8 101"), "{offer}");
    desk.answer(&invite, 180, None).await;
    alice.expect("callProgress").await;
    desk.answer(&invite, 200, Some(&description("8 101"))).await;
    let accepted = alice.expect("callAccepted").await;
    let call = accepted["call"].as_str().unwrap().to_owned();
    desk.incoming(&Method::Ack).await;
    let told = house.told(|command| matches!(command, RtpCommand::Hear(..))).await;
    let is_agreed =
        |command: &RtpCommand| matches!(command, RtpCommand::Agree(_, agreed) if agreed.codec == Codec::Pcma);
    assert!(told.iter().any(is_agreed), "{told:?}");
    assert!(
        told.iter()
            .any(|command| matches!(command, RtpCommand::Hear(_, Some(heard)) if *heard == path(&call, 1))),
        "{told:?}"
    );
    alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
    let bye = desk.incoming(&Method::Bye).await;
    assert_eq!(bye.get("Reason"), Some("Q.850;cause=16;text=\"normal_clearing\""));
    desk.answer(&bye, 200, None).await;
    house.told(|command| matches!(command, RtpCommand::Close(_))).await;
}

#[tokio::test]
async fn the_first_to_answer_has_the_call_and_the_telephone_is_told_so() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let mut bob = house.switch.phone("desk").await;
    let desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    desk.answer(&invite, 180, None).await;
    let incoming = bob.expect("incomingCall").await;
    bob.send("answer", json!({ "callId": incoming["callId"] })).await;
    bob.expect("callAccepted").await;
    let cancel = desk.incoming(&Method::Cancel).await;
    assert_eq!(
        cancel.get("Reason"),
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    );
    desk.answer(&cancel, 200, None).await;
    desk.answer(&invite, 487, None).await;
    desk.incoming(&Method::Ack).await;
    house.told(|command| matches!(command, RtpCommand::Close(_))).await;
}

#[tokio::test]
async fn a_switch_that_stops_ends_the_calls_of_telephones() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    desk.answer(&invite, 200, Some(&description("0"))).await;
    alice.expect("callAccepted").await;
    desk.incoming(&Method::Ack).await;
    house.switch.handle().stop();
    let bye = desk.incoming(&Method::Bye).await;
    assert_eq!(bye.get("Reason"), Some("Q.850;cause=41;text=\"shutdown\""));
}

#[tokio::test]
async fn a_secure_offer_is_answered_with_keys_that_stay_and_a_plain_one_without() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let mut desk = house.telephone("desk").await;
    let mut invite = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
    invite.push("Contact", desk.contact());
    let offered = [line_of(1, "AES_256_CM_HMAC_SHA1_80", "b"), line_of(2, CM_80, "c")];
    invite.set_body("application/sdp", secure("0 101", &offered));
    desk.send(&invite).await;
    let incoming = alice.expect("incomingCall").await;
    alice.send("answer", json!({ "callId": incoming["callId"] })).await;
    let accepted = desk.response().await;
    let ours = keys_in(&accepted);
    assert!(
        ours.len() == 1 && ours[0].starts_with("2 AES_CM_128_HMAC_SHA1_80 inline:"),
        "{ours:?}"
    );
    assert!(String::from_utf8_lossy(&accepted.body).contains(" RTP/SAVP 0 101"));
    let first = house.agreed().await.srtp.unwrap();
    assert_eq!(first.theirs.suite(), Suite::AesCm80);
    assert!(first.ours != first.theirs && first.ours.key_and_salt() != [0; 30]);

    let to = accepted.get("To").unwrap().to_owned();
    let mut again = |body: String| {
        let mut request = desk.request(Method::Invite, "sip:alice@127.0.0.1", "alice");
        request.set("To", &to);
        request.push("Contact", desk.contact());
        request.set_body("application/sdp", body);
        request
    };
    let (plain, other) = (
        again(description("0 101")),
        again(secure("0 101", &[line_of(7, CM_80, "d")])),
    );
    // Nothing is plain that was secret.
    let mut ack = desk.request(Method::Ack, "sip:alice@127.0.0.1", "alice");
    ack.set("To", &to);
    for (request, status, number) in [(None, 200, 2), (Some(&plain), 488, 3), (Some(&other), 200, 4)] {
        if let Some(request) = request {
            desk.send(request).await;
            let answer = desk.response().await;
            assert_eq!(answer.status(), status);
            if status == 200 {
                // The same key of ours, under the tag of the offer.
                assert_eq!(keys_in(&answer), [ours[0].replacen('2', "7", 1)]);
            }
        }
        ack.set("CSeq", format!("{number} ACK"));
        desk.send(&ack).await;
    }
    let second = house.agreed().await.srtp.unwrap();
    assert!(second.ours == first.ours && second.theirs != first.theirs);
    alice.send("hangup", json!({ "callId": incoming["callId"] })).await;
    desk.incoming(&Method::Bye).await;
}

#[tokio::test]
async fn what_may_not_or_cannot_be_secret_is_refused() {
    use SrtpPolicy::{Accept, Off, Require};
    let usable = || secure("0", &[line_of(1, CM_80, "a")]);
    for (policy, body) in [
        (Off, usable()),
        (Require, description("0")),
        (Accept, secure("0", &[])),
        (Accept, secure("0", &[line_of(1, "AES_256_CM_HMAC_SHA1_80", "a")])),
        (Accept, secure("0", &[format!("1 {CM_80} inline:short")])),
        (Accept, secure("0", &[line_of(1, CM_80, "a") + " KDR=1"])),
    ] {
        let house = House::with(policy).await;
        let mut alice = house.switch.phone("alice").await;
        let mut desk = house.telephone("desk").await;
        let mut invite = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
        invite.push("Contact", desk.contact());
        invite.set_body("application/sdp", body.as_str());
        desk.send(&invite).await;
        assert_eq!(desk.status().await, 488, "{policy:?} {body}");
        let mut next = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
        next.set("Call-ID", "another");
        next.push("Contact", desk.contact());
        next.set_body(
            "application/sdp",
            if policy == Off { description("0") } else { usable() },
        );
        desk.send(&next).await;
        alice.expect("incomingCall").await;
    }
}

#[tokio::test]
async fn a_telephone_that_needs_keys_has_some_and_is_not_called_without() {
    let house = House::with(SrtpPolicy::Require).await;
    let mut alice = house.switch.phone("alice").await;
    let desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    let offered = keys_in(&invite);
    assert_eq!(offered.len(), Suite::ALL.len());
    let tag = offered
        .iter()
        .find(|line| line.contains(CM_80))
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let answer = secure("0", &[line_of(tag.parse().unwrap(), CM_80, "e")]);
    desk.answer(&invite, 200, Some(&answer)).await;
    let accepted = alice.expect("callAccepted").await;
    desk.incoming(&Method::Ack).await;
    let keys = house.agreed().await.srtp.unwrap();
    assert_eq!(keys.ours.suite(), Suite::AesCm80);
    alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
    let bye = desk.incoming(&Method::Bye).await;
    desk.answer(&bye, 200, None).await;
    alice.expect("callEnded").await;

    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    // Other keys for another call.
    assert!(keys_in(&invite).iter().all(|line| !offered.contains(line)));
    desk.answer(&invite, 488, None).await;
    alice.expect("callEnded").await;
}

#[tokio::test]
async fn a_trunk_that_refuses_keys_is_called_without() {
    let carrier = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let trunk = Trunk {
        ping: Duration::ZERO,
        ..Trunk::to(Flow::datagrams(carrier.local_addr().unwrap()), "carrier.example", "us")
    };
    let settings = TrunkSettings {
        number: Number::new("city").unwrap(),
        trunk,
        srtp: Some(SrtpPolicy::Offer),
    };
    let house = House::with_trunks(SrtpPolicy::Off, vec![settings]).await;
    let carrier = Telephone {
        socket: carrier,
        switch: house.sip,
        user: "carrier".to_owned(),
        sent: 0,
    };
    let mut alice = house.switch.phone("alice").await;
    alice.send("call", json!({ "to": "city" })).await;
    let invite = carrier.incoming(&Method::Invite).await;
    assert_eq!(keys_in(&invite).len(), Suite::ALL.len());
    carrier.answer(&invite, 488, None).await;
    carrier.incoming(&Method::Ack).await;
    let invite = carrier.incoming(&Method::Invite).await;
    assert!(keys_in(&invite).is_empty());
    assert!(String::from_utf8_lossy(&invite.body).contains(" RTP/AVP "));
    carrier.answer(&invite, 200, Some(&description("0"))).await;
    let accepted = alice.expect("callAccepted").await;
    carrier.incoming(&Method::Ack).await;
    assert_eq!(house.agreed().await.srtp, None);
    alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
    carrier.incoming(&Method::Bye).await;
    house.told(|command| matches!(command, RtpCommand::Close(_))).await;
    assert!(house.rtp.open_legs().is_empty());
}
