//! One WebSocket: a task that carries messages between its socket and the shard that has its session.
//!
//! A peer that takes nothing is waited for as long as one that says nothing, and one whose session has
//! ended not even that.

use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use moqswitch_relay::limits::LINK_MESSAGES_MAX;
use moqswitch_relay::ratelimit::RateLimit;
use moqswitch_relay::shard::{Bell, Incoming, LinkPort};
use tokio::sync::mpsc;
use tokio::time;

use crate::limits;

/// How a connection ended, as far as its socket is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Nobody is there to be told.
    Lost,
    Close(u16),
}

/// Carries messages until either side ends the connection, and tells the other.
pub(super) async fn carry<S>(socket: S, mut port: LinkPort, idle_timeout: Duration)
where
    S: Sink<Message, Error = axum::Error> + Stream<Item = Result<Message, axum::Error>>,
{
    let (mut sink, mut source) = socket.split();
    let started = Instant::now();
    let ending = {
        let (incoming, outgoing, bell) = port.parts();
        tokio::select! {
            ending = read(&mut source, &incoming, bell, started, idle_timeout) => ending,
            ending = write(&mut sink, outgoing, bell, started, idle_timeout) => ending,
            () = detached(&incoming) => Ending::Lost,
        }
    };
    drop(port);
    if let Ending::Close(code) = ending {
        close(&mut sink, &mut source, code).await;
    }
}

/// Tells a client that came for nothing to come again.
pub(super) async fn turn_away(socket: WebSocket) {
    let (mut sink, mut source) = socket.split();
    close(&mut sink, &mut source, close_code::AGAIN).await;
}

/// Says why it is over. A peer that does not close either is left alone.
async fn close(
    sink: &mut (impl Sink<Message, Error = axum::Error> + Unpin),
    source: &mut (impl Stream<Item = Result<Message, axum::Error>> + Unpin),
    code: u16,
) {
    let closing = async {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        if sink.send(Message::Close(Some(frame))).await.is_ok() {
            // To drop a socket with bytes unread would take back what was sent last.
            loop {
                for _ in 0..limits::WEBSOCKET_CLOSE_READS_MAX {
                    let Some(Ok(_)) = source.next().await else { return };
                }
                time::sleep(limits::WEBSOCKET_CLOSE_READ_INTERVAL).await;
            }
        }
    };
    let _ = time::timeout(limits::WEBSOCKET_CLOSE_WAIT_MAX, closing).await;
}

/// The shard has ended the connection, and what it said last had time to leave.
async fn detached(incoming: &Incoming<'_>) {
    incoming.closed().await;
    time::sleep(limits::WEBSOCKET_CLOSE_WAIT_MAX).await;
}

async fn read(
    source: &mut (impl Stream<Item = Result<Message, axum::Error>> + Unpin),
    incoming: &Incoming<'_>,
    bell: &Bell,
    started: Instant,
    idle_timeout: Duration,
) -> Ending {
    let mut has_spoken = false;
    let mut control_frames = RateLimit::new(limits::WEBSOCKET_CONTROL_INTERVAL, limits::WEBSOCKET_CONTROL_FRAMES_MAX);
    loop {
        let wait = if has_spoken {
            idle_timeout
        } else {
            limits::WEBSOCKET_FIRST_WAIT_MAX.saturating_sub(started.elapsed())
        };
        let Ok(received) = time::timeout(wait, source.next()).await else {
            return Ending::Close(close_code::AWAY);
        };
        match received {
            Some(Ok(Message::Binary(message))) => {
                has_spoken = true;
                if incoming.send(message).await.is_err() {
                    detached(incoming).await;
                    return Ending::Lost;
                }
            }
            // Draft-lcurley-qmux-websocket, "Security Considerations": each ping costs an answer.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) if control_frames.allow(Instant::now()).is_none() => {
                return Ending::Close(close_code::POLICY);
            }
            Some(Ok(Message::Pong(payload))) => {
                if let Some(sent_us) = payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) {
                    bell.set_rtt(started.elapsed().saturating_sub(Duration::from_micros(sent_us)));
                }
            }
            Some(Ok(Message::Ping(_))) => {}
            Some(Ok(Message::Text(_))) => return Ending::Close(close_code::UNSUPPORTED),
            Some(Ok(Message::Close(_))) => return Ending::Close(close_code::NORMAL),
            Some(Err(_)) | None => return Ending::Lost,
        }
    }
}

async fn write(
    sink: &mut (impl Sink<Message, Error = axum::Error> + Unpin),
    outgoing: &mut mpsc::Receiver<Bytes>,
    bell: &Bell,
    started: Instant,
    idle_timeout: Duration,
) -> Ending {
    let mut pings = time::interval(limits::WEBSOCKET_PING_INTERVAL.min(idle_timeout / 3));
    pings.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let written = tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => write_all(sink, message, outgoing, idle_timeout).await,
                None => return Ending::Close(close_code::NORMAL),
            },
            _ = pings.tick() => {
                let now_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                let ping = Message::Ping(Bytes::copy_from_slice(&now_us.to_be_bytes()));
                in_time(idle_timeout, sink.send(ping)).await
            }
        };
        if let Err(ending) = written {
            return ending;
        }
        bell.on_room();
    }
}

/// Writes a message and those that wait behind it.
async fn write_all(
    sink: &mut (impl Sink<Message, Error = axum::Error> + Unpin),
    first: Bytes,
    outgoing: &mut mpsc::Receiver<Bytes>,
    wait: Duration,
) -> Result<(), Ending> {
    in_time(wait, sink.feed(Message::Binary(first))).await?;
    for _ in 1..LINK_MESSAGES_MAX {
        let Ok(message) = outgoing.try_recv() else { break };
        in_time(wait, sink.feed(Message::Binary(message))).await?;
    }
    in_time(wait, sink.flush()).await
}

/// One step of writing, which waits at most for what is in the write buffer.
async fn in_time(wait: Duration, step: impl Future<Output = Result<(), axum::Error>>) -> Result<(), Ending> {
    match time::timeout(wait, step).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Ending::Lost),
    }
}
