//! Channels of Asterisk: their connections, on a thread of their own, so that neither calls nor shards wait for them.

mod accepting;
mod ari;
mod base64;
mod channel;
mod counters;
mod dialling;
mod hub;
mod ways;
mod wire;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use moqswitch_legs::{FrameLegs, FrameLegsPort};
use moqswitch_relay::shard::ShardPort;
use moqswitch_signalling::calls::Text;
use moqswitch_signalling::{
    AsteriskChannels, AsteriskFigures, AsteriskSettings, AsteriskWay, ChannelEvent, ChannelId, ChannelOrder,
    ChannelsBusy,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::config::{AsteriskConfig, CallsConfig};
use crate::directory;
use crate::limits::{ASTERISK_EVENTS_MAX, ASTERISK_ORDERS_MAX};

use counters::Counters;
use hub::{Hub, HubSettings};

/// The way to the thread.
struct Channels {
    orders: mpsc::Sender<(ChannelId, ChannelOrder)>,
    events: mpsc::Receiver<(ChannelId, ChannelEvent)>,
    news: Arc<Notify>,
    counters: Arc<Counters>,
}

/// Where connections are taken.
struct Listeners {
    audiosocket: Option<TcpListener>,
    websocket: Option<TcpListener>,
}

/// `None`: nothing is said of Asterisk.
pub(super) fn start(config: &CallsConfig, shards: &[ShardPort]) -> anyhow::Result<Option<AsteriskSettings>> {
    let Some(own) = &config.asterisk else { return Ok(None) };
    let listeners = Listeners {
        audiosocket: listen("asterisk.audiosocket", own.audiosocket)?,
        websocket: listen("asterisk.websocket", own.websocket)?,
    };
    let settings = settings(config, own)?;
    let ways = settings.ways.iter().map(|(number, way)| AsteriskWay {
        number: number.clone(),
        contact: Text::new(&ways::contact(way)),
        codecs: ways::codecs(ways::format(way)),
    });
    let ways = ways.collect();
    let ports: Result<Vec<FrameLegsPort>, _> = shards.iter().map(FrameLegs::install).collect();
    let ports = ports.context("legs of channels")?;
    let (orders, inbox) = mpsc::channel(ASTERISK_ORDERS_MAX);
    let (tell, events) = mpsc::channel(ASTERISK_EVENTS_MAX);
    let (news, counters) = (Arc::new(Notify::new()), Arc::new(Counters::default()));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let at = |listener: &Option<TcpListener>| listener.as_ref().and_then(|listener| listener.local_addr().ok());
    tracing::info!(
        audiosocket = ?at(&listeners.audiosocket),
        websocket = ?at(&listeners.websocket),
        "Asterisk"
    );
    let thread = (Arc::clone(&news), Arc::clone(&counters));
    thread::Builder::new().name("asterisk".to_owned()).spawn(move || {
        let (news, counters) = thread;
        run(&runtime, listeners, inbox, move || {
            Hub::new(settings, counters, tell, news, ports)
        });
    })?;
    Ok(Some(AsteriskSettings {
        number: own.number.clone(),
        ways,
        channels: Box::new(Channels {
            orders,
            events,
            news,
            counters,
        }),
    }))
}

fn settings(config: &CallsConfig, own: &AsteriskConfig) -> anyhow::Result<HubSettings> {
    let (announced, ways) = directory::asterisk(config).context("asterisk.ways")?;
    Ok(HubSettings {
        key: directory::asterisk_key(config).context("asterisk.key")?,
        allow: own.allow.clone(),
        announced: announced.into_iter().collect::<HashMap<_, _>>(),
        ways: ways.into_iter().collect(),
        channels_max: own.channels_max,
        format: own.format,
    })
}

fn listen(key: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let bound = address.map(|address| {
        let listener = TcpListener::bind(address).with_context(|| format!("`{key}`: {address}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.transpose()
}

/// For as long as there are calls.
fn run(
    runtime: &Runtime,
    listeners: Listeners,
    mut orders: mpsc::Receiver<(ChannelId, ChannelOrder)>,
    hub: impl FnOnce() -> Hub,
) {
    let local = LocalSet::new();
    local.block_on(runtime, async move {
        let hub = Rc::new(hub());
        let taken =
            |listener: Option<TcpListener>| listener.and_then(|own| tokio::net::TcpListener::from_std(own).ok());
        if let Some(listener) = taken(listeners.audiosocket) {
            tokio::task::spawn_local(accepting::serve_audiosocket(Rc::clone(&hub), listener));
        }
        if let Some(listener) = taken(listeners.websocket) {
            tokio::task::spawn_local(accepting::serve_websocket(Rc::clone(&hub), listener));
        }
        while let Some((channel, order)) = orders.recv().await {
            match order {
                ChannelOrder::Call(call) => {
                    let inbox = hub.enter(channel);
                    tokio::task::spawn_local(dialling::call(Rc::clone(&hub), channel, *call, inbox));
                }
                order => hub.hand(channel, order),
            }
        }
    });
}

impl AsteriskChannels for Channels {
    fn tell(&mut self, channel: ChannelId, order: ChannelOrder) -> Result<(), ChannelsBusy> {
        match self.orders.try_send((channel, order)) {
            // Without the thread nothing is to be told.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ChannelsBusy),
        }
    }

    fn poll(&mut self) -> Option<(ChannelId, ChannelEvent)> {
        self.events.try_recv().ok()
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    fn figures(&self) -> AsteriskFigures {
        self.counters.figures()
    }
}
