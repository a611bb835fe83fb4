//! Requests that went out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::flow::{Flow, Transport};
use crate::limits::{PROVISIONAL_WAIT, REQUEST_DATAGRAM_BYTES_MAX};
use crate::message::{Message, Method};

use super::times::{T1, T1X64, T2, T4};

/// One of them.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: Box<str>,
    pub(super) flow: Flow,
    /// The way that it goes: by a stream where it is too long for a datagram.
    pub(super) way: Flow,
    /// Where we are reached by streams, if it may go by one.
    streamed: Option<SocketAddr>,
    request: Message,
    bytes: Arc<[u8]>,
    /// The same as a datagram, as long as nobody has answered by the stream.
    datagram: Option<Arc<[u8]>>,
    is_invite: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing came, or something provisional that does not end repetitions.
    Calling {
        at: Option<Instant>,
        after: Duration,
        end: Instant,
        is_provisional: bool,
    },
    /// An INVITE that was answered provisionally.
    Proceeding { end: Instant, is_cancelled: bool },
    /// A final answer came. Repetitions of it are absorbed, those of a 2xx told.
    Completed { is_accepted: bool, end: Instant },
}

/// What time brought.
pub(super) enum Due {
    Repeat(Arc<[u8]>),
    /// An INVITE that rings for too long is to be cancelled.
    TooLong,
    Over {
        is_unanswered: bool,
    },
}

impl Client {
    /// `streamed`: what is too long for a datagram goes by TCP (section 18.1.1), and as a datagram if no connection comes about. It is
    /// where we are reached by TCP, which Via says then: answers come there whose connection is gone (section 18.2.2).
    pub(super) fn new(
        now: Instant,
        flow: Flow,
        mut request: Message,
        key: Box<str>,
        wait: Duration,
        streamed: Option<SocketAddr>,
    ) -> Self {
        let mut bytes: Arc<[u8]> = request.to_bytes().into();
        let (mut way, mut datagram) = (flow, None);
        let is_long = flow.transport == Transport::Udp && bytes.len() > REQUEST_DATAGRAM_BYTES_MAX;
        if let Some(reached) = streamed.filter(|_| is_long) {
            let as_datagram = request.clone();
            if say_stream(&mut request, reached) {
                way = Flow {
                    transport: Transport::Tcp,
                    connection: 0,
                    ..flow
                };
                datagram = Some(std::mem::replace(&mut bytes, request.to_bytes().into()));
                request = as_datagram;
            }
        }
        let is_stream = datagram.is_some();
        let again = (!is_stream && !flow.transport.is_reliable()).then(|| now + T1);
        Self {
            key,
            flow,
            way,
            streamed,
            datagram,
            is_invite: request.method() == Some(&Method::Invite),
            request,
            bytes,
            state: State::Calling {
                at: again,
                after: T1,
                end: now + wait,
                is_provisional: false,
            },
        }
    }

    /// By a stream nobody takes it: as a datagram, from now on. None: it is none, or somebody has answered.
    pub(super) fn refused(&mut self, now: Instant) -> Option<Arc<[u8]>> {
        let datagram = self.datagram.take()?;
        let State::Calling { at, after, .. } = &mut self.state else {
            return None;
        };
        (*at, *after) = (Some(now + T1), T1);
        self.way = self.flow;
        self.bytes = datagram.clone();
        Some(datagram)
    }

    pub(super) fn bytes(&self) -> Arc<[u8]> {
        self.bytes.clone()
    }

    pub(super) fn request(&self) -> &Message {
        &self.request
    }

    /// Is it an answer to this very request? The branch says so, of which nobody else knows; what belongs to it is the same
    /// (section 8.2.6.2). Where it comes from says nothing: servers answer from other addresses of theirs, too.
    pub(super) fn is_answered_by(&self, response: &Message) -> bool {
        let numbers = [&self.request, response].map(|message| message.cseq().map(|(number, _)| number));
        self.request.call_id() == response.call_id()
            && self.request.from_tag() == response.from_tag()
            && numbers[0] == numbers[1]
    }

