//! Transactions (RFC 3261, section 17, with RFC 6026): what is lost is sent again, what comes twice is answered once.
//!
//! Requests that come are told once; their last response answers every repetition. The 2xx of an INVITE is repeated until
//! its ACK is told by [`Transactions::acknowledged`]. Requests that go out are repeated until an answer comes, or not.

mod client;
#[cfg(any(test, feature = "exercise"))]
mod invariants;
mod key;
mod server;
mod times;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::flow::{Flow, Transport};
use crate::limits::{CLIENT_TRANSACTIONS_MAX, SERVER_TRANSACTIONS_MAX, STREAMLESS_LIFE, STREAMLESS_PEERS_MAX};
use crate::message::{Message, Method};

use client::Client;
use server::Server;

pub(crate) use times::T1;

/// A request that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(u64);

/// A request that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// What a message was.
#[derive(Debug)]
pub enum Received {
    /// One that came before, or that nobody waits for.
    Nothing,
    /// A request. Via says where it came from.
    Request(ServerId, Box<Message>),
    /// The ACK of a 2xx.
    Ack(Box<Message>),
    /// The caller gives up. The CANCEL is answered.
    Cancel(ServerId),
    /// An answer to a request that went out: each provisional one, the final one, and each 2xx of an INVITE.
    Response(ClientId, Box<Message>),
}

/// What time brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// No final answer came to what went this way.
    Request(ClientId, Flow),
    /// An INVITE was answered provisionally, and for too long not otherwise (timer C). It was cancelled, and ends in time.
    Cancelled(ClientId),
    /// The final answer to an INVITE was never acknowledged.
    Response(ServerId),
    /// It was answered, and no repetition of the answer comes any more.
    Over(ClientId),
}

/// All transactions.
#[derive(Debug, Default)]
pub struct Transactions {
    servers: HashMap<ServerId, Server>,
    server_keys: HashMap<Box<str>, ServerId>,
    clients: HashMap<ClientId, Client>,
    client_keys: HashMap<Box<str>, ClientId>,
    /// Answered, the longest first: they make room.
    finished: BTreeMap<u64, ServerId>,
    /// Requests that came and have no final answer.
    unanswered: usize,
    /// Requests that went out and have none.
    waiting: usize,
    timers: BTreeSet<(Instant, Timer)>,
    begun: u64,
    outgoing: VecDeque<(Flow, Arc<[u8]>)>,
    expired: VecDeque<Expired>,
    /// Who may be sent by streams what is too long for a datagram, and where we are reached by these.
    streamed: HashSet<SocketAddr>,
    reached: Option<SocketAddr>,
    /// Who of them takes no streams, and until when that is believed.
    streamless: HashMap<SocketAddr, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Server(ServerId),
    Client(ClientId),
}

/// There are as many as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for a transaction")]
pub struct NoRoom;

impl Transactions {
    /// Takes a message that came.
    pub fn receive(&mut self, now: Instant, flow: Flow, mut message: Message) -> Received {
        let Some(method) = message.method().cloned() else {
            return self.receive_response(now, message);
        };
        let ip = flow.peer.ip();
        let Some(key) = key::of_request(&message, ip) else {
            return Received::Nothing;
        };
        match (method, self.server_keys.get(&*key).copied()) {
            (Method::Ack, Some(id)) => self.take_ack(now, id, message),
            (Method::Ack, None) => Received::Ack(Box::new(message)),
            (_, Some(id)) => {
                self.repeat(id);
                Received::Nothing
            }
            (method, None) => {
                let reply = server::mark_source(&mut message, flow);
                let invite = (method == Method::Cancel).then(|| self.cancelled_by(&message, ip));
                if invite == Some(None) {
                    self.send_refusal(reply, &message, (481, "Call/Transaction Does Not Exist"), None);
                    return Received::Nothing;
                }
                if !self.has_server_room() {
                    self.send_refusal(reply, &message, (503, "Service Unavailable"), Some("5"));
                    return Received::Nothing;
                }
                let id = ServerId(self.next());
                let server = Server::new(&message, reply, key.clone());
                self.servers.insert(id, server);
                self.server_keys.insert(key, id);
                self.unanswered += 1;
                match invite.flatten() {
                    None => Received::Request(id, Box::new(message)),
                    Some(invite) => self.take_cancel(now, id, &message, invite),
                }
            }
        }
    }

