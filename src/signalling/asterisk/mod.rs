//! Channels of Asterisk as devices of the call plane. It translates and decides nothing: what a channel wants becomes an event
//! of the plane, and what the plane tells a device becomes orders of its channel.

mod calling;
mod seam;
mod telling;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Weak;
use std::time::{Duration, Instant};

use moqswitch_calls::{Cause, Codec, Codecs, DeviceKind, LegId, Number, Registration, SessionId, Text};
use tokio::time::{self, MissedTickBehavior};

use crate::exchange::Exchange;
use crate::gateway::RtpMix;
use crate::socket::Shared;

pub use seam::{
    AsteriskChannels, AsteriskSettings, AsteriskWay, ChannelArrived, ChannelCall, ChannelEvent, ChannelHears,
    ChannelId, ChannelOrder, ChannelsBusy,
};

/// See the module's documentation.
pub(crate) struct Asterisk {
    channels: Box<dyn AsteriskChannels>,
    /// Channels that connect are devices of it.
    number: Number,
    ways: BTreeMap<Number, Way>,
    calls: HashMap<ChannelId, Call>,
    legs: HashMap<LegId, ChannelId>,
    called: u64,
    /// Channels whose end found no room.
    unended: BTreeSet<ChannelId>,
}

/// A way to numbers, and a device of the plane.
struct Way {
    way: AsteriskWay,
    /// Numbers can be called by it: it is not there for those alone who connect.
    is_ringable: bool,
    session: Option<SessionId>,
    /// When its device is registered anew.
    renew: Instant,
}

/// One channel's part in a call.
struct Call {
    leg: LegId,
    stage: Stage,
    /// What it could speak and hear.
    codecs: Codecs,
    /// What the plane wants it to speak.
    sends: Option<Codec>,
    /// What it publishes, once it does.
    speaks: Option<Codec>,
    /// Who is there to be heard.
    speakers: Vec<Speaker>,
    /// What is played to it while the others hold.
    music: Option<String>,
    /// What it was told last.
    hears: Option<Heard>,
}

/// Somebody, or something, that is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Speaker {
    path: String,
    /// What is said there. `None`: nobody knows.
    codec: Option<Codec>,
}

/// What a channel hears.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    One(Option<ChannelHears>),
    All(RtpMix),
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It calls.
    Calling { is_accepted: bool },
    /// It is called.
    Called,
    /// It talks.
    Up,
}

impl Asterisk {
    pub(crate) fn new(settings: AsteriskSettings) -> Self {
        let renew = Instant::now();
        let arrivals = AsteriskWay {
            number: settings.number.clone(),
            contact: Text::new("asterisk"),
            codecs: Codecs::all(),
        };
        let known = |way: AsteriskWay, is_ringable| {
            let number = way.number.clone();
            let way = Way {
                way,
                is_ringable,
                session: None,
                renew,
            };
            (number, way)
        };
        let mut ways = BTreeMap::from([known(arrivals, false)]);
        ways.extend(settings.ways.into_iter().map(|way| known(way, true)));
        Self {
            channels: settings.channels,
            number: settings.number,
            ways,
            calls: HashMap::new(),
            legs: HashMap::new(),
            called: 0,
            unended: BTreeSet::new(),
        }
    }

    /// Carries out what there is, until nothing is left.
    fn drive(&mut self, exchange: &mut Exchange) {
        loop {
            if let Some((session, notice)) = exchange.asterisk.poll() {
                self.take_notice(exchange, session, notice);
            } else if let Some((channel, event)) = self.channels.poll() {
                self.take_event(exchange, channel, event);
            } else {
                return;
            }
        }
    }

    /// Each second.
    fn tick(&mut self, exchange: &mut Exchange) {
        let now = Instant::now();
        let due: Vec<Number> = self
            .ways
            .iter()
            .filter(|(_, way)| way.renew <= now)
            .map(|(number, _)| number.clone())
            .collect();
        for number in due {
            self.register(exchange, &number, now);
        }
        for channel in std::mem::take(&mut self.unended) {
            self.end_channel(channel);
        }
        exchange.asterisk_figures = Some(self.channels.figures());
    }

    /// A way is a device, as a trunk is.
    fn register(&mut self, exchange: &mut Exchange, number: &Number, now: Instant) {
        let Some(way) = self.ways.get_mut(number) else { return };
        let session = way.session.unwrap_or_else(|| exchange.new_session());
        let registration = Registration {
            device: Some(Text::new(DEVICE)),
            kind: DeviceKind::Trunk,
            ringable: way.is_ringable,
            meets: false,
            expires: Some(REGISTERED),
            codecs: way.way.codecs,
            contact: way.way.contact.clone(),
            ..Registration::phone(session, number.clone())
        };
        exchange.asterisk.insert(session);
        match exchange.register_device(registration) {
            Ok(granted) => {
                way.session = Some(session);
                way.renew = now + granted / 2;
            }
            Err(refusal) => {
                tracing::warn!(%number, %refusal, "Asterisk: a way is no device");
                if way.session.is_none() {
                    exchange.asterisk.remove(session);
                }
                way.renew = now + RETRY;
            }
        }
    }

    /// Its device is gone, and is registered anew.
    fn forget_session(&mut self, exchange: &mut Exchange, session: SessionId) {
        exchange.asterisk.remove(session);
        let ways = self.ways.values_mut();
        for way in ways.filter(|way| way.session == Some(session)) {
            way.session = None;
            way.renew = Instant::now() + RETRY;
        }
    }

    fn insert(&mut self, exchange: &mut Exchange, channel: ChannelId, call: Call) {
        exchange.note_keys(call.leg, true);
        self.legs.insert(call.leg, channel);
        self.calls.insert(channel, call);
    }

    fn forget(&mut self, exchange: &mut Exchange, channel: ChannelId) -> Option<Call> {
        let call = self.calls.remove(&channel)?;
        exchange.note_keys(call.leg, false);
        self.legs.remove(&call.leg);
        Some(call)
    }

    /// Tells a channel. One that cannot be told is of no use: its call ends.
    fn order(&mut self, exchange: &mut Exchange, channel: ChannelId, order: ChannelOrder) {
        if self.channels.tell(channel, order).is_err() {
            tracing::warn!("Asterisk: the channels have too much to do; a call ends");
            self.hang_up(exchange, channel, Cause::Congestion);
        }
    }

    fn end_channel(&mut self, channel: ChannelId) {
        if self.channels.tell(channel, ChannelOrder::HangUp).is_err() {
            self.unended.insert(channel);
        }
    }
}

/// Serves channels, for as long as there are calls.
pub(crate) async fn serve(shared: Weak<Shared>, mut asterisk: Asterisk) {
    let Some(bell) = shared.upgrade().map(|shared| shared.exchange.borrow().asterisk.bell()) else {
        return;
    };
    // Who connects finds the devices there.
    if let Some(shared) = shared.upgrade() {
        asterisk.tick(&mut shared.exchange.borrow_mut());
    }
    let news = asterisk.channels.news();
    let mut seconds = time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_second = tokio::select! {
            () = bell.notified() => false,
            () = news.notified() => false,
            _ = seconds.tick() => true,
        };
        let Some(shared) = shared.upgrade() else { return };
        let exchange = &mut shared.exchange.borrow_mut();
        if is_second {
            asterisk.tick(exchange);
        }
        asterisk.drive(exchange);
    }
}

/// What its devices are called.
const DEVICE: &str = "asterisk";
/// Of a device, each time.
const REGISTERED: Duration = Duration::from_secs(3600);
/// After a registration was refused.
const RETRY: Duration = Duration::from_secs(10);
