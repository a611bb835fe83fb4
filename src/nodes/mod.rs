//! What carries messages between the machines of one phone system: a client of NATS on a thread of its own. Nothing waits for
//! it: what it has no room for is lost, and the machines find out (`signalling/nodes`).
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::mem::{Discriminant, discriminant};
use std::sync::mpsc as threads;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr, Subscriber};
use futures_util::StreamExt;
use moqswitch_signalling::{FromEngine, NodeEngine, NodeName, NodeSettings, NodeTimes, ToEngine, node_link};
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use crate::config::StoreConfig;
use crate::limits::{
    NODES_FAREWELL, STORE_COMMANDS_MAX, STORE_CONNECT_MAX, STORE_EVENTS_MAX, STORE_HEARD_MAX, STORE_LOOK_INTERVAL,
    STORE_PING_INTERVAL, STORE_RETRY_MAX,
};

/// The thread that has the client. It ends when nobody has anything to say any more.
pub(crate) struct StoreThread {
    ended: threads::Receiver<()>,
}

/// Starts the client, whether a server can be reached or not.
pub(crate) fn start(config: &StoreConfig) -> anyhow::Result<(NodeSettings, StoreThread)> {
    let options = options(config)?;
    let servers: Vec<ServerAddr> = config
        .servers
        .iter()
        .map(|server| server.parse().context("cluster.store.servers"))
        .collect::<anyhow::Result<_>>()?;
    let (link, engine) = node_link();
    let (ends, ended) = threads::sync_channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (subject, node) = (config.subject.clone(), config.node.clone());
    thread::Builder::new().name("nodes".to_owned()).spawn(move || {
        runtime.block_on(async {
            if let Err(error) = serve(options, servers, &subject, &node, engine).await {
                tracing::error!(
                    error = format!("{error:#}"),
                    "other machines cannot be reached: cluster.store"
                );
            }
        });
        // Nobody may wait for it.
        let _ = ends.send(());
    })?;
    let settings = NodeSettings {
        name: config.node.clone(),
        link,
        times: NodeTimes::default(),
    };
    Ok((settings, StoreThread { ended }))
}

impl StoreThread {
    /// Waits until everything is said, not for ever.
    pub(crate) fn join(self) {
        if self.ended.recv_timeout(NODES_FAREWELL).is_err() {
            tracing::warn!("other machines were not told everything");
        }
    }
}

fn options(config: &StoreConfig) -> anyhow::Result<ConnectOptions> {
    let mut options = ConnectOptions::new()
        .client_capacity(STORE_COMMANDS_MAX)
        .subscription_capacity(STORE_HEARD_MAX)
        .name(format!("moqswitch {}", config.node))
        .no_echo()
        .retry_on_initial_connect()
        .connection_timeout(STORE_CONNECT_MAX)
        .ping_interval(STORE_PING_INTERVAL)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts.min(16)).unwrap_or(16);
            (Duration::from_millis(25) * 2_u32.pow(doublings)).min(STORE_RETRY_MAX)
        });
    if let Some(path) = &config.ca {
        options = options.add_root_certificates(path.clone());
    }
    if let Some(path) = &config.token_file {
        let token = std::fs::read_to_string(path);
        let token = token.with_context(|| format!("cluster.store.token_file: cannot read {}", path.display()))?;
        options = options.token(token.trim().to_owned());
    }
    Ok(options)
}

async fn serve(
    options: ConnectOptions,
    servers: Vec<ServerAddr>,
    subject: &str,
    node: &NodeName,
    engine: NodeEngine,
) -> anyhow::Result<()> {
    let (teller, mut events) = mpsc::channel(STORE_EVENTS_MAX);
    let options = options.event_callback(move |event| {
        let teller = teller.clone();
        async move {
            // Those that matter wait for room; the client goes on meanwhile.
            let _ = teller.send(event).await;
        }
    });
    let client = options.connect(servers).await.context("cluster.store.servers")?;
    let mut subscriptions = Subscriptions {
        all: client.subscribe(to_all(subject)).await?,
        own: client.subscribe(to_one(subject, node)).await?,
    };
    let NodeEngine { heard, said } = engine;
    // Each goes on while the other waits: publishing does, as long as the server is away.
    tokio::select! {
        error = hear(&client, &mut events, &mut subscriptions, &heard) => Err(error),
        () = tell(&client, subject, said) => Ok(()),
    }
}