    /// Was there a final answer?
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, State::Completed { .. })
    }

    /// Takes an answer. True: it is to be told.
    pub(super) fn take(&mut self, now: Instant, response: &Message) -> bool {
        let status = response.status();
        if self.datagram.take().is_some()
            && let State::Calling { at, .. } = &mut self.state
        {
            // The stream carries it: it need not be said again.
            *at = None;
        }
        match (&mut self.state, status) {
            (
                State::Calling {
                    at,
                    after,
                    end,
                    is_provisional,
                },
                100..200,
            ) => {
                if self.is_invite {
                    self.state = State::Proceeding {
                        end: now + PROVISIONAL_WAIT,
                        is_cancelled: false,
                    };
                } else if !*is_provisional {
                    // It goes on, more slowly (section 17.1.2.2).
                    *is_provisional = true;
                    *after = T2;
                    *at = at.map(|_| (now + T2).min(*end));
                }
                true
            }
            (
                State::Proceeding {
                    end,
                    is_cancelled: false,
                },
                100..200,
            ) => {
                // Timer C (section 16.6) begins anew with each.
                *end = now + PROVISIONAL_WAIT;
                true
            }
            (State::Proceeding { is_cancelled: true, .. }, 100..200) => false,
            (State::Calling { .. } | State::Proceeding { .. }, _) => {
                let is_accepted = self.is_invite && status < 300;
                let is_reliable = self.way.transport.is_reliable();
                let wait = match (self.is_invite, is_reliable) {
                    (true, _) if is_accepted => T1X64,
                    (true, false) => T1X64,
                    (false, false) => T4,
                    (_, true) => Duration::ZERO,
                };
                self.state = State::Completed {
                    is_accepted,
                    end: now + wait,
                };
                // It is not sent again.
                self.bytes = Arc::default();
                true
            }
            (State::Completed { is_accepted, .. }, 200..300) => *is_accepted,
            (State::Completed { .. }, _) => false,
        }
    }

    /// For a final answer to an INVITE that is no 2xx (section 17.1.1.3).
    pub(super) fn acknowledgement(&self, response: &Message) -> Option<Arc<[u8]>> {
        if !self.is_invite || response.status() < 300 {
            return None;
        }
        let mut ack = self.like(Method::Ack)?;
        ack.set("To", response.get("To")?);
        Some(ack.to_bytes().into())
    }

    /// None: it is too early (section 9.1), or too late.
    pub(super) fn cancel(&self) -> Option<Message> {
        let is_proceeding = matches!(
            self.state,
            State::Proceeding {
                is_cancelled: false,
                ..
            }
        );
        if is_proceeding { self.like(Method::Cancel) } else { None }
    }

    /// It was given up: the end comes in time, or the transaction ends without (section 9.1).
    pub(super) fn expect_end(&mut self, now: Instant) {
        self.state = State::Proceeding {
            end: now + T1X64,
            is_cancelled: true,
        };
    }

    /// With the same Via of the way that it went, route, From, To and call.
    fn like(&self, method: Method) -> Option<Message> {
        let mut message = Message::request(method.clone(), self.request.uri());
        for name in ["Via", "From", "To", "Call-ID"] {
            message.push(name, self.request.get(name)?);
        }
        if let Some(reached) = self.streamed.filter(|_| self.way.transport != self.flow.transport) {
            say_stream(&mut message, reached);
        }
        let (number, _) = self.request.cseq()?;
        message.push("CSeq", format!("{number} {method}"));
        for route in self.request.all("Route") {
            message.push("Route", route);
        }
        message.push("Max-Forwards", "70");
        Some(message)
    }

    pub(super) fn due(&self) -> Instant {
        match self.state {
            State::Calling { at, end, .. } => at.map_or(end, |at| at.min(end)),
            State::Proceeding { end, .. } | State::Completed { end, .. } => end,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Due {
        match &mut self.state {
            State::Calling {
                at: Some(at),
                after,
                end,
                ..
            } if now < *end => {
                *after = if self.is_invite {
                    *after * 2
                } else {
                    (*after * 2).min(T2)
                };
                *at = now + *after;
                Due::Repeat(self.bytes.clone())
            }
            // Timer C (section 16.8): whoever rings is told.
            State::Proceeding {
                is_cancelled: false, ..
            } => Due::TooLong,
            State::Calling { .. } | State::Proceeding { .. } => Due::Over { is_unanswered: true },
            State::Completed { .. } => Due::Over { is_unanswered: false },
        }
    }
}

/// Says in the first Via that it goes by a stream, and where answers to it are taken. False: there is none of a datagram.
fn say_stream(request: &mut Message, reached: SocketAddr) -> bool {
    let Some(rest) = request.get("Via").and_then(|via| via.strip_prefix("SIP/2.0/UDP ")) else {
        return false;
    };
    let parameters = rest.find(';').and_then(|at| rest.get(at..)).unwrap_or_default();
    let via = format!("SIP/2.0/TCP {reached}{parameters}");
    request.set("Via", via);
    true
}
