//! An agent that hears any datagrams at any time, while who drives it does anything. What holds of its tables holds after each
//! step; a datagram causes few others; each leg ends once; and nothing is left when all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Outcome;
use crate::agent::{Access, Agent, Binding, BindingId, Call, Event, Host, LegKey, Reached, Settings, Target};
use crate::digest::{Algorithm, Ha1, Secret};
use crate::flow::{Flow, Transport};
use crate::message::Message;

/// Does what the input says: steps of an operation, a length in two bytes and as many bytes.
///
/// # Errors
/// What does not hold.
pub fn exercise(input: &[u8]) -> Result<Outcome, String> {
    let mut conversation = Conversation::new();
    let mut rest = input;
    let mut was_taken = false;
    for _ in 0..STEPS_MAX {
        let [operation, high, low, behind @ ..] = rest else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        let (bytes, next) = behind.split_at(length);
        rest = next;
        was_taken |= conversation.step(*operation, bytes)?;
    }
    conversation.end()?;
    Ok(Outcome::of(was_taken))
}

/// Calls and registrations, as they go by right.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let seed = |(name, steps): &(&str, &[(u8, &str)])| {
        let mut bytes = Vec::new();
        for (operation, text) in *steps {
            let text = text.replace('\n', "\r\n");
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            bytes.push(*operation);
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.bytes());
        }
        ((*name).to_owned(), bytes)
    };
    SEEDS.iter().map(seed).collect()
}

/// Whom the agent lets in: 1001 to 1003 from anywhere, `secret` by its password.
#[derive(Debug, Default)]
struct House {
    bindings: BTreeSet<BindingId>,
}

impl Host for House {
    fn access(&mut self, user: &str, _domain: &str, _flow: Flow) -> Access {
        match user {
            "1001" | "1002" | "1003" => Access::Open,
            "secret" => Access::Password("realm".to_owned()),
            _ => Access::Unknown("realm".to_owned()),
        }
    }

    fn secret(&mut self, user: &str, _domain: &str, algorithm: Algorithm) -> Option<Ha1> {
        (user == "secret").then(|| Ha1::of(algorithm, user, "realm", "password"))
    }

    fn register(&mut self, id: BindingId, binding: &Binding, expires: Duration) -> Result<Duration, u16> {
        if binding.contact.contains("refuse") {
            return Err(403);
        }
        self.bindings.insert(id);
        Ok(expires)
    }

    fn unregister(&mut self, id: BindingId) {
        self.bindings.remove(&id);
    }
}

struct Conversation {
    now: Instant,
    agent: Agent,
    house: House,
    /// Those that are not over, by what was told.
    legs: BTreeSet<LegKey>,
    over: BTreeSet<LegKey>,
    /// What the agent sent last: what stands in its headers can be said again.
    last: BTreeMap<&'static str, String>,
}

