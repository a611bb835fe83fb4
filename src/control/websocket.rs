//! WebSocket upgrades, at any path, and who may have one. What becomes of its socket: `socket.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use moqswitch_proto::limits::SETUP_PATH_BYTES_MAX;
use moqswitch_proto::qmux::Subprotocol;
use moqswitch_relay::auth::token;
use moqswitch_relay::limits::WEBSOCKET_READ_BYTES;
use moqswitch_relay::shard::{Attachment, link};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time;

use crate::limits;

use super::remote::{Certified, Remote};
use super::{ControlState, Phase, ShardCommand, ShardPort, permit, socket};

/// Who may connect, and who has.
#[derive(Debug)]
pub struct WebSockets {
    seats: Arc<Semaphore>,
    /// Of `seats`, those that are being taken away included.
    connections_max: AtomicU32,
    idle_timeout: Duration,
    /// Connections of each shard.
    open: Vec<AtomicUsize>,
    refused: [AtomicU64; Refusal::ALL.len()],
}

/// Why a request for a WebSocket came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not as RFC 6455 has it.
    Malformed,
    LongPath,
    /// The process is starting, or draining.
    NotReady,
    /// The field Authorization is no token, or another one than in the query.
    Unauthorized,
    /// No subprotocol in common.
    Subprotocol,
    /// As many as there may be.
    Limit,
    /// Each shard has too much to do.
    Overloaded,
    /// The shard takes no commands; the client is told when it has been upgraded.
    ShardBusy,
}

/// One of the connections allowed, on one of the shards.
struct Seat {
    websockets: Arc<WebSockets>,
    shard: usize,
    _permit: OwnedSemaphorePermit,
}

impl WebSockets {
    /// More than `connections_max` connections are answered 503; one that is silent for
    /// `idle_timeout`, pings included, is closed.
    pub fn new(shards: usize, connections_max: u32, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            seats: Arc::new(Semaphore::new(connections_max as usize)),
            connections_max: AtomicU32::new(connections_max),
            idle_timeout,
            open: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            refused: Default::default(),
        })
    }

    /// Allows another number of connections. Those that are too many stay until they end.
    pub(crate) fn resize(&self, connections_max: u32) {
        let before = self.connections_max.swap(connections_max, Ordering::Relaxed);
        match connections_max.checked_sub(before) {
            Some(more) => self.seats.add_permits(more as usize),
            None => {
                let seats = Arc::clone(&self.seats);
                let fewer = before - connections_max;
                // Who waits goes before those who come.
                tokio::spawn(async move {
                    // Fails only when the semaphore is closed, which it never is.
                    if let Ok(taken) = seats.acquire_many(fewer).await {
                        taken.forget();
                    }
                });
            }
        }
    }

    /// How many were refused, by reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        Refusal::ALL.into_iter().map(Refusal::label).zip(counts)
    }

    fn count(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until all connections have ended.
    pub(super) async fn ended(&self) {
        // Fails only when the semaphore is closed, which it never is.
        let _ = self
            .seats
            .acquire_many(self.connections_max.load(Ordering::Relaxed))
            .await;
    }

    /// A place on the shard that has the fewest.
    fn take_seat(self: &Arc<Self>, is_overloaded: impl Fn(usize) -> bool) -> Result<Seat, Refusal> {
        let permit = Arc::clone(&self.seats)
            .try_acquire_owned()
            .map_err(|_| Refusal::Limit)?;
        let loads = self.open.iter().map(|open| open.load(Ordering::Relaxed)).enumerate();
        let (shard, _) = loads
            .filter(|(shard, _)| !is_overloaded(*shard))
            .min_by_key(|(_, load)| *load)
            .ok_or(Refusal::Overloaded)?;
        self.open[shard].fetch_add(1, Ordering::Relaxed);
        Ok(Seat {
            websockets: Arc::clone(self),
            shard,
            _permit: permit,
        })
    }
}

impl Refusal {
    const ALL: [Self; 8] = [
        Self::Malformed,
        Self::LongPath,
        Self::NotReady,
        Self::Unauthorized,
        Self::Subprotocol,
        Self::Limit,
        Self::Overloaded,
        Self::ShardBusy,
    ];

