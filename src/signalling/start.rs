//! The calls thread, from its start to its end.

use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use moqswitch_calls::{AdminEvent, Event, HookQuestion, MediaEvent};
use ring::rand::SystemRandom;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::LocalSet;
use tokio::time;

use crate::access::{Addresses, ApiKey, Door, Entrance, Gate, Guard, Origins, TokenKey};
use crate::asterisk::{self, Asterisk};
use crate::control::{self, Board, DomainName};
use crate::counters::{Counters, Refused};
use crate::exchange::{Exchange, draw};
use crate::figures::Figures;
use crate::gateway::{self, Gateway, SipSettings, SipSockets, SipWebSocket, TrunkPlan};
use crate::journal::{Found, Journal};
use crate::limits::{BLOCKING_END_MAX, BLOCKING_THREADS_MAX, COMMANDS_PER_TURN_MAX, CONTROL_SERVERS_MAX};
use crate::mailboxes::Mailboxes;
use crate::media::{Busy, MediaPlane};
use crate::mediaswitch;
use crate::nodes::FromEngine;
use crate::outward::{self, Webhook};
use crate::port::{Command, Port, Replacement};
use crate::recordings::Recordings;
use crate::records::{Opened, Row, Store};
use crate::routes;
use crate::settings::{MediaswitchSettings, Settings, StateSettings};
use crate::socket::{self, Shared};

/// Signalling of a switch.
#[derive(Debug)]
pub struct Signalling;

/// The way to the calls thread. Clones lead to the same; the thread ends with the last of them, or when it is told to.
#[derive(Clone, Debug)]
pub struct SignallingHandle {
    port: Arc<Port>,
    /// Who may use mediaswitch's HTTP. None: there is none.
    mediaswitch: Option<Arc<[ApiKey]>>,
    stop: watch::Sender<Stop>,
    /// The thread has the one permit while it lives.
    living: Arc<Semaphore>,
}

impl Signalling {
    /// Starts the calls thread.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made, the place for records cannot be used, or mediaswitch's domain is none.
    pub fn start(mut settings: Settings, media: Box<dyn MediaPlane>) -> io::Result<SignallingHandle> {
        let plain = settings.mediaswitch.as_ref().and_then(|own| own.domain.as_deref());
        if plain.is_some_and(|plain| DomainName::parse(plain).is_none()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no domain of at most five labels",
            ));
        }
        let mediaswitch = settings
            .mediaswitch
            .as_mut()
            .map(|own| std::mem::take(&mut own.keys).into());
        let counters = Arc::new(Counters::default());
        let origins = Origins::new(settings.origins.clone());
        let (recordings, mailboxes) = (settings.recordings.clone(), settings.mailboxes.clone());
        let (port, inbox, sip_sockets) = Port::new(
            origins,
            Arc::clone(&counters),
            (recordings.clone(), mailboxes.clone()),
            settings.times.request,
        );
        // What can fail comes before the runtime: that may not be dropped where another runs.
        let opened = settings.records.clone().map(Store::start).transpose()?;
        let journal = settings.state.as_ref().map(open_journal).transpose()?.flatten();
        let (stop, stopped) = watch::channel(Stop::default());
        let living = Arc::new(Semaphore::new(1));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS_MAX)
            .thread_name("calls-blocking")
            .build()?;
        let alive = Arc::clone(&living).try_acquire_owned().map_err(io::Error::other)?;
        let kept = Written { recordings, mailboxes };
        thread::Builder::new().name("calls".to_owned()).spawn(move || {
            // From the last to the first, if the thread panics, too.
            let (_alive, _kept, runtime) = (alive, kept, runtime);
            run(
                &runtime,
                settings,
                media,
                Kept { opened, journal },
                Inbox {
                    commands: inbox,
                    sip_sockets: Some(sip_sockets),
                    stopped,
                    counters,
                },
            );
            // What waits for the disk ends first.
            runtime.shutdown_timeout(BLOCKING_END_MAX);
        })?;
        Ok(SignallingHandle {
            port: Arc::new(port),
            mediaswitch,
            stop,
            living,
        })
    }
}

