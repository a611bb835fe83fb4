//! Telephones of SIP and phones by WebSocket call each other. Media is what the legs of RTP were told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket as Socket};
use std::time::Duration;

use moqswitch_signalling::calls::{AdminEvent, Codec, Dialplan};
use moqswitch_signalling::sip::agent::Reached;
use moqswitch_signalling::sip::digest::{Algorithm, Attempt, Client, Credentials, Place, Secret};
use moqswitch_signalling::sip::message::{Message, Method};
use moqswitch_signalling::{
    MediaswitchSettings, RecordingRtp, RtpAgreed, RtpCommand, RtpEvent, RtpHeard, Settings, SipSettings, SipSockets,
    SrtpPolicy, TrunkPlan,
};
use serde_json::json;
use tokio::net::UdpSocket;

use crate::control::Edge;
use crate::harness::{Phone, Switch};

/// A switch with SIP.
pub(crate) struct House {
    pub(crate) switch: Switch,
    pub(crate) rtp: RecordingRtp,
    sip: SocketAddr,
}

impl House {
    /// Where it listens.
    pub(crate) fn sip(&self) -> SocketAddr {
        self.sip
    }

    pub(crate) async fn start() -> Self {
        Self::with(TrunkPlan::default()).await
    }

    /// A switch of these settings, with SIP.
    pub(crate) async fn of(settings: Settings) -> Self {
        let (own, rtp, sip) = Self::settings(SrtpPolicy::Accept, TrunkPlan::default());
        let switch = Switch::start(Settings {
            sip: own.sip,
            ..settings
        })
        .await;
        Self { switch, rtp, sip }
    }

    pub(crate) async fn with(trunks: TrunkPlan) -> Self {
        Self::with_trunks(SrtpPolicy::Accept, trunks).await
    }

    pub(crate) async fn with_srtp(srtp: SrtpPolicy) -> Self {
        Self::with_trunks(srtp, TrunkPlan::default()).await
    }

    pub(crate) async fn with_trunks(srtp: SrtpPolicy, trunks: TrunkPlan) -> Self {
        let (settings, rtp, sip) = Self::settings(srtp, trunks);
        let switch = Switch::start(settings).await;
        Self { switch, rtp, sip }
    }

    /// With domains of a directory: each of their users has the secret `s`.
    async fn with_domains(domains: &[(&str, &[&str])]) -> Self {
        let (settings, rtp, sip) = Self::settings(SrtpPolicy::Accept, TrunkPlan::default());
        let edge = Edge::with(MediaswitchSettings::default(), settings).await;
        for (domain, users) in domains {
            let users = users.iter().map(|user| json!({ "username": user, "secret": "s" }));
            let body = json!({ "users": users.collect::<Vec<_>>() });
            assert_eq!(edge.put(&format!("/dir/{domain}"), &body).await.status, 201);
        }
        let switch = edge.switch;
        Self { switch, rtp, sip }
    }

    /// The telephone of a domain's user.
    async fn telephone_of(&self, user: &str, domain: &str) -> Telephone {
        let mut telephone = Telephone {
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            switch: self.sip,
            user: user.to_owned(),
            sent: 0,
        };
        let contact = telephone.contact();
        let of_domain = |register: &mut Message| {
            register.set("From", format!("<sip:{user}@{domain}>;tag=t{user}"));
            register.set("To", format!("<sip:{user}@{domain}>"));
            register.push("Contact", contact.clone());
        };
        let uri = format!("sip:{domain}");
        assert_eq!(telephone.ask(&Method::Register, &uri, of_domain).await.status(), 200);
        telephone
    }

    fn settings(srtp: SrtpPolicy, trunks: TrunkPlan) -> (Settings, RecordingRtp, SocketAddr) {
        let socket = Socket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let sip = socket.local_addr().unwrap();
        // At another port than datagrams.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let tcp = listener.local_addr().unwrap();
        let rtp = RecordingRtp::default();
        let mut settings = Switch::settings();
        settings.sip = Some(SipSettings {
            sockets: SipSockets {
                udp: Some(socket),
                tcp: Some(listener),
                ..SipSockets::default()
            },
            reached: Reached {
                udp: sip,
                tcp,
                tls: sip,
            },
            realm: "moqswitch".to_owned(),
            algorithms: vec![Algorithm::Md5],
            ping: Duration::ZERO,
            srtp,
            trunks,
            media: Box::new(rtp.clone()),
            media_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        });
        (settings, rtp, sip)
    }

