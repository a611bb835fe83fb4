//! The way to the calls thread from other threads: bounded, and never waited for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocket;
use moqswitch_calls::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time;

use crate::access::Origins;
use crate::counters::{Counters, Place};
use crate::exchange::Exchange;
use crate::limits::{ANSWER_WAIT_MAX, COMMANDS_MAX, SOCKETS_MAX};
use crate::media::Busy;

/// What other threads have of the calls thread.
#[derive(Debug)]
pub(crate) struct Port {
    commands: mpsc::Sender<Command>,
    seats: Arc<Semaphore>,
    pub(crate) origins: Origins,
    pub(crate) counters: Arc<Counters>,
    /// How long a request of REST may take to come and to be answered.
    pub(crate) patience: Duration,
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
    pub(crate) fn new(
        origins: Origins,
        counters: Arc<Counters>,
        patience: Duration,
    ) -> (Self, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let port = Self {
            commands,
            seats: Arc::new(Semaphore::new(SOCKETS_MAX)),
            origins,
            counters,
            patience,
        };
        (port, inbox)
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), Busy> {
        self.commands.try_send(command).map_err(|_| {
            self.counters.refused(Place::Command, 503);
            Busy
        })
    }

    /// A place for one more socket.
    pub(crate) fn take_seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
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
