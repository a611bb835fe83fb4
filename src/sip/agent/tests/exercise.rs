//! For tests of what is beside calls: agents that talk to each other over a path that loses what it carries, and a peer that
//! says what a test wants.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::*;
use crate::digest::{Algorithm, Ha1};

pub(super) struct House {
    pub(super) access: Access,
    pub(super) password: &'static str,
    pub(super) bindings: BTreeMap<BindingId, String>,
    /// Registrations are refused so.
    pub(super) refuses: Option<u16>,
    pub(super) trusts: bool,
    pub(super) watched: Result<Watched, u16>,
    pub(super) publishes: Result<(), u16>,
    pub(super) texts: u16,
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
        if let Some(status) = self.refuses {
            return Err(status);
        }
        self.bindings.insert(id, binding.contact.clone());
        Ok(expires)
    }

    fn weigh(&mut self, _: Traffic, _: Load) -> Verdict {
        Verdict::Accept
    }

    fn unregister(&mut self, id: BindingId) {
        self.bindings.remove(&id);
    }

    fn trusts(&mut self, _trunk: TrunkId, _flow: Flow) -> bool {
        self.trusts
    }

    fn watch(&mut self, watch: &Watch) -> Result<Watched, u16> {
        let state = self.watched.clone()?;
        if state.package() == watch.package {
            Ok(state)
        } else {
            Err(404)
        }
    }

    fn publish(&mut self, _user: &str, _domain: &str) -> Result<(), u16> {
        self.publishes
    }

    fn text(&mut self, _text: &Text) -> u16 {
        self.texts
    }
}

/// Agents, and what is on its way.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) agents: Vec<Agent>,
    pub(super) houses: Vec<House>,
    pub(super) events: Vec<Vec<Event>>,
    /// What came to [`PEER`].
    pub(super) heard: Vec<Message>,
    /// What was sent, by its sender.
    sent: Vec<(usize, Message)>,
    /// Messages of these first lines are lost, once each.
    pub(super) lost: Vec<String>,
    /// Of a hundred messages so many are lost.
    pub(super) loss: u32,
    chance: u64,
}

/// Whom the test itself speaks for.
pub(super) const PEER: usize = 99;

pub(super) fn at(number: usize) -> SocketAddr {
    format!("192.0.2.{}:5060", number + 1).parse().unwrap()
}

pub(super) fn flow(number: usize) -> Flow {
    Flow::datagrams(at(number))
}

