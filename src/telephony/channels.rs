//! Channels of mediaswitch's HTTP, as legs on the shards: an RTP port each, whose audio is the broadcast of a call.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Instant;

use moqswitch_legs::{LegCodec, LegName, LegSettings, Legs, LegsPort, Ports};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::ShardPort;
use moqswitch_relay::shard::local::Delivery;
use moqswitch_signalling::calls::{CallId, LegId, LegNumber};
use moqswitch_signalling::{Channel, ChannelCommand, ChannelError, ChannelLoad, ChannelPool};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;

/// All of them, and the shards that they are on.
pub(super) struct RtpChannels {
    ports: Ports,
    address: IpAddr,
    shards: Vec<LegsPort>,
    channels: HashMap<String, Open>,
    random: SystemRandom,
}

/// An open one.
struct Open {
    shard: usize,
    leg: LegName,
    port: u16,
    settings: LegSettings,
    /// Where its peer is, and the payload types that it takes, the first of them preferred.
    target: Option<SocketAddr>,
    offered: Vec<u8>,
    /// Whom it hears, and who hears it.
    mixed: Option<String>,
}

impl RtpChannels {
    /// Legs on each shard.
    pub(super) fn new(address: IpAddr, ports: RangeInclusive<u16>, shards: &[ShardPort]) -> anyhow::Result<Self> {
        let installed: Result<Vec<LegsPort>, _> = shards
            .iter()
            // It is the shard's first application: there is room.
            .map(|shard| Legs::install(shard).map(|(legs, _)| legs))
            .collect();
        Ok(Self {
            ports: Ports::new(address, ports),
            address,
            shards: installed?,
            channels: HashMap::new(),
            random: SystemRandom::new(),
        })
    }

    fn random(&self) -> Result<u128, ChannelError> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).map_err(|_| ChannelError::Exhausted)?;
        Ok(u128::from_be_bytes(bytes))
    }

    fn channel(&self, channel: &str) -> Result<(&Open, &LegsPort), ChannelError> {
        let open = self.channels.get(channel).ok_or(ChannelError::Unknown)?;
        Ok((open, &self.shards[open.shard]))
    }

    fn hear(&self, channel: &str, other: Option<&str>) -> Result<(), ChannelError> {
        let heard = other.map(|other| self.channel(other)).transpose()?;
        let broadcast = heard.map(|(open, _)| open.settings.broadcast.clone());
        let (open, legs) = self.channel(channel)?;
        legs.hear(open.leg, broadcast).map_err(|_| ChannelError::Exhausted)
    }

    fn unmix(&mut self, channel: &str) -> Result<(), ChannelError> {
        let (open, _) = self.channel(channel)?;
        let Some(other) = open.mixed.clone() else { return Ok(()) };
        // Told before it is noted: what a full shard did not take is tried again by who asks again.
        self.hear(channel, None)?;
        if self.channels.contains_key(&other) {
            self.hear(&other, None)?;
        }
        for one in [channel, &other] {
            if let Some(open) = self.channels.get_mut(one) {
                open.mixed = None;
            }
        }
        Ok(())
    }

    /// What both take: nobody transcodes.
    fn common(&self, offered: &[u8], other: &str) -> Result<u8, ChannelError> {
        let (other, _) = self.channel(other)?;
        let is_common = |kind: &&u8| other.offered.contains(kind);
        offered.iter().find(is_common).copied().ok_or(ChannelError::Unsupported)
    }

    fn speak(&mut self, channel: &str, kind: u8) -> Result<(), ChannelError> {
        let codec = LegCodec::of_static(kind).ok_or(ChannelError::Unsupported)?;
        let (open, legs) = self.channel(channel)?;
        let mut settings = open.settings.clone();
        (settings.payload_type, settings.codec) = (kind, codec);
        legs.change(open.leg, settings.clone())
            .map_err(|_| ChannelError::Exhausted)?;
        if let Some(open) = self.channels.get_mut(channel) {
            open.settings = settings;
        }
        Ok(())
    }

    fn mix(&mut self, channel: &str, other: &str) -> Result<(), ChannelError> {
        self.channel(channel)?;
        self.channel(other)?;
        if channel == other {
            return Err(ChannelError::Unsupported);
        }
        // Before anything is done: what is refused changes nothing.
        let kind = self.common(&self.channel(channel)?.0.offered, other)?;
        self.unmix(channel)?;
        self.unmix(other)?;
        for name in [channel, other] {
            self.speak(name, kind)?;
        }
        for (one, two) in [(channel, other), (other, channel)] {
            if let Some(open) = self.channels.get_mut(one) {
                open.mixed = Some(two.to_owned());
            }
        }
        for (one, two) in [(channel, other), (other, channel)] {
            self.hear(one, Some(two))?;
            // The call is answered: from here on its peers may be where their packets come from, for a moment.
            let (open, legs) = self.channel(one)?;
            if let Some(target) = open.target {
                legs.meet(open.leg, target, false)
                    .map_err(|_| ChannelError::Exhausted)?;
            }
        }
        Ok(())
    }

    /// `{"ip", "port", "audio": {"payloads": [0]}}`: the first payload type that is known is spoken.
    fn target(&mut self, channel: &str, target: &Value) -> Result<(), ChannelError> {
        let (open, legs) = self.channel(channel)?;
        let ip = target["ip"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
        let port = target["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let (Some(ip), Some(port)) = (ip, port.filter(|port| *port > 0)) else {
            return Err(ChannelError::Unsupported);
        };
        let address = SocketAddr::new(ip.to_canonical(), port);
        let mixed = open.mixed.clone();
        let mut offered = open.offered.clone();
        if let Some(payloads) = target["audio"]["payloads"].as_array() {
            let types = payloads.iter().filter_map(Value::as_u64);
            let types = types.filter_map(|kind| u8::try_from(kind).ok());
            offered = types.filter(|kind| LegCodec::of_static(*kind).is_some()).collect();
        }
        let first = *offered.first().ok_or(ChannelError::Unsupported)?;
        let kind = match &mixed {
            Some(other) => self.common(&offered, other)?,
            None => first,
        };
        legs.meet(open.leg, address, false)
            .map_err(|_| ChannelError::Exhausted)?;
        if let Some(open) = self.channels.get_mut(channel) {
            (open.target, open.offered) = (Some(address), offered);
        }
        for name in mixed.iter().map(String::as_str).chain([channel]) {
            self.speak(name, kind)?;
        }
        Ok(())
    }
}

