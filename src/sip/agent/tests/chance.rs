//! Two agents that do anything at any time, over a path that loses, doubles and disorders what it carries. Whatever happens,
//! each leg ends once, both know in the end whether there is a call, and nothing is left when all is over.

use super::*;
use crate::digest::Secret;

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn ms(&mut self, end: usize) -> Duration {
        Duration::from_millis(self.below(end) as u64)
    }
}

/// What who drives an agent knows of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// We call.
    Calling,
    /// We are called, and have not answered.
    Called,
    /// We answered, and the ACK is waited for.
    Answered,
    Up {
        /// We have offered something, and wait.
        is_offering: bool,
        /// The peer has.
        is_offered: bool,
    },
}

const UP: Known = Known::Up {
    is_offering: false,
    is_offered: false,
};

/// One of the two, and who drives it.
struct Side {
    agent: Agent,
    house: House,
    legs: BTreeMap<LegKey, Known>,
    over: BTreeMap<LegKey, &'static str>,
    ends: usize,
}

struct Packet {
    at: Instant,
    to: usize,
    from: SocketAddr,
    bytes: Arc<[u8]>,
}

struct Chance {
    random: Random,
    now: Instant,
    sides: [Side; 2],
    path: Vec<Packet>,
    /// How often which message was lost: never so often that its sender gives up.
    lost: BTreeMap<String, usize>,
    is_lossy: bool,
    /// Somebody else sends what it has made of their messages.
    is_forged: bool,
    /// It still does.
    forges: bool,
    /// What it has seen.
    seen: Vec<Arc<[u8]>>,
}

impl Chance {
    fn new(seed: u64, is_forged: bool) -> Self {
        let now = Instant::now();
        let mut random = Random(seed);
        let has_password = random.one_in(3);
        let side = |number: usize| {
            let mut house = House::open();
            if has_password {
                house.access = Access::Password("realm".to_owned());
            }
            let mut agent = agent(now, number);
            agent.set_account(1, "1001", Secret::Password("secret".to_owned()));
            Side {
                agent,
                house,
                legs: BTreeMap::new(),
                over: BTreeMap::new(),
                ends: 0,
            }
        };
        Self {
            random,
            now,
            sides: [side(0), side(1)],
            path: Vec::new(),
            lost: BTreeMap::new(),
            is_lossy: true,
            is_forged,
            forges: is_forged,
            seen: Vec::new(),
        }
    }

    /// Takes what an agent says, to whom and to us.
    fn drain(&mut self, number: usize) {
        while let Some((flow, bytes)) = self.sides[number].agent.poll_send() {
            self.carry(number, flow, bytes);
        }
        while let Some(event) = self.sides[number].agent.poll_event() {
            self.sides[number].hear(event, self.is_forged);
        }
        self.sides[number].agent.check().unwrap();
    }

