//! Two agents that talk to each other over a path that may lose what it carries.

mod asked;
mod bench;
mod chance;
mod doors;
mod forked;
mod hostile;
mod replacing;
mod rfc4475;
mod rfc5118;
mod sessions;
mod streams;
mod torture;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::digest::{Algorithm, Ha1};

struct House {
    access: Access,
    password: &'static str,
    bindings: BTreeMap<BindingId, String>,
}

impl Host for House {
    fn access(&mut self, user: &str, _domain: &str, _flow: Flow) -> Access {
        if user == "nobody" {
            Access::Unknown("realm".to_owned())
        } else {
            self.access.clone()
        }
    }

    fn secret(&mut self, user: &str, _domain: &str, algorithm: Algorithm) -> Option<Ha1> {
        (user != "nobody").then(|| Ha1::of(algorithm, user, "realm", self.password))
    }

    fn register(&mut self, id: BindingId, binding: &Binding, expires: Duration) -> Result<Duration, u16> {
        self.bindings.insert(id, binding.contact.clone());
        Ok(expires)
    }

    fn weigh(&mut self, _: Traffic, _: Load) -> Verdict {
        Verdict::Accept
    }

    fn unregister(&mut self, id: BindingId) {
        self.bindings.remove(&id);
    }
}

impl House {
    fn open() -> Self {
        Self {
            access: Access::Open,
            password: "secret",
            bindings: BTreeMap::new(),
        }
    }
}

/// One that is reached at the address of that number.
fn agent(now: Instant, number: usize) -> Agent {
    let at = address(number);
    let mut state = 0x9E37_79B9_7F4A_7C15_u128 + number as u128;
    let random = move || {
        state = state
            .wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645)
            .wrapping_add(1);
        state ^ (state >> 64)
    };
    let reached = Reached {
        udp: at,
        tcp: at,
        tls: at,
    };
    Agent::new(Settings::at(reached, "realm"), now, Box::new(random))
}

/// `a` and `b`, and what is on its way.
struct World {
    now: Instant,
    agents: [Agent; 2],
    houses: [House; 2],
    events: [Vec<Event>; 2],
    /// What was sent, by its first line and sender.
    sent: Vec<(usize, String)>,
    /// Messages of these first lines are lost, once each.
    lost: Vec<String>,
}