impl SignallingHandle {
    /// The routes: `/signaling`, `/ws` and `/api/…`. A server that mounts them puts
    /// [`ConnectInfo`](axum::extract::ConnectInfo)`<SocketAddr>` into each request's extensions: without it a request counts
    /// as one from another host.
    pub fn router(&self) -> Router {
        routes::router(Arc::clone(&self.port))
    }

    /// The routes of mediaswitch's HTTP, for a listener of its own: `/` is theirs. None: the settings have none. The client's
    /// address is looked for as in [`router`](Self::router).
    pub fn mediaswitch_router(&self) -> Option<Router> {
        let keys = Arc::clone(self.mediaswitch.as_ref()?);
        Some(mediaswitch::router(Arc::clone(&self.port), keys))
    }

    /// Tells of media.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn media(&self, event: MediaEvent) -> Result<(), Busy> {
        self.port.send(Command::Event(Box::new(Event::Media(event))))
    }

    /// Changes the switch: another dialplan, other settings, other numbers.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn admin(&self, event: AdminEvent) -> Result<(), Busy> {
        self.port.send(Command::Event(Box::new(Event::Admin(event))))
    }

    /// Lets others in from here on. Devices of users who are gone, or have another password, are unregistered.
    ///
    /// It takes as long as a check of a password, tens of milliseconds: not for a thread that others wait for.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn replace_entrance(&self, entrance: Entrance) -> Result<(), Busy> {
        self.replace(Replacement::Entrance(Guard::new(entrance)))
    }

    /// Lets other programs use REST from here on. Without any whoever comes from this host may do everything.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn replace_keys(&self, keys: Vec<ApiKey>, tokens: Option<TokenKey>) -> Result<(), Busy> {
        self.replace(Replacement::Keys(keys, tokens))
    }

    /// Tells others of events from here on. Those who were told before are told of what waits for them.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn replace_webhooks(&self, webhooks: Vec<Webhook>) -> Result<(), Busy> {
        self.replace(Replacement::Webhooks(webhooks))
    }

    /// Calls go by these trunks from here on. Those of trunks that are gone go on.
    ///
    /// # Errors
    /// [`Busy`]: the calls thread has no room for it now.
    pub fn replace_trunks(&self, plan: TrunkPlan) -> Result<(), Busy> {
        self.replace(Replacement::Trunks(plan))
    }

    /// Lets pages of other origins in from here on.
    pub fn replace_origins(&self, origins: Vec<String>) {
        self.port.replace_origins(Origins::new(origins));
    }

    /// How the switch does. It may take as long as [`limits::ANSWER_WAIT_MAX`](crate::limits::ANSWER_WAIT_MAX).
    ///
    /// # Errors
    /// [`Busy`]: the calls thread does not answer.
    pub async fn figures(&self) -> Result<Figures, Busy> {
        let waiting = self.port.waiting();
        let mut figures = self.port.ask(|exchange| exchange.figures()).await?;
        figures.commands_waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        figures.sockets = self.port.sockets();
        figures.refused = self.refused();
        figures.recordings = self.port.recordings.as_ref().map(|recordings| recordings.figures());
        Ok(figures)
    }

    fn replace(&self, replacement: Replacement) -> Result<(), Busy> {
        self.port.send(Command::Replace(Box::new(replacement)))
    }

    /// What was refused since the start, by where and by code: only what there was any of. It costs no more than a look,
    /// and waits for nobody.
    pub fn refused(&self) -> Vec<Refused> {
        self.port.counters.all()
    }

    /// Ends every call, tells every client, and then the thread.
    pub fn stop(&self) {
        self.stop
            .send_if_modified(|stop| *stop == Stop::No && std::mem::replace(stop, Stop::Farewell) == Stop::No);
    }

    /// Ends the thread and nothing else: calls and devices stay in the journal, for a switch that is started with the same
    /// state. Clients are told to come again. What is not in the journal ends: legs of SIP and of WebRTC, and records of
    /// them that were not written.
    pub fn hand_on(&self) {
        self.stop
            .send_if_modified(|stop| *stop == Stop::No && std::mem::replace(stop, Stop::HandOn) == Stop::No);
    }

    /// Waits until the thread has ended.
    pub async fn ended(&self) {
        // It fails only when the semaphore is closed, which it never is.
        let _ = self.living.acquire().await;
    }
}