    fn carry(&mut self, from: usize, flow: Flow, bytes: Arc<[u8]>) {
        // What goes to somebody else is gone.
        let Some(to) = (0..2).find(|number| address(*number) == flow.peer) else {
            assert!(self.is_forged, "{flow:?}");
            return;
        };
        let message = Message::parse(&bytes);
        // What is wrong with a request is repeated in its answer; but nothing of ours is.
        let is_refusal = [&b"SIP/2.0 4"[..], b"SIP/2.0 5"]
            .iter()
            .any(|start| bytes.starts_with(start));
        assert!(
            message.is_ok() || self.is_forged && is_refusal,
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        if self.is_lossy && self.random.one_in(4) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines: String = text.lines().take(2).collect();
            let lost = self.lost.entry(format!("{from} {lines}")).or_default();
            *lost += 1;
            if *lost <= 3 {
                return;
            }
        }
        let copies = if self.is_lossy && self.random.one_in(8) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = self.random.ms(if self.is_lossy { 400 } else { 40 });
            let (at, from, bytes) = (self.now + delay, address(from), bytes.clone());
            self.path.push(Packet { at, to, from, bytes });
        }
        if self.forges {
            self.seen.push(bytes);
            self.forge();
        }
    }

    /// Somebody else says something like what was said.
    fn forge(&mut self) {
        if !self.random.one_in(2) {
            return;
        }
        let mut bytes = self.seen[self.random.below(self.seen.len())].to_vec();
        for _ in 0..self.random.below(3) {
            let other = self.seen[self.random.below(self.seen.len())].clone();
            mutate(&mut self.random, &mut bytes, &other);
        }
        let from = if self.random.one_in(3) {
            address(self.random.below(2))
        } else {
            "203.0.113.66:5060".parse().unwrap()
        };
        let (at, to) = (self.now + self.random.ms(400), self.random.below(2));
        let bytes = bytes.into();
        self.path.push(Packet { at, to, from, bytes });
    }

    /// Lets time pass: what is due is done in its order.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let packet = self.path.iter().map(|packet| packet.at).min();
            let timer = self.sides.iter().filter_map(|side| side.agent.poll_timeout()).min();
            let Some(due) = [packet, timer].into_iter().flatten().min().filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            if packet.is_some_and(|at| at <= due) {
                let at = self.path.iter().position(|packet| packet.at <= due).unwrap();
                let packet = self.path.swap_remove(at);
                let side = &mut self.sides[packet.to];
                let flow = Flow::datagrams(packet.from);
                side.agent.receive(self.now, flow, &packet.bytes, &mut side.house);
                self.drain(packet.to);
            } else {
                for number in 0..2 {
                    let side = &mut self.sides[number];
                    side.agent.handle_timeout(self.now, &mut side.house);
                    self.drain(number);
                }
            }
        }
        self.now = end;
    }

    /// Somebody does something.
    fn act(&mut self) {
        let number = self.random.below(2);
        if self.random.one_in(6) && self.sides[number].legs.len() < 8 {
            self.call(number);
        }
        let legs: Vec<LegKey> = self.sides[number].legs.keys().copied().collect();
        if legs.is_empty() {
            return;
        }
        let key = legs[self.random.below(legs.len())];
        let choice = self.random.below(12);
        self.sides[number].act(self.now, key, choice);
        self.drain(number);
    }

    fn call(&mut self, number: usize) {
        let mut headers = Vec::new();
        if self.random.one_in(2) {
            headers.push(("Require".to_owned(), "100rel".to_owned()));
        }
        let call = Call {
            target: Target {
                flow: Flow::datagrams(address(1 - number)),
                uri: format!("sip:1002@{}", address(1 - number)),
                route: Vec::new(),
            },
            from: ("1001".to_owned(), "Al".to_owned()),
            to: "sip:1002@realm".to_owned(),
            offer: "v=0 offer".to_owned(),
            headers,
            account: Some(1),
            max_forwards: None,
        };
        let side = &mut self.sides[number];
        let key = side.agent.call(self.now, call).unwrap();
        side.legs.insert(key, Known::Calling);
        self.drain(number);
    }

    /// Nothing is lost any more, and everybody answers what they are asked, until all is quiet.
    fn settle(&mut self) {
        self.is_lossy = false;
        for _ in 0..80 {
            for number in 0..2 {
                let legs: Vec<LegKey> = self.sides[number].legs.keys().copied().collect();
                for key in legs {
                    self.sides[number].oblige(self.now, key);
                    self.drain(number);
                }
            }
            self.pass(Duration::from_secs(1));
        }
    }

    /// The names of the calls that each has.
    fn calls(&self) -> [Vec<String>; 2] {
        [0, 1].map(|number| {
            let side = &self.sides[number];
            let mut names: Vec<String> = side
                .legs
                .iter()
                .map(|(key, known)| {
                    assert_eq!(*known, UP, "{key:?} has not come to an end");
                    side.agent.call_id(*key).unwrap().to_owned()
                })
                .collect();
            names.sort();
            names
        })
    }

    fn end(&mut self) {
        self.forges = false;
        // What is still on its way may begin something.
        for _ in 0..40 {
            for number in 0..2 {
                let legs: Vec<LegKey> = self.sides[number].legs.keys().copied().collect();
                for key in legs {
                    self.sides[number].hang_up(self.now, key);
                    self.drain(number);
                }
            }
            self.pass(Duration::from_secs(1));
        }
        self.pass(Duration::from_secs(300));
        for side in &mut self.sides {
            side.agent.check_idle().unwrap();
            assert!(side.legs.is_empty());
        }
    }
}