fn address(number: usize) -> SocketAddr {
    format!("192.0.2.{}:5060", number + 1).parse().unwrap()
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            agents: [agent(now, 0), agent(now, 1)],
            houses: [House::open(), House::open()],
            events: [Vec::new(), Vec::new()],
            sent: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// Carries messages until nothing is on its way.
    fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for from in 0..2 {
                while let Some((flow, bytes)) = self.agents[from].poll_send() {
                    is_quiet = false;
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let line = text.lines().next().unwrap_or_default().to_owned();
                    self.sent.push((from, line.clone()));
                    if let Some(at) = self.lost.iter().position(|lost| line.starts_with(lost)) {
                        self.lost.remove(at);
                        continue;
                    }
                    let to = (0..2)
                        .find(|number| address(*number) == flow.peer)
                        .expect("somebody is there");
                    let flow = Flow::datagrams(address(from));
                    self.agents[to].receive(self.now, flow, &bytes, &mut self.houses[to]);
                    self.agents[to].check().unwrap();
                }
            }
            for number in 0..2 {
                while let Some(event) = self.agents[number].poll_event() {
                    self.events[number].push(event);
                }
            }
            if is_quiet {
                return;
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = self
                .agents
                .iter()
                .filter_map(Agent::poll_timeout)
                .min()
                .filter(|due| *due <= end);
            let Some(due) = due else { break };
            self.now = self.now.max(due);
            for number in 0..2 {
                self.agents[number].handle_timeout(self.now, &mut self.houses[number]);
                self.agents[number].check().unwrap();
            }
            self.settle();
        }
        self.now = end;
    }

    fn call(&mut self) -> LegKey {
        let call = Call {
            target: Target {
                flow: Flow::datagrams(address(1)),
                uri: "sip:1002@192.0.2.2".to_owned(),
                route: Vec::new(),
            },
            from: ("1001".to_owned(), "Al \"Q\"".to_owned()),
            to: "sip:1002@realm".to_owned(),
            offer: "v=0 offer".to_owned(),
            headers: Vec::new(),
            account: None,
            max_forwards: None,
        };
        let leg = self.agents[0].call(self.now, call).unwrap();
        self.settle();
        leg
    }

    fn invited(&mut self) -> Invited {
        let found = self.events[1].iter().find_map(|event| match event {
            Event::Invited(invited) => Some((**invited).clone()),
            _ => None,
        });
        found.expect("a call came")
    }

    /// A call that is up: the leg of each.
    fn talk(&mut self) -> [LegKey; 2] {
        let own = self.call();
        let other = self.invited().leg;
        self.agents[1].answer(self.now, other, "v=0 answer");
        self.settle();
        assert!(self.told(
            0,
            &Event::Answered {
                leg: own,
                body: b"v=0 answer".to_vec()
            }
        ));
        assert!(self.told(1, &Event::Confirmed { leg: other, body: None }));
        [own, other]
    }

    /// Was this told? It is not told again.
    fn told(&mut self, number: usize, event: &Event) -> bool {
        let at = self.events[number].iter().position(|other| other == event);
        at.map(|at| self.events[number].remove(at)).is_some()
    }

    fn ended(&mut self, number: usize, leg: LegKey, by: EndedBy, status: u16) -> bool {
        self.told(
            number,
            &Event::Ended {
                leg,
                end: End {
                    by,
                    status,
                    cause: None,
                    forward: None,
                },
            },
        )
    }

    fn sent(&mut self) -> Vec<String> {
        let sent = std::mem::take(&mut self.sent);
        let short =
            |line: &str| line.split(' ').take(2).collect::<Vec<_>>()[usize::from(line.starts_with("SIP/"))].to_owned();
        sent.iter().map(|(_, line)| short(line)).collect()
    }

    /// Nothing is held when everything is over.
    fn is_empty(&mut self) -> bool {
        self.pass(Duration::from_secs(70));
        self.agents.iter().all(|agent| {
            agent.check().unwrap();
            agent.check_idle().unwrap();
            true
        })
    }
}

#[test]
fn a_call_rings_is_answered_and_ends() {
    let mut world = World::new();
    let own = world.call();
    let invited = world.invited();
    assert_eq!(
        (invited.caller.user.as_str(), invited.caller.name.as_str()),
        ("1001", "Al \"Q\"")
    );
    assert_eq!(
        (invited.to.as_str(), invited.body.as_deref()),
        ("1002", Some(&b"v=0 offer"[..]))
    );
    world.agents[1].ring(world.now, invited.leg, None);
    world.settle();
    assert!(world.told(
        0,
        &Event::Progress {
            leg: own,
            status: 180,
            body: None
        }
    ));
    world.agents[1].ring(world.now, invited.leg, Some("v=0 early"));
    world.settle();
    assert!(world.told(
        0,
        &Event::Progress {
            leg: own,
            status: 183,
            body: Some(b"v=0 early".to_vec())
        }
    ));
    world.agents[1].answer(world.now, invited.leg, "v=0 answer");
    world.settle();
    assert_eq!(world.sent(), ["INVITE", "100", "180", "183", "200", "ACK"]);
    world.agents[0].hang_up(world.now, own, 487, Some("Q.850;cause=16"));
    world.settle();
    let end = End {
        by: EndedBy::Peer,
        status: 200,
        cause: Some(16),
        forward: None,
    };
    assert!(world.told(1, &Event::Ended { leg: invited.leg, end }));
    assert_eq!(world.sent(), ["BYE", "200"]);
    assert!(world.is_empty());
}

