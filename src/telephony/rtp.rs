//! Legs of telephones on the shards: an RTP port each, whose audio is the broadcast of the call's leg.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use moqswitch_legs::{LegCodec, LegName, LegSettings, Legs, LegsPort, Ports};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::shard::ShardPort;
use moqswitch_relay::shard::local::Delivery;
use moqswitch_signalling::sip::sdp::{Agreed, Codec};
use moqswitch_signalling::{RtpError, RtpEvent, RtpLeg, RtpLegId, RtpLegs};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;

/// All of them.
pub(super) struct Telephones {
    ports: Ports,
    address: IpAddr,
    shards: Vec<LegsPort>,
    legs: HashMap<RtpLegId, Open>,
    load: Vec<usize>,
    opened: u64,
    random: SystemRandom,
    bell: Arc<Notify>,
}

struct Open {
    shard: usize,
    leg: LegName,
    port: u16,
    settings: LegSettings,
}

impl Telephones {
    pub(super) fn new(address: IpAddr, ports: RangeInclusive<u16>, shards: &[ShardPort]) -> anyhow::Result<Self> {
        let installed: Result<Vec<LegsPort>, _> = shards
            .iter()
            .map(|shard| Legs::install(shard).map(|(legs, _)| legs))
            .collect();
        let shards = installed?;
        Ok(Self {
            ports: Ports::new(address, ports),
            address,
            load: vec![0; shards.len()],
            shards,
            legs: HashMap::new(),
            opened: 0,
            random: SystemRandom::new(),
            bell: Arc::default(),
        })
    }

    fn leg(&self, id: RtpLegId) -> Result<(&Open, &LegsPort), RtpError> {
        let open = self.legs.get(&id).ok_or(RtpError::Exhausted)?;
        Ok((open, &self.shards[open.shard]))
    }
}

impl RtpLegs for Telephones {
    fn open(&mut self, path: &str, _peer: Option<SocketAddr>) -> Result<RtpLeg, RtpError> {
        let shard = (0..self.load.len())
            .min_by_key(|shard| self.load[*shard])
            .ok_or(RtpError::Exhausted)?;
        let mut bytes = [0; 10];
        self.random.fill(&mut bytes).map_err(|_| RtpError::Exhausted)?;
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        let socket = self.ports.bind(Instant::now()).map_err(|error| {
            tracing::warn!(%error, "no port for a telephone");
            RtpError::Exhausted
        })?;
        let port = socket.local_addr().map_err(|_| RtpError::Exhausted)?.port();
        let settings = LegSettings {
            broadcast: BroadcastPath::new(path),
            codec: LegCodec::Pcmu,
            payload_type: 0,
            event_type: None,
            source: (
                u32::from_be_bytes([a, b, c, d]),
                u16::from_be_bytes([e, f]),
                u32::from_be_bytes([g, h, i, j]),
            ),
            delivery: Delivery::Datagram,
        };
        let Ok(leg) = self.shards[shard].open(socket, settings.clone()) else {
            self.ports.release(port, Instant::now());
            return Err(RtpError::Busy);
        };
        self.load[shard] += 1;
        self.opened += 1;
        let id = RtpLegId(self.opened);
        self.legs.insert(
            id,
            Open {
                shard,
                leg,
                port,
                settings,
            },
        );
        Ok(RtpLeg {
            id,
            address: SocketAddr::new(self.address, port),
        })
    }

    fn agree(&mut self, id: RtpLegId, agreed: &Agreed, is_translated: bool) -> Result<(), RtpError> {
        let (open, legs) = self.leg(id)?;
        let mut settings = open.settings.clone();
        settings.codec = match agreed.codec {
            Codec::Pcmu => LegCodec::Pcmu,
            Codec::Pcma => LegCodec::Pcma,
            Codec::G722 => LegCodec::G722,
            Codec::Opus => LegCodec::Opus,
        };
        settings.payload_type = agreed.payload_type_send;
        settings.event_type = agreed.event_send.map(|event| event.payload_type);
        legs.change(open.leg, settings.clone()).map_err(|_| RtpError::Busy)?;
        if let Some(peer) = agreed.peer {
            legs.meet(open.leg, peer, is_translated).map_err(|_| RtpError::Busy)?;
        }
        if let Some(open) = self.legs.get_mut(&id) {
            open.settings = settings;
        }
        Ok(())
    }

    fn hear(&mut self, id: RtpLegId, path: Option<&str>) -> Result<(), RtpError> {
        let (open, legs) = self.leg(id)?;
        legs.hear(open.leg, path.map(BroadcastPath::new))
            .map_err(|_| RtpError::Busy)
    }

    fn press(&mut self, id: RtpLegId, digit: char, duration_ms: u32) -> Result<(), RtpError> {
        let (open, legs) = self.leg(id)?;
        legs.press(open.leg, digit, duration_ms).map_err(|_| RtpError::Busy)
    }

    fn close(&mut self, id: RtpLegId) {
        let Some(open) = self.legs.remove(&id) else { return };
        if self.shards[open.shard].close(open.leg, None).is_err() {
            tracing::error!("a leg of RTP stays open: its shard is busy");
        }
        self.load[open.shard] -= 1;
        self.ports.release(open.port, Instant::now());
    }

    fn bell(&self) -> Arc<Notify> {
        self.bell.clone()
    }

    fn poll(&mut self) -> Option<RtpEvent> {
        None
    }
}