    /// One that has not registered.
    pub(crate) async fn telephone_at(&self, user: &str) -> Telephone {
        Telephone {
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            switch: self.sip,
            user: user.to_owned(),
            sent: 0,
        }
    }

    pub(crate) async fn telephone(&self, user: &str) -> Telephone {
        let mut telephone = self.telephone_at(user).await;
        let contact = telephone.contact();
        let mut register = telephone.request(Method::Register, "sip:moqswitch", user);
        register.push("Contact", contact);
        telephone.send(&register).await;
        assert_eq!(telephone.status().await, 200);
        telephone
    }

    pub(crate) async fn plan(&self, rules: &str) {
        let event = AdminEvent::ReplaceDialplan(Box::new(Dialplan::parse(rules).unwrap()));
        self.switch.handle().admin(event).unwrap();
        self.switch.breathe().await;
    }

    /// What was agreed on last.
    pub(crate) async fn agreed(&self) -> RtpAgreed {
        let told = self.told(|command| matches!(command, RtpCommand::Agree(..))).await;
        let agreed = told.into_iter().rev().find_map(|command| match command {
            RtpCommand::Agree(_, agreed) => Some(*agreed),
            _ => None,
        });
        agreed.unwrap()
    }

    /// What the legs were told, once they were told this.
    pub(crate) async fn told(&self, wanted: impl Fn(&RtpCommand) -> bool) -> Vec<RtpCommand> {
        let mut all = Vec::new();
        while !all.iter().any(&wanted) {
            all.extend(self.rtp.take_history());
            self.switch.breathe().await;
        }
        all
    }
}

pub(crate) struct Telephone {
    pub(crate) socket: UdpSocket,
    pub(crate) switch: SocketAddr,
    pub(crate) user: String,
    pub(crate) sent: u32,
}