#[test]
fn what_is_lost_is_sent_again_until_both_know() {
    let mut world = World::new();
    world.lost = ["INVITE", "SIP/2.0 200", "ACK", "ACK", "BYE"]
        .map(str::to_owned)
        .to_vec();
    let own = world.call();
    world.pass(Duration::from_secs(1));
    let other = world.invited().leg;
    world.agents[1].answer(world.now, other, "v=0 answer");
    world.settle();
    world.pass(Duration::from_secs(10));
    assert!(world.told(1, &Event::Confirmed { leg: other, body: None }));
    let answered = world.events[0]
        .iter()
        .filter(|event| matches!(event, Event::Answered { .. }));
    assert_eq!(answered.count(), 1, "told once, however often it came");
    world.agents[1].hang_up(world.now, other, 487, None);
    world.pass(Duration::from_secs(2));
    assert!(world.ended(0, own, EndedBy::Peer, 200));
    assert!(world.is_empty());
}

#[test]
fn a_caller_gives_up() {
    // Report 1: 200 to CANCEL, 487 to INVITE.
    let mut world = World::new();
    let own = world.call();
    let other = world.invited().leg;
    world.agents[1].ring(world.now, other, None);
    world.settle();
    world.sent();
    world.agents[0].hang_up(
        world.now,
        own,
        487,
        Some("SIP;cause=200;text=\"Call completed elsewhere\""),
    );
    world.settle();
    assert_eq!(world.sent(), ["CANCEL", "200", "487", "ACK"]);
    assert!(world.ended(1, other, EndedBy::Peer, 487));
    assert!(world.is_empty());
    // Before anything came back: as soon as something does.
    let mut world = World::new();
    world.lost = vec!["SIP/2.0 100".to_owned()];
    let own = world.call();
    world.agents[0].hang_up(world.now, own, 487, None);
    world.settle();
    assert_eq!(world.sent(), ["INVITE", "100"]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.sent(), ["INVITE", "100", "CANCEL", "200", "487", "ACK"]);
    assert!(world.is_empty());
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut world = World::new();
    let own = world.call();
    let other = world.invited().leg;
    world.lost = vec!["CANCEL".to_owned()];
    world.agents[0].hang_up(world.now, own, 487, None);
    world.agents[1].answer(world.now, other, "v=0 answer");
    world.settle();
    assert_eq!(world.sent(), ["INVITE", "100", "CANCEL", "200", "ACK", "BYE", "200"]);
    assert!(world.ended(1, other, EndedBy::Peer, 200));
    assert!(world.is_empty());
}

#[test]
fn refusals_have_their_status_and_their_cause() {
    let mut world = World::new();
    let own = world.call();
    let other = world.invited().leg;
    world.agents[1].hang_up(world.now, other, 486, Some("Q.850;cause=17"));
    world.settle();
    let end = End {
        by: EndedBy::Peer,
        status: 486,
        cause: Some(17),
        forward: None,
    };
    assert!(world.told(0, &Event::Ended { leg: own, end }));
    assert!(world.is_empty());
}

#[test]
fn a_peer_that_never_answers_or_never_acknowledges_is_given_up() {
    let mut world = World::new();
    world.lost = vec!["INVITE".to_owned(); 7];
    let own = world.call();
    world.pass(Duration::from_secs(33));
    assert!(world.ended(0, own, EndedBy::Time, 408));
    let mut world = World::new();
    world.lost = vec!["ACK".to_owned(); 20];
    world.call();
    let other = world.invited().leg;
    world.agents[1].answer(world.now, other, "v=0 answer");
    world.settle();
    world.pass(Duration::from_secs(33));
    assert!(world.ended(1, other, EndedBy::Time, 408));
    assert!(world.is_empty());
}

