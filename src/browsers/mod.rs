//! Legs of WebRTC: a socket for each shard, what the process is known by, and whose each leg is. Those who open legs are on
//! the control thread and on the calls thread; nobody here is on a shard.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_types,
    reason = "the threads of HTTP and of calls share it, neither of them a shard, and it is held for moments"
)]

mod relays;

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use moqswitch_legs::{LegEvent, LegHears, LegName, LegSettings, Legs, LegsPort};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::certificate::DevelopmentCertificate;
use moqswitch_relay::shard::ShardPort;
use moqswitch_webrtc::{Certificate, Codec, DescriptionError, Session, SessionSettings};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

use crate::config::WebrtcConfig;
use crate::limits::BROWSER_EVENTS_MAX;

pub use relays::{IceServer, IceServers};

/// All of them. Clones share them.
#[derive(Clone)]
pub struct Browsers(Arc<Shared>);

struct Shared {
    certificate: Certificate,
    ice_servers: IceServers,
    random: SystemRandom,
    pool: Mutex<Pool>,
}

struct Pool {
    shards: Vec<Place>,
    /// Of each opener: notified when something happened on its legs.
    news: [Arc<Notify>; OPENERS],
    legs: HashMap<BrowserLeg, Opener>,
    told: [VecDeque<(BrowserLeg, LegEvent)>; OPENERS],
    /// Legs whose end their shard had no room for.
    unended: Vec<BrowserLeg>,
}

/// One shard.
struct Place {
    port: LegsPort,
    /// Told to browsers.
    address: SocketAddr,
    legs: usize,
}

/// A leg, among those of all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrowserLeg {
    shard: usize,
    leg: LegName,
}

/// Who opens legs, and is told of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// WHIP and WHEP.
    Endpoints,
    /// Telephones in pages.
    Gateways,
    /// Devices by signalling of their own.
    Devices,
}

/// A leg that is wanted.
#[derive(Clone, Debug)]
pub struct BrowserWanted {
    pub opener: Opener,
    /// What its peer says is this broadcast.
    pub broadcast: String,
    pub codecs: Vec<Codec>,
    /// What is said may be published; what is heard may be sent.
    pub receives: bool,
    pub sends: bool,
}

/// Why there is no leg.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// Nothing would be published, or nothing heard.
    #[error("the peer speaks, or hears, when that is not what is wanted of it")]
    OtherWay,
    #[error("the shard has too much to do")]
    Busy,
    #[error("the shards have as many legs of WebRTC as they may")]
    Full,
    #[error(transparent)]
    Description(#[from] DescriptionError),
}

impl Browsers {
    /// Binds a socket for each shard, the ports one after the other.
    pub fn start(config: &WebrtcConfig, shards: &[ShardPort]) -> anyhow::Result<Self> {
        let made = DevelopmentCertificate::generate(&[], SystemTime::now()).context("a certificate for WebRTC")?;
        let bell = Arc::new(Notify::new());
        let mut places = Vec::new();
        for (index, shard) in (0_u16..).zip(shards) {
            let port = config.port(index).context("`webrtc.listen`: the last port is 65535")?;
            let bound = SocketAddr::new(config.listen.ip(), port);
            let socket = UdpSocket::bind(bound).with_context(|| format!("`webrtc.listen`: UDP {bound}"))?;
            let port = socket.local_addr().context("a socket of WebRTC")?.port();
            let (legs, _) = Legs::install(shard, Arc::clone(&bell)).context("legs of WebRTC")?;
            legs.serve_webrtc(socket).context("legs of WebRTC")?;
            places.push(Place {
                port: legs,
                address: SocketAddr::new(config.address, port),
                legs: 0,
            });
        }
        let told: Vec<SocketAddr> = places.iter().map(|place| place.address).collect();
        tracing::info!(addresses = ?told, "WebRTC");
        Ok(Self(Arc::new(Shared {
            certificate: Certificate {
                certificate: made.certificate_der,
                key: made.key_der,
            },
            ice_servers: IceServers::load(config)?,
            random: SystemRandom::new(),
            pool: Mutex::new(Pool {
                shards: places,
                news: [bell, Arc::new(Notify::new()), Arc::new(Notify::new())],
                legs: HashMap::new(),
                told: Default::default(),
                unended: Vec::new(),
            }),
        })))
    }

    /// Servers by which browsers find their way, with credentials for a while.
    pub fn ice_servers(&self, name: &str) -> Vec<IceServer> {
        self.0.ice_servers.for_a_while(name, SystemTime::now())
    }