impl Side {
    fn known(&mut self, leg: LegKey, event: &str) -> &mut Known {
        if let Some(how) = self.over.get(&leg) {
            panic!("{leg:?} was {how}, and then {event}");
        }
        self.legs
            .get_mut(&leg)
            .unwrap_or_else(|| panic!("{leg:?} is new: {event}"))
    }

    fn hear(&mut self, event: Event, is_forged: bool) {
        match event {
            Event::ReferProgress { .. }
            | Event::Trunk { .. }
            | Event::Subscribed(_)
            | Event::Unsubscribed { .. }
            | Event::Published { .. }
            | Event::Text(_)
            | Event::TextSent { .. } => {}
            Event::Invited(invited) => {
                let was = self.legs.insert(invited.leg, Known::Called);
                assert!(was.is_none() && !self.over.contains_key(&invited.leg));
            }
            Event::Progress { leg, .. } => assert_eq!(*self.known(leg, "progress"), Known::Calling),
            Event::Answered { leg, .. } => {
                let known = self.known(leg, "answered");
                assert_eq!(*known, Known::Calling);
                *known = UP;
            }
            Event::Confirmed { leg, .. } => {
                let known = self.known(leg, "confirmed");
                assert_eq!(*known, Known::Answered);
                *known = UP;
            }
            Event::Offered { leg, .. } => match self.known(leg, "offered") {
                Known::Up { is_offered, .. } => {
                    assert!(!*is_offered, "one at a time");
                    *is_offered = true;
                }
                other => panic!("{other:?} was offered something"),
            },
            Event::OfferAnswered { leg, .. } => match self.known(leg, "answered an offer") {
                Known::Up { is_offering, .. } => {
                    assert!(*is_offering || is_forged, "nothing was offered");
                    *is_offering = false;
                }
                other => panic!("{other:?} had an answer to an offer"),
            },
            Event::Digit { leg, .. } | Event::Transfer { leg, .. } => drop(self.known(leg, "pressed").clone()),
            Event::Ended { leg, .. } => {
                self.known(leg, "ended");
                self.legs.remove(&leg);
                self.over.insert(leg, "ended");
                self.ends += 1;
            }
            Event::Noticed { .. } => {}
        }
    }

    fn act(&mut self, now: Instant, key: LegKey, choice: usize) {
        let known = self.legs[&key].clone();
        match (known, choice) {
            (_, 0) => self.hang_up(now, key),
            (Known::Called, 1..5) => {
                let early = (choice > 2).then_some("v=0 early");
                self.agent.ring(now, key, early);
            }
            (Known::Called, 5..9) => {
                self.agent.answer(now, key, "v=0 answer");
                self.legs.insert(key, Known::Answered);
            }
            (Known::Called, 9) => {
                self.agent.hang_up(now, key, 486, Some("Q.850;cause=17"));
                self.legs.remove(&key);
                self.over.insert(key, "refused");
            }
            (Known::Up { is_offered, .. }, 1..3) => {
                let is_offering = self.agent.offer(now, key, "v=0 again");
                assert!(!is_offering || !is_offered);
                if is_offering {
                    self.legs.insert(
                        key,
                        Known::Up {
                            is_offering,
                            is_offered,
                        },
                    );
                }
            }
            (Known::Up { is_offering, .. }, 3..6) => {
                if choice == 3 {
                    self.agent.refuse_offer(now, key, 488);
                } else {
                    self.agent.answer_offer(now, key, "v=0 fine");
                }
                let is_offered = false;
                self.legs.insert(
                    key,
                    Known::Up {
                        is_offering,
                        is_offered,
                    },
                );
            }
            (Known::Up { .. }, 6) => drop(self.agent.press(now, key, '5', Duration::from_millis(100))),
            (Known::Up { .. }, 7) => self.agent.tell_transfer(now, key, 200),
            _ => {}
        }
    }