#[test]
fn media_change_by_offers_one_at_a_time() {
    let mut world = World::new();
    let [own, other] = world.talk();
    assert!(world.agents[0].offer(world.now, own, "v=0 hold"));
    assert!(!world.agents[0].offer(world.now, own, "v=0 again"), "one is under way");
    world.settle();
    assert!(world.told(
        1,
        &Event::Offered {
            leg: other,
            body: Some(b"v=0 hold".to_vec())
        }
    ));
    world.agents[1].answer_offer(world.now, other, "v=0 held");
    world.settle();
    assert!(world.told(
        0,
        &Event::OfferAnswered {
            leg: own,
            body: Some(b"v=0 held".to_vec())
        }
    ));
    assert!(world.agents[1].offer(world.now, other, "v=0 video"));
    world.settle();
    world.agents[0].refuse_offer(world.now, own, 488);
    world.settle();
    assert!(world.told(1, &Event::OfferAnswered { leg: other, body: None }));
    // The call goes on.
    world.agents[0].hang_up(world.now, own, 487, None);
    world.settle();
    assert!(world.ended(1, other, EndedBy::Peer, 200));
    assert!(world.is_empty());
}

#[test]
fn offers_that_meet_are_both_refused_and_tried_again() {
    // Report 20.
    let mut world = World::new();
    let [own, other] = world.talk();
    assert!(world.agents[0].offer(world.now, own, "v=0 mine"));
    assert!(world.agents[1].offer(world.now, other, "v=0 yours"));
    world.settle();
    world.sent();
    for _ in 0..5 {
        world.pass(Duration::from_secs(1));
        if world.told(
            0,
            &Event::Offered {
                leg: own,
                body: Some(b"v=0 yours".to_vec()),
            },
        ) {
            world.agents[0].answer_offer(world.now, own, "v=0 ok");
        }
        if world.told(
            1,
            &Event::Offered {
                leg: other,
                body: Some(b"v=0 mine".to_vec()),
            },
        ) {
            world.agents[1].answer_offer(world.now, other, "v=0 ok");
        }
        world.settle();
    }
    assert!(world.told(
        0,
        &Event::OfferAnswered {
            leg: own,
            body: Some(b"v=0 ok".to_vec())
        }
    ));
    assert!(world.told(
        1,
        &Event::OfferAnswered {
            leg: other,
            body: Some(b"v=0 ok".to_vec())
        }
    ));
    world.agents[0].hang_up(world.now, own, 487, None);
    world.settle();
    assert!(world.is_empty());
}

#[test]
fn keys_and_transfers_are_told() {
    let mut world = World::new();
    let [own, other] = world.talk();
    assert!(world.agents[0].press(world.now, own, '#', Duration::from_millis(200)));
    world.settle();
    let digit = Event::Digit {
        leg: other,
        digit: '#',
        duration: Duration::from_millis(200),
    };
    assert!(world.told(1, &digit));
    let flow = Flow::datagrams(address(0));
    let refer = world.agents[0]
        .legs
        .get_mut(&own)
        .unwrap()
        .dialog
        .request(Method::Refer);
    for (target, status) in [
        ("<sip:1003@realm>", "202"),
        ("<sip:1003@realm?Replaces=x%3Bto-tag%3D1%3Bfrom-tag%3D2>", "481"),
    ] {
        let mut refer = refer.clone();
        let number = world.agents[0].legs.get_mut(&own).unwrap().dialog.count_request();
        refer.set("CSeq", format!("{number} REFER"));
        refer.push_front("Via", world.agents[0].via(Transport::Udp));
        refer.push("Refer-To", target);
        world.sent();
        world.agents[1].receive(world.now, flow, &refer.to_bytes(), &mut world.houses[1]);
        world.settle();
        assert_eq!(world.sent(), [status]);
    }
    assert!(world.told(
        1,
        &Event::Transfer {
            leg: other,
            to: Named {
                user: "1003".to_owned(),
                domain: "realm".to_owned(),
                gr: None,
            },
            replaces: None
        }
    ));
    world.agents[1].tell_transfer(world.now, other, 180);
    world.agents[1].tell_transfer(world.now, other, 200);
    world.agents[1].tell_transfer(world.now, other, 200);
    world.settle();
    assert_eq!(world.sent(), ["NOTIFY", "NOTIFY", "200", "200"]);
    world.agents[1].hang_up(world.now, other, 487, None);
    world.settle();
    assert!(world.is_empty());
}

