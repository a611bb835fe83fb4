//! Requests that came.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::flow::{Flow, Transport};
use crate::message::syntax::Host;
use crate::message::{Message, Method};

use super::times::{T1, T1X64, T2, T4};

/// One of them.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) key: Box<str>,
    pub(super) reply: Flow,
    /// Its place among those that may be forgotten.
    pub(super) finished: Option<u64>,
    is_invite: bool,
    last: Option<Arc<[u8]>>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// To be answered.
    Open,
    /// Answered, and repeated until the ACK comes.
    Answered {
        is_accepted: bool,
        repeat: Repeat,
        end: Instant,
    },
    /// Answered, and remembered.
    Remembered { is_accepted: bool, end: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Repeat {
    at: Instant,
    after: Duration,
}

/// What time brought.
pub(super) enum Due {
    Repeat(Arc<[u8]>),
    Over { is_unacknowledged: bool },
}

impl Server {
    pub(super) fn new(request: &Message, reply: Flow, key: Box<str>) -> Self {
        Self {
            key,
            reply,
            finished: None,
            is_invite: request.method() == Some(&Method::Invite),
            last: None,
            state: State::Open,
        }
    }

    pub(super) fn is_final(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    pub(super) fn is_accepted(&self) -> bool {
        match self.state {
            State::Open => false,
            State::Answered { is_accepted, .. } | State::Remembered { is_accepted, .. } => is_accepted,
        }
    }

    /// Nobody waits for what becomes of it: its answer is only to be repeated, or confirmed by an ACK that is told to nobody.
    pub(super) fn may_be_forgotten(&self) -> bool {
        match self.state {
            State::Open => false,
            State::Answered { is_accepted, .. } => !is_accepted,
            State::Remembered { .. } => true,
        }
    }

    pub(super) fn last(&self) -> Option<Arc<[u8]>> {
        self.last.clone()
    }

    pub(super) fn respond(&mut self, now: Instant, status: u16, bytes: Arc<[u8]>) {
        self.last = Some(bytes);
        if status < 200 {
            return;
        }
        let is_accepted = self.is_invite && status < 300;
        let is_reliable = self.reply.transport.is_reliable();
        // A 2xx is repeated on streams, too: it goes from end to end (section 13.3.1.4).
        self.state = if self.is_invite && (is_accepted || !is_reliable) {
            State::Answered {
                is_accepted,
                repeat: Repeat {
                    at: now + T1,
                    after: T1,
                },
                end: now + T1X64,
            }
        } else {
            let end = if is_reliable && !self.is_invite {
                now
            } else {
                now + T1X64
            };
            State::Remembered { is_accepted, end }
        };
    }

    /// The ACK of a 2xx.
    pub(super) fn acknowledge(&mut self) {
        if let State::Answered {
            is_accepted: true, end, ..
        } = self.state
        {
            self.state = State::Remembered { is_accepted: true, end };
        }
    }

    /// The ACK of another final answer.
    pub(super) fn confirm(&mut self, now: Instant) {
        let wait = if self.reply.transport.is_reliable() {
            Duration::ZERO
        } else {
            T4
        };
        if let State::Answered { is_accepted: false, .. } = self.state {
            let end = now + wait;
            self.state = State::Remembered {
                is_accepted: false,
                end,
            };
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Open => None,
            State::Answered { repeat, end, .. } => Some(repeat.at.min(end)),
            State::Remembered { end, .. } => Some(end),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Due {
        match (&mut self.state, &self.last) {
            (State::Answered { repeat, end, .. }, Some(last)) if now < *end => {
                repeat.after = (repeat.after * 2).min(T2);
                repeat.at = now + repeat.after;
                Due::Repeat(last.clone())
            }
            (State::Answered { .. }, _) => Due::Over {
                is_unacknowledged: true,
            },
            (State::Open | State::Remembered { .. }, _) => Due::Over {
                is_unacknowledged: false,
            },
        }
    }
}

/// Notes in the request where it came from (section 18.2.1 and RFC 3581), and says where its answers go. What Via says of
/// the host is never believed: else a forged one would have answers sent to others.
pub(super) fn mark_source(request: &mut Message, flow: Flow) -> Flow {
    let Some(via) = request.via() else { return flow };
    let ip = flow.peer.ip().to_canonical();
    let wants_port = via.parameters.has("rport");
    let is_elsewhere = via.host != Host::Ip(ip);
    let mut reply = flow;
    if flow.transport == Transport::Udp && !wants_port && !is_elsewhere {
        reply.peer.set_port(via.port.unwrap_or(Transport::Udp.default_port()));
    }
    if !wants_port && !is_elsewhere {
        return reply;
    }
    let all: Vec<String> = request.all("Via").map(str::to_owned).collect();
    let Some((first, others)) = all.split_first() else {
        return reply;
    };
    // What is behind the first hop stays as it came, however many there are.
    let top = crate::message::syntax::list(first).next().unwrap_or_default();
    let rest = first.split_once(top).map_or("", |(_, rest)| rest);
    let kept = top.split(';').filter(|part| {
        let name = part.split('=').next().unwrap_or_default().trim();
        !name.eq_ignore_ascii_case("rport") && !name.eq_ignore_ascii_case("received")
    });
    let mut marked = kept.collect::<Vec<&str>>().join(";");
    marked.push_str(&format!(";received={ip}"));
    if wants_port {
        marked.push_str(&format!(";rport={}", flow.peer.port()));
    }
    request.remove("Via");
    for other in others.iter().rev() {
        request.push_front("Via", other);
    }
    request.push_front("Via", marked + rest);
    reply
}
