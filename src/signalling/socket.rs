//! One WebSocket: messages are read, bounded and handed to the exchange; what the exchange has for it is written. Both run
//! on the calls thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Instant;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use moqswitch_calls::{Refusal, SessionId};
use tokio::time::{self, interval_at, timeout, timeout_at};

use crate::access::{Addresses, Bucket, Credentials, Door};
use crate::counters::Place;
use crate::exchange::{Close, End, Exchange, Inbox, Line, LineEnd, Newcomer, unnumbered};
use crate::limits::{MESSAGE_BYTES_MAX, MESSAGES_PER_SECOND_MAX, PING_GRID, REGISTER_ATTEMPTS_MAX, WRITE_WAIT_MAX};
use crate::messages::{self, BadMessage, Dialect, Envelope, MessageId, Register, Request, Told};
use crate::settings::SocketTimes;

/// What every socket's task needs.
pub(crate) struct Shared {
    pub(crate) exchange: RefCell<Exchange>,
    pub(crate) door: Door,
    pub(crate) addresses: Addresses,
    pub(crate) times: SocketTimes,
    /// When this thread began.
    pub(crate) began: Instant,
}

/// Serves a socket until it ends.
pub(crate) async fn serve(socket: WebSocket, peer: Option<SocketAddr>, shared: Rc<Shared>) {
    let (line, LineEnd { inbox, end }) = shared.exchange.borrow_mut().open_line();
    let (sink, mut stream) = socket.split();
    let written = tokio::task::spawn_local(write(sink, inbox, Rc::clone(&end), pings(&shared)));
    let mut caller = Caller::new(line, peer, Rc::clone(&shared));
    let place = shared.addresses.take(peer.map(|peer| peer.ip()));
    if place.is_none() {
        end.close(Close::ADDRESS);
    }
    let close = loop {
        let wait = timeout(caller.patience(), stream.next());
        let message = tokio::select! {
            biased;
            close = end.closed() => break close,
            message = wait => message,
        };
        let flow = match message {
            Err(_) => ControlFlow::Break(caller.out_of_patience()),
            Ok(Some(Ok(message))) => caller.take(message).await,
            // What is too long is an error of reading, as is what is no WebSocket, and a socket that was cut.
            Ok(Some(Err(error))) => ControlFlow::Break(why_unread(error)),
            Ok(None) => ControlFlow::Break(Close::GONE),
        };
        if let ControlFlow::Break(close) = flow {
            break close;
        }
    };
    end.close(close);
    if let Some(session) = caller.session {
        shared.exchange.borrow_mut().lose(session, &caller.line);
    }
    // Its tasks have an end of their own.
    let _ = written.await;
    // The first reason counts.
    let Close { code, .. } = end.closed().await;
    if code >= CODES_OF_OURS {
        shared.exchange.borrow().counters.refused(Place::Socket, code);
    }
    // What has not been read when a socket is dropped would take the reason for its end with it.
    let _ = timeout(LINGER, async {
        while stream.next().await.is_some_and(|message| message.is_ok()) {}
    })
    .await;
}

/// A socket that was cut has broken no rule.
fn why_unread(error: axum::Error) -> Close {
    use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
    match error.into_inner().downcast_ref::<Error>() {
        Some(
            Error::Io(_)
            | Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
        ) => Close::GONE,
        Some(_) | None => Close::PROTOCOL,
    }
}

/// Sockets are pinged together, so that those that do nothing wake nobody one by one: each at the first moment of a grid
/// that is no sooner than it is due.
fn pings(shared: &Shared) -> time::Interval {
    let ping = shared.times.ping;
    let due = shared.began.elapsed() + ping;
    let steps = due.as_micros().div_ceil(PING_GRID.as_micros().max(1));
    let at = PING_GRID.checked_mul(u32::try_from(steps).unwrap_or(u32::MAX));
    interval_at((shared.began + at.unwrap_or(due)).into(), ping)
}