    /// Answers what is asked.
    fn oblige(&mut self, now: Instant, key: LegKey) {
        match self.legs[&key] {
            Known::Called => self.act(now, key, 5),
            Known::Up { is_offered: true, .. } => self.act(now, key, 4),
            _ => {}
        }
    }

    fn hang_up(&mut self, now: Instant, key: LegKey) {
        self.agent.hang_up(now, key, 487, None);
        self.legs.remove(&key);
        self.over.insert(key, "hung up");
    }
}

/// Makes something else of a message: its bytes, its lines, or parts of another.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len());
    match random.below(8) {
        0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
        1 => bytes.truncate(at),
        2 => {
            let end = at + random.below(20).min(bytes.len() - at);
            bytes.drain(at..end);
        }
        3 => {
            let from = random.below(other.len());
            let end = from + random.below(other.len() - from);
            bytes.splice(at..at, other[from..end].iter().copied());
        }
        4 | 5 => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(at..at, word.bytes());
        }
        _ => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let others = String::from_utf8_lossy(other).into_owned();
            let mut lines: Vec<&str> = text.split("\r\n").collect();
            let others: Vec<&str> = others.split("\r\n").collect();
            let line = random.below(lines.len());
            match random.below(3) {
                0 => drop(lines.remove(line)),
                1 => lines.insert(line, others[random.below(others.len())]),
                _ => lines[line] = others[random.below(others.len())],
            }
            *bytes = lines.join("\r\n").into_bytes();
        }
    }
    if bytes.is_empty() {
        bytes.push(b'x');
    }
}

const WORDS: &[&str] = &[
    "\r\n",
    "\r\n ",
    "\r",
    "\0",
    " ",
    ",",
    ";",
    "\"",
    "<",
    ">",
    ";tag=x",
    ";branch=z9hG4bK",
    ";rport",
    "0",
    "2147483647",
    "INVITE",
    "BYE",
    "CANCEL",
    "ACK",
    "SIP/2.0 200 OK\r\n",
    "Require: 100rel\r\n",
    "RSeq: 1\r\n",
    "RAck: 1 1 INVITE\r\n",
    "Replaces: a;to-tag=b;from-tag=c\r\n",
    "Refer-To: <sip:1@b>\r\n",
    "Session-Expires: 90;refresher=uas\r\n",
    "Min-SE: 1800\r\n",
    "Record-Route: <sip:203.0.113.1;lr>\r\n",
    "Contact: <sip:x@203.0.113.66>\r\n",
    "Expires: 0\r\n",
    "Content-Length: 1\r\n",
    "Proxy-Authenticate: Digest realm=\"realm\", nonce=\"n\"\r\n",
];

/// `SEED` of the environment, or as many as `SEEDS` says.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SEEDS").unwrap_or(20))
            .map(|number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .collect(),
    }
}

#[test]
fn both_know_whether_there_is_a_call() {
    let (mut calls, mut ends) = (0, 0);
    for seed in seeds() {
        println!("SEED={seed}");
        let mut chance = Chance::new(seed, false);
        for _ in 0..150 {
            chance.act();
            let span = match chance.random.below(60) {
                0 => Duration::from_secs(40),
                1 => Duration::from_secs(1000),
                _ => chance.random.ms(800),
            };
            chance.pass(span);
        }
        chance.settle();
        let [one, other] = chance.calls();
        assert_eq!(one, other);
        calls += one.len();
        chance.end();
        ends += chance.sides.iter().map(|side| side.ends).sum::<usize>();
    }
    println!("{calls} calls were up in the end, and {ends} had been ended by the other side");
}

#[test]
fn whatever_others_make_of_their_messages_nothing_breaks_and_nothing_is_left() {
    for seed in seeds() {
        println!("SEED={seed}");
        let mut chance = Chance::new(seed, true);
        for _ in 0..150 {
            chance.act();
            let span = chance.random.ms(800);
            chance.pass(span);
        }
        chance.end();
    }
}
