//! Channels of Asterisk: their connections, on a thread of their own, so that neither calls nor shards wait for them.

mod accepting;
mod ari;
mod base64;
mod channel;
mod counters;
mod dialling;
mod hub;
mod mail;
mod ways;
mod wire;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use moqswitch_asterisk::Format;
use moqswitch_legs::{FrameLegs, FrameLegsPort};
use moqswitch_relay::shard::ShardPort;
use moqswitch_signalling::calls::{Codec, Text};
use moqswitch_signalling::{
    AsteriskChannels, AsteriskFigures, AsteriskSettings, AsteriskWay, ChannelEvent, ChannelHears, ChannelId,
    ChannelOrder, ChannelsBusy, RtpHeard, RtpLeg,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

use crate::config::{AsteriskConfig, CallsConfig};
use crate::directory;
use crate::limits::{ASTERISK_EVENTS_MAX, ASTERISK_ORDERS_MAX};
use crate::telephony::mixing::Mixing;
use crate::telephony::services::Mixers;
use crate::telephony::voicemail::Mail;

use counters::Counters;
use hub::{Hub, HubSettings};

/// The way to the thread.
struct Channels {
    orders: mpsc::Sender<(ChannelId, ChannelOrder)>,
    events: mpsc::Receiver<(ChannelId, ChannelEvent)>,
    news: Arc<Notify>,
    counters: Arc<Counters>,
    mixing: Mixing,
}

/// Where connections are taken.
struct Listeners {
    audiosocket: Option<TcpListener>,
    websocket: Option<TcpListener>,
}

/// `None`: nothing is said of Asterisk.
pub(super) fn start(
    config: &CallsConfig,
    shards: &[ShardPort],
    mixers: Option<Mixers>,
    mail: Option<Arc<Mail>>,
) -> anyhow::Result<Option<AsteriskSettings>> {
    let own = config.asterisk.as_ref();
    if own.is_none() && mail.is_none() {
        return Ok(None);
    }
    let listeners = Listeners {
        audiosocket: listen("asterisk.audiosocket", own.and_then(|own| own.audiosocket))?,
        websocket: listen("asterisk.websocket", own.and_then(|own| own.websocket))?,
    };
    let settings = settings(config, own, mail)?;
    let ways = settings.ways.iter().map(|(number, way)| AsteriskWay {
        number: number.clone(),
        contact: Text::new(&ways::contact(way)),
        codecs: ways::codecs(ways::format(way)),
    });
    let desks = settings.mail.is_some().then(mail::ways).into_iter().flatten();
    let ways = ways.chain(desks).collect();
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
        // Without Asterisk nobody connects.
        number: own.map_or_else(mail::leaving, |own| Ok(own.number.clone()))?,
        ways,
        channels: Box::new(Channels {
            orders,
            events,
            news,
            counters,
            mixing: Mixing::new(mixers),
        }),
    }))
}

fn settings(
    config: &CallsConfig,
    own: Option<&AsteriskConfig>,
    mail: Option<Arc<Mail>>,
) -> anyhow::Result<HubSettings> {
    let Some(own) = own else {
        return Ok(HubSettings {
            key: None,
            allow: Vec::new(),
            announced: HashMap::new(),
            ways: HashMap::new(),
            channels_max: moqswitch_voicemail::limits::CALLS_MAX,
            format: Format::Linear(8000),
            mail,
        });
    };
    let (announced, ways) = directory::asterisk(config).context("asterisk.ways")?;
    Ok(HubSettings {
        key: directory::asterisk_key(config).context("asterisk.key")?,
        allow: own.allow.clone(),
        announced: announced.into_iter().collect::<HashMap<_, _>>(),
        ways: ways.into_iter().collect(),
        channels_max: own.channels_max,
        format: own.format,
        mail,
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

impl Channels {
    /// What a channel hears as one broadcast.
    fn mix(&mut self, channel: ChannelId, order: ChannelOrder) -> Result<ChannelOrder, ChannelsBusy> {
        let (heard, codec) = match order {
            ChannelOrder::HearAll(mix) => {
                let codec = mix.codec;
                (RtpHeard::Several(mix), codec)
            }
            ChannelOrder::Hear(Some(one)) if one.is_transcoded && self.mixing.is_on() => (
                RtpHeard::One {
                    path: one.path,
                    transcoded: Some(one.codec),
                },
                one.codec,
            ),
            ChannelOrder::Hear(Some(one)) => (
                RtpHeard::One {
                    path: one.path,
                    transcoded: None,
                },
                one.codec,
            ),
            _ => (RtpHeard::Nothing, Codec::Pcmu),
        };
        let hears = self.mixing.hear(mixed_for(channel), &heard).map_err(|_| ChannelsBusy)?;
        Ok(ChannelOrder::Hear(hears.map(|hears| ChannelHears {
            path: hears.broadcast.as_str().to_owned(),
            codec,
            is_transcoded: hears.transcoded.is_some(),
        })))
    }
}

/// The name of what is mixed for a channel.
fn mixed_for(channel: ChannelId) -> RtpLeg {
    RtpLeg(channel.0)
}

impl AsteriskChannels for Channels {
    fn tell(&mut self, channel: ChannelId, order: ChannelOrder) -> Result<(), ChannelsBusy> {
        let order = match order {
            ChannelOrder::Hear(_) | ChannelOrder::HearAll(_) => self.mix(channel, order)?,
            ChannelOrder::HangUp => {
                self.mixing.end(mixed_for(channel));
                order
            }
            order => order,
        };
        match self.orders.try_send((channel, order)) {
            // Without the thread nothing is to be told.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ChannelsBusy),
        }
    }

    fn poll(&mut self) -> Option<(ChannelId, ChannelEvent)> {
        let (channel, event) = self.events.try_recv().ok()?;
        if matches!(event, ChannelEvent::Ended(_)) {
            self.mixing.end(mixed_for(channel));
        }
        Some((channel, event))
    }

    fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    fn figures(&self) -> AsteriskFigures {
        self.counters.figures()
    }
}