fn agent(number: usize, now: Instant) -> Agent {
    let at = at(number);
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

impl World {
    pub(super) fn new(count: usize) -> Self {
        let now = Instant::now();
        let house = || House {
            access: Access::Open,
            password: "secret",
            bindings: BTreeMap::new(),
            refuses: None,
            trusts: true,
            watched: Ok(Watched::Dialogs(Vec::new())),
            publishes: Ok(()),
            texts: 200,
        };
        Self {
            now,
            agents: (0..count).map(|number| agent(number, now)).collect(),
            houses: (0..count).map(|_| house()).collect(),
            events: vec![Vec::new(); count],
            heard: Vec::new(),
            sent: Vec::new(),
            lost: Vec::new(),
            loss: 0,
            chance: 7,
        }
    }

    fn is_lost(&mut self, line: &str) -> bool {
        if let Some(at) = self.lost.iter().position(|lost| line.starts_with(lost)) {
            self.lost.remove(at);
            return true;
        }
        self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.chance >> 33) % 100 < u64::from(self.loss)
    }

    /// Carries messages until nothing is on its way.
    pub(super) fn settle(&mut self) {
        loop {
            let mut is_quiet = true;
            for from in 0..self.agents.len() {
                while let Some((way, bytes)) = self.agents[from].poll_send() {
                    is_quiet = false;
                    let line = String::from_utf8_lossy(&bytes)
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned();
                    let message = Message::parse(&bytes).unwrap_or_else(|refused| panic!("{refused:?} {line}"));
                    self.sent.push((from, message.clone()));
                    if self.is_lost(&line) {
                        continue;
                    }
                    if way.peer == at(PEER) {
                        self.heard.push(message);
                        continue;
                    }
                    let to = (0..self.agents.len())
                        .find(|number| at(*number) == way.peer)
                        .unwrap_or_else(|| panic!("nobody is at {way:?}"));
                    self.agents[to].receive(self.now, flow(from), &bytes, &mut self.houses[to]);
                }
            }
            for (number, agent) in self.agents.iter_mut().enumerate() {
                while let Some(event) = agent.poll_event() {
                    self.events[number].push(event);
                }
            }
            if is_quiet {
                for agent in &self.agents {
                    assert_eq!(agent.check(), Ok(()));
                }
                return;
            }
        }
    }

    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = self.agents.iter().filter_map(Agent::poll_timeout).min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            for number in 0..self.agents.len() {
                self.agents[number].handle_timeout(self.now, &mut self.houses[number]);
            }
            self.settle();
        }
        self.now = end;
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    /// The peer says something to an agent.
    pub(super) fn say(&mut self, to: usize, text: &str) {
        self.agents[to].receive(self.now, flow(PEER), text.as_bytes(), &mut self.houses[to]);
        self.settle();
    }

    /// What the peer heard last. It is not heard again.
    pub(super) fn hear(&mut self) -> Message {
        self.heard.pop().expect("something was said")
    }

    /// The peer answers what it heard last of a method.
    pub(super) fn answer(&mut self, to: usize, method: &Method, status: u16, more: &[(&str, &str)]) -> Message {
        let found = self.heard.iter().rposition(|message| message.method() == Some(method));
        let request = self
            .heard
            .remove(found.unwrap_or_else(|| panic!("no {method} was heard")));
        let mut response = Message::response(&request, status, "Whatever");
        if response.to_tag().is_none() {
            let tagged = format!("{};tag=peer", response.get("To").unwrap());
            response.set("To", tagged);
        }
        for (name, value) in more {
            response.push(name, value);
        }
        self.agents[to].receive(self.now, flow(PEER), &response.to_bytes(), &mut self.houses[to]);
        self.settle();
        request
    }

    /// Was this told? It is not told again.
    pub(super) fn told(&mut self, number: usize, event: &Event) -> bool {
        let at = self.events[number].iter().position(|other| other == event);
        at.map(|at| self.events[number].remove(at)).is_some()
    }

    /// What was told of trunks, in its order.
    pub(super) fn changes(&mut self, number: usize) -> Vec<TrunkChange> {
        let all = std::mem::take(&mut self.events[number]);
        let change = |event: &Event| match event {
            Event::Trunk { change, .. } => Some(*change),
            _ => None,
        };
        all.iter().filter_map(change).collect()
    }

    /// What an agent sent, since it was asked last: methods and statuses.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let line = |message: &Message| match message.method() {
            Some(method) => method.name().to_owned(),
            None => message.status().to_string(),
        };
        self.messages().iter().map(line).collect()
    }

    /// What was sent since it was asked last.
    pub(super) fn messages(&mut self) -> Vec<Message> {
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter().map(|(_, message)| message).collect()
    }

    pub(super) fn of_method(&mut self, method: &Method) -> Vec<Message> {
        let all = self.messages().into_iter();
        all.filter(|message| message.method() == Some(method)).collect()
    }

    pub(super) fn invited(&mut self, number: usize) -> Invited {
        let found = self.events[number].iter().find_map(|event| match event {
            Event::Invited(invited) => Some((**invited).clone()),
            _ => None,
        });
        let invited = found.expect("a call came");
        self.told(number, &Event::Invited(Box::new(invited.clone())));
        invited
    }

    /// A call from one agent to another that is up: the leg of each.
    pub(super) fn talk(&mut self, from: usize, to: usize) -> [LegKey; 2] {
        let (own, other) = self.ring(from, to);
        self.agents[to].answer(self.now, other, "v=0 answer");
        self.settle();
        self.events[from].clear();
        self.events[to].clear();
        [own, other]
    }

    /// A call from one agent to another that rings: the leg of each.
    pub(super) fn ring(&mut self, from: usize, to: usize) -> (LegKey, LegKey) {
        let call = Call {
            target: Target {
                flow: flow(to),
                uri: format!("sip:{to}@{}", at(to)),
                route: Vec::new(),
            },
            from: (format!("100{from}"), String::new()),
            to: format!("sip:100{to}@realm"),
            offer: "v=0 offer".to_owned(),
            headers: Vec::new(),
            account: None,
            max_forwards: None,
        };
        let own = self.agents[from].call(self.now, call).unwrap();
        self.settle();
        let other = self.invited(to).leg;
        self.agents[to].ring(self.now, other, None);
        self.settle();
        (own, other)
    }

    /// Nothing is held when everything is over.
    pub(super) fn assert_empty(&mut self) {
        self.loss = 0;
        self.seconds(100);
        for (number, agent) in self.agents.iter().enumerate() {
            let tables = [
                agent.legs.len(),
                agent.dialogs.len(),
                agent.called.len(),
                agent.servers.len(),
                agent.clients.len(),
                agent.accounts.len(),
                agent.texts.len(),
                agent.referring.len(),
                agent.timers.len(),
                agent.set.len(),
                agent.transactions.count(),
            ];
            let (trunks, watching) = (agent.trunks.counts(), agent.watching.counts());
            let all = tables.iter().chain(&trunks).chain(&watching);
            assert!(
                all.sum::<usize>() == 0,
                "agent {number} holds {tables:?} {trunks:?} {watching:?}"
            );
        }
    }
}