#[test]
fn sessions_are_refreshed_and_end_with_their_peer() {
    // Report 21: our INVITE asks for 1800 s, the callee leaves it to the caller to refresh.
    let mut world = World::new();
    let [own, other] = world.talk();
    world.sent();
    world.pass(Duration::from_secs(2000));
    assert_eq!(world.sent(), ["UPDATE", "200", "UPDATE", "200"]);
    world.lost = vec!["UPDATE".to_owned(); 100];
    world.pass(Duration::from_secs(1850));
    let is_over = |world: &mut World| {
        [
            world.ended(0, own, EndedBy::Peer, 408),
            world.ended(1, other, EndedBy::Time, 408) || world.ended(1, other, EndedBy::Peer, 200),
        ]
    };
    assert_eq!(is_over(&mut world), [true, true], "{:?}", world.events);
    assert!(world.is_empty());
}

fn register(number: u32, expires: u32, more: &str) -> Vec<u8> {
    format!(
        "REGISTER sip:realm SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKr{number};rport\r\nFrom: <sip:1001@realm>;tag=1\r\n\
         To: \"Al\" <sip:1001@realm>\r\nCall-ID: r\r\nCSeq: {number} REGISTER\r\nContact: <sip:1001@10.0.0.1:5062>;expires={expires}\r\n\
         {more}\r\n"
    )
    .into_bytes()
}

#[test]
fn telephones_register_by_their_password() {
    let mut world = World::new();
    world.houses[1].access = Access::Password("realm".to_owned());
    let flow = Flow::datagrams(address(0));
    let answer = |world: &mut World, bytes: &[u8]| {
        world.agents[1].receive(world.now, flow, bytes, &mut world.houses[1]);
        let (_, bytes) = world.agents[1].poll_send().expect("an answer");
        Message::parse(&bytes).unwrap()
    };
    let challenge = answer(&mut world, &register(1, 600, ""));
    assert_eq!(challenge.status(), 401);
    let challenges: Vec<String> = challenge.all("WWW-Authenticate").map(str::to_owned).collect();
    let challenges: Vec<&str> = challenges.iter().map(String::as_str).collect();
    let credentials = |password: &str| {
        let mut client = Client::new("1001", crate::digest::Secret::Password(password.to_owned()));
        let mut attempt = crate::digest::Attempt::default();
        let place = crate::digest::Place::Server;
        let all = client
            .answer(&mut attempt, place, &challenges, "REGISTER", "sip:realm", "abc")
            .unwrap();
        format!("Authorization: {}\r\n", all[0].value)
    };
    assert_eq!(
        answer(&mut world, &register(2, 600, &credentials("wrong"))).status(),
        401
    );
    let done = answer(&mut world, &register(3, 600, &credentials("secret")));
    assert_eq!(
        (done.status(), done.get("Contact")),
        (200, Some("<sip:1001@10.0.0.1:5062>;expires=600"))
    );
    assert_eq!(world.houses[1].bindings.len(), 1);
    world.settle();
    assert!(world.told(
        1,
        &Event::Noticed {
            flow,
            notice: Noticed::WrongPassword
        }
    ));
    assert!(world.told(
        1,
        &Event::Noticed {
            flow,
            notice: Noticed::Known
        }
    ));
    // Nobody may register as somebody else.
    let other = String::from_utf8(register(4, 600, &credentials("secret")))
        .unwrap()
        .replace("To: \"Al\" <sip:1001", "To: <sip:1002");
    assert_eq!(answer(&mut world, other.as_bytes()).status(), 401);
}