/// Writes what there is, and pings; last the reason for the end.
async fn write(mut sink: SplitSink<WebSocket, Message>, mut inbox: Inbox, end: Rc<End>, mut pings: time::Interval) {
    let close = loop {
        let message = tokio::select! {
            biased;
            close = end.closed() => break close,
            said = inbox.recv() => match said {
                Some(said) => {
                    inbox.may_tell(&said).await;
                    Message::Text((&*said.text).into())
                }
                None => break Close::GONE,
            },
            _ = pings.tick() => Message::Ping(Vec::new().into()),
        };
        if !matches!(timeout(WRITE_WAIT_MAX, sink.send(message)).await, Ok(Ok(()))) {
            end.close(Close::SLOW);
            return;
        }
    };
    let deadline = time::Instant::now() + WRITE_WAIT_MAX;
    while close != Close::SLOW
        && let Some(said) = inbox.try_recv()
    {
        inbox.may_tell(&said).await;
        if !matches!(
            timeout_at(deadline, sink.send(Message::Text((&*said.text).into()))).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
    let frame = CloseFrame {
        code: close.code,
        reason: close.reason.into(),
    };
    let _ = timeout_at(deadline, sink.send(Message::Close(Some(frame)))).await;
}

/// Who is at the other end.
struct Caller {
    shared: Rc<Shared>,
    line: Line,
    peer: Option<SocketAddr>,
    session: Option<SessionId>,
    dialect: Option<Dialect>,
    attempts: u32,
    bucket: Bucket,
    /// Without a session the next message has to come until then.
    deadline: Instant,
}

impl Caller {
    fn new(line: Line, peer: Option<SocketAddr>, shared: Rc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            line,
            peer,
            session: None,
            dialect: None,
            attempts: 0,
            bucket: Bucket::new(MESSAGES_PER_SECOND_MAX, now),
            deadline: now + shared.times.first_message,
            shared,
        }
    }

    fn patience(&self) -> std::time::Duration {
        let silence = self.shared.times.silence;
        match self.session {
            Some(_) => silence,
            None => silence.min(self.deadline.saturating_duration_since(Instant::now())),
        }
    }

    fn out_of_patience(&self) -> Close {
        if self.session.is_none() {
            Close::UNAUTHORIZED
        } else {
            Close::SILENT
        }
    }

    async fn take(&mut self, message: Message) -> ControlFlow<Close> {
        let is_answer = matches!(message, Message::Pong(_));
        if !is_answer && !self.bucket.take(MESSAGES_PER_SECOND_MAX, Instant::now()) {
            return ControlFlow::Break(Close::RATE);
        }
        match message {
            Message::Text(text) if text.len() <= MESSAGE_BYTES_MAX => self.take_text(&text).await,
            Message::Text(_) | Message::Binary(_) => ControlFlow::Break(Close::PROTOCOL),
            Message::Ping(_) | Message::Pong(_) => ControlFlow::Continue(()),
            Message::Close(_) => ControlFlow::Break(Close::GONE),
        }
    }

    async fn take_text(&mut self, text: &str) -> ControlFlow<Close> {
        self.forget_ended();
        let envelope = match Envelope::read(text, self.dialect) {
            Ok(envelope) => envelope,
            Err(bad) => return self.refuse(&bad, None),
        };
        let dialect = *self.dialect.get_or_insert(envelope.dialect);
        match (self.session, envelope.request) {
            (session, Ok(Request::Register(register))) => self.register(session, *register, dialect, envelope.id).await,
            (None, Ok(Request::Resume { session, seq })) => self.resume(session, seq, envelope.id),
            (None, Ok(_)) => {
                let told = messages::unauthorized();
                self.answer(&told, envelope.id.as_ref());
                ControlFlow::Break(Close::UNAUTHORIZED)
            }
            (None, Err(bad)) => self.refuse(&bad, envelope.id.as_ref()),
            (Some(session), request) => {
                self.shared
                    .exchange
                    .borrow_mut()
                    .take(session, Envelope { request, ..envelope });
                self.forget_ended();
                ControlFlow::Continue(())
            }
        }
    }

    /// A session may have ended, by its own wish or not. Then it is as if the socket had just been opened.
    fn forget_ended(&mut self) {
        if let Some(session) = self.session
            && !self.shared.exchange.borrow().has(session)
        {
            self.session = None;
            self.dialect = None;
            self.deadline = Instant::now() + self.shared.times.first_message;
        }
    }

    /// Nothing could be made of it. Who has no session yet has only so many of these.
    fn refuse(&mut self, bad: &BadMessage, id: Option<&MessageId>) -> ControlFlow<Close> {
        if let Some(session) = self.session {
            self.shared.exchange.borrow_mut().reject(session, bad, id);
            return ControlFlow::Continue(());
        }
        self.answer(&messages::bad_message(bad), id);
        self.failed()
    }

    fn failed(&mut self) -> ControlFlow<Close> {
        self.attempts += 1;
        if self.attempts >= REGISTER_ATTEMPTS_MAX {
            return ControlFlow::Break(Close::UNAUTHORIZED);
        }
        self.deadline = Instant::now() + self.shared.times.first_message;
        ControlFlow::Continue(())
    }

    async fn register(
        &mut self,
        session: Option<SessionId>,
        register: Register,
        dialect: Dialect,
        id: Option<MessageId>,
    ) -> ControlFlow<Close> {
        let credentials = Credentials {
            password: register.password.as_deref(),
            token: register.token.as_deref(),
            peer: self.peer.map(|peer| peer.ip()),
        };
        let known = self
            .shared
            .exchange
            .borrow()
            .knows_secret(&register.dn, credentials.password);
        let admitted = match known {
            Some(is_right) => self.shared.door.admit_known(&register.dn, credentials, is_right),
            None => self.shared.door.admit(&register.dn, credentials).await,
        };
        let registered = match admitted {
            Ok(admission) => {
                let newcomer = Newcomer {
                    register: Box::new(register),
                    admission,
                    dialect,
                    id: id.clone(),
                    contact: self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
                };
                let mut exchange = self.shared.exchange.borrow_mut();
                exchange
                    .register(session, newcomer, &self.line)
                    .map_err(|refusal| (reason(refusal), refusal.code()))
            }
            Err((reason, code)) => Err((reason, code)),
        };
        match registered {
            Ok(session) => {
                self.session = Some(session);
                self.attempts = 0;
                ControlFlow::Continue(())
            }
            Err((reason, code)) => {
                self.answer(&messages::failed_registration(reason, code), id.as_ref());
                if self.session.is_some() {
                    ControlFlow::Continue(())
                } else {
                    self.failed()
                }
            }
        }
    }

    fn resume(&mut self, session: SessionId, seq: u64, id: Option<MessageId>) -> ControlFlow<Close> {
        let is_back = self
            .shared
            .exchange
            .borrow_mut()
            .resume(session, seq, id.clone(), &self.line);
        let peer = self.peer.map(|peer| peer.ip());
        let is_back = is_back || {
            let mut exchange = self.shared.exchange.borrow_mut();
            exchange.revive(session, seq, id.clone(), &self.line, &self.shared.door, peer)
        };
        if is_back {
            self.session = Some(session);
            self.dialect = Some(Dialect::Payload);
            return ControlFlow::Continue(());
        }
        self.answer(&messages::refused(Refusal::UnknownSession, None), id.as_ref());
        self.dialect = None;
        self.failed()
    }

    /// Says something that belongs to no session.
    fn answer(&self, told: &Told, id: Option<&MessageId>) {
        if let Some(code) = told.refused() {
            let place = match told.kind {
                "registrationFailed" => Place::Registration,
                _ => Place::Message,
            };
            self.shared.exchange.borrow().counters.refused(place, code);
        }
        if let Some(text) = unnumbered(told, id, self.dialect.unwrap_or(Dialect::Payload)) {
            self.line.send(text);
        }
    }
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::TooManyDevices => "The number has as many devices as it may have",
        Refusal::Duplicate => "The socket is registered as another number or device",
        Refusal::Full => "The switch is full",
        Refusal::Stopping => "The switch stops",
        _ => "Not registered",
    }
}

/// Codes of closing from here on say that something was refused.
const CODES_OF_OURS: u16 = 4000;

/// How long the other end has to take the reason for the end.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);
