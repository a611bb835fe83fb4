//! The calls thread, from its start to its end, and the way to it from other threads.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ws::WebSocket;
use moqswitch_calls::{AdminEvent, Event, MediaEvent};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time;

use crate::access::{Door, Origins};
use crate::exchange::Exchange;
use crate::limits::{ANSWER_WAIT_MAX, COMMANDS_MAX, COMMANDS_PER_TURN_MAX, PASSWORD_CHECKS_MAX, SOCKETS_MAX};
use crate::media::{Busy, MediaPlane};
use crate::routes;
use crate::settings::Settings;
use crate::socket::{self, Shared};

/// Signalling of a switch.
#[derive(Debug)]
pub struct Signalling;

/// The way to the calls thread. Clones lead to the same; the thread ends with the last of them, or when it is told to.
#[derive(Clone, Debug)]
pub struct SignallingHandle(Arc<Port>);

/// What other threads have of the calls thread.
#[derive(Debug)]
pub(crate) struct Port {
    commands: mpsc::Sender<Command>,
    stop: watch::Sender<bool>,
    /// The thread has the one permit while it lives.
    alive: Arc<Semaphore>,
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
enum Command {
    Socket(Box<WebSocket>, Option<SocketAddr>, OwnedSemaphorePermit),
    Event(Box<Event>),
    Ask(Question),
}

/// Something to be done or looked up on the calls thread.
type Question = Box<dyn FnOnce(&mut Exchange) + Send>;

impl Signalling {
    /// Starts the calls thread.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made, or the place for records cannot be used.
    pub fn start(settings: Settings, media: Box<dyn MediaPlane>) -> io::Result<SignallingHandle> {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (stop, stopped) = watch::channel(false);
        let port = Port {
            commands,
            stop,
            alive: Arc::new(Semaphore::new(1)),
            seats: Arc::new(Semaphore::new(SOCKETS_MAX)),
            origins: Origins::new(settings.origins.clone()),
            refused: Refused::default(),
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(PASSWORD_CHECKS_MAX)
            .thread_name("calls-password")
            .build()?;
        let alive = Arc::clone(&port.alive).try_acquire_owned().map_err(io::Error::other)?;
        thread::Builder::new().name("calls".to_owned()).spawn(move || {
            run(&runtime, settings, media, inbox, stopped);
            drop(alive);
        })?;
        Ok(SignallingHandle(Arc::new(port)))
    }
}

impl SignallingHandle {
    /// The routes: `/signaling`, `/ws` and `/api/…`. A server that mounts them puts
    /// [`ConnectInfo`](axum::extract::ConnectInfo)`<SocketAddr>` into each request's extensions: without it a request counts
    /// as one from another host.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.0))
    }

    /// Tells of media.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn media(&self, event: MediaEvent) -> Result<(), Busy> {
        self.0.send(Command::Event(Box::new(Event::Media(event))))
    }

    /// Changes the switch: another dialplan, other settings, other numbers.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn admin(&self, event: AdminEvent) -> Result<(), Busy> {
        self.0.send(Command::Event(Box::new(Event::Admin(event))))
    }

    /// Ends every call, tells every client, and then the thread.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    /// Waits until the thread has ended.
    pub async fn ended(&self) {
        // It fails only when the semaphore is closed, which it never is.
        let _ = self.0.alive.acquire().await;
    }
}

impl Port {
    fn send(&self, command: Command) -> Result<(), Busy> {
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

fn run(
    runtime: &Runtime,
    settings: Settings,
    media: Box<dyn MediaPlane>,
    inbox: mpsc::Receiver<Command>,
    stopped: watch::Receiver<bool>,
) {
    let local = LocalSet::new();
    local.block_on(runtime, async move {
        let mut settings = settings;
        let moved = Rc::new(Notify::new());
        let door = Door::new(settings.users.take());
        let times = settings.times;
        let exchange = Exchange::new(settings, media, Rc::clone(&moved)).into();
        let shared = Rc::new(Shared { exchange, door, times });
        serve(&shared, inbox, stopped, &moved).await;
        shared.exchange.borrow_mut().stop();
        // Sockets are told why they end. Each of them holds the shared state.
        let deadline = time::Instant::now() + FAREWELL;
        while Rc::strong_count(&shared) > 1 && time::Instant::now() < deadline {
            time::sleep(Duration::from_millis(5)).await;
        }
    });
}

async fn serve(
    shared: &Rc<Shared>,
    mut inbox: mpsc::Receiver<Command>,
    mut stopped: watch::Receiver<bool>,
    moved: &Notify,
) {
    loop {
        let due = shared
            .exchange
            .borrow()
            .poll_timeout()
            .unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            command = inbox.recv() => {
                let Some(command) = command else { return };
                take(shared, command);
                for _ in 1..COMMANDS_PER_TURN_MAX {
                    let Ok(command) = inbox.try_recv() else { break };
                    take(shared, command);
                }
            }
            () = moved.notified() => {}
            () = time::sleep_until(due.into()) => shared.exchange.borrow_mut().handle_timeout(),
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

fn take(shared: &Rc<Shared>, command: Command) {
    match command {
        Command::Socket(socket, peer, seat) => {
            let shared = Rc::clone(shared);
            tokio::task::spawn_local(async move {
                socket::serve(*socket, peer, shared).await;
                drop(seat);
            });
        }
        Command::Event(event) => shared.exchange.borrow_mut().handle(*event),
        Command::Ask(question) => question(&mut shared.exchange.borrow_mut()),
    }
}

/// Without anything to wait for, timers are looked at so often.
const IDLE: Duration = Duration::from_secs(60);

/// How long sockets have to be told that the switch stops.
const FAREWELL: Duration = Duration::from_secs(2);
