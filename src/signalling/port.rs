//! The way to the calls thread from other threads: bounded, and never waited for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ws::WebSocket;
use moqswitch_calls::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time;

use crate::access::Origins;
use crate::exchange::Exchange;
use crate::limits::{ANSWER_WAIT_MAX, COMMANDS_MAX, SOCKETS_MAX};
use crate::media::Busy;

/// What other threads have of the calls thread.
#[derive(Debug)]
pub(crate) struct Port {
    commands: mpsc::Sender<Command>,
    seats: Arc<Semaphore>,
    pub(crate) origins: Origins,
    pub(crate) refused: Refused,
}

/// What was refused before it came to the calls thread, since the start.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    pub(crate) origin: AtomicU64,
    pub(crate) sockets: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) requests: AtomicU64,
}

/// What comes from other threads.
pub(crate) enum Command {
    Socket(Box<WebSocket>, Option<SocketAddr>, OwnedSemaphorePermit),
    Event(Box<Event>),
    Ask(Question),
}

/// Something to be done or looked up on the calls thread.
pub(crate) type Question = Box<dyn FnOnce(&mut Exchange) + Send>;

impl Port {
    /// A way, and its other end.
    pub(crate) fn new(origins: Origins) -> (Self, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let port = Self {
            commands,
            seats: Arc::new(Semaphore::new(SOCKETS_MAX)),
            origins,
            refused: Refused::default(),
        };
        (port, inbox)
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| {
            self.refused.commands.fetch_add(1, Ordering::Relaxed);
            Busy
        })
    }

    /// A place for one more socket.
    pub(crate) fn take_seat(&self) -> Option<OwnedSemaphorePermit> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().ok();
        if seat.is_none() {
            self.refused.sockets.fetch_add(1, Ordering::Relaxed);
        }
        seat
    }

    /// Hands a socket to the calls thread. Without room there it is dropped.
    pub(crate) fn hand_over(&self, socket: WebSocket, peer: Option<SocketAddr>, seat: OwnedSemaphorePermit) {
        // Counted by `send`; the client sees its socket end.
        let _ = self.send(Command::Socket(Box::new(socket), peer, seat));
    }

    /// Asks something of the exchange.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Exchange) -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |exchange| {
            // Who asked may be gone by now.
            let _ = answer.send(question(exchange));
        });
        self.send(Command::Ask(question))?;
        self.wait(answered).await
    }

    /// Waits for an answer of the calls thread, not for ever.
    pub(crate) async fn wait<T>(&self, answered: oneshot::Receiver<T>) -> Result<T, Busy> {
        match time::timeout(ANSWER_WAIT_MAX, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Busy),
        }
    }
}