/// What calls are written to. When they have ended, another process may.
struct Written {
    recordings: Option<Arc<dyn Recordings>>,
    mailboxes: Option<Arc<dyn Mailboxes>>,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.recordings.iter().for_each(|recordings| recordings.release());
        self.mailboxes.iter().for_each(|mailboxes| mailboxes.release());
    }
}

/// Whether the calls thread is to end, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stop {
    #[default]
    No,
    /// With all calls.
    Farewell,
    /// For another that goes on with them.
    HandOn,
}

/// What the calls thread hears of others.
struct Inbox {
    commands: mpsc::Receiver<Command>,
    /// Until the gateway has them.
    sip_sockets: Option<mpsc::Receiver<SipWebSocket>>,
    stopped: watch::Receiver<Stop>,
    counters: Arc<Counters>,
}

/// What was opened at the start.
struct Kept {
    opened: Option<Opened>,
    journal: Option<(Journal, Found)>,
}

fn open_journal(settings: &StateSettings) -> io::Result<Option<(Journal, Found)>> {
    match Journal::start(&settings.directory) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if !settings.is_required => {
            let directory = settings.directory.display();
            tracing::warn!(%directory, %error, "devices cannot come back to a switch that was started again");
            Ok(None)
        }
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("the journal of calls in {}: {error}", settings.directory.display()),
        )),
    }
}

fn run(runtime: &Runtime, settings: Settings, media: Box<dyn MediaPlane>, kept: Kept, mut inbox: Inbox) {
    let local = LocalSet::new();
    let (store, journal) = local.block_on(runtime, async move {
        let mut settings = settings;
        let moved = Rc::new(Notify::new());
        let guard = Guard::new(settings.take_entrance());
        let times = settings.times;
        let webhooks = std::mem::take(&mut settings.webhooks);
        let mediaswitch = settings.mediaswitch.take();
        let sip = settings.sip.take();
        let channels = settings.asterisk.take();
        let nodes = settings.nodes.take();
        let mut exchange = Exchange::new(settings, media, Rc::clone(&moved), Arc::clone(&inbox.counters));
        exchange.take_entrance(&guard);
        let heard = nodes.and_then(|nodes| exchange.join_nodes(nodes));
        let mut gateway = sip.map(|sip| begin_gateway(&mut exchange, sip));
        let (tell_failed, failed) = mpsc::channel(CONTROL_SERVERS_MAX);
        if let Some(own) = mediaswitch {
            exchange.set_board(board(own, tell_failed));
        }
        let mut stored = None;
        if let Some(opened) = kept.opened {
            exchange.keep_records(opened.store, opened.kept);
            stored = Some(opened.stored);
        }
        if let Some((journal, found)) = kept.journal {
            exchange.keep_journal(journal, found);
            if let Some((gateway, _)) = &mut gateway {
                gateway.restore(&mut exchange);
            }
        }
        let questions = exchange.take_questions();
        let exchange = exchange.into();
        let shared = Rc::new(Shared {
            exchange,
            door: Door::new(guard),
            addresses: Addresses::default(),
            times,
            began: Instant::now(),
        });
        post_to(&shared, webhooks);
        begin_asking(&shared, questions);
        tokio::task::spawn_local(end_failed(failed, Rc::downgrade(&shared)));
        tokio::task::spawn_local(tell_of_channels(Rc::downgrade(&shared)));
        if let Some(heard) = heard {
            tokio::task::spawn_local(hear_nodes(heard, Rc::downgrade(&shared)));
        }
        // Where there is no gateway nobody takes them, and clients are told.
        let websockets = inbox.sip_sockets.take();
        if let (Some((gateway, sockets)), Some(websockets)) = (gateway, websockets) {
            let shared = Rc::downgrade(&shared);
            tokio::task::spawn_local(async move {
                if let Err(error) = gateway::serve(shared, gateway, sockets, websockets).await {
                    tracing::error!(%error, "no SIP");
                }
            });
        }
        if let Some(channels) = channels {
            tokio::task::spawn_local(asterisk::serve(Rc::downgrade(&shared), Asterisk::new(channels)));
        }
        serve(&shared, &mut inbox, &mut stored, &moved).await;
        let is_handed_on = *inbox.stopped.borrow() == Stop::HandOn;
        say_farewell(&shared, is_handed_on).await;
        let mut exchange = shared.exchange.borrow_mut();
        (exchange.take_store(), exchange.take_journal())
    });
    if let Some(store) = store {
        store.close();
    }
    if let Some(journal) = journal {
        journal.close();
    }
}