/// Passes on what others say, and whether they can be heard. Why it has ended.
async fn hear(
    client: &Client,
    events: &mut mpsc::Receiver<Event>,
    subscriptions: &mut Subscriptions,
    heard: &mpsc::Sender<FromEngine>,
) -> anyhow::Error {
    let mut is_up = false;
    let mut look = time::interval(STORE_LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lost: u64 = 0;
    let mut complaints: HashMap<Discriminant<Event>, u64> = HashMap::new();
    loop {
        let mut was_cut = false;
        tokio::select! {
            event = events.recv() => match event {
                // It may be there again already.
                Some(Event::Disconnected | Event::Closed) => was_cut = true,
                Some(Event::Connected) => {}
                Some(other) => {
                    let complaints = complaints.entry(discriminant(&other)).or_default();
                    *complaints += 1;
                    complain(&other, *complaints);
                }
                None => return anyhow::anyhow!("the client has ended"),
            },
            message = subscriptions.next() => {
                let Some(message) = message else { return anyhow::anyhow!("the subscriptions have ended") };
                if heard.try_send(FromEngine::Message(message)).is_err() {
                    lost += 1;
                    if lost.is_power_of_two() {
                        tracing::warn!(lost, "messages of other machines find no room");
                    }
                }
                continue;
            }
            // An event may have been left out.
            _ = look.tick() => {}
        }
        let is_connected = client.connection_state() == State::Connected;
        for told in [is_connected && !was_cut, is_connected] {
            if told == is_up {
                continue;
            }
            is_up = told;
            let told = if told { FromEngine::Up } else { FromEngine::Down };
            // It may not be lost.
            if heard.send(told).await.is_err() {
                // Nobody listens any more. What is said still is carried.
                return std::future::pending().await;
            }
        }
    }
}

/// Carries what is said, until who says it has ended.
async fn tell(client: &Client, subject: &str, mut said: mpsc::Receiver<ToEngine>) {
    while let Some(ToEngine { to, message }) = said.recv().await {
        // What is not carried now is missed, and asked for when it can be.
        if client.connection_state() == State::Connected {
            publish(client, subject, to.as_ref(), message).await;
        }
    }
    let _ = time::timeout(NODES_FAREWELL / 2, client.flush()).await;
}

async fn publish(client: &Client, subject: &str, to: Option<&NodeName>, message: Vec<u8>) {
    let subject = match to {
        None => to_all(subject),
        Some(node) => to_one(subject, node),
    };
    if let Err(error) = client.publish(subject, message.into()).await {
        tracing::debug!(%error, "a message to other machines");
    }
}

fn to_all(subject: &str) -> String {
    format!("{subject}.all")
}

fn to_one(subject: &str, node: &NodeName) -> String {
    format!("{subject}.node.{node}")
}

/// A server can make it say so as often as it likes: not each of a kind is a line.
fn complain(event: &Event, complaints: u64) {
    if !complaints.is_power_of_two() {
        return tracing::debug!(event = %event, complaints, "cluster.store");
    }
    match event {
        Event::SlowConsumer(_) => tracing::warn!("messages of other machines come faster than they are taken"),
        Event::ServerError(error) => tracing::warn!(%error, "cluster.store: the server"),
        Event::ClientError(error) => tracing::warn!(%error, "cluster.store"),
        other => tracing::debug!(event = %other, "cluster.store"),
    }
}

/// What is said to all, and to this machine.
struct Subscriptions {
    all: Subscriber,
    own: Subscriber,
}

impl Subscriptions {
    async fn next(&mut self) -> Option<Vec<u8>> {
        let message = tokio::select! {
            message = self.own.next() => message,
            message = self.all.next() => message,
        };
        message.map(|message| message.payload.to_vec())
    }
}