    /// Opens a leg that answers an offer. The answer. From a busy one nothing has come: the offer may be answered again.
    pub fn answer(&self, wanted: &BrowserWanted, offer: &str) -> Result<(BrowserLeg, String), BrowserError> {
        let (shard, address) = self.lock().least_busy()?;
        let settings = SessionSettings {
            certificate: &self.0.certificate,
            address,
            codecs: &wanted.codecs,
            now: Instant::now(),
        };
        let (session, answer) = Session::answer(&settings, offer)?;
        let agreed = session.agreed();
        // Who wants both ways may be held for now.
        let is_held = wanted.receives && wanted.sends;
        if !is_held && (wanted.receives && !agreed.receives || wanted.sends && !agreed.sends) {
            return Err(BrowserError::OtherWay);
        }
        let mut answered = Some(Answered {
            session: Box::new(session),
            wanted: wanted.clone(),
            shard,
        });
        let leg = self.open(&mut answered, None)?;
        Ok((leg, answer))
    }

    /// An offer, whose answer [`Offer::accept`] takes.
    pub fn offer(&self, wanted: BrowserWanted) -> Result<(Offer, String), BrowserError> {
        let (shard, address) = self.lock().least_busy()?;
        let settings = SessionSettings {
            certificate: &self.0.certificate,
            address,
            codecs: &wanted.codecs,
            now: Instant::now(),
        };
        let (offered, offer) = Session::offer(&settings)?;
        let offer_state = Offer { offered, wanted, shard };
        Ok((offer_state, offer))
    }

    /// Opens a leg whose description was answered, and says what it hears. Where the shard is busy, `answered` stays, and it
    /// may be tried again.
    pub fn open(&self, answered: &mut Option<Answered>, hears: Option<LegHears>) -> Result<BrowserLeg, BrowserError> {
        let source = self.source()?;
        let mut pool = self.lock();
        Self::catch_up(&mut pool);
        let waiting = answered.as_ref().ok_or(BrowserError::Busy)?;
        let (shard, opener) = (waiting.shard, waiting.wanted.opener);
        let place = pool.shards.get(shard).ok_or(BrowserError::Busy)?;
        // Nobody else says anything to these legs, and the pool is locked.
        if !place.port.has_room(OPENING_COMMANDS) || pool.told[opener as usize].len() >= BROWSER_EVENTS_MAX {
            return Err(BrowserError::Busy);
        }
        let Answered { session, wanted, .. } = answered.take().ok_or(BrowserError::Busy)?;
        let broadcast = BroadcastPath::new(&wanted.broadcast);
        let settings = LegSettings::of_session(broadcast, session.agreed(), source);
        let mut settings = settings.ok_or(DescriptionError::NoCodec)?;
        settings.sends &= wanted.sends;
        settings.receives &= wanted.receives;
        let place = pool.shards.get_mut(shard).ok_or(BrowserError::Busy)?;
        let opened = place.port.open_webrtc(*session, settings);
        let name = opened.map_err(|_| BrowserError::Busy)?;
        if hears.is_some() {
            place.port.hear(name, hears).map_err(|_| BrowserError::Busy)?;
        }
        place.legs += 1;
        let leg = BrowserLeg { shard, leg: name };
        pool.legs.insert(leg, wanted.opener);
        Ok(leg)
    }

    /// From here on the peer hears this broadcast, or nothing. False: the shard has too much to do.
    pub fn hear(&self, leg: BrowserLeg, hears: Option<LegHears>) -> bool {
        self.at(leg, |port| port.hear(leg.leg, hears).is_ok())
    }

    /// A tone says to the peer that it is recorded, at once and after each such time; or no longer. False: the shard has too
    /// much to do.
    pub fn announce(&self, leg: BrowserLeg, every: Option<Duration>) -> bool {
        self.at(leg, |port| port.announce(leg.leg, every).is_ok())
    }

    /// Something else was agreed on. False: the shard has too much to do.
    pub fn change(&self, leg: BrowserLeg, settings: LegSettings) -> bool {
        self.at(leg, |port| port.change(leg.leg, settings, None).is_ok())
    }

    /// Sends a digit to the peer.
    pub fn press(&self, leg: BrowserLeg, digit: char, duration_ms: u32) -> bool {
        self.at(leg, |port| port.press(leg.leg, digit, duration_ms).is_ok())
    }

    /// Asks what was counted so far: an event is the answer.
    pub fn count(&self, leg: BrowserLeg) -> bool {
        self.at(leg, |port| port.count_later(leg.leg).is_ok())
    }

    /// Ends a leg. A shard that has too much to do is told with one of the next calls.
    pub fn close(&self, leg: BrowserLeg) {
        let mut pool = self.lock();
        if pool.legs.contains_key(&leg) && !pool.unended.contains(&leg) {
            pool.unended.push(leg);
        }
        Self::catch_up(&mut pool);
    }