/// Hooks of the dialplan are asked beside everything else.
fn begin_asking(shared: &Rc<Shared>, questions: mpsc::Receiver<Box<HookQuestion>>) {
    let asking = Rc::downgrade(shared);
    tokio::task::spawn_local(outward::answer_questions(questions, move |hook, answer| {
        if let Some(shared) = asking.upgrade() {
            let answered = AdminEvent::HookAnswered { hook, answer };
            shared.exchange.borrow_mut().handle(Event::Admin(answered));
        }
    }));
}

async fn serve(
    shared: &Rc<Shared>,
    inbox: &mut Inbox,
    stored: &mut Option<mpsc::Receiver<Vec<Arc<Row>>>>,
    moved: &Notify,
) {
    let browsing = shared.exchange.borrow().browsing_news();
    let mail = shared.exchange.borrow().mail_news();
    loop {
        let due = shared
            .exchange
            .borrow()
            .poll_timeout()
            .unwrap_or_else(|| Instant::now() + IDLE);
        let stored = async {
            match stored {
                Some(stored) => stored.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = inbox.commands.recv() => {
                let Some(command) = command else { return };
                take(shared, command);
                for _ in 1..COMMANDS_PER_TURN_MAX {
                    let Ok(command) = inbox.commands.try_recv() else { break };
                    take(shared, command);
                }
            }
            () = moved.notified() => {}
            () = time::sleep_until(due.into()) => shared.exchange.borrow_mut().handle_timeout(),
            () = browsing.notified() => shared.exchange.borrow_mut().take_browsing(),
            () = mail.notified() => shared.exchange.borrow_mut().take_mail(),
            // It ends with its thread, which ends last.
            Some(rows) = stored => shared.exchange.borrow_mut().stored(rows),
            _ = inbox.stopped.wait_for(|stop| *stop != Stop::No) => return,
        }
    }
}

/// What other machines say.
async fn hear_nodes(mut heard: mpsc::Receiver<FromEngine>, shared: Weak<Shared>) {
    while let Some(message) = heard.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        shared.exchange.borrow_mut().take_from_engine(message);
    }
    // What carries them has ended.
    if let Some(shared) = shared.upgrade() {
        shared.exchange.borrow_mut().take_from_engine(FromEngine::Down);
    }
}

/// Calls end, sockets are told why, records wait for their counters: for a moment.
async fn say_farewell(shared: &Rc<Shared>, is_handed_on: bool) {
    match is_handed_on {
        true => shared.exchange.borrow_mut().hand_on(),
        false => shared.exchange.borrow_mut().stop(),
    }
    let patience = if is_handed_on { HANDING_ON } else { FAREWELL };
    let deadline = time::Instant::now() + patience;
    while time::Instant::now() < deadline {
        let due = shared.exchange.borrow().poll_timeout();
        let board = shared.exchange.borrow().board().map(Board::callbacks_under_way);
        // Each socket's task has a share of its own.
        let is_told = {
            let exchange = shared.exchange.borrow();
            exchange.outlet.is_told() && exchange.asterisk.is_told()
        };
        if due.is_none() && Rc::strong_count(shared) == 1 && board.unwrap_or(0) == 0 && is_told {
            return;
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            shared.exchange.borrow_mut().handle_timeout();
        }
        time::sleep(Duration::from_millis(5)).await;
    }
}