impl Telephone {
    pub(crate) fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.socket.local_addr().unwrap())
    }

    pub(crate) fn request(&mut self, method: Method, uri: &str, to: &str) -> Message {
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

    /// Asks, and shows its password where that is asked for. The first response that asks for none.
    async fn ask(&mut self, method: &Method, uri: &str, fill: impl Fn(&mut Message)) -> Message {
        let mut client = Client::new(&self.user, Secret::Password("s".to_owned()));
        let (mut attempt, mut answers) = (Attempt::default(), Vec::new());
        loop {
            let mut request = self.request(method.clone(), uri, &self.user.clone());
            fill(&mut request);
            for Credentials { place, value } in answers {
                request.push(place.answering(), value);
            }
            self.send(&request).await;
            let response = loop {
                let message = self.receive().await;
                if message.method().is_none() && message.get("CSeq") == request.get("CSeq") {
                    break message;
                }
            };
            let place = match response.status() {
                401 => Place::Server,
                407 => Place::Proxy,
                _ => return response,
            };
            let challenge = response.get(place.asking()).expect("a challenge");
            let answer = client.answer(&mut attempt, place, &[challenge], &method.to_string(), uri, "c");
            answers = answer.unwrap();
            if *method == Method::Invite {
                let mut ack = Message::request(Method::Ack, uri);
                for name in ["Via", "From", "Call-ID"] {
                    ack.push(name, request.get(name).unwrap());
                }
                ack.push("To", response.get("To").unwrap());
                ack.push("CSeq", format!("{} ACK", self.sent));
                self.send(&ack).await;
            }
        }
    }

    pub(crate) async fn send(&self, message: &Message) {
        self.socket.send_to(&message.to_bytes(), self.switch).await.unwrap();
    }

    async fn receive(&self) -> Message {
        let mut bytes = [0; 4096];
        let (length, _) = self.socket.recv_from(&mut bytes).await.unwrap();
        Message::parse(&bytes[..length]).unwrap()
    }

    /// Of the next response that is not provisional and not one to an earlier request.
    pub(crate) async fn status(&self) -> u16 {
        self.response().await.status()
    }

    pub(crate) async fn response(&self) -> Message {
        loop {
            let message = self.receive().await;
            if message.method().is_none() && message.status() >= 200 {
                return message;
            }
        }
    }

    /// The next response that is provisional and says something.
    pub(crate) async fn provisional(&self) -> Message {
        loop {
            let message = self.receive().await;
            if message.method().is_none() && (101..200).contains(&message.status()) {
                return message;
            }
        }
    }

    pub(crate) async fn incoming(&self, method: &Method) -> Message {
        loop {
            let message = self.receive().await;
            if message.method() == Some(method) {
                return message;
            }
        }
    }

    pub(crate) async fn answer(&self, request: &Message, status: u16, body: Option<&str>) {
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

pub(crate) fn description(types: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\nm=audio 4000 RTP/AVP {types}\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
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
    let heard = RtpHeard::One {
        path: path(&call, 2),
        transcoded: None,
    };
    assert!(told.contains(&RtpCommand::Hear(*leg, heard)), "{told:?}");
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
        .told(|command| matches!(command, RtpCommand::Hear(_, heard) if heard.path() != Some(&path(&call, 2))))
        .await;
    alice.send("hold", json!({ "callId": call, "hold": false })).await;
    house
        .told(|command| matches!(command, RtpCommand::Hear(_, heard) if heard.path() == Some(&path(&call, 2))))
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
async fn who_calls_is_refused_at_once_when_no_leg_of_rtp_is_left_for_it() {
    let house = House::start().await;
    house.rtp.limit(2);
    let mut alice = house.switch.phone("alice").await;
    // The first has not been answered, and is to have its leg all the same.
    let mut calling = Vec::new();
    for (user, expected) in [("desk", None), ("lab", None), ("bar", Some(503)), ("hall", Some(503))] {
        let mut desk = house.telephone(user).await;
        let mut invite = desk.request(Method::Invite, "sip:alice@moqswitch", "alice");
        invite.push("Contact", desk.contact());
        invite.set_body("application/sdp", description("0 101"));
        desk.send(&invite).await;
        match expected {
            None => {
                let incoming = alice.expect("incomingCall").await;
                calling.push((desk, incoming["callId"].as_str().unwrap().to_owned()));
            }
            Some(status) => {
                let refused = desk.response().await;
                assert_eq!((refused.status(), refused.get("Retry-After")), (status, Some("10")));
            }
        }
    }
    for (desk, call) in &calling {
        alice.send("answer", json!({ "callId": call })).await;
        alice.expect("callAccepted").await;
        assert_eq!(desk.status().await, 200);
    }
    // Nobody was called for those that were refused.
    let told = alice.rest().await;
    assert!(
        !told.iter().any(|message| message["type"] == "incomingCall"),
        "{told:?}"
    );
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
            .any(|command| matches!(command, RtpCommand::Hear(_, heard) if heard.path() == Some(&path(&call, 1)))),
        "{told:?}"
    );
    alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
    let bye = desk.incoming(&Method::Bye).await;
    assert_eq!(bye.get("Reason"), Some("Q.850;cause=16;text=\"normal_clearing\""));
    desk.answer(&bye, 200, None).await;
    house.told(|command| matches!(command, RtpCommand::Close(_))).await;
}

#[tokio::test]
async fn what_a_telephone_plays_before_it_answers_is_told_to_who_calls() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let mut desk = house.telephone("desk").await;
    let lab = house.telephone("lab").await;
    let mut invite = desk.request(Method::Invite, "sip:lab@moqswitch", "lab");
    invite.push("Contact", desk.contact());
    invite.set_body("application/sdp", description("0 8 101"));
    desk.send(&invite).await;
    let called = lab.incoming(&Method::Invite).await;
    lab.answer(&called, 180, None).await;
    lab.answer(&called, 183, Some(&description("8 101"))).await;
    let told = loop {
        let told = desk.provisional().await;
        if told.status() == 183 {
            break told;
        }
    };
    // In the codec that the callee speaks, so that nobody transcodes.
    let body = String::from_utf8_lossy(&told.body).into_owned();
    assert!(body.contains("RTP/AVP 8 "), "{body}");
    let is_early = |command: &RtpCommand| matches!(command, RtpCommand::Hear(_, heard) if heard.path().is_some_and(|path| path.ends_with("/2")));
    house.told(is_early).await;
    lab.answer(&called, 200, Some(&description("8 101"))).await;
    lab.incoming(&Method::Ack).await;
    assert_eq!(desk.status().await, 200);
    // Who calls by messages is told of the broadcast.
    alice.send("call", json!({ "to": "lab" })).await;
    let called = lab.incoming(&Method::Invite).await;
    lab.answer(&called, 183, Some(&description("0 101"))).await;
    let progress = loop {
        let progress = alice.expect("callProgress").await;
        if progress["state"] == "ringing" {
            break progress;
        }
    };
    let path = progress["earlyMedia"].as_str().unwrap_or_default();
    assert!(path.starts_with("call/") && path.ends_with("/2"), "{progress}");
}

#[tokio::test]
async fn a_telephone_that_is_not_heard_any_more_is_hung_up_and_everybody_is_told_why() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let called = desk.incoming(&Method::Invite).await;
    desk.answer(&called, 200, Some(&description("0 101"))).await;
    let call = alice.expect("callAccepted").await["call"].as_str().unwrap().to_owned();
    desk.incoming(&Method::Ack).await;
    let told = house.told(|command| matches!(command, RtpCommand::Agree(..))).await;
    let leg = told.iter().find_map(|command| match command {
        RtpCommand::Agree(leg, _) => Some(*leg),
        _ => None,
    });
    house.rtp.tell(RtpEvent::Silent { leg: leg.unwrap() });
    let bye = desk.incoming(&Method::Bye).await;
    assert_eq!(bye.get("Reason"), Some("Q.850;cause=102;text=\"media_timeout\""));
    desk.answer(&bye, 200, None).await;
    let ended = alice.expect("callEnded").await;
    assert_eq!(ended["reason"], "media_timeout", "{ended}");
    loop {
        let records = house.switch.get("/api/cdr").await.json();
        let records = records["records"].as_array().unwrap();
        if let Some(record) = records
            .iter()
            .find(|record| record["call"] == call || record["callId"] == call)
        {
            assert_eq!(record["reason"], "media_timeout", "{record}");
            break;
        }
        house.switch.breathe().await;
    }
}