    /// What happened on the legs of an opener, in order.
    pub fn poll(&self, opener: Opener) -> Option<(BrowserLeg, LegEvent)> {
        let mut pool = self.lock();
        Self::catch_up(&mut pool);
        pool.told[opener as usize].pop_front()
    }

    /// Notified when [`Self::poll`] may have something.
    pub fn news(&self, opener: Opener) -> Arc<Notify> {
        Arc::clone(&self.lock().news[opener as usize])
    }

    /// Has it notified instead.
    pub fn set_news(&self, opener: Opener, news: Arc<Notify>) {
        self.lock().news[opener as usize] = news;
    }

    /// How many legs there are on each shard.
    pub fn legs(&self) -> Vec<usize> {
        self.lock().shards.iter().map(|place| place.legs).collect()
    }

    /// 128 random bits.
    pub fn random(&self) -> Option<u128> {
        let mut bytes = [0; 16];
        self.0.random.fill(&mut bytes).ok()?;
        Some(u128::from_be_bytes(bytes))
    }

    /// Of what is sent: the source, and the first number and timestamp.
    fn source(&self) -> Result<(u32, u16, u32), BrowserError> {
        let random = self.random().ok_or(BrowserError::Busy)?;
        let [.., s3, s2, s1, s0, n1, n0, t3, t2, t1, t0] = random.to_be_bytes();
        Ok((
            u32::from_be_bytes([s3, s2, s1, s0]),
            // In the lower half: with the first packets nobody is in doubt which turn of SRTP it is (RFC 3711, section 3.3.1).
            u16::from_be_bytes([n1 & 0x7f, n0]),
            u32::from_be_bytes([t3, t2, t1, t0]),
        ))
    }

    fn at<T>(&self, leg: BrowserLeg, ask: impl FnOnce(&LegsPort) -> T) -> T {
        let mut pool = self.lock();
        Self::catch_up(&mut pool);
        ask(&pool.shards[leg.shard].port)
    }

    /// Says what could not be said, and takes what shards tell.
    fn catch_up(pool: &mut Pool) {
        let shards = &pool.shards;
        pool.unended
            .retain(|leg| shards[leg.shard].port.close(leg.leg, None).is_err());
        for shard in 0..pool.shards.len() {
            while let Some(event) = pool.shards[shard].port.poll() {
                let leg = BrowserLeg {
                    shard,
                    leg: event.leg(),
                };
                if let Some(opener) = pool.take(leg, event) {
                    pool.news[opener as usize].notify_one();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn least_busy(&self) -> Result<(usize, SocketAddr), BrowserError> {
        let places = self.shards.iter().enumerate();
        let places = places.filter(|(_, place)| place.legs < moqswitch_legs::limits::WEBRTC_LEGS_MAX);
        let least = places.min_by_key(|(_, place)| place.legs);
        let (shard, place) = least.ok_or(BrowserError::Full)?;
        Ok((shard, place.address))
    }

    /// Whose it is, if that is to be told.
    fn take(&mut self, leg: BrowserLeg, event: LegEvent) -> Option<Opener> {
        let opener = *self.legs.get(&leg)?;
        let is_last = matches!(event, LegEvent::Refused { .. } | LegEvent::Closed { .. });
        if is_last {
            self.legs.remove(&leg);
            self.shards[leg.shard].legs -= 1;
        }
        let told = &mut self.told[opener as usize];
        // Of ends there are few for each leg, and with so many that were not asked for no leg is opened.
        if told.len() >= BROWSER_EVENTS_MAX / 2 && !event.is_end() {
            return None;
        }
        told.push_back((leg, event));
        Some(opener)
    }
}

/// A leg that is about to be opened: both sides know of each other.
pub struct Answered {
    session: Box<Session>,
    wanted: BrowserWanted,
    shard: usize,
}

/// An offer that waits for its answer.
pub struct Offer {
    offered: moqswitch_webrtc::Offered,
    wanted: BrowserWanted,
    shard: usize,
}

impl Offer {
    /// The peer has answered: [`Browsers::open`] opens the leg.
    pub fn accept(self, answer: &str) -> Result<Answered, DescriptionError> {
        Ok(Answered {
            session: Box::new(self.offered.accept(answer, Instant::now())?),
            wanted: self.wanted,
            shard: self.shard,
        })
    }
}

const OPENERS: usize = 3;
/// A leg is opened, and told what it hears.
const OPENING_COMMANDS: usize = 2;

#[cfg(test)]
mod tests;