impl ChannelPool for RtpChannels {
    fn load(&self) -> ChannelLoad {
        ChannelLoad {
            active: self.channels.len(),
            available: self
                .ports
                .available(Instant::now())
                .min((self.shards.len() * CHANNELS_PER_SHARD_MAX).saturating_sub(self.channels.len())),
        }
    }

    fn open(&mut self, _control: Option<&str>) -> Result<Channel, ChannelError> {
        let (id, source) = (self.random()?, self.random()?);
        // The shard with the fewest of them.
        let mut load = vec![0_usize; self.shards.len()];
        self.channels.values().for_each(|open| load[open.shard] += 1);
        let has_room = |shard: &usize| load[*shard] < CHANNELS_PER_SHARD_MAX;
        let shard = (0..load.len())
            .filter(has_room)
            .min_by_key(|shard| load[*shard])
            .ok_or(ChannelError::Exhausted)?;
        let socket = self.ports.bind(Instant::now()).map_err(|error| {
            tracing::warn!(%error, "no port for a channel");
            ChannelError::Exhausted
        })?;
        let port = socket.local_addr().map_err(|_| ChannelError::Exhausted)?.port();
        let broadcast = LegId {
            call: CallId(id),
            leg: LegNumber(1),
        };
        let [.., s3, s2, s1, s0, n1, n0, t3, t2, t1, t0] = source.to_be_bytes();
        let settings = LegSettings {
            broadcast: BroadcastPath::new(&broadcast.path()),
            codec: LegCodec::Pcmu,
            payload_type: 0,
            event_type: Some(EVENTS),
            source: (
                u32::from_be_bytes([s3, s2, s1, s0]),
                u16::from_be_bytes([n1, n0]),
                u32::from_be_bytes([t3, t2, t1, t0]),
            ),
            delivery: Delivery::Datagram,
        };
        let Ok(leg) = self.shards[shard].open(socket, settings.clone()) else {
            self.ports.release(port, Instant::now());
            return Err(ChannelError::Exhausted);
        };
        let uuid = uuid(id);
        let open = Open {
            shard,
            leg,
            port,
            settings,
            target: None,
            offered: vec![0],
            mixed: None,
        };
        self.channels.insert(uuid.clone(), open);
        Ok(Channel {
            uuid,
            ip: self.address.to_string(),
            port,
        })
    }

    fn close(&mut self, channel: &str) -> Result<(), ChannelError> {
        self.unmix(channel)?;
        let (open, legs) = self.channel(channel)?;
        let port = open.port;
        legs.close(open.leg, None).map_err(|_| ChannelError::Exhausted)?;
        self.channels.remove(channel);
        self.ports.release(port, Instant::now());
        Ok(())
    }

    fn command(&mut self, channel: &str, command: ChannelCommand) -> Result<(), ChannelError> {
        match command {
            ChannelCommand::Target(target) => self.target(channel, &target),
            ChannelCommand::Mix(other) => self.mix(channel, &other),
            ChannelCommand::Unmix => self.unmix(channel),
            ChannelCommand::Play(_) => self.channel(channel).and(Err(ChannelError::Unsupported)),
        }
    }
}

impl fmt::Debug for RtpChannels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RtpChannels")
            .field("load", &self.load())
            .finish()
    }
}

/// The 128 bits of the broadcast's call, as other servers write them.
fn uuid(id: u128) -> String {
    let digits = format!("{id:032x}");
    let (a, b, c, d, e) = (
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// Channels of one shard: as many as its ring has sockets for. A further one is refused.
const CHANNELS_PER_SHARD_MAX: usize = moqswitch_relay::limits::SOCKETS_DEFAULT as usize;

/// The payload type of telephone events, as nearly everybody has it.
const EVENTS: u8 = 101;