    /// Did this request come before?
    pub fn knows(&self, flow: Flow, request: &Message) -> bool {
        key::of_request(request, flow.peer.ip().to_canonical()).is_some_and(|key| self.server_keys.contains_key(&*key))
    }

    /// Where answers to a request go that is not taken, and is told so. Via says where it came from.
    pub fn reply_to(request: &mut Message, flow: Flow) -> Flow {
        server::mark_source(request, flow)
    }

    /// Answers a request. A final answer is the last one.
    pub fn respond(&mut self, now: Instant, id: ServerId, response: &Message) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        if server.is_final() {
            return;
        }
        let was = server.due();
        let bytes: Arc<[u8]> = response.to_bytes().into();
        server.respond(now, response.status(), bytes.clone());
        let reply = server.reply;
        if server.is_final() {
            self.unanswered -= 1;
        }
        self.outgoing.push_back((reply, bytes));
        self.line_up(id);
        self.reschedule(Timer::Server(id), was);
    }

    /// Answers a request once and forgets it (section 8.2.7). Who does not hear the answer asks again, and is answered
    /// again. So nothing is kept of strangers, and what comes from a forged address has one answer sent there, not eleven.
    pub fn answer_once(&mut self, id: ServerId, response: &Message) {
        if let Some(server) = self.servers.get(&id).filter(|server| !server.is_final()) {
            self.outgoing.push_back((server.reply, response.to_bytes().into()));
            self.forget_server(id);
        }
    }

    /// The ACK of the 2xx of an INVITE came: it is not repeated any more.
    pub fn acknowledged(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            let was = server.due();
            server.acknowledge();
            self.line_up(id);
            self.reschedule(Timer::Server(id), was);
        }
    }

    /// Where answers to a request go.
    pub fn reply_flow(&self, id: ServerId) -> Option<Flow> {
        Some(self.servers.get(&id)?.reply)
    }

    /// Is it still to be answered?
    pub fn is_open(&self, id: ServerId) -> bool {
        self.servers.get(&id).is_some_and(|server| !server.is_final())
    }

    /// Sends a request, which has a branch of its own in its Via.
    pub fn request(&mut self, now: Instant, flow: Flow, request: Message) -> Result<ClientId, NoRoom> {
        self.request_within(now, flow, request, times::T1X64)
    }

    /// The same, given up when nothing has come of the peer for so long.
    ///
    /// # Errors
    /// As above.
    pub fn request_within(
        &mut self,
        now: Instant,
        flow: Flow,
        request: Message,
        wait: Duration,
    ) -> Result<ClientId, NoRoom> {
        let key = key::of_client(&request).ok_or(NoRoom)?;
        if self.clients.len() >= CLIENT_TRANSACTIONS_MAX {
            return Err(NoRoom);
        }
        let id = ClientId(self.next());
        let is_streamless = self.streamless.get(&flow.peer).is_some_and(|until| *until > now);
        let streamed = self
            .reached
            .filter(|_| self.streamed.contains(&flow.peer) && !is_streamless);
        let client = Client::new(now, flow, request, key.clone(), wait, streamed);
        self.outgoing.push_back((client.way, client.bytes()));
        self.timers.insert((client.due(), Timer::Client(id)));
        self.clients.insert(id, client);
        self.client_keys.insert(key, id);
        self.waiting += 1;
        Ok(id)
    }

    /// Who may be sent by streams what is too long for a datagram: servers at addresses that stay, and no telephones, whose addresses may
    /// be those of a translator. `reached`: where we are by streams.
    pub fn set_streamed(&mut self, peers: HashSet<SocketAddr>, reached: SocketAddr) {
        (self.streamed, self.reached) = (peers, Some(reached));
    }

    /// Does a connection by which something is to go carry what is too long for a datagram, and nothing else?
    pub fn is_for_length(&self, flow: Flow) -> bool {
        flow.transport == Transport::Tcp && flow.connection == 0 && self.streamed.contains(&flow.peer)
    }

    /// No stream to a peer could be opened: what was to go by one, and was not answered, goes as datagrams, and so does what
    /// is said to it within the next hour.
    pub fn refuse_streams(&mut self, now: Instant, peer: SocketAddr) {
        self.note_streamless(now, peer);
        self.leave_streams(now, peer);
    }

    /// There is no place for a stream to a peer: what was to go by one goes as datagrams. What is said later is tried again.
    pub fn leave_streams(&mut self, now: Instant, peer: SocketAddr) {
        let all = self.clients.iter().filter(|(_, client)| client.way.peer == peer);
        let all: Vec<ClientId> = all.map(|(id, _)| *id).collect();
        for id in all {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            let was = client.due();
            if let Some(datagram) = client.refused(now) {
                self.outgoing.push_back((client.way, datagram));
                self.reschedule(Timer::Client(id), Some(was));
            }
        }
    }

    /// Beyond so many nobody is remembered, and each is asked again.
    fn note_streamless(&mut self, now: Instant, peer: SocketAddr) {
        if self.streamless.len() >= STREAMLESS_PEERS_MAX {
            self.streamless.retain(|_, until| *until > now);
        }
        if self.streamless.len() < STREAMLESS_PEERS_MAX {
            self.streamless.insert(peer, now + STREAMLESS_LIFE);
        }
    }

    /// Gives an INVITE up that was answered provisionally (section 9.1). False: there was no answer yet, or a final one.
    /// `reason` is the value of a header Reason.
    pub fn cancel(&mut self, now: Instant, id: ClientId, reason: Option<&str>) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        let Some(mut cancel) = client.cancel() else {
            return false;
        };
        if let Some(reason) = reason {
            cancel.push("Reason", reason);
        }
        let flow = client.way;
        let was = client.due();
        client.expect_end(now);
        self.reschedule(Timer::Client(id), Some(was));
        // Without room the INVITE's own time-out ends it.
        let _ = self.request(now, flow, cancel);
        true
    }

    /// The request as it went out.
    pub fn sent(&self, id: ClientId) -> Option<&Message> {
        Some(self.clients.get(&id)?.request())
    }

    /// Where the request went.
    pub fn flow_of(&self, id: ClientId) -> Option<Flow> {
        Some(self.clients.get(&id)?.flow)
    }

    /// Sends what belongs to no transaction: the ACK of a 2xx.
    pub fn send(&mut self, flow: Flow, message: &Message) {
        self.outgoing.push_back((flow, message.to_bytes().into()));
    }

    /// What is to be sent.
    pub fn poll_send(&mut self) -> Option<(Flow, Arc<[u8]>)> {
        self.outgoing.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Server(id) => self.server_due(now, id),
                Timer::Client(id) => self.client_due(now, id),
            }
        }
    }

    /// What time brought.
    pub fn poll_expired(&mut self) -> Option<Expired> {
        self.expired.pop_front()
    }

    /// How many requests are not answered yet, both ways.
    pub fn open(&self) -> usize {
        self.unanswered + self.waiting
    }

    /// Are there so many requests of ours that what can wait should?
    pub fn is_busy(&self) -> bool {
        self.waiting >= CLIENT_TRANSACTIONS_MAX / 2
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    fn next(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    fn has_server_room(&mut self) -> bool {
        while self.servers.len() >= SERVER_TRANSACTIONS_MAX {
            let Some((_, id)) = self.finished.first_key_value() else {
                return false;
            };
            self.forget_server(*id);
        }
        true
    }

    /// Behind those that were answered before it, once nobody waits for what becomes of it.
    fn line_up(&mut self, id: ServerId) {
        let place = self.next();
        if let Some(server) = self.servers.get_mut(&id)
            && server.may_be_forgotten()
            && server.finished.is_none()
        {
            server.finished = Some(place);
            self.finished.insert(place, id);
        }
    }

    fn send_refusal(&mut self, reply: Flow, request: &Message, (status, reason): (u16, &str), retry: Option<&str>) {
        let mut response = Message::response(request, status, reason);
        if let Some(seconds) = retry {
            response.push("Retry-After", seconds);
        }
        self.outgoing.push_back((reply, response.to_bytes().into()));
    }

    fn repeat(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get(&id)
            && let Some(bytes) = server.last()
        {
            self.outgoing.push_back((server.reply, bytes));
        }
    }

    /// Of a final answer that is no 2xx the ACK is the transaction's; of a 2xx it is of whoever owns the dialog, even where
    /// its branch is the INVITE's.
    fn take_ack(&mut self, now: Instant, id: ServerId, message: Message) -> Received {
        let Some(server) = self.servers.get_mut(&id) else {
            return Received::Nothing;
        };
        if server.is_accepted() {
            return Received::Ack(Box::new(message));
        }
        let was = server.due();
        server.confirm(now);
        self.reschedule(Timer::Server(id), was);
        Received::Nothing
    }

    fn cancelled_by(&self, cancel: &Message, from: IpAddr) -> Option<ServerId> {
        let key = key::of_cancelled(cancel, from)?;
        self.server_keys.get(&*key).copied()
    }

    fn take_cancel(&mut self, now: Instant, id: ServerId, cancel: &Message, invite: ServerId) -> Received {
        let response = Message::response(cancel, 200, "OK");
        self.respond(now, id, &response);
        // After a final answer it changes nothing (section 9.2).
        if self.is_open(invite) {
            Received::Cancel(invite)
        } else {
            Received::Nothing
        }
    }

    fn receive_response(&mut self, now: Instant, message: Message) -> Received {
        let id = key::of_response(&message).and_then(|key| self.client_keys.get(&*key).copied());
        let Some(id) = id else { return Received::Nothing };
        let client = self.clients.get_mut(&id);
        let Some(client) = client.filter(|client| client.is_answered_by(&message)) else {
            return Received::Nothing;
        };
        let (was, was_finished) = (client.due(), client.is_finished());
        let is_told = client.take(now, &message);
        self.waiting -= usize::from(client.is_finished() && !was_finished);
        if let Some(ack) = client.acknowledgement(&message) {
            self.outgoing.push_back((client.way, ack));
        }
        self.reschedule(Timer::Client(id), Some(was));
        if is_told {
            Received::Response(id, Box::new(message))
        } else {
            Received::Nothing
        }
    }

    fn server_due(&mut self, now: Instant, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        match server.handle_timeout(now) {
            server::Due::Repeat(bytes) => {
                self.outgoing.push_back((server.reply, bytes));
                self.reschedule(Timer::Server(id), None);
            }
            server::Due::Over { is_unacknowledged } => {
                self.forget_server(id);
                if is_unacknowledged {
                    self.expired.push_back(Expired::Response(id));
                }
            }
        }
    }

    fn client_due(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        match client.handle_timeout(now) {
            client::Due::Repeat(bytes) => {
                self.outgoing.push_back((client.way, bytes));
                self.reschedule(Timer::Client(id), None);
            }
            client::Due::TooLong if self.cancel(now, id, Some(TOO_LONG)) => {
                self.expired.push_back(Expired::Cancelled(id));
            }
            client::Due::TooLong => self.client_over(id, true),
            client::Due::Over { is_unanswered } => self.client_over(id, is_unanswered),
        }
    }

    fn client_over(&mut self, id: ClientId, is_unanswered: bool) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        self.waiting -= usize::from(!client.is_finished());
        self.client_keys.remove(&client.key);
        self.expired.push_back(if is_unanswered {
            Expired::Request(id, client.flow)
        } else {
            Expired::Over(id)
        });
    }

    fn forget_server(&mut self, id: ServerId) {
        let Some(server) = self.servers.remove(&id) else { return };
        self.server_keys.remove(&server.key);
        if let Some(at) = server.due() {
            self.timers.remove(&(at, Timer::Server(id)));
        }
        if let Some(place) = server.finished {
            self.finished.remove(&place);
        }
        if !server.is_final() {
            self.unanswered -= 1;
        }
    }

    fn reschedule(&mut self, timer: Timer, was: Option<Instant>) {
        if let Some(was) = was {
            self.timers.remove(&(was, timer));
        }
        let due = match timer {
            Timer::Server(id) => self.servers.get(&id).and_then(Server::due),
            Timer::Client(id) => self.clients.get(&id).map(Client::due),
        };
        if let Some(due) = due {
            self.timers.insert((due, timer));
        }
    }
}

const TOO_LONG: &str = "SIP;cause=408;text=\"Request Timeout\"";

#[cfg(test)]
mod tests;