    /// Value of the metric's `reason` label.
    fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::LongPath => "long_path",
            Self::NotReady => "not_ready",
            Self::Unauthorized => "unauthorized",
            Self::Subprotocol => "subprotocol",
            Self::Limit => "limit",
            Self::Overloaded => "overload",
            Self::ShardBusy => "shard_busy",
        }
    }

    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "not a WebSocket request\n"),
            Self::LongPath => (StatusCode::URI_TOO_LONG, "the path is too long\n"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not accepting sessions\n"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Authorization is not one token\n"),
            Self::Subprotocol => (StatusCode::BAD_REQUEST, "no supported subprotocol\n"),
            Self::Limit => (StatusCode::SERVICE_UNAVAILABLE, "too many WebSockets\n"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "the relay has too much to do\n"),
            Self::ShardBusy => (StatusCode::SERVICE_UNAVAILABLE, "the shard is busy\n"),
        }
    }

    /// Who finds no room is told when to ask again.
    fn respond(self) -> Response {
        let mut response = self.answer().into_response();
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from_static(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.websockets.open[self.shard].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes requests for a WebSocket, whatever their path, and lets others pass.
pub(super) async fn intercept(State(state): State<ControlState>, request: Request, next: Next) -> Response {
    let is_upgrade = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !is_upgrade {
        return next.run(request).await;
    }
    let (mut parts, _) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade_to_session(&state, &parts, upgrade).unwrap_or_else(|refusal| {
            state.websockets.count(refusal);
            refusal.respond()
        }),
        Err(rejection) => {
            state.websockets.count(Refusal::Malformed);
            rejection.into_response()
        }
    }
}

fn upgrade_to_session(state: &ControlState, parts: &Parts, upgrade: WebSocketUpgrade) -> Result<Response, Refusal> {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() > SETUP_PATH_BYTES_MAX {
        return Err(Refusal::LongPath);
    }
    if state.lifecycle.phase() != Phase::Ready {
        return Err(Refusal::NotReady);
    }
    // Draft-lcurley-qmux-websocket, "Subprotocol Negotiation": without one in common there is no session.
    let subprotocol = choose(parts).ok_or(Refusal::Subprotocol)?;
    // What came by HTTP/3 has no socket of its own.
    let Remote(remote) = *parts.extensions.get::<Remote>().ok_or(Refusal::Malformed)?;
    let seat = state.websockets.take_seat(|shard| {
        let port = state.shards.get(shard);
        port.is_some_and(|port| !port.doorbell.has_place_for(remote.ip()))
    })?;
    let port = state.shards.get(seat.shard).cloned().ok_or(Refusal::ShardBusy)?;
    let bearer = bearer(state, parts)?;
    if !port.doorbell.take_place_for(remote.ip()) {
        return Err(Refusal::Overloaded);
    }
    let identity = parts.extensions.get::<Certified>().map(|certified| certified.0.clone());
    let path = path.to_owned();
    let (link, end) = link(&port.doorbell);
    let attachment = Attachment {
        link,
        subprotocol,
        path,
        bearer,
        identity,
        remote,
    };
    let mut upgrade = upgrade
        .max_message_size(limits::WEBSOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(limits::WEBSOCKET_MESSAGE_BYTES_MAX)
        .read_buffer_size(WEBSOCKET_READ_BYTES)
        .write_buffer_size(limits::WEBSOCKET_WRITE_BYTES)
        .max_write_buffer_size(limits::WEBSOCKET_UNWRITTEN_BYTES_MAX);
    if let Ok(name) = HeaderValue::from_str(&subprotocol.to_string()) {
        upgrade.set_selected_protocol(name);
    }
    Ok(upgrade.on_upgrade(async move |socket| {
        match attach(&port, attachment).await {
            true => socket::carry(socket, end, seat.websockets.idle_timeout).await,
            false => {
                seat.websockets.count(Refusal::ShardBusy);
                socket::turn_away(socket).await;
            }
        }
        drop(seat);
    }))
}

/// The token of the field Authorization. The shard checks it.
fn bearer(state: &ControlState, parts: &Parts) -> Result<Option<String>, Refusal> {
    let policy = state.policy.borrow();
    let authorization = permit::authorization(&parts.headers);
    let bearer = policy.bearer(authorization.as_deref());
    let bearer = bearer.map_err(|_| Refusal::Unauthorized)?;
    match policy.choose_token(bearer, parts.uri.query().unwrap_or_default()) {
        Err(token::Refusal::TwoTokens) => Err(Refusal::Unauthorized),
        // What else is wrong with it the shard says, as for other carriers.
        _ => Ok(bearer.map(str::to_owned)),
    }
}

fn choose(parts: &Parts) -> Option<Subprotocol> {
    let values = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let offered: Vec<&str> = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    Subprotocol::choose(offered.iter().copied())
}

/// Hands the connection to its shard. False: the shard is too busy.
async fn attach(port: &ShardPort, attachment: Attachment) -> bool {
    let mut command = ShardCommand::Attach(Box::new(attachment));
    let deadline = Instant::now() + limits::SHARD_ANSWER_WAIT_MAX;
    loop {
        command = match port.queue.push(command) {
            Ok(()) => break,
            Err(_) if Instant::now() >= deadline => return false,
            Err(command) => command,
        };
        time::sleep(super::DRAIN_RETRY_INTERVAL).await;
    }
    (port.wake)();
    true
}

/// For those who are answered 503.
const RETRY_AFTER_SECONDS: &str = "5";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_to_shards_with_too_much_to_do_is_told_when_to_ask_again() {
        let websockets = WebSockets::new(2, 2, Duration::from_secs(30));
        let seat = websockets.take_seat(|shard| shard == 0).unwrap();
        assert_eq!(seat.shard, 1);
        let refusal = websockets.take_seat(|_| true).err();
        assert_eq!(refusal, Some(Refusal::Overloaded));
        let response = Refusal::Overloaded.respond();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], RETRY_AFTER_SECONDS);
        // The place that was looked for is free again.
        assert!(websockets.take_seat(|_| false).is_ok());
    }

    #[test]
    fn places_can_become_more_and_fewer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let websockets = WebSockets::new(1, 2, Duration::from_secs(30));
            let take = |websockets: &Arc<WebSockets>| websockets.take_seat(|_| false).ok();
            let (first, second) = (take(&websockets), take(&websockets));
            assert!(first.is_some() && second.is_some() && take(&websockets).is_none());
            websockets.resize(3);
            let third = take(&websockets);
            assert!(third.is_some() && take(&websockets).is_none());
            // Those that are too many stay until they end, and leave no place behind.
            websockets.resize(1);
            tokio::task::yield_now().await;
            drop((first, second));
            tokio::task::yield_now().await;
            assert!(take(&websockets).is_none());
            drop(third);
            tokio::task::yield_now().await;
            let last = take(&websockets);
            assert!(last.is_some() && take(&websockets).is_none());
            drop(last);
            websockets.ended().await;
        });
    }
}