#[test]
fn registrations_are_renewed_expire_and_are_asked() {
    let mut world = World::new();
    world.agents[1].settings.ping = Duration::from_secs(40);
    let flow = Flow::datagrams(address(0));
    let take = |world: &mut World, bytes: &[u8]| {
        world.agents[1].receive(world.now, flow, bytes, &mut world.houses[1]);
        let (_, bytes) = world.agents[1].poll_send().expect("an answer");
        Message::parse(&bytes).unwrap()
    };
    assert_eq!(take(&mut world, &register(1, 10, "")).get("Min-Expires"), Some("60"));
    assert_eq!(
        take(&mut world, &register(2, 100_000, "")).get("Contact"),
        Some("<sip:1001@10.0.0.1:5062>;expires=7200")
    );
    assert_eq!(
        take(&mut world, &register(3, 100, "Path: <sip:p;lr>\r\n")).get("Path"),
        Some("<sip:p;lr>")
    );
    assert_eq!(world.houses[1].bindings.len(), 1, "the same contact");
    // Its answer to a ping is whatever it says.
    world.pass(Duration::from_secs(90));
    assert_eq!(world.houses[1].bindings.len(), 1);
    assert!(world.sent().iter().any(|line| line == "OPTIONS"));
    world.pass(Duration::from_secs(11));
    assert!(world.houses[1].bindings.is_empty(), "it expired");
    assert_eq!(take(&mut world, &register(4, 600, "")).status(), 200);
    let gone = String::from_utf8(register(5, 0, ""))
        .unwrap()
        .replace("<sip:1001@10.0.0.1:5062>;expires=0", "*\r\nExpires: 0");
    assert_eq!(take(&mut world, gone.as_bytes()).status(), 200);
    assert!(world.houses[1].bindings.is_empty());
    // One that answers no ping is taken away.
    assert_eq!(take(&mut world, &register(6, 3600, "")).status(), 200);
    world.lost = vec!["OPTIONS".to_owned(); 100];
    world.pass(Duration::from_secs(300));
    assert!(world.houses[1].bindings.is_empty());
    world.lost.clear();
    assert!(world.is_empty());
}

#[test]
fn what_nobody_knows_is_answered_and_nothing_is_kept() {
    let mut world = World::new();
    let flow = Flow::datagrams(address(0));
    let mut number = 0;
    let mut ask = |world: &mut World, method: &str, more: &str| {
        number += 1;
        let text = format!(
            "{method} sip:1002@realm SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKq{number};rport\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:c@d>{}\r\nCall-ID: q{number}\r\nCSeq: 1 {method}\r\n{more}\r\n",
            if more.contains("tagged") { ";tag=9" } else { "" }
        );
        world.agents[1].receive(world.now, flow, text.as_bytes(), &mut world.houses[1]);
        world.agents[1]
            .poll_send()
            .map(|(_, bytes)| Message::parse(&bytes).unwrap().status())
    };
    let contact = "Contact: <sip:a@192.0.2.1>\r\n";
    for (method, more, status) in [
        ("OPTIONS", String::new(), Some(200)),
        ("BYE", "X: tagged\r\n".to_owned(), Some(481)),
        ("INVITE", String::new(), Some(400)),
        ("INVITE", format!("{contact}Require: x\r\n"), Some(420)),
        (
            "INVITE",
            format!("{contact}Content-Type: text/plain\r\n\r\nx"),
            Some(415),
        ),
        ("INVITE", format!("{contact}Session-Expires: 60\r\n"), Some(422)),
        (
            "INVITE",
            format!("{contact}Replaces: x;to-tag=1;from-tag=2\r\n"),
            Some(481),
        ),
        ("SUBSCRIBE", String::new(), Some(489)),
        ("MESSAGE", String::new(), Some(405)),
        ("FLY", String::new(), Some(501)),
        ("ACK", String::new(), None),
    ] {
        assert_eq!(ask(&mut world, method, &more), status, "{method} {more}");
    }
    assert!(world.is_empty());
}
