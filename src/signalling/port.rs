//! The way to the calls thread from other threads: bounded, and never waited for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocket;
use axum::http::HeaderMap;
use moqswitch_calls::Event;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time;

use crate::access::{ApiKey, Guard, Origins, TokenKey};
use crate::counters::{Counters, Place};
use crate::exchange::Exchange;
use crate::gateway::{SipWebSocket, TrunkPlan};
use crate::limits::{ANSWER_WAIT_MAX, COMMANDS_MAX, RECORDING_QUESTIONS_MAX, SIP_SOCKETS_WAITING_MAX, SOCKETS_MAX};
use crate::mailboxes::Mailboxes;
use crate::media::Busy;
use crate::outward::Webhook;
use crate::recordings::Recordings;

/// What other threads have of the calls thread.
#[derive(Debug)]
pub(crate) struct Port {
    commands: mpsc::Sender<Command>,
    /// WebSockets of telephones.
    sip: mpsc::Sender<SipWebSocket>,
    seats: Arc<Semaphore>,
    origins: watch::Sender<Origins>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) recordings: Option<Arc<dyn Recordings>>,
    pub(crate) mailboxes: Option<Arc<dyn Mailboxes>>,
    /// For whoever waits for the disk.
    recording_places: Arc<Semaphore>,
    /// How long a request of REST may take to come and to be answered.
    pub(crate) patience: Duration,
}

/// What comes from other threads.
pub(crate) enum Command {
    Socket(Box<WebSocket>, Option<SocketAddr>, OwnedSemaphorePermit),
    Event(Box<Event>),
    Ask(Question),
    Replace(Box<Replacement>),
}

/// What an operator may change while calls go on.
pub(crate) enum Replacement {
    Entrance(Guard),
    Keys(Vec<ApiKey>, Option<TokenKey>),
    Webhooks(Vec<Webhook>),
    Trunks(TrunkPlan),
}

/// Something to be done or looked up on the calls thread.
pub(crate) type Question = Box<dyn FnOnce(&mut Exchange) + Send>;

/// What was recorded, and voice mail; each where there is any.
pub(crate) type Kept = (Option<Arc<dyn Recordings>>, Option<Arc<dyn Mailboxes>>);

impl Port {
    /// A way, and its other end.
    pub(crate) fn new(
        origins: Origins,
        counters: Arc<Counters>,
        (recordings, mailboxes): Kept,
        patience: Duration,
    ) -> (Self, mpsc::Receiver<Command>, mpsc::Receiver<SipWebSocket>) {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (sip, sip_sockets) = mpsc::channel(SIP_SOCKETS_WAITING_MAX);
        let port = Self {
            commands,
            sip,
            seats: Arc::new(Semaphore::new(SOCKETS_MAX)),
            origins: watch::Sender::new(origins),
            counters,
            recordings,
            mailboxes,
            recording_places: Arc::new(Semaphore::new(RECORDING_QUESTIONS_MAX)),
            patience,
        };
        (port, inbox, sip_sockets)
    }

    /// Whether pages of the request's origin may use the switch.
    pub(crate) fn allows(&self, headers: &HeaderMap) -> bool {
        self.origins.borrow().allow(headers)
    }

    pub(crate) fn replace_origins(&self, origins: Origins) {
        self.origins.send_replace(origins);
    }

    /// How many sockets there are.
    pub(crate) fn sockets(&self) -> u64 {
        let taken = SOCKETS_MAX.saturating_sub(self.seats.available_permits());
        u64::try_from(taken).unwrap_or(u64::MAX)
    }

    /// How many commands wait.
    pub(crate) fn waiting(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
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

    /// A place for one more question on recordings.
    pub(crate) fn recording_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.recording_places).try_acquire_owned().ok()
    }

    /// Hands a socket to the calls thread. Without room there it is dropped.
    pub(crate) fn hand_over(&self, socket: WebSocket, peer: Option<SocketAddr>, seat: OwnedSemaphorePermit) {
        // Counted by `send`; the client sees its socket end.
        let _ = self.send(Command::Socket(Box::new(socket), peer, seat));
    }

    /// Gives a telephone's WebSocket to the gateway. Where there is no SIP, or too much to do, it ends.
    pub(crate) fn hand_over_telephone(&self, websocket: SipWebSocket) {
        if self.sip.try_send(websocket).is_err() {
            self.counters.refused(Place::Command, 503);
        }
    }

    /// Whether there is SIP.
    pub(crate) fn has_sip(&self) -> bool {
        !self.sip.is_closed()
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