#[tokio::test]
async fn a_telephone_sends_a_call_on_to_a_number_of_here_and_nowhere_else() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let desk = house.telephone("desk").await;
    let lab = house.telephone("lab").await;
    for (contact, is_followed) in [
        ("<sip:lab@elsewhere.example>", false),
        ("<sip:lab@moqswitch>", true),
        ("<tel:lab>", true),
    ] {
        alice.send("call", json!({ "to": "desk" })).await;
        let called = desk.incoming(&Method::Invite).await;
        let mut moved = Message::response(&called, 302, "Moved Temporarily");
        moved.set("To", format!("{};tag=own", called.get("To").unwrap()));
        moved.push("Contact", contact);
        desk.send(&moved).await;
        desk.incoming(&Method::Ack).await;
        if !is_followed {
            let ended = alice.expect("callEnded").await;
            assert_eq!(ended["reason"], "unreachable", "{contact}: {ended}");
            continue;
        }
        let sent_on = lab.incoming(&Method::Invite).await;
        lab.answer(&sent_on, 200, Some(&description("0 101"))).await;
        let accepted = alice.expect("callAccepted").await;
        lab.incoming(&Method::Ack).await;
        alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
        let bye = lab.incoming(&Method::Bye).await;
        lab.answer(&bye, 200, None).await;
        alice.expect("callEnded").await;
    }
    let figures = house.switch.handle().figures().await.unwrap();
    assert_eq!((figures.forwards, figures.forwards_refused), (2, 1));
}

#[tokio::test]
async fn whom_a_telephone_calls_or_writes_to_at_the_switch_is_of_its_own_domain() {
    let house = House::with_domains(&[
        ("a.example", &["1001", "1002"]),
        ("b.example", &["1001", "1002", "1003"]),
    ])
    .await;
    let _other = house.telephone("1002").await;
    let mut desk = house.telephone_of("1001", "b.example").await;
    let lab = house.telephone_of("1002", "b.example").await;
    let (uri, contact) = (format!("sip:1002@{}", house.sip()), desk.contact());
    for (method, kind, body) in [
        (Method::Invite, "application/sdp", description("0 101")),
        (Method::Message, "text/plain", "Coffee?".to_owned()),
    ] {
        let to_lab = |request: &mut Message| {
            request.set("From", "<sip:1001@b.example>;tag=own");
            request.set("To", format!("<{uri}>"));
            request.push("Contact", contact.clone());
            request.set_body(kind, body.clone());
        };
        let response = desk.ask(&method, &uri, to_lab).await;
        assert!(response.status() < 300, "{method}: {}", response.status());
        let came = within("an address of the switch", lab.incoming(&method)).await;
        lab.answer(&came, 486, None).await;
    }
}

