//! One WebSocket whose peer misbehaves. The clock is paused, and so runs ahead whenever there are only
//! timers to wait for.

use crate::limits;

use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};

use axum::extract::ws::Message;
use futures_util::{Sink, Stream};
use moqswitch_relay::shard::{Doorbell, link};

use crate::control::socket::carry;

use super::*;

#[test]
fn peer_that_takes_nothing_is_gone_after_the_idle_timeout() {
    let elapsed = carried(IDLE_TIMEOUT * 10);
    assert!(elapsed >= IDLE_TIMEOUT && elapsed < IDLE_TIMEOUT * 2, "{elapsed:?}");
}

#[test]
fn ended_session_does_not_wait_for_a_peer_that_takes_nothing() {
    let lasts = Duration::from_secs(5);
    let elapsed = carried(lasts);
    assert!(elapsed <= lasts + limits::WEBSOCKET_CLOSE_WAIT_MAX * 2, "{elapsed:?}");
}

#[test]
fn a_peer_that_was_closed_for_flooding_is_not_read_at_line_rate() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (_link, port) = link(&Doorbell::new(Arc::new(|| {})));
        let reads = Arc::new(AtomicUsize::new(0));
        let started = tokio::time::Instant::now();
        carry(Flood(Arc::clone(&reads)), port, IDLE_TIMEOUT).await;
        assert!(
            started.elapsed() >= limits::WEBSOCKET_CLOSE_WAIT_MAX,
            "it has no time to see why"
        );
        let rounds =
            limits::WEBSOCKET_CLOSE_WAIT_MAX.as_millis() / limits::WEBSOCKET_CLOSE_READ_INTERVAL.as_millis() + 1;
        let closing = usize::try_from(rounds).unwrap() * limits::WEBSOCKET_CLOSE_READS_MAX;
        let allowed = limits::WEBSOCKET_CONTROL_FRAMES_MAX as usize + 1 + closing;
        assert!(reads.load(Ordering::Relaxed) <= allowed, "{reads:?} of {allowed}");
    });
}

/// Pings without end, and takes everything.
struct Flood(Arc<AtomicUsize>);

impl Stream for Flood {
    type Item = Result<Message, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // As the runtime has it, others have their turn now and then.
        let reads = self.0.fetch_add(1, Ordering::Relaxed);
        if reads > 10_000 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Message::Ping(Bytes::new()))))
    }
}

impl Sink<Message> for Flood {
    type Error = axum::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Self::Error> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}

/// How long a connection lasts whose peer pings every second and takes nothing. Its shard ends the session
/// after some time.
fn carried(session: Duration) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (link, port) = link(&Doorbell::new(Arc::new(|| {})));
        tokio::spawn(async move {
            tokio::time::sleep(session).await;
            drop(link);
        });
        let started = tokio::time::Instant::now();
        let carried = carry(Deaf::new(), port, IDLE_TIMEOUT);
        let ended = tokio::time::timeout(Duration::from_secs(100), carried).await;
        assert!(ended.is_ok(), "it lasts for ever");
        started.elapsed()
    })
}

/// Says something every second, and takes nothing.
struct Deaf {
    pings: tokio::time::Interval,
    has_spoken: bool,
}

impl Deaf {
    fn new() -> Self {
        Self {
            pings: tokio::time::interval(Duration::from_secs(1)),
            has_spoken: false,
        }
    }
}

impl Stream for Deaf {
    type Item = Result<Message, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pings.poll_tick(context).map(|_| {
            let is_first = !std::mem::replace(&mut self.has_spoken, true);
            Some(Ok(match is_first {
                true => Message::Binary(Bytes::new()),
                false => Message::Ping(Bytes::new()),
            }))
        })
    }
}

impl Sink<Message> for Deaf {
    type Error = axum::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, _: Message) -> Result<(), Self::Error> {
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Pending
    }
}

const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