impl Conversation {
    fn new() -> Self {
        let now = Instant::now();
        let at = SocketAddr::from(([192, 0, 2, 1], 5060));
        let reached = Reached {
            udp: at,
            tcp: at,
            tls: at,
        };
        let mut state = 1_u128;
        let random = move || {
            state = state
                .wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645)
                .wrapping_add(1);
            state ^ (state >> 64)
        };
        let mut agent = Agent::new(Settings::at(reached, "realm"), now, Box::new(random));
        agent.set_account(1, "1001", Secret::Password("password".to_owned()));
        Self {
            now,
            agent,
            house: House::default(),
            legs: BTreeSet::new(),
            over: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    /// True: it was a message that could be read.
    fn step(&mut self, operation: u8, bytes: &[u8]) -> Result<bool, String> {
        let mut is_taken = false;
        match operation % OPERATIONS {
            DATAGRAM => is_taken = self.take(PEERS[0], bytes)?,
            FROM_ANOTHER => is_taken = self.take(PEERS[1], bytes)?,
            ON_A_STREAM => is_taken = self.take(PEERS[2], bytes)?,
            TIME => {
                let number = bytes
                    .iter()
                    .take(5)
                    .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit % 10));
                self.pass(Duration::from_millis(number * 10))?;
            }
            CALL => self.call(bytes)?,
            CLOSE => self.agent.connection_closed(7, &mut self.house),
            operation => self.drive(operation),
        }
        self.hear()?;
        self.agent.check()?;
        if self.agent.bindings().count() != self.house.bindings.len() {
            return Err("the host has other contacts".to_owned());
        }
        Ok(is_taken)
    }

    fn take(&mut self, (transport, peer, connection): Peer, bytes: &[u8]) -> Result<bool, String> {
        let bytes = self.fill_in(bytes);
        let flow = Flow {
            transport,
            peer: SocketAddr::from(peer),
            connection,
        };
        self.agent.receive(self.now, flow, &bytes, &mut self.house);
        let sent = self.send();
        if sent > CAUSED_MAX {
            return Err(format!("{sent} messages by {:?}", String::from_utf8_lossy(&bytes)));
        }
        Ok(Message::parse(&bytes).is_ok())
    }

    /// `@V`, `@F`, `@T`, `@I` and `@N` are what Via, From, To, Call-ID and CSeq of the last message are.
    fn fill_in(&self, bytes: &[u8]) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return bytes.to_vec();
        };
        let mut text = text.to_owned();
        for (place, name) in PLACES {
            if let Some(value) = self.last.get(name).filter(|value| value.len() < 1000) {
                text = text.replace(place, value);
            }
        }
        text.into_bytes()
    }

    /// How many messages there were.
    fn send(&mut self) -> usize {
        let mut count = 0;
        while let Some((_, bytes)) = self.agent.poll_send() {
            count += 1;
            if let Ok(message) = Message::parse(&bytes) {
                for (_, name) in PLACES {
                    self.last.insert(name, message.get(name).unwrap_or_default().to_owned());
                }
            }
        }
        count
    }

    fn pass(&mut self, span: Duration) -> Result<(), String> {
        let end = self.now + span;
        for _ in 0..TURNS_MAX {
            let Some(due) = self.agent.poll_timeout().filter(|due| *due <= end) else {
                self.now = end;
                return Ok(());
            };
            self.now = self.now.max(due);
            self.agent.handle_timeout(self.now, &mut self.house);
            self.hear()?;
            self.agent.check()?;
        }
        Err(format!("more than {TURNS_MAX} turns in {span:?}"))
    }

    fn call(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (transport, peer, connection) = PEERS[bytes.len() % PEERS.len()];
        let flow = Flow {
            transport,
            peer: SocketAddr::from(peer),
            connection,
        };
        let call = Call {
            target: Target {
                flow,
                uri: "sip:1001@198.51.100.1".to_owned(),
                route: Vec::new(),
            },
            from: ("1002".to_owned(), String::from_utf8_lossy(bytes).into_owned()),
            to: "sip:1001@realm".to_owned(),
            offer: "v=0".to_owned(),
            headers: Vec::new(),
            account: Some(1),
            max_forwards: None,
        };
        if self.legs.len() < LEGS_MAX {
            let key = self.agent.call(self.now, call).map_err(|error| error.to_string())?;
            self.legs.insert(key);
        }
        Ok(())
    }

    /// What who drives the agent does with its latest leg.
    fn drive(&mut self, operation: u8) {
        let Some(key) = self.legs.last().copied() else { return };
        let (now, agent) = (self.now, &mut self.agent);
        match operation % OPERATIONS {
            RING => agent.ring(now, key, None),
            EARLY => agent.ring(now, key, Some("v=0 early")),
            ANSWER => agent.answer(now, key, "v=0 answer"),
            OFFER => drop(agent.offer(now, key, "v=0 offer")),
            ANSWER_OFFER => agent.answer_offer(now, key, "v=0 answer"),
            REFUSE_OFFER => agent.refuse_offer(now, key, 488),
            TRANSFER => agent.tell_transfer(now, key, 200),
            PRESS => drop(agent.press(now, key, '#', Duration::from_millis(100))),
            _ => {
                agent.hang_up(now, key, 486, Some("Q.850;cause=17"));
                self.legs.remove(&key);
                self.over.insert(key);
            }
        }
    }

    /// Each leg is told of from its begin to its end.
    fn hear(&mut self) -> Result<(), String> {
        self.send();
        while let Some(event) = self.agent.poll_event() {
            let key = match &event {
                Event::Invited(invited) => {
                    if !self.legs.insert(invited.leg) || self.over.contains(&invited.leg) {
                        return Err(format!("{event:?} comes twice"));
                    }
                    continue;
                }
                Event::Noticed { .. }
                | Event::ReferProgress { .. }
                | Event::Trunk { .. }
                | Event::Subscribed(_)
                | Event::Unsubscribed { .. }
                | Event::Published { .. }
                | Event::Text(_)
                | Event::TextSent { .. } => continue,
                Event::Progress { leg, .. }
                | Event::Answered { leg, .. }
                | Event::Confirmed { leg, .. }
                | Event::Offered { leg, .. }
                | Event::OfferAnswered { leg, .. }
                | Event::Digit { leg, .. }
                | Event::Transfer { leg, .. }
                | Event::Ended { leg, .. } => *leg,
            };
            if !self.legs.contains(&key) {
                return Err(format!("{event:?}, and it is over"));
            }
            if matches!(event, Event::Ended { .. }) {
                self.legs.remove(&key);
                self.over.insert(key);
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), String> {
        while !self.legs.is_empty() {
            self.drive(HANG_UP);
        }
        // Longer than a call may ring, and than any registration.
        self.pass(Duration::from_secs(8000))?;
        self.agent.check_idle()?;
        match self.house.bindings.len() {
            0 => Ok(()),
            count => Err(format!("{count} contacts for ever")),
        }
    }
}

type Peer = (Transport, ([u8; 4], u16), u64);

const PEERS: [Peer; 3] = [
    (Transport::Udp, ([198, 51, 100, 1], 5060), 0),
    (Transport::Udp, ([203, 0, 113, 66], 40_000), 0),
    (Transport::Tcp, ([198, 51, 100, 1], 50_000), 7),
];

const PLACES: [(&str, &str); 5] = [
    ("@V", "Via"),
    ("@F", "From"),
    ("@T", "To"),
    ("@I", "Call-ID"),
    ("@N", "CSeq"),
];

const DATAGRAM: u8 = 0;
const FROM_ANOTHER: u8 = 1;
const ON_A_STREAM: u8 = 2;
const TIME: u8 = 3;
const CALL: u8 = 4;
const CLOSE: u8 = 5;
const RING: u8 = 6;
const EARLY: u8 = 7;
const ANSWER: u8 = 8;
const OFFER: u8 = 9;
const ANSWER_OFFER: u8 = 10;
const REFUSE_OFFER: u8 = 11;
const TRANSFER: u8 = 12;
const PRESS: u8 = 13;
const HANG_UP: u8 = 14;
const OPERATIONS: u8 = 15;

/// A conversation has no more steps.
const STEPS_MAX: usize = 64;
/// Legs that are called at a time.
const LEGS_MAX: usize = 8;
/// Messages by one that came: an answer to it and to what it ends, or an ACK and what ends the call.
const CAUSED_MAX: usize = 3;
/// Turns while time passes. Of calls, registrations and pings there are not so many.
const TURNS_MAX: usize = 20_000;

const INVITE: &str = "INVITE sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1\n\
    From: <sip:1001@realm>;tag=p\nTo: <sip:1002@realm>\nCall-ID: c\nCSeq: 1 INVITE\nContact: <sip:1001@198.51.100.1>\n\
    Require: 100rel\nSession-Expires: 90\nAllow: UPDATE\nContent-Type: application/sdp\nContent-Length: 3\n\nv=0";

const SEEDS: [(&str, &[(u8, &str)]); 9] = [
    (
        "called",
        &[
            (DATAGRAM, INVITE),
            (EARLY, ""),
            (
                DATAGRAM,
                "PRACK sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK2\nFrom: @F\nTo: @T\nCall-ID: @I\n\
                 CSeq: 2 PRACK\nRAck: 1 1 INVITE\n\n",
            ),
            (ANSWER, ""),
            (TIME, "00060"),
            (
                DATAGRAM,
                "ACK sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK3\nFrom: @F\nTo: @T\nCall-ID: @I\n\
                 CSeq: 1 ACK\n\n",
            ),
            (TIME, "03000"),
            (
                DATAGRAM,
                "BYE sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK4\nFrom: @F\nTo: @T\nCall-ID: @I\n\
                 CSeq: 3 BYE\n\n",
            ),
        ],
    ),
    (
        "given-up",
        &[
            (DATAGRAM, INVITE),
            (RING, ""),
            (
                DATAGRAM,
                "CANCEL sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1\nFrom: @F\n\
                 To: <sip:1002@realm>\nCall-ID: @I\nCSeq: 1 CANCEL\n\n",
            ),
        ],
    ),
    (
        "calling",
        &[
            (CALL, "Al"),
            (
                FROM_ANOTHER,
                "SIP/2.0 183 X\nVia: @V\nFrom: @F\nTo: @T;tag=x\nCall-ID: @I\nCSeq: @N\nContact: <sip:a@198.51.100.1>\n\
                 Require: 100rel\nRSeq: 7\n\n",
            ),
            (
                DATAGRAM,
                "SIP/2.0 200 OK\nVia: @V\nFrom: @F\nTo: @T\nCall-ID: @I\nCSeq: @N\n\n",
            ),
            (PRESS, ""),
            (HANG_UP, ""),
        ],
    ),
    (
        "forked",
        &[
            (CALL, ""),
            (
                DATAGRAM,
                "SIP/2.0 200 OK\nVia: @V\nFrom: @F\nTo: @T;tag=x\nCall-ID: @I\nCSeq: @N\nContact: <sip:a@198.51.100.1>\n\
                 Record-Route: <sip:198.51.100.1;lr>\nSession-Expires: 90;refresher=uas\nContent-Type: application/sdp\n\nv=0",
            ),
            (OFFER, ""),
            (
                DATAGRAM,
                "SIP/2.0 491 X\nVia: @V\nFrom: @F\nTo: @T\nCall-ID: @I\nCSeq: @N\n\n",
            ),
            (TIME, "00500"),
            (
                DATAGRAM,
                "SIP/2.0 200 OK\nVia: @V\nFrom: @F\nTo: @T\nCall-ID: @I\nCSeq: @N\nContent-Type: application/sdp\n\nv=0",
            ),
        ],
    ),
    (
        "asked-again",
        &[
            (CALL, "x"),
            (
                FROM_ANOTHER,
                "SIP/2.0 407 X\nVia: @V\nFrom: @F\nTo: @T;tag=x\nCall-ID: @I\nCSeq: @N\n\
                 Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\n\n",
            ),
            (
                FROM_ANOTHER,
                "SIP/2.0 422 X\nVia: @V\nFrom: @F\nTo: @T;tag=x\nCall-ID: @I\nCSeq: @N\nMin-SE: 3600\n\n",
            ),
            (
                FROM_ANOTHER,
                "SIP/2.0 486 X\nVia: @V\nFrom: @F\nTo: @T;tag=x\nCall-ID: @I\nCSeq: @N\n\n",
            ),
        ],
    ),
    (
        "registered",
        &[
            (
                ON_A_STREAM,
                "REGISTER sip:realm SIP/2.0\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK1\nFrom: <sip:1003@realm>;tag=1\n\
                 To: <sip:1003@realm>\nCall-ID: r\nCSeq: 1 REGISTER\nContact: <sip:1003@10.0.0.1>;expires=600\n\
                 Path: <sip:p;lr>\n\n",
            ),
            (
                DATAGRAM,
                "REGISTER sip:realm SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK2;rport\nFrom: <sip:1003@realm>;tag=1\n\
                 To: <sip:1003@realm>\nCall-ID: r\nCSeq: 2 REGISTER\nContact: <sip:1003@10.0.0.1:5062>\nExpires: 120\n\n",
            ),
            (TIME, "09000"),
            (
                FROM_ANOTHER,
                "REGISTER sip:realm SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bK3;rport\nFrom: <sip:secret@realm>;tag=1\n\
                 To: <sip:secret@realm>\nCall-ID: s\nCSeq: 1 REGISTER\nContact: <sip:secret@b>\n\n",
            ),
            (CLOSE, ""),
        ],
    ),
    (
        "cut",
        &[
            (
                ON_A_STREAM,
                "REGISTER sip:realm SIP/2.0\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK1\nFrom: <sip:1001@realm>;tag=1\n\
                 To: <sip:1001@realm>\nCall-ID: r\nCSeq: 1 REGISTER\nContact: <sip:1001@198.51.100.1>;+sip.instance=\"<a>\"\n\n",
            ),
            (ON_A_STREAM, INVITE),
            (ANSWER, ""),
            (
                ON_A_STREAM,
                "ACK sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/TCP 198.51.100.1;branch=z9hG4bK3\nFrom: @F\nTo: @T\nCall-ID: @I\n\
                 CSeq: 1 ACK\n\n",
            ),
            (OFFER, ""),
            (CLOSE, ""),
            (TIME, "04000"),
            (
                ON_A_STREAM,
                "REGISTER sip:realm SIP/2.0\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK2\nFrom: <sip:1001@realm>;tag=1\n\
                 To: <sip:1001@realm>\nCall-ID: r\nCSeq: 2 REGISTER\nContact: <sip:1001@198.51.100.1>;+sip.instance=\"<a>\"\n\n",
            ),
            (PRESS, ""),
            (CLOSE, ""),
        ],
    ),
    (
        "early",
        &[
            (CALL, ""),
            (
                DATAGRAM,
                "SIP/2.0 183 X\nVia: @V\nFrom: @F\nTo: @T;tag=x\nCall-ID: @I\nCSeq: @N\nContact: <sip:a@198.51.100.1>\n\
                 Require: 100rel\nRSeq: 1\nContent-Type: multipart/mixed;boundary=b\n\n--b\nContent-Type: application/sdp\n\nv=0\n--b--",
            ),
            (
                DATAGRAM,
                "UPDATE sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK7\nFrom: <sip:1001@realm>;tag=y\n\
                 To: @F\nCall-ID: @I\nCSeq: 1 UPDATE\nContact: <sip:b@198.51.100.1>\nSession-Expires: 90\n\n",
            ),
            (TIME, "20000"),
            (
                DATAGRAM,
                "SIP/2.0 302 X\nVia: @V\nFrom: @F\nTo: @T\nCall-ID: @I\nCSeq: 1 INVITE\nContact: <sip:1003@realm>\n\n",
            ),
        ],
    ),
    (
        "moved",
        &[
            (DATAGRAM, INVITE),
            (ANSWER, ""),
            (
                DATAGRAM,
                "ACK sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK3\nFrom: @F\nTo: @T\nCall-ID: @I\n\
                 CSeq: 1 ACK\n\n",
            ),
            (
                FROM_ANOTHER,
                "INVITE sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bK4;rport\nFrom: @F\nTo: @T\nCall-ID: @I\n\
                 CSeq: 2 INVITE\nContact: <sip:1001@203.0.113.66>\n\n",
            ),
            (ANSWER_OFFER, ""),
            (
                FROM_ANOTHER,
                "REFER sip:1002@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP a;branch=z9hG4bK5;rport\nFrom: @F\nTo: @T\nCall-ID: @I\n\
                 CSeq: 3 REFER\nRefer-To: <sip:1003@realm>\n\n",
            ),
            (TRANSFER, ""),
            (REFUSE_OFFER, ""),
        ],
    ),
];