#[tokio::test]
async fn a_number_that_a_telephone_names_is_one_of_its_own_domain() {
    let house = House::with_domains(&[
        ("a.example", &["1001", "1002"]),
        ("b.example", &["1001", "1002", "1003"]),
    ])
    .await;
    // Others with the same digits: of another domain, and of none.
    let _others = (
        house.telephone_of("1002", "a.example").await,
        house.telephone("1002").await,
    );
    let desk = house.telephone_of("1001", "b.example").await;
    let lab = house.telephone_of("1002", "b.example").await;
    let mut alice = Phone::connect(house.switch.address, "/ws").await;
    alice
        .send("register", json!({ "dn": "1003@b.example", "password": "s" }))
        .await;
    alice.expect("registered").await;
    let at_switch = format!("<sip:1002@{}>", house.sip());
    for contact in ["<sip:1002@b.example>", "<tel:1002>", "<sip:1002@moqswitch>", &at_switch] {
        alice.send("call", json!({ "to": "1001@b.example" })).await;
        let called = desk.incoming(&Method::Invite).await;
        let mut moved = Message::response(&called, 302, "Moved Temporarily");
        moved.set("To", format!("{};tag=own", called.get("To").unwrap()));
        moved.push("Contact", contact);
        desk.send(&moved).await;
        desk.incoming(&Method::Ack).await;
        let sent_on = within(contact, lab.incoming(&Method::Invite)).await;
        lab.answer(&sent_on, 486, None).await;
        lab.incoming(&Method::Ack).await;
        assert_eq!(alice.expect("callEnded").await["reason"], "busy", "{contact}");
    }
    // Whom it transfers to, as well.
    for target in ["<sip:1002@b.example>", "<tel:1002>", &at_switch] {
        alice.send("call", json!({ "to": "1001@b.example" })).await;
        let called = desk.incoming(&Method::Invite).await;
        desk.answer(&called, 200, Some(&description("0 101"))).await;
        desk.incoming(&Method::Ack).await;
        let accepted = alice.expect("callAccepted").await;
        let uri = called.get("Contact").unwrap().trim_matches(['<', '>']).to_owned();
        let mut refer = Message::request(Method::Refer, &uri);
        let at = desk.socket.local_addr().unwrap();
        refer.push(
            "Via",
            format!("SIP/2.0/UDP {at};branch=z9hG4bKr{};rport", called.call_id()),
        );
        refer.push("From", format!("{};tag=own", called.get("To").unwrap()));
        refer.push("To", called.get("From").unwrap());
        refer.push("Call-ID", called.call_id());
        refer.push("CSeq", "1 REFER");
        refer.push("Contact", desk.contact());
        refer.push("Refer-To", target);
        desk.send(&refer).await;
        let sent_on = within(target, lab.incoming(&Method::Invite)).await;
        lab.answer(&sent_on, 486, None).await;
        lab.incoming(&Method::Ack).await;
        alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
        let bye = desk.incoming(&Method::Bye).await;
        desk.answer(&bye, 200, None).await;
        alice.expect("callEnded").await;
    }
}

/// What comes, or whose fault it is that it does not.
async fn within<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(60);
    let came = tokio::time::timeout(patience, awaited).await;
    came.unwrap_or_else(|_| panic!("{what}: somebody else was called"))
}

