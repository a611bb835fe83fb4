//! One agent, and one peer that says whatever it likes.

use super::*;

/// An agent that one peer speaks to.
pub(super) struct Bench {
    pub(super) now: Instant,
    pub(super) agent: Agent,
    pub(super) house: House,
    pub(super) flow: Flow,
    /// Other events than calls.
    pub(super) told: Vec<Event>,
}

impl Bench {
    pub(super) fn new(flow: Flow) -> Self {
        let now = Instant::now();
        Self {
            now,
            agent: agent(now, 0),
            house: House::open(),
            flow,
            told: Vec::new(),
        }
    }

    /// A text of lines.
    pub(super) fn say(&mut self, text: &str) -> Vec<Message> {
        self.take(text.replace('\n', "\r\n").as_bytes()).0
    }

    /// One answer, by its status. 0: none.
    pub(super) fn status(&mut self, text: &str) -> u16 {
        let answers = self.say(text);
        assert!(answers.len() < 2, "{answers:?}");
        answers.first().map_or(0, Message::status)
    }

    /// What it answers, and who calls by it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (Vec<Message>, Vec<Invited>) {
        self.agent.receive(self.now, self.flow, bytes, &mut self.house);
        self.agent.check().unwrap();
        self.outcome()
    }

    pub(super) fn outcome(&mut self) -> (Vec<Message>, Vec<Invited>) {
        let mut answers = Vec::new();
        while let Some((flow, bytes)) = self.agent.poll_send() {
            assert_eq!(flow.peer.ip(), self.flow.peer.ip(), "nobody else is answered");
            answers.push(read(&bytes));
        }
        let mut calls = Vec::new();
        while let Some(event) = self.agent.poll_event() {
            match event {
                Event::Invited(invited) => calls.push(*invited),
                other => self.told.push(other),
            }
        }
        (answers, calls)
    }

    /// Lets time pass. What is sent meanwhile.
    pub(super) fn pass(&mut self, span: Duration) -> Vec<Message> {
        let end = self.now + span;
        let mut sent = Vec::new();
        while let Some(due) = self.agent.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            self.agent.handle_timeout(due, &mut self.house);
            self.agent.check().unwrap();
            sent.extend(self.outcome().0);
        }
        self.now = end;
        sent
    }

    /// Whatever was begun has ended by itself.
    pub(super) fn is_idle(&mut self) {
        self.pass(Duration::from_secs(70));
        self.agent.check_idle().unwrap();
    }
}

/// What is wrong with a request is repeated, and makes its answer wrong.
fn read(bytes: &[u8]) -> Message {
    Message::parse(bytes).unwrap_or_else(|_| {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let (status, reason) = lines.next().unwrap()[8..].split_once(' ').unwrap();
        let nobody = Message::request(Method::Options, "sip:a");
        let mut answer = Message::response(&nobody, status.parse().unwrap(), reason);
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            answer.push(name, value.trim());
        }
        answer
    })
}

pub(super) fn datagrams(peer: &str) -> Flow {
    Flow::datagrams(peer.parse().unwrap())
}

pub(super) fn stream(peer: &str) -> Flow {
    Flow {
        transport: Transport::Tcp,
        peer: peer.parse().unwrap(),
        connection: 7,
    }
}