fn begin_gateway(exchange: &mut Exchange, sip: SipSettings) -> (Gateway, SipSockets) {
    let random = SystemRandom::new();
    let settings = moqswitch_sip::agent::Settings {
        ping: sip.ping,
        algorithms: sip.algorithms,
        ..moqswitch_sip::agent::Settings::at(sip.reached, &sip.realm)
    };
    exchange.sip_entrance.realm = sip.realm;
    let mut gateway = Gateway::new(
        settings,
        sip.media,
        sip.media_addresses,
        sip.srtp,
        Box::new(move || draw(&random)),
    );
    gateway.set_trunks(exchange, sip.trunks);
    (gateway, sip.sockets)
}

fn board(own: MediaswitchSettings, failed: mpsc::Sender<control::Failed>) -> Board {
    let plain = own.domain.as_deref().and_then(DomainName::parse);
    Board::new(plain, own.channels, own.control_wait, failed)
}

/// Control servers are told of their channels.
async fn tell_of_channels(shared: Weak<Shared>) {
    loop {
        {
            let Some(shared) = shared.upgrade() else { return };
            let exchange = &mut shared.exchange.borrow_mut();
            let Some(board) = exchange.board_mut() else { return };
            board.tell_of_channels();
        }
        time::sleep(CHANNELS_PERIOD).await;
    }
}

/// Dialogs end whose control server fails.
async fn end_failed(mut failed: mpsc::Receiver<control::Failed>, shared: Weak<Shared>) {
    while let Some(dialogs) = failed.recv().await {
        let Some(shared) = shared.upgrade() else { return };
        shared.exchange.borrow_mut().control_failed(&dialogs);
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
        Command::Replace(replacement) => replace(shared, *replacement),
    }
}

fn replace(shared: &Rc<Shared>, replacement: Replacement) {
    match replacement {
        Replacement::Entrance(guard) => {
            shared.exchange.borrow_mut().take_entrance(&guard);
            shared.door.replace(guard);
        }
        Replacement::Keys(keys, tokens) => shared.exchange.borrow_mut().gate = Gate::new(keys, tokens),
        Replacement::Webhooks(webhooks) => post_to(shared, webhooks),
        Replacement::Trunks(plan) => shared.exchange.borrow_mut().outlet.replace_trunks(plan),
    }
}

/// Events go to these from here on, and to no others. Who is among them already keeps what waits for it.
fn post_to(shared: &Rc<Shared>, webhooks: Vec<Webhook>) {
    let identities: Vec<_> = webhooks.iter().map(Webhook::identity).collect();
    shared.exchange.borrow_mut().events.post_to_none_but(&identities);
    for webhook in webhooks {
        let mut exchange = shared.exchange.borrow_mut();
        let Some(events) = exchange.events.post_to(webhook.identity(), webhook.kinds.clone()) else {
            continue;
        };
        let counting = Rc::downgrade(shared);
        tokio::task::spawn_local(outward::deliver(webhook, events, move |is_taken| {
            if let Some(shared) = counting.upgrade() {
                let counts = &mut shared.exchange.borrow_mut().counts;
                counts.webhooks_taken += u64::from(is_taken);
                counts.webhooks_refused += u64::from(!is_taken);
            }
        }));
    }
}

/// How soon control servers are told of their channels.
const CHANNELS_PERIOD: Duration = Duration::from_millis(50);

/// Without anything to wait for, timers are looked at so often.
const IDLE: Duration = Duration::from_secs(60);

/// Sockets have so long to be told where to come again: calls wait for their devices meanwhile.
const HANDING_ON: Duration = Duration::from_millis(200);

/// How long that moment is at most.
const FAREWELL: Duration = Duration::from_secs(3);