#[tokio::test]
async fn another_telephone_of_a_number_takes_its_call_over() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let called = desk.incoming(&Method::Invite).await;
    desk.answer(&called, 200, Some(&description("0 101"))).await;
    alice.expect("callAccepted").await;
    desk.incoming(&Method::Ack).await;
    let named = format!(
        "{};to-tag={};from-tag=own",
        called.call_id(),
        called.from_tag().unwrap()
    );
    let wanted = |telephone: &mut Telephone, named: &str| {
        let mut invite = telephone.request(Method::Invite, "sip:alice@moqswitch", "alice");
        invite.set("Call-ID", format!("{}-{}", telephone.user, telephone.sent));
        invite.push("Contact", telephone.contact());
        invite.push("Replaces", named);
        invite.set_body("application/sdp", description("0 101"));
        invite
    };
    let mut lab = house.telephone("lab").await;
    for (named, status) in [(named.clone(), 403), (named.replace("=own", "=other"), 481)] {
        let invite = wanted(&mut lab, &named);
        lab.send(&invite).await;
        assert_eq!(lab.status().await, status);
    }
    let mut mobile = house.telephone("desk").await;
    let invite = wanted(&mut mobile, &named);
    mobile.send(&invite).await;
    assert_eq!(mobile.status().await, 200);
    let bye = desk.incoming(&Method::Bye).await;
    desk.answer(&bye, 200, None).await;
    let is_heard = |command: &RtpCommand| matches!(command, RtpCommand::Open { path, .. } if path.ends_with("/3"));
    house.told(is_heard).await;
    loop {
        let told = alice.expect("participants").await;
        let all = told["participants"].as_array().unwrap();
        if all.len() == 2 && all.iter().any(|one| one["dn"] == "desk" && one["audible"] == true) {
            break;
        }
    }
    // What it named is over.
    let invite = wanted(&mut mobile, &named);
    mobile.send(&invite).await;
    loop {
        let response = mobile.response().await;
        if response.cseq() == invite.cseq() {
            assert_eq!(response.status(), 603);
            break;
        }
    }
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
async fn calls_outlive_the_registration_of_their_telephone() {
    let house = House::start().await;
    let mut alice = house.switch.phone("alice").await;
    let mut desk = house.telephone("desk").await;
    alice.send("call", json!({ "to": "desk" })).await;
    let invite = desk.incoming(&Method::Invite).await;
    desk.answer(&invite, 200, Some(&description("0"))).await;
    let accepted = alice.expect("callAccepted").await;
    desk.incoming(&Method::Ack).await;
    let mut leave = desk.request(Method::Register, "sip:moqswitch", "desk");
    leave.push("Contact", format!("{};expires=0", desk.contact()));
    desk.send(&leave).await;
    assert_eq!(desk.status().await, 200);
    // Nobody rings it, and its call goes on.
    let mut bob = house.switch.phone("bob").await;
    bob.send("call", json!({ "to": "desk" })).await;
    assert_eq!(bob.expect("callEnded").await["reason"], "unreachable");
    // It comes back as what it was, and is in its call still.
    let mut again = desk.request(Method::Register, "sip:moqswitch", "desk");
    again.push(
        "Contact",
        format!("{};ob", desk.contact().replace('>', ";rinstance=2>")),
    );
    desk.send(&again).await;
    assert_eq!(desk.status().await, 200);
    alice.send("hangup", json!({ "callId": accepted["callId"] })).await;
    let bye = desk.incoming(&Method::Bye).await;
    desk.answer(&bye, 200, None).await;
    assert_eq!(alice.expect("callEnded").await["reason"], "normal_clearing");
    bob.send("call", json!({ "to": "desk" })).await;
    desk.incoming(&Method::Invite).await;
}

#[tokio::test]
async fn a_caller_in_a_queue_hears_its_music() {
    let house = House::start().await;
    house
        .plan("[queues.support]\nagents = [\"agent\"]\nmusic = \"calm\"\n[[rules]]\nto = \"900\"\ntarget = \"queue/support\"\n")
        .await;
    let mut desk = house.telephone("desk").await;
    let mut invite = desk.request(Method::Invite, "sip:900@moqswitch", "900");
    invite.push("Contact", desk.contact());
    invite.set_body("application/sdp", description("0"));
    desk.send(&invite).await;
    let told = loop {
        let message = desk.receive().await;
        if message.status() > 100 {
            break message;
        }
    };
    assert_eq!((told.status(), told.body.is_empty()), (183, false));
    house
        .told(|command| {
            // Nobody knows what music is in.
            let calm = RtpHeard::One {
                path: "moh/calm".to_owned(),
                transcoded: Some(Codec::Pcmu),
            };
            matches!(command, RtpCommand::Hear(_, heard) if *heard == calm)
        })
        .await;
}

#[tokio::test]
async fn telephones_write_to_each_other_and_say_how_their_users_are() {
    let house = House::start().await;
    let (mut desk, other) = (house.telephone("desk").await, house.telephone("other").await);
    let mut text = desk.request(Method::Message, "sip:other@moqswitch", "other");
    text.set_body("text/plain", "Tea is ready.");
    desk.send(&text).await;
    assert_eq!(desk.status().await, 202);
    let came = other.incoming(&Method::Message).await;
    assert_eq!(String::from_utf8_lossy(&came.body), "Tea is ready.");
    assert!(
        came.get("From").unwrap().contains("sip:desk@"),
        "{:?}",
        came.get("From")
    );
    other.answer(&came, 200, None).await;
    for (to, status) in [("nobody", 404)] {
        let mut text = desk.request(Method::Message, &format!("sip:{to}@moqswitch"), to);
        text.set_body("text/plain", "Hello?");
        desk.send(&text).await;
        assert_eq!(desk.status().await, status, "{to}");
    }

    let mut alice = house.switch.phone("alice").await;
    alice.send("subscribe", json!({ "dns": ["desk"] })).await;
    assert_eq!(alice.expect("presence").await["status"], "available");
    let away = "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:desk@moqswitch\"><tuple id=\"a\"><status><basic>closed</basic></status></tuple></presence>";
    let mut publish = desk.request(Method::Publish, "sip:desk@moqswitch", "desk");
    publish.push("Event", "presence");
    publish.push("Expires", "600");
    publish.set_body("application/pidf+xml", away);
    desk.send(&publish).await;
    let published = desk.response().await;
    assert_eq!(published.status(), 200);
    assert_eq!(alice.expect("presence").await["status"], "away");
    let tag = published.get("SIP-ETag").unwrap().to_owned();
    let mut ended = desk.request(Method::Publish, "sip:desk@moqswitch", "desk");
    ended.push("Event", "presence");
    ended.push("SIP-If-Match", tag);
    ended.push("Expires", "0");
    desk.send(&ended).await;
    assert_eq!(desk.status().await, 200);
    assert_eq!(alice.expect("presence").await["status"], "available");
}

#[tokio::test]
async fn who_is_handed_on_speaks_what_the_next_one_understands() {
    let house = House::start().await;
    let (mut desk, other) = (house.telephone("desk").await, house.telephone("other").await);
    let third = house.telephone("third").await;
    let mut invite = desk.request(Method::Invite, "sip:other@moqswitch", "other");
    invite.push("Contact", desk.contact());
    invite.set_body("application/sdp", description("0 8 101"));
    desk.send(&invite).await;
    let called = other.incoming(&Method::Invite).await;
    other.answer(&called, 200, Some(&description("0 101"))).await;
    let accepted = desk.response().await;
    let to = accepted.get("To").unwrap().to_owned();
    let mut ack = desk.request(Method::Ack, "sip:other@127.0.0.1", "other");
    ack.set("To", &to);
    ack.set("CSeq", format!("{} ACK", desk.sent - 1));
    desk.send(&ack).await;
    other.incoming(&Method::Ack).await;

    let mut refer = desk.request(Method::Refer, "sip:other@127.0.0.1", "other");
    refer.set("To", &to);
    refer.push("Contact", desk.contact());
    refer.push("Refer-To", "<sip:third@moqswitch>");
    desk.send(&refer).await;
    assert_eq!(desk.status().await, 202);
    let rung = third.incoming(&Method::Invite).await;
    third.answer(&rung, 200, Some(&description("8 101"))).await;
    third.incoming(&Method::Ack).await;
    // It speaks nothing but A-law, so it is the other one that changes.
    let asked = third.incoming(&Method::Invite).await;
    third.answer(&asked, 488, None).await;
    let asked = other.incoming(&Method::Invite).await;
    let offer = String::from_utf8_lossy(&asked.body).into_owned();
    assert!(offer.contains("RTP/AVP 8 "), "{offer}");
    other.answer(&asked, 200, Some(&description("8 101"))).await;
    other.incoming(&Method::Ack).await;
    let both = |command: &RtpCommand| matches!(command, RtpCommand::Agree(_, agreed) if agreed.codec == Codec::Pcma);
    let mut told = house.told(both).await;
    while told.iter().filter(|command| both(command)).count() < 2 {
        told.extend(house.rtp.take_history());
        house.switch.breathe().await;
    }
}
